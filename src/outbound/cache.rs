//! ID tokens by audience, kept while they are good.
//!
//! A token that has more than 225 s to live is handed out without waiting for anything. Below that it is still handed
//! out, and one refresh is started beside the request: Google's metadata server hands out its own cached token until
//! about four minutes before it expires, so that asking earlier would bring the same one. Below 30 s callers wait for
//! a fetch, and get an error with its cause if there is none: never a request without a token.
//!
//! - **One fetch per audience**, whoever asks and however many. It runs in a task of its own: the request that started
//!   it may be cancelled, the others still get their token.
//! - **A failure poisons nothing.** Those who waited for the fetch get its error; the next call tries again. So it is
//!   with a source that panics. Only the refreshes beside requests keep 30 s apart.
//! - **No timers.** Cloud Run stops the CPU between requests; whatever is done is done in the course of one. A fetch
//!   that was frozen with the CPU is recognised by its age and left behind.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::source::{IdTokenSource, SourceError, SourceFault, check};
use crate::clock::{Clock, Moment};
use crate::identity::{Audience, IdToken};

/// Below this time to live, a token is refreshed beside the request that uses it.
pub const REFRESH_BELOW: Duration = Duration::from_secs(225);
/// Below this time to live, a token is not used any more.
pub const BLOCK_BELOW: Duration = Duration::from_secs(30);
/// Refreshes beside requests keep this distance, per audience.
pub const BETWEEN_REFRESHES: Duration = Duration::from_secs(30);
/// How many audiences are kept; the least used give way.
pub const MAX_AUDIENCES: usize = 1_000;

/// Keeps the tokens of one source, by audience. Cheap to clone; clones share everything.
///
/// ```no_run
/// use std::sync::Arc;
/// use countersign::clock::SystemClock;
/// use countersign::outbound::{IdTokenCache, MetadataServer};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let source = MetadataServer::builder().build()?;
/// let tokens = IdTokenCache::new(source, Arc::new(SystemClock));
/// let token = tokens.token(&"https://orders-123.europe-west1.run.app".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct IdTokenCache(Arc<Shared>);

struct Shared {
    source: Arc<dyn IdTokenSource>,
    clock: Arc<dyn Clock>,
    slots: Cache<Audience, Arc<Slot>>,
}

/// What is known about one audience.
#[derive(Default)]
struct Slot {
    held: ArcSwapOption<Held>,
    /// The fetch that is under way, or the last one.
    flight: Mutex<Option<Flight>>,
}

struct Held {
    token: IdToken,
    since: Moment,
}

type Outcome = Result<IdToken, SourceError>;

/// A fetch. It has landed when there is an outcome, or when its task has gone without leaving one.
#[derive(Clone)]
struct Flight {
    started: Moment,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl IdTokenCache {
    /// An empty cache in front of a source.
    #[must_use]
    pub fn new(source: impl IdTokenSource, clock: Arc<dyn Clock>) -> Self {
        let slots = Cache::with_options(
            // One shard, so that the bound is exact; it is locked for a look-up at most.
            OptionsBuilder::new()
                .shards(1)
                .estimated_items_capacity(MAX_AUDIENCES)
                .weight_capacity(MAX_AUDIENCES as u64)
                .build()
                .unwrap_or_else(|_| unreachable!("both capacities are set")),
            UnitWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Self(Arc::new(Shared { source: Arc::new(source), clock, slots }))
    }

    /// A token for this audience, good for at least 30 s: the one at hand, or else a fetched one (which a source may
    /// hand out with as little as 10 s to live).
    ///
    /// # Errors
    /// When there is none at hand and the source gives none. The next call tries again.
    pub async fn token(&self, audience: &Audience) -> Result<IdToken, SourceError> {
        if let Some(token) = self.at_hand(audience) {
            return Ok(token);
        }
        let flight = match self.board(audience)? {
            Boarding::Landed(token) => return Ok(token),
            Boarding::Joined(flight) => flight,
        };
        flight.land().await.unwrap_or_else(|| Err(self.error(SourceFault::Interrupted)))
    }

    /// The token at hand for this audience, if it is good for at least 30 s. Never waits; starts a refresh where one is
    /// due.
    #[must_use]
    pub fn at_hand(&self, audience: &Audience) -> Option<IdToken> {
        let slot = self.0.slots.get(audience)?;
        let now = self.0.clock.now();
        let (token, left) = slot.usable(now)?;
        if left < REFRESH_BELOW {
            self.refresh(&slot, audience, now);
        }
        Some(token)
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Starts a fetch that nobody waits for, unless one is under way or was started less than 30 s ago.
    fn refresh(&self, slot: &Arc<Slot>, audience: &Audience, now: Moment) {
        let mut last = slot.flight();
        if last.as_ref().is_some_and(|last| now.age_since(last.started) < BETWEEN_REFRESHES) {
            return;
        }
        // Without a runtime there is no refresh; the caller still has a good token.
        if let Ok(flight) = self.start(slot, audience, now) {
            *last = Some(flight);
        }
    }

    /// The fetch under way for this audience, or a new one.
    fn board(&self, audience: &Audience) -> Result<Boarding, SourceError> {
        let Ok(slot) = self
            .0
            .slots
            .get_or_insert_with(audience, || Ok::<_, Infallible>(Arc::new(Slot::default())));
        let mut last = slot.flight();
        let now = self.0.clock.now();
        // The last fetch may have landed while we waited for the lock: tokens are stored before outcomes are told.
        if let Some((token, _)) = slot.usable(now) {
            return Ok(Boarding::Landed(token));
        }
        if let Some(flight) = last.as_ref().filter(|last| last.in_the_air(now, self.budget())) {
            return Ok(Boarding::Joined(flight.clone()));
        }
        let flight = self.start(&slot, audience, now)?;
        *last = Some(flight.clone());
        Ok(Boarding::Joined(flight))
    }

    fn start(
        &self,
        slot: &Arc<Slot>,
        audience: &Audience,
        now: Moment,
    ) -> Result<Flight, SourceError> {
        let runtime = Handle::try_current().map_err(|_| self.error(SourceFault::NoRuntime))?;
        let (landing, outcome) = watch::channel(None);
        let (cache, slot, audience) = (self.clone(), Arc::clone(slot), audience.clone());
        // A task of its own: it outlives the request that started it. If it panics, `landing` is dropped with it.
        runtime.spawn(async move {
            let outcome = cache.fetch(&audience).await;
            match &outcome {
                Ok(token) => slot.keep(token, cache.0.clock.now()),
                Err(error) => tracing::warn!(%audience, %error, "no ID token"),
            }
            landing.send_replace(Some(outcome));
        });
        Ok(Flight { started: now, outcome })
    }

    async fn fetch(&self, audience: &Audience) -> Outcome {
        // A source keeps to its budget by itself and has more to say about it: this only stops one that does not.
        let budget = self.budget().saturating_mul(5) / 4;
        let fetched = tokio::time::timeout(budget, self.0.source.fetch(audience)).await;
        let token = fetched.map_err(|_| self.error(SourceFault::TimedOut { budget }))??;
        check(token, audience, self.0.clock.now()).map_err(|fault| self.error(fault))
    }

    fn budget(&self) -> Duration {
        self.0.source.budget()
    }

    fn error(&self, fault: SourceFault) -> SourceError {
        SourceError::new(self.0.source.name(), 1, fault, "")
    }
}

enum Boarding {
    Joined(Flight),
    Landed(IdToken),
}

impl Slot {
    /// The token with its time to live, if that is long enough.
    fn usable(&self, now: Moment) -> Option<(IdToken, Duration)> {
        let held = self.held.load();
        let held = held.as_deref()?;
        let left = held.left(now);
        (left >= BLOCK_BELOW).then(|| (held.token.clone(), left))
    }

    /// Keeps a fetched token, unless a later one is there: a fetch that was frozen may land long after its successor.
    fn keep(&self, token: &IdToken, now: Moment) {
        let new = Arc::new(Held { token: token.clone(), since: now });
        self.held.rcu(|old| match old {
            Some(old) if old.left(now) > new.left(now) => Some(Arc::clone(old)),
            _ => Some(Arc::clone(&new)),
        });
    }

    fn flight(&self) -> MutexGuard<'_, Option<Flight>> {
        // Nothing panics under this lock, and a flight is replaced as a whole.
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Time to live: by the wall clock, but never more than it was minus the time that has passed since, so that a wall
    /// clock that is set back does not lengthen a token's life.
    fn left(&self, now: Moment) -> Duration {
        let until = |moment: Moment| {
            let expires_at = u64::try_from(self.token.expires_at()).unwrap_or_default();
            Duration::from_secs(expires_at).saturating_sub(moment.since_epoch())
        };
        until(now).min(until(self.since).saturating_sub(now.age_since(self.since)))
    }
}

impl Flight {
    fn in_the_air(&self, now: Moment, budget: Duration) -> bool {
        let gone = self.outcome.has_changed().is_err();
        !gone && self.outcome.borrow().is_none() && now.age_since(self.started) < budget
    }

    /// What the fetch brought; nothing if its task went away.
    async fn land(mut self) -> Option<Outcome> {
        self.outcome.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl fmt::Debug for IdTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdTokenCache")
            .field("source", &self.0.source)
            .field("audiences", &self.0.slots.len())
            .finish()
    }
}
