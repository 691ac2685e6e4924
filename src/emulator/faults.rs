//! Faults on purpose, and a count of who asked for what.

mod body;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::EmulatorError;
use super::listener::HangUp;

/// A part of the emulator that can be counted and broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `/oauth2/v3/certs`: the keys as a JWK set.
    Certs,
    /// `/oauth2/v1/certs`: the keys as certificates.
    CertsV1,
    /// `…/service-accounts/…/identity` of every metadata server.
    MetadataIdentity,
    /// `…/service-accounts/…/token` of every metadata server.
    MetadataToken,
    /// Everything else of every metadata server.
    Metadata,
    /// Where the links of forged tokens point (`jku`, `x5u`): whoever asks here has believed a token's header.
    Canary,
    /// The admin API. It is counted, and cannot be broken.
    Admin,
    /// Any other path.
    Other,
}

impl Endpoint {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Certs,
        Self::CertsV1,
        Self::MetadataIdentity,
        Self::MetadataToken,
        Self::Metadata,
        Self::Canary,
        Self::Admin,
        Self::Other,
    ];

    /// The name that the admin API uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certs => "certs",
            Self::CertsV1 => "certs-v1",
            Self::MetadataIdentity => "metadata-identity",
            Self::MetadataToken => "metadata-token",
            Self::Metadata => "metadata",
            Self::Canary => "canary",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }

    pub(super) fn of(path: &str) -> Self {
        match path {
            "/oauth2/v3/certs" => Self::Certs,
            "/oauth2/v1/certs" => Self::CertsV1,
            _ if path.starts_with("/canary/") => Self::Canary,
            _ if path == "/admin" || path.starts_with("/admin/") => Self::Admin,
            _ if path == "/" || path.starts_with("/computeMetadata") => {
                match path.trim_end_matches('/').rsplit('/').next() {
                    Some("identity") => Self::MetadataIdentity,
                    Some("token") => Self::MetadataToken,
                    _ => Self::Metadata,
                }
            }
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault: where, what, and how often.
///
/// ```
/// use countersign::emulator::{Endpoint, Fault, FaultKind};
///
/// let twice = Fault::on(Endpoint::Certs, FaultKind::status(503)).times(2);
/// let until_cleared = Fault::on(Endpoint::MetadataIdentity, FaultKind::CloseConnection);
/// # let _ = (twice, until_cleared);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    endpoint: Endpoint,
    fault: FaultKind,
    #[serde(default)]
    times: Option<u32>,
}

impl Fault {
    /// A fault at this endpoint, on each request until the faults are cleared.
    #[must_use]
    pub fn on(endpoint: Endpoint, fault: FaultKind) -> Self {
        Self { endpoint, fault, times: None }
    }

    /// For this many requests only. After them the next fault of the endpoint takes its turn, or none.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FaultKind {
    /// The right answer, so much later.
    Latency {
        /// How much later.
        milliseconds: u64,
    },
    /// No answer at all on a connection that stays open.
    Hang,
    /// This status, with a line of text.
    Status {
        /// 100 to 999.
        status: u16,
        /// The value of `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 200 with bytes that mean nothing.
    GarbageBody,
    /// 200 with an HTML page, as a captive portal answers.
    HtmlBody,
    /// 200 with no bytes.
    EmptyBody,
    /// 200 with this body.
    Body {
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// The head and the first half of the right answer, then the connection closes.
    TruncatedBody,
    /// 200 with a body of this many bytes.
    HugeBody {
        /// How many.
        bytes: u64,
    },
    /// 200 with a body that never ends.
    EndlessBody,
    /// The right answer, byte by byte.
    SlowDrip {
        /// Between two bytes.
        milliseconds: u64,
    },
    /// A redirect to this URL.
    Redirect {
        /// `Location`.
        location: String,
        /// 301, 302, 303, 307 or 308; 302 unless given.
        #[serde(default = "found")]
        status: u16,
    },
    /// The connection is closed without an answer.
    CloseConnection,
}

fn found() -> u16 {
    302
}

impl FaultKind {
    /// This status, without `Retry-After`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// The right answer, so many milliseconds later.
    #[must_use]
    pub fn latency(milliseconds: u64) -> Self {
        Self::Latency { milliseconds }
    }

    /// A redirect (302) to this URL.
    #[must_use]
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::Redirect { location: location.into(), status: found() }
    }

    fn check(&self) -> Result<(), EmulatorError> {
        let header = |field, value: &str| match HeaderValue::from_str(value) {
            Ok(_) => Ok(()),
            Err(_) => Err(EmulatorError::invalid(field, value, "visible ASCII characters")),
        };
        match self {
            Self::Status { status, retry_after } => {
                // 1xx is not an answer, and hyper would not send it as one.
                if !(200..=999).contains(status) {
                    let expected = "a status from 200 to 999";
                    return Err(EmulatorError::invalid("status", status.to_string(), expected));
                }
                retry_after.as_deref().map_or(Ok(()), |value| header("retry_after", value))
            }
            Self::Redirect { location, status } => {
                if !(300..=399).contains(status) {
                    let expected = "a status from 300 to 399";
                    return Err(EmulatorError::invalid("status", status.to_string(), expected));
                }
                header("location", location)
            }
            Self::Body { content_type, .. } => header("content_type", content_type),
            _ => Ok(()),
        }
    }
}

/// What passes through the endpoints: how much, and what goes wrong with it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    counts: Mutex<BTreeMap<Endpoint, u64>>,
    faults: Mutex<VecDeque<Fault>>,
}

impl Traffic {
    /// More faults than any test needs at a time.
    const FAULTS: usize = 1_000;

    pub(super) fn inject(&self, fault: Fault) -> Result<(), EmulatorError> {
        fault.fault.check()?;
        if fault.endpoint == Endpoint::Admin {
            let expected = "any other endpoint: a broken admin API could not be mended";
            return Err(EmulatorError::invalid("endpoint", "admin", expected));
        }
        let mut faults = self.faults();
        if faults.len() >= Self::FAULTS {
            let expected = "at most 1000 faults at a time: clear some first";
            return Err(EmulatorError::invalid("faults", faults.len().to_string(), expected));
        }
        if fault.times != Some(0) {
            faults.push_back(fault);
        }
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.faults().clear();
    }

    pub(super) fn pending(&self) -> Vec<Fault> {
        self.faults().iter().cloned().collect()
    }

    pub(super) fn requests(&self, endpoint: Endpoint) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&endpoint).copied().unwrap_or_default()
    }

    /// Counts a request and says what is to go wrong with it.
    pub(super) fn enter(&self, endpoint: Endpoint) -> Option<FaultKind> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(endpoint).or_default() += 1;
        drop(counts);

        let mut faults = self.faults();
        let at = faults.iter().position(|fault| fault.endpoint == endpoint)?;
        let fault = faults.get_mut(at)?;
        let kind = fault.fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                faults.remove(at);
            }
        }
        Some(kind)
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultKind {
    /// Lets this go wrong with the answer that would have been right.
    pub(super) async fn spoil(
        self,
        right: impl Future<Output = Response<Body>>,
    ) -> Result<Response<Body>, HangUp> {
        Ok(match self {
            Self::Latency { milliseconds } => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                right.await
            }
            Self::Hang => std::future::pending().await,
            Self::CloseConnection => return Err(HangUp),
            Self::Status { status, retry_after } => {
                let mut answer =
                    plain(status, format!("the emulator was told to answer {status}\n"));
                insert(&mut answer, RETRY_AFTER, retry_after.as_deref());
                answer
            }
            Self::Redirect { location, status } => {
                let mut answer = plain(status, String::new());
                insert(&mut answer, LOCATION, Some(&location));
                answer
            }
            Self::GarbageBody => typed("application/json", "\u{fffd}}{ not JSON, not a token ]["),
            Self::HtmlBody => typed(
                "text/html",
                "<html><body>Please accept the terms of this network.</body></html>",
            ),
            Self::EmptyBody => plain(200, String::new()),
            Self::Body { content_type, body } => typed(&content_type, body),
            Self::HugeBody { bytes } => body::filler(Some(bytes)),
            Self::EndlessBody => body::filler(None),
            Self::TruncatedBody => body::truncated(right.await).await,
            Self::SlowDrip { milliseconds } => {
                body::dripping(right.await, Duration::from_millis(milliseconds)).await
            }
        })
    }
}

fn plain(status: u16, text: String) -> Response<Body> {
    let mut answer = typed("text/plain; charset=utf-8", text);
    // Checked when the fault was injected.
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    answer
}

fn typed(content_type: &str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    insert(&mut answer, CONTENT_TYPE, Some(content_type));
    answer
}

fn insert(answer: &mut Response<Body>, name: http::HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        answer.headers_mut().insert(name, value);
    }
}

/// Says how long a body is that will not be that long.
fn set_length(answer: &mut Response<Body>, bytes: usize) {
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
}
