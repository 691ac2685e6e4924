//! The key set that is in use, and when the next one is asked for.
//!
//! Cloud Run's default billing stops the CPU between requests, so nothing here runs on a timer: each look-up decides
//! by the clock what is due.
//!
//! | the set | known `kid` | unknown `kid` |
//! |---|---|---|
//! | fresh | served, without a lock | one fetch per cooldown, which all wait for |
//! | past 80 % of its life | served; one refresh begins | as above |
//! | past its life | one fetch that all wait for; if it fails the old set serves on, and further tries run beside it | as above |
//! | too old, or none | one fetch per back-off, which all wait for; else "no keys" | the same |
//!
//! A fetch belongs to nobody: it goes on when the request that began it is cancelled. One that froze with the CPU (it is
//! older than any fetch can be) counts as failed.

mod fetches;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::document::KeySet;
use super::fetch::Fetcher;
use crate::clock::{Clock, Moment};
use fetches::Shared;

pub(crate) use fetches::Flight;

/// How long key sets are used and how often they may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// No set is taken for fresh for less than this, whatever the server says. 5 min by default.
    pub shortest_life: Duration,
    /// No set is taken for fresh for longer than this. 24 h by default.
    pub longest_life: Duration,
    /// How long a set is fresh where the server does not say. 1 h by default.
    pub default_life: Duration,
    /// How old the last good set may get while fetches fail. 24 h by default.
    pub max_stale: Duration,
    /// Between two fetches that unknown key ids cause. 30 s by default.
    pub unknown_kid_cooldown: Duration,
    /// Before the next try after a failed fetch, while a good set is there. 30 s by default.
    pub retry_with_keys: Duration,
    /// Before the next try after a failed fetch without a good set: from the first of these to the second, doubled
    /// each time. 1 s and 4 s by default.
    pub retry_without_keys: (Duration, Duration),
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            shortest_life: Duration::from_secs(5 * 60),
            longest_life: Duration::from_secs(24 * 60 * 60),
            default_life: Duration::from_secs(60 * 60),
            max_stale: Duration::from_secs(24 * 60 * 60),
            unknown_kid_cooldown: Duration::from_secs(30),
            retry_with_keys: Duration::from_secs(30),
            retry_without_keys: (Duration::from_secs(1), Duration::from_secs(4)),
        }
    }
}

/// A set in use.
#[derive(Debug)]
pub(crate) struct Current {
    keys: KeySet,
    generation: u64,
    fetched: Moment,
    refresh_after: Duration,
    life: Duration,
    usable_for: Duration,
}

impl Current {
    pub(crate) fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Changes only when the keys do, not with each fetch.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// What a look-up says at once.
pub(crate) enum LookUp {
    /// This set has the key.
    Known(Arc<Current>),
    /// There is a usable set and the key is not in it.
    Unknown,
    /// There is no usable set and it is too early to ask again.
    NoKeys(String),
    /// A fetch is on its way; look again when it has ended.
    Wait(Flight),
}

/// The cache: the current set, and the bookkeeping of fetches.
#[derive(Clone, Debug)]
pub(crate) struct KeyCache(Arc<Shared>);

impl KeyCache {
    /// A cache that fetches its keys.
    pub(crate) fn fetching(fetcher: Fetcher, limits: CacheLimits, clock: Arc<dyn Clock>) -> Self {
        let current = ArcSwapOption::empty();
        let fetches = Mutex::default();
        Self(Arc::new(Shared { clock, fetcher: Some(fetcher), limits, current, fetches }))
    }

    /// Keys that are there for good.
    pub(crate) fn fixed(keys: KeySet, clock: Arc<dyn Clock>) -> Self {
        let fetched = clock.now();
        let forever = Duration::MAX;
        let current = Current {
            keys,
            generation: 1,
            fetched,
            refresh_after: forever,
            life: forever,
            usable_for: forever,
        };
        let current = ArcSwapOption::from_pointee(current);
        let (limits, fetches) = (CacheLimits::default(), Mutex::default());
        Self(Arc::new(Shared { clock, fetcher: None, limits, current, fetches }))
    }

    /// Whether what was verified with the keys of this generation still counts: the keys are the same, and they are
    /// not too old. Begins the refresh that is due past 80 % of the set's life. `false` sends the token through the
    /// whole verification again, which waits for keys where that is due.
    pub(crate) fn is_still(&self, generation: u64, now: Moment) -> bool {
        let current = self.0.current.load();
        let Some(current) = current.as_ref() else { return false };
        let age = now.age_since(current.fetched);
        if current.generation != generation || age >= current.usable_for {
            return false;
        }
        if age > current.refresh_after {
            // The first fetch past the life is to be waited for.
            if age >= current.life && self.0.lock().failure.is_none() {
                return false;
            }
            self.0.refresh(now);
        }
        true
    }

    /// Finds the set that has this key, or says what to do.
    pub(crate) fn look_up(&self, kid: &str, now: Moment) -> LookUp {
        let shared = &self.0;
        let Some(current) = shared.usable(now) else { return shared.without_keys(now) };
        let age = now.age_since(current.fetched);
        if current.keys.key(kid).is_none() {
            return shared.unknown_kid(now);
        }
        if age >= current.life {
            if let Some(flight) = shared.renew(now) {
                return LookUp::Wait(flight);
            }
        } else if age > current.refresh_after {
            shared.refresh(now);
        }
        LookUp::Known(current)
    }

    /// The same after a fetch was waited for: takes what there is.
    pub(crate) fn look_up_again(&self, kid: &str, now: Moment) -> LookUp {
        match self.0.usable(now) {
            Some(current) if current.keys.key(kid).is_some() => LookUp::Known(current),
            Some(_) => LookUp::Unknown,
            None => LookUp::NoKeys(self.0.lock().reason()),
        }
    }

    /// Whether there are keys to verify with; asks for them if not.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let now = self.0.clock.now();
        if self.0.usable(now).is_some() {
            return Ok(());
        }
        match self.0.without_keys(now) {
            LookUp::Wait(flight) => flight.ended().await,
            LookUp::NoKeys(reason) => return Err(reason),
            LookUp::Known(_) | LookUp::Unknown => {}
        }
        let now = self.0.clock.now();
        self.0.usable(now).map(drop).ok_or_else(|| self.0.lock().reason())
    }
}

#[cfg(test)]
mod tests;
