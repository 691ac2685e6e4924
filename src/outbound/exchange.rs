//! One question to a source of tokens: tried, judged, tried again.
//!
//! Connection errors, 408, 429, 5xx and answers that are no answer are tried again, up to five times, with growing,
//! jittered pauses; a `Retry-After` in seconds is obeyed where the budget allows, and ends the call where it does not.
//! Other 4xx are final. A place that has never answered may be given more time than one that has
//! ([`Budget::before`]): a pod's metadata server can be away for its first seconds.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::excerpt::excerpt;
use super::source::{SourceError, SourceFault};
use crate::clock::Clock;
use crate::http_client::{bounded_body, retry_after};

const MAX_TRIES: u32 = 5;
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Where tries are bounded by time alone, pauses do not grow beyond this.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What an operator can do about a fault; empty when there is nothing to say.
pub(super) type Advice = Cow<'static, str>;

/// What every question needs.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) client: reqwest::Client,
    pub(super) budget: Budget,
    pub(super) first_pause: Duration,
    pub(super) clock: Arc<dyn Clock>,
    /// A header that every answer of this source has.
    pub(super) mark: Option<Mark>,
}

/// A header that marks a source's answers.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) value: HeaderValue,
    /// Both, for messages.
    pub(super) text: &'static str,
}

/// How long a call may take over all its tries, pauses included.
#[derive(Debug)]
pub(super) struct Budget {
    before: Duration,
    after: Duration,
    succeeded: AtomicBool,
}

impl Budget {
    /// `before` the first success, and `after` it.
    pub(super) fn new(before: Duration, after: Duration) -> Self {
        Self { before, after, succeeded: AtomicBool::new(false) }
    }

    /// Whether more time is given, because the source has not answered yet.
    fn is_patient(&self) -> bool {
        self.before > self.after && !self.succeeded.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Duration {
        if self.succeeded.load(Ordering::Relaxed) { self.after } else { self.before }
    }
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
    /// Asks until `accept` takes the answer's body, the server refuses, the tries are used up or the time is. `place`
    /// is what errors call the one that is asked: a name and an address without secrets.
    pub(super) async fn run<T>(
        &self,
        place: impl Into<Arc<str>>,
        request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
        advice: impl Fn(&SourceFault) -> Advice,
    ) -> Result<T, SourceError> {
        let (patient, budget) = (self.budget.is_patient(), self.budget.now());
        let mut tries = 0;
        let mut last = None;
        let asked = tokio::time::timeout(budget, async {
            let started = self.clock.now();
            loop {
                tries += 1;
                let failure = match self.try_once(request(&self.client), &accept).await {
                    Ok(answer) => return Some(answer),
                    Err(failure) => failure,
                };
                let again = (patient || tries < MAX_TRIES) && failure.fault.is_retryable();
                last = Some(failure.fault);
                if !again {
                    return None;
                }
                let left = budget.saturating_sub(self.clock.now().age_since(started));
                let pause = pause(self.first_pause, tries, failure.retry_after);
                if pause >= left {
                    // Sleeping until the time is up helps nobody: the caller is told now.
                    return None;
                }
                tokio::time::sleep(pause).await;
            }
        });
        if let Ok(Some(answer)) = asked.await {
            self.budget.succeeded.store(true, Ordering::Relaxed);
            return Ok(answer);
        }
        // A fault that was seen says more than that the time is up.
        let fault = last.unwrap_or(SourceFault::TimedOut { budget });
        let advice = advice(&fault);
        Err(SourceError::new(place, tries, fault, advice))
    }

    /// One try, which does not eat the whole of a patient budget.
    async fn try_once<T>(
        &self,
        request: reqwest::RequestBuilder,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, Failure> {
        let budget = self.budget.after;
        let tried = tokio::time::timeout(budget, self.ask(request, accept)).await;
        tried.unwrap_or_else(|_| Err(SourceFault::TimedOut { budget }.into()))
    }

    async fn ask<T>(
        &self,
        request: reqwest::RequestBuilder,
        accept: impl Fn(&[u8]) -> Result<T, SourceFault>,
    ) -> Result<T, Failure> {
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if let Some(mark) = &self.mark
            && response.headers().get(mark.name) != Some(&mark.value)
        {
            return Err(SourceFault::AnotherServer { status, expected: mark.text }.into());
        }
        let body = body(&mut response).await;
        if status != StatusCode::OK {
            let excerpt = said(&body.unwrap_or_default());
            let retry_after = retry_after(response.headers());
            return Err(Failure { fault: SourceFault::Status { status, excerpt }, retry_after });
        }
        Ok(accept(&body?)?)
    }
}

/// A member of a JSON object that is a text; errors name it and show nothing of the answer, which may hold secrets.
pub(super) fn text_member(
    body: &[u8],
    name: &str,
    expected: &'static str,
) -> Result<String, SourceFault> {
    let found = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut members)) => match members.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => return Ok(text),
            Some(_) => format!("{name:?} that is not a text, or empty"),
            None => format!("an object without {name:?}"),
        },
        Ok(_) => "JSON that is no object".to_owned(),
        Err(_) => excerpt(body),
    };
    Err(SourceFault::Unexpected { expected, found })
}

/// What an error's body says: Google's OAuth endpoints (RFC 6749 section 5.2) and its APIs say it in JSON.
fn said(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return excerpt(body) };
    let error = &document["error"];
    let (code, words) = match error {
        Value::String(code) => (code.as_str(), document["error_description"].as_str()),
        _ => (error["status"].as_str().unwrap_or_default(), error["message"].as_str()),
    };
    match (code, words) {
        ("", None) => excerpt(body),
        (code, None) => excerpt(code.as_bytes()),
        ("", Some(words)) => excerpt(words.as_bytes()),
        (code, Some(words)) => excerpt(format!("{code}: {words}").as_bytes()),
    }
}

/// The body, and not a byte more than [`MAX_BODY_BYTES`] of it in memory.
async fn body(response: &mut reqwest::Response) -> Result<Vec<u8>, SourceFault> {
    let body = bounded_body(response, MAX_BODY_BYTES).await.map_err(unreachable)?;
    body.ok_or(SourceFault::TooLarge { limit: MAX_BODY_BYTES })
}

/// The address is in the error already, and its query is nobody's business.
fn unreachable(error: reqwest::Error) -> SourceFault {
    SourceFault::Unreachable(Arc::new(error.without_url()))
}

/// How long to wait after the given number of failures: doubled each time, shortened by up to a half at random, never
/// shorter than the server asked for.
fn pause(first: Duration, failures: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_PAUSE);
    let jittered = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
    jittered.max(retry_after.unwrap_or_default())
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
}
