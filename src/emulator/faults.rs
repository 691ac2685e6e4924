//! Faults on purpose, and a count of who asked for what.

mod answer;
mod body;
mod traffic;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

pub(super) use self::traffic::Traffic;
use super::EmulatorError;

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
    /// `/token`: the OAuth token endpoint.
    Token,
    /// `…:generateIdToken` of IAM Credentials.
    GenerateIdToken,
    /// `…:generateAccessToken` of IAM Credentials.
    GenerateAccessToken,
    /// `…:signJwt` of IAM Credentials.
    SignJwt,
    /// `/v1/token`: the Security Token Service.
    Sts,
    /// `/subject-token`: where workloads elsewhere get the token that STS takes.
    SubjectToken,
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
        Self::Token,
        Self::GenerateIdToken,
        Self::GenerateAccessToken,
        Self::SignJwt,
        Self::Sts,
        Self::SubjectToken,
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
            Self::Token => "token",
            Self::GenerateIdToken => "generate-id-token",
            Self::GenerateAccessToken => "generate-access-token",
            Self::SignJwt => "sign-jwt",
            Self::Sts => "sts",
            Self::SubjectToken => "subject-token",
            Self::Canary => "canary",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }

    pub(super) fn of(path: &str) -> Self {
        match path {
            "/oauth2/v3/certs" => Self::Certs,
            "/oauth2/v1/certs" => Self::CertsV1,
            "/token" => Self::Token,
            "/v1/token" => Self::Sts,
            "/subject-token" => Self::SubjectToken,
            _ if path.starts_with("/v1/projects/") => match path.rsplit(':').next() {
                Some("generateIdToken") => Self::GenerateIdToken,
                Some("generateAccessToken") => Self::GenerateAccessToken,
                Some("signJwt") => Self::SignJwt,
                _ => Self::Other,
            },
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
