//! Where ID tokens come from.
//!
//! A source fetches; it does not keep anything: that is the [cache](super::IdTokenCache)'s part. Whatever a source
//! hands out goes through [`check`], so that a token for another audience, or one that is about to expire, is an error
//! here and not a riddle at the service that is called.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::clock::Moment;
use crate::http_client::innermost;
use crate::identity::{Audience, IdToken, IdTokenError};

/// A fetched token must be good for longer than this, in seconds: anything less may expire on its way.
pub const MIN_SECONDS_LEFT: i64 = 10;

/// The future of [`IdTokenSource::fetch`].
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<IdToken, SourceError>> + Send + 'a>>;

/// Something that can get an ID token for an audience, such as the [metadata server](super::MetadataServer).
///
/// A fetch retries by itself what is worth retrying and ends within [`budget`](Self::budget). It may be called at any
/// time and remembers no failure: one that failed says nothing about the next. Its `Debug` must show no secret: clients
/// print it with theirs.
pub trait IdTokenSource: Debug + Send + Sync + 'static {
    /// Fetches a token that is made out to `audience`.
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a>;

    /// The longest that a fetch takes, retries included. One that takes longer is given up as frozen.
    fn budget(&self) -> Duration;

    /// What errors call this source, for example `the metadata server at metadata.google.internal`.
    fn name(&self) -> Arc<str>;
}

impl<S: IdTokenSource + ?Sized> IdTokenSource for Arc<S> {
    fn fetch<'a>(&'a self, audience: &'a Audience) -> FetchFuture<'a> {
        (**self).fetch(audience)
    }

    fn budget(&self) -> Duration {
        (**self).budget()
    }

    fn name(&self) -> Arc<str> {
        (**self).name()
    }
}

/// Why a source gave nothing. Cheap to clone, because everybody who waited for the same fetch gets it.
///
/// The message says which source, what was asked of it, what came back, and what to do.
#[derive(Clone, Debug)]
pub struct SourceError(Arc<Details>);

#[derive(Clone, Debug)]
struct Details {
    place: Arc<str>,
    tries: u32,
    fault: SourceFault,
    advice: Cow<'static, str>,
    before: Arc<[String]>,
}

impl SourceError {
    /// An error of the source at `place`, which is a name and an address without secrets. `tries` is how often it was
    /// asked, `advice` what the operator can do (empty when there is nothing to say).
    #[must_use]
    pub fn new(
        place: impl Into<Arc<str>>,
        tries: u32,
        fault: SourceFault,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (place, advice) = (place.into(), advice.into());
        Self(Arc::new(Details { place, tries, fault, advice, before: Arc::default() }))
    }

    /// The same with what was looked at before this source was taken, in that order.
    #[must_use]
    pub fn after(mut self, steps: impl Into<Arc<[String]>>) -> Self {
        Arc::make_mut(&mut self.0).before = steps.into();
        self
    }

    /// What was looked at before this source was taken.
    #[must_use]
    pub fn before(&self) -> &[String] {
        &self.0.before
    }

    /// What went wrong, at the last try.
    #[must_use]
    pub fn fault(&self) -> &SourceFault {
        &self.0.fault
    }

    /// How often the source was asked.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.0.tries
    }

    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.fault.is_retryable()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = if self.0.tries == 1 { "try" } else { "tries" };
        write!(f, "{} ({} {tries}): {}", self.0.place, self.0.tries, self.0.fault)?;
        if !self.0.advice.is_empty() {
            write!(f, "; {}", self.0.advice)?;
        }
        if !self.0.before.is_empty() {
            write!(f, " (before it: {})", self.0.before.join("; "))?;
        }
        Ok(())
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0.fault)
    }
}

/// What went wrong at a source.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceFault {
    /// No connection, or it broke off.
    #[error("no answer: {}", innermost(.0.as_ref()))]
    Unreachable(#[source] Arc<dyn Error + Send + Sync>),
    /// The time for all tries was up.
    #[error("no answer within {} ms", .budget.as_millis())]
    TimedOut {
        /// How long was waited.
        budget: Duration,
    },
    /// A status other than 200.
    #[error("answered {status}{}", quoted(.excerpt))]
    Status {
        /// The status.
        status: StatusCode,
        /// The beginning of the body, without anything that looks like a token.
        excerpt: String,
    },
    /// The answer lacks what marks an answer of this source.
    #[error("answered {status} without `{expected}`: this is another server")]
    AnotherServer {
        /// The status.
        status: StatusCode,
        /// What was expected.
        expected: &'static str,
    },
    /// The answer is too large to be one.
    #[error("answered with more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not what was asked for.
    #[error("expected {expected}, found {found:?}")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// The beginning of what was found, without anything that looks like a token.
        found: String,
    },
    /// The answer is not an ID token.
    #[error("answered with something that is not an ID token: {0}")]
    NotAToken(#[from] IdTokenError),
    /// The token is for somebody else.
    #[error("answered with a token for audience {found:?} when asked for {asked:?}")]
    WrongAudience {
        /// The audience that was asked for.
        asked: Audience,
        /// The token's audience.
        found: Audience,
    },
    /// The token has expired, or is about to.
    #[error(
        "answered with a token that expires at {expires_at}, and it is {now} (Unix time): \
         expected one good for more than {MIN_SECONDS_LEFT} s"
    )]
    Expired {
        /// The token's `exp`, in seconds since the Unix epoch.
        expires_at: i64,
        /// The time by our clock, in seconds since the Unix epoch.
        now: i64,
    },
    /// The source cannot give what was asked for, whatever its answer.
    #[error("{0}")]
    Unable(Cow<'static, str>),
    /// Something on this machine that the source needs, such as a file, was not there or not good.
    #[error("{0}")]
    Local(Cow<'static, str>),
    /// The fetch ended without an answer: it panicked, or its runtime was shut down.
    #[error("the fetch ended without an answer")]
    Interrupted,
    /// There is no tokio runtime to fetch in.
    #[error("called outside of a tokio runtime")]
    NoRuntime,
}

impl SourceFault {
    /// Whether the same call may succeed later with nothing changed: everything but a refusal (4xx other than 408 and
    /// 429) and a missing runtime.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Status { status, .. } | Self::AnotherServer { status, .. } => {
                !status.is_client_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::NoRuntime | Self::Unable(_) => false,
            _ => true,
        }
    }
}

/// Checks what a source answered before anybody uses it: the audience is the one that was asked for, and the token is
/// good for more than [`MIN_SECONDS_LEFT`]. The signature is not looked at: the token comes from the platform, and
/// whoever receives it verifies it.
///
/// # Errors
/// [`SourceFault::WrongAudience`] and [`SourceFault::Expired`].
pub fn check(token: IdToken, asked: &Audience, now: Moment) -> Result<IdToken, SourceFault> {
    if token.audience() != asked {
        let found = token.audience().clone();
        return Err(SourceFault::WrongAudience { asked: asked.clone(), found });
    }
    let now = now.unix_seconds();
    if token.expires_at().saturating_sub(now) <= MIN_SECONDS_LEFT {
        return Err(SourceFault::Expired { expires_at: token.expires_at(), now });
    }
    Ok(token)
}

fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(" {excerpt:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: StatusCode) -> SourceFault {
        SourceFault::Status { status, excerpt: String::new() }
    }

    #[test]
    fn refusals_are_final_and_all_else_may_pass() {
        for code in [400, 401, 403, 404] {
            assert!(!status(StatusCode::from_u16(code).unwrap()).is_retryable(), "{code}");
        }
        for code in [302, 408, 429, 500, 502, 503, 504] {
            assert!(status(StatusCode::from_u16(code).unwrap()).is_retryable(), "{code}");
        }
        assert!(SourceFault::Interrupted.is_retryable());
        assert!(!SourceFault::NoRuntime.is_retryable());
    }

    #[test]
    fn a_message_says_where_how_often_what_and_what_to_do() {
        let fault =
            SourceFault::Status { status: StatusCode::NOT_FOUND, excerpt: "not found".into() };
        let error = SourceError::new("the metadata server at http://h/p", 1, fault, "attach one");
        assert_eq!(
            error.to_string(),
            "the metadata server at http://h/p (1 try): answered 404 Not Found \"not found\"; attach one"
        );
    }
}
