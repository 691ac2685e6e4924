//! Access tokens: what a source shows to Google to get ID tokens for somebody else. They never leave this module's
//! neighbours.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::source::{SourceError, SourceFault};
use crate::clock::{Clock, Moment};

/// An access token is not used any more below this time to live: the call it is for takes time, too.
const BLOCK_BELOW: Duration = Duration::from_secs(60);

pub(super) type AccessFuture<'a> =
    Pin<Box<dyn Future<Output = Result<AccessToken, SourceError>> + Send + 'a>>;

/// Something that can get an access token for the scope `cloud-platform`.
pub(super) trait AccessTokenSource: fmt::Debug + Send + Sync + 'static {
    fn fetch(&self) -> AccessFuture<'_>;

    /// The longest that a fetch takes.
    fn budget(&self) -> Duration;

    /// What messages call it.
    fn name(&self) -> Arc<str>;
}

/// The scope of every access token that is asked for.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// An access token, and for how long it is good from when it came.
#[derive(Clone)]
pub(super) struct AccessToken {
    text: Arc<str>,
    lifetime: Duration,
}

impl AccessToken {
    pub(super) fn new(text: &str, lifetime: Duration) -> Result<Self, SourceFault> {
        // It becomes a header.
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self { text: text.into(), lifetime });
        }
        Err(SourceFault::Unexpected {
            expected: "an access token",
            found: "one that is not visible ASCII".into(),
        })
    }

    /// From an OAuth answer (RFC 6749 section 5.1): `access_token` and `expires_in`.
    pub(super) fn from_oauth(body: &[u8]) -> Result<Self, SourceFault> {
        const EXPECTED: &str = "an object with \"access_token\" and \"expires_in\"";
        let text = super::exchange::text_member(body, "access_token", EXPECTED)?;
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let unexpected =
            |found: &str| SourceFault::Unexpected { expected: EXPECTED, found: found.to_owned() };
        let seconds = document["expires_in"]
            .as_u64()
            .ok_or_else(|| unexpected("an object without a number \"expires_in\""))?;
        if seconds == 0 {
            return Err(unexpected("an access token that has expired"));
        }
        Self::new(&text, Duration::from_secs(seconds))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// One access token, kept while it is good; one fetch at a time.
pub(super) struct AccessTokenCache {
    source: Arc<dyn AccessTokenSource>,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<(AccessToken, Moment)>>,
    turn: Semaphore,
}

impl AccessTokenCache {
    pub(super) fn new(source: Arc<dyn AccessTokenSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, held: Mutex::default(), turn: Semaphore::new(1) }
    }

    pub(super) async fn token(&self) -> Result<AccessToken, SourceError> {
        if let Some(token) = self.at_hand() {
            return Ok(token);
        }
        // A turn, no lock: whoever waits is woken in order, and one that is cancelled gives its turn back. The
        // semaphore is never closed.
        let _turn = self.turn.acquire().await;
        if let Some(token) = self.at_hand() {
            return Ok(token);
        }
        let asked = self.clock.now();
        let token = self.source.fetch().await?;
        *self.held() = Some((token.clone(), asked));
        Ok(token)
    }

    /// Forgets a token that was refused; nothing where another one is held by now.
    pub(super) fn forget(&self, refused: &AccessToken) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|(token, _)| Arc::ptr_eq(&token.text, &refused.text)) {
            *held = None;
        }
    }

    pub(super) fn budget(&self) -> Duration {
        self.source.budget()
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.source.name()
    }

    fn at_hand(&self) -> Option<AccessToken> {
        let now = self.clock.now();
        let held = self.held();
        let (token, since) = held.as_ref()?;
        let left = token.lifetime.saturating_sub(now.age_since(*since));
        (left > BLOCK_BELOW).then(|| token.clone())
    }

    fn held(&self) -> MutexGuard<'_, Option<(AccessToken, Moment)>> {
        // Replaced as a whole, and nothing panics under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AccessTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokenCache").field("source", &self.source).finish_non_exhaustive()
    }
}
