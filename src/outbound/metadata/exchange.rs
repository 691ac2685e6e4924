//! One question to the metadata server: tried, judged, tried again.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use super::super::source::{SourceError, SourceFault, excerpt};
use crate::clock::Clock;

const MAX_TRIES: u32 = 5;
const MAX_BODY_BYTES: usize = 64 * 1024;
const FLAVOR: &str = "metadata-flavor";
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

/// What every question needs.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) root: Url,
    pub(super) client: reqwest::Client,
    pub(super) budget: Duration,
    pub(super) first_pause: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

/// A try that failed, and how long the server asked to be left alone.
struct Failure {
    fault: SourceFault,
    retry_after: Option<Duration>,
}

impl From<SourceFault> for Failure {
    fn from(fault: SourceFault) -> Self {
        Self { fault, retry_after: None }
    }
}

impl Exchange {
    /// Asks until `accept` takes the answer's body, the server refuses, the tries are used up or the time is.
    pub(super) async fn run<T>(
        &self,
        url: Url,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, SourceError> {
        let mut tries = 0;
        let mut last = None;
        let asked = tokio::time::timeout(self.budget, async {
            let started = self.clock.now();
            loop {
                tries += 1;
                let failure = match self.ask(url.clone(), &accept).await {
                    Ok(answer) => return Some(answer),
                    Err(failure) => failure,
                };
                let again = tries < MAX_TRIES && failure.fault.is_retryable();
                last = Some(failure.fault);
                if !again {
                    return None;
                }
                let left = self.budget.saturating_sub(self.clock.now().age_since(started));
                let pause = pause(self.first_pause, tries, failure.retry_after);
                if pause >= left {
                    // Sleeping until the time is up helps nobody: the caller is told now.
                    return None;
                }
                tokio::time::sleep(pause).await;
            }
        });
        let asked = asked.await;
        if let Ok(Some(answer)) = asked {
            return Ok(answer);
        }
        // A fault that was seen says more than that the time is up.
        let fault = last.unwrap_or(SourceFault::TimedOut { budget: self.budget });
        let place = format!("the metadata server at http://{}{}", url.authority(), url.path());
        let advice = advice(&fault);
        Err(SourceError::new(place, tries, fault, advice))
    }

    async fn ask<T>(
        &self,
        url: Url,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, Failure> {
        let request = self.client.get(url).header(FLAVOR, GOOGLE);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if response.headers().get(FLAVOR) != Some(&GOOGLE) {
            let expected = "Metadata-Flavor: Google";
            return Err(SourceFault::AnotherServer { status, expected }.into());
        }
        let body = body(&mut response).await;
        if status != StatusCode::OK {
            let excerpt = excerpt(&body.unwrap_or_default());
            let retry_after = retry_after(response.headers());
            return Err(Failure { fault: SourceFault::Status { status, excerpt }, retry_after });
        }
        Ok(accept(&body?)?)
    }
}

/// The body, and not a byte more than [`MAX_BODY_BYTES`] of it in memory.
async fn body(response: &mut reqwest::Response) -> Result<Vec<u8>, SourceFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(SourceFault::TooLarge { limit: MAX_BODY_BYTES });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The address is in the error already, and its query is nobody's business.
fn unreachable(error: reqwest::Error) -> SourceFault {
    SourceFault::Unreachable(Arc::new(error.without_url()))
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3). The date form is left out: it would need the server's clock and
/// ours to agree, and the metadata server does not use it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to wait after the given number of failures: doubled each time, shortened by up to a half at random, never
/// shorter than the server asked for.
fn pause(first: Duration, failures: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let jittered = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
    jittered.max(retry_after.unwrap_or_default())
}

/// What the operator can do about it.
fn advice(fault: &SourceFault) -> &'static str {
    match fault {
        SourceFault::Unreachable(_) | SourceFault::TimedOut { .. } => {
            "outside of Google Cloud there is no metadata server: start the emulator and set GCE_METADATA_HOST to \
             where it listens"
        }
        SourceFault::AnotherServer { .. } => {
            "something else answers there, such as a proxy or a captive portal: check GCE_METADATA_HOST"
        }
        SourceFault::Status { status, .. } => match *status {
            StatusCode::BAD_REQUEST => "check the audience that was asked for",
            StatusCode::FORBIDDEN => {
                "the metadata server refuses requests that a proxy has touched (X-Forwarded-For): let nothing stand \
                 in between"
            }
            StatusCode::NOT_FOUND => {
                "no service account is attached to this service: deploy it with --service-account=EMAIL"
            }
            _ => "",
        },
        SourceFault::Expired { .. } => "check this machine's clock",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);

    #[test]
    fn pauses_grow_and_are_shortened_by_up_to_a_half() {
        for (failures, longest) in [(1, 100), (2, 200), (3, 400), (4, 800)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let pause = pause(FIRST, failures, None);
                assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
            }
        }
        assert!(pause(FIRST, u32::MAX, None) > Duration::ZERO);
    }

    #[test]
    fn a_pause_is_never_shorter_than_the_server_asks() {
        let asked = Duration::from_secs(2);
        assert_eq!(pause(FIRST, 1, Some(asked)), asked);
        assert!(pause(FIRST, 1, Some(Duration::ZERO)) >= FIRST / 2);
    }

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        let read = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]))
        };
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        for value in ["", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
