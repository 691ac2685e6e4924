//! The bookkeeping of fetches: which is on its way, which may begin, and what comes of each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::{CacheLimits, Current, LookUp};
use crate::clock::{Clock, Moment};
use crate::inbound::jwks::fetch::{FetchError, Fetched, Fetcher};

/// A `Retry-After` is obeyed up to these: with a good set in hand there is time, without one there is not.
const LONGEST_RETRY_AFTER_WITH_KEYS: Duration = Duration::from_secs(10 * 60);
const LONGEST_RETRY_AFTER_WITHOUT_KEYS: Duration = Duration::from_secs(30);

/// How much longer than its own limit a fetch may seem to take before it counts as frozen.
const FROZEN_AFTER: Duration = Duration::from_secs(1);

/// A fetch on its way, seen by those who wait for it.
pub(crate) struct Flight {
    done: watch::Receiver<bool>,
    patience: Duration,
}

impl Flight {
    fn landed() -> Self {
        Self { done: watch::channel(true).1, patience: Duration::ZERO }
    }

    /// Returns when the fetch has ended, one way or another, or can only be frozen.
    pub(crate) async fn ended(mut self) {
        // An error means that the fetch's task is gone: that is an end, too.
        let _ = tokio::time::timeout(self.patience, self.done.wait_for(|done| *done)).await;
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fetcher: Option<Fetcher>,
    pub(super) limits: CacheLimits,
    pub(super) current: ArcSwapOption<Current>,
    // Never held across an await.
    pub(super) fetches: Mutex<Fetches>,
}

#[derive(Debug, Default)]
pub(super) struct Fetches {
    number: u64,
    pub(super) in_flight: Option<InFlight>,
    unknown_kid_claimed: Option<Moment>,
    pub(super) failure: Option<Failure>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    number: u64,
    started: Moment,
    done: watch::Receiver<bool>,
}

#[derive(Debug)]
pub(super) struct Failure {
    at: Moment,
    pub(super) wait: Duration,
    in_a_row: u32,
    reason: String,
}

impl Shared {
    pub(super) fn usable(&self, now: Moment) -> Option<Arc<Current>> {
        let current = self.current.load();
        let current = current.as_ref()?;
        (now.age_since(current.fetched) < current.usable_for).then(|| Arc::clone(current))
    }

    /// No usable set: wait for the fetch that is on its way, or begin one if the back-off is over.
    pub(super) fn without_keys(self: &Arc<Self>, now: Moment) -> LookUp {
        let mut fetches = self.lock();
        if let Some(flight) = self.in_flight(&fetches, now) {
            return LookUp::Wait(flight);
        }
        // Keys may have come in between the look and the lock.
        if self.usable(now).is_some() {
            return LookUp::Wait(Flight::landed());
        }
        if fetches.may_retry(now) {
            return LookUp::Wait(self.begin(&mut fetches, now));
        }
        LookUp::NoKeys(fetches.reason())
    }

    /// A key that the set does not have: wait for the fetch that is on its way, or claim the one of this cooldown.
    pub(super) fn unknown_kid(self: &Arc<Self>, now: Moment) -> LookUp {
        if self.fetcher.is_none() {
            return LookUp::Unknown;
        }
        let mut fetches = self.lock();
        if let Some(flight) = self.in_flight(&fetches, now) {
            return LookUp::Wait(flight);
        }
        let cooldown = self.limits.unknown_kid_cooldown;
        let cooling =
            fetches.unknown_kid_claimed.is_some_and(|claimed| now.age_since(claimed) < cooldown);
        if cooling || !fetches.may_retry(now) {
            return LookUp::Unknown;
        }
        // Claimed before the fetch, so that a failed or empty one counts as well.
        fetches.unknown_kid_claimed = Some(now);
        LookUp::Wait(self.begin(&mut fetches, now))
    }

    /// A set past its life: the first try is worth waiting for; after a failure the old set serves on.
    pub(super) fn renew(self: &Arc<Self>, now: Moment) -> Option<Flight> {
        let mut fetches = self.lock();
        let failed_before = fetches.failure.is_some();
        let flight = match self.in_flight(&fetches, now) {
            Some(flight) => flight,
            None if fetches.may_retry(now) => self.begin(&mut fetches, now),
            None => return None,
        };
        (!failed_before).then_some(flight)
    }

    /// A set past 80 % of its life: begin a fetch that nobody waits for.
    pub(super) fn refresh(self: &Arc<Self>, now: Moment) {
        let mut fetches = self.lock();
        if self.in_flight(&fetches, now).is_none() && fetches.may_retry(now) {
            drop(self.begin(&mut fetches, now));
        }
    }

    fn in_flight(&self, fetches: &Fetches, now: Moment) -> Option<Flight> {
        let patience = self.longest_fetch() + FROZEN_AFTER;
        let flight = fetches.in_flight.as_ref()?;
        let gone = flight.done.has_changed().is_err();
        let frozen = now.age_since(flight.started) > patience;
        (!gone && !frozen).then(|| Flight { done: flight.done.clone(), patience })
    }

    fn begin(self: &Arc<Self>, fetches: &mut Fetches, now: Moment) -> Flight {
        fetches.number += 1;
        let number = fetches.number;
        let (tell, done) = watch::channel(false);
        fetches.in_flight = Some(InFlight { number, started: now, done: done.clone() });
        let patience = self.longest_fetch() + FROZEN_AFTER;
        let shared = Arc::clone(self);
        // Without a runtime there is nobody to run it: the flight is gone at once, which counts as failed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let Some(fetcher) = &shared.fetcher else { return };
                let result = fetcher.fetch().await;
                shared.end(number, now, result, fetcher.url().as_str());
                // No receiver is left when nobody waits.
                let _ = tell.send(true);
            });
        }
        Flight { done, patience }
    }

    fn end(&self, number: u64, started: Moment, result: Result<Fetched, FetchError>, url: &str) {
        let mut fetches = self.lock();
        if fetches.in_flight.as_ref().is_none_or(|flight| flight.number != number) {
            // It froze and was given up; the fetch that took its place decides.
            return;
        }
        fetches.in_flight = None;
        let now = self.clock.now();
        match result {
            Ok(fetched) => {
                fetches.failure = None;
                self.store(fetched, started, url);
            }
            Err(error) => {
                let in_a_row = fetches.failure.as_ref().map_or(1, |before| before.in_a_row + 1);
                let has_keys = self.usable(now).is_some();
                let wait = self.back_off(has_keys, in_a_row, error.retry_after());
                let reason = error.to_string();
                tracing::warn!(
                    code = "key_fetch_failed",
                    url,
                    reason,
                    in_a_row,
                    has_keys,
                    "the fetch of Google's keys failed"
                );
                fetches.failure = Some(Failure { at: now, wait, in_a_row, reason });
            }
        }
    }

    fn store(&self, fetched: Fetched, started: Moment, url: &str) {
        let Fetched { keys, lifetime } = fetched;
        let before = self.current.load();
        let generation = match before.as_ref() {
            Some(before) if before.keys.is_same_as(&keys) => before.generation,
            Some(before) => before.generation + 1,
            None => 1,
        };
        let limits = &self.limits;
        let life = lifetime.unwrap_or(limits.default_life);
        let life = life.clamp(limits.shortest_life, limits.longest_life.max(limits.shortest_life));
        // A little after 80 %, not the same for all instances.
        let refresh_after = life.mul_f64(0.8 + 0.05 * fastrand::f64());
        let usable_for = limits.max_stale.max(life);
        for key in keys.skipped() {
            tracing::warn!(code = "key_skipped", url, key = key.name, reason = %key.fault, "a published key is not used");
        }
        tracing::debug!(
            url,
            keys = keys.len(),
            generation,
            life_seconds = life.as_secs(),
            "fetched keys"
        );
        let current =
            Current { keys, generation, fetched: started, refresh_after, life, usable_for };
        self.current.store(Some(Arc::new(current)));
    }

    fn back_off(&self, has_keys: bool, in_a_row: u32, retry_after: Option<Duration>) -> Duration {
        let (own, longest) = if has_keys {
            let wait = self.limits.retry_with_keys;
            (wait.mul_f64(1.0 + 0.2 * fastrand::f64()), LONGEST_RETRY_AFTER_WITH_KEYS)
        } else {
            let (least, most) = self.limits.retry_without_keys;
            let doubled = least.saturating_mul(1 << (in_a_row - 1).min(16)).min(most);
            // From the least to the doubled one.
            let wait = least + doubled.saturating_sub(least).mul_f64(fastrand::f64());
            (wait, LONGEST_RETRY_AFTER_WITHOUT_KEYS)
        };
        own.max(retry_after.unwrap_or_default().min(longest))
    }

    fn longest_fetch(&self) -> Duration {
        self.fetcher.as_ref().map_or(Duration::ZERO, Fetcher::longest)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Fetches> {
        // Nothing that is done under the lock leaves it half done, so a poisoned lock holds good data.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetches {
    fn may_retry(&self, now: Moment) -> bool {
        self.failure.as_ref().is_none_or(|failure| now.age_since(failure.at) >= failure.wait)
    }

    pub(super) fn reason(&self) -> String {
        self.failure
            .as_ref()
            .map_or_else(|| "none were fetched yet".to_owned(), |failure| failure.reason.clone())
    }
}
