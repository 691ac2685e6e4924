//! The one door to the time.
//!
//! Everything that asks for the time takes a [`Clock`], so that tests can move it and no test has to sleep.
//! [`SystemClock`] is the only reader of the machine's clocks.
//!
//! A [`Moment`] holds two readings, because neither is enough by itself: a wall clock can be set back, and a monotonic
//! clock may stand still while a Cloud Run instance is frozen between two requests. Ages are therefore the larger of
//! both differences ([`Moment::age_since`]).

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

/// A source of the current time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// What the clocks say now.
    fn now(&self) -> Moment;
}

/// One reading of the wall clock and of the monotonic clock, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    since_epoch: Duration,
    monotonic: Duration,
}

impl Moment {
    /// A reading from its two parts: the time since the Unix epoch, and the time since an arbitrary origin that
    /// must stay the same for one clock.
    #[must_use]
    pub const fn new(since_epoch: Duration, monotonic: Duration) -> Self {
        Self { since_epoch, monotonic }
    }

    /// Whole seconds since the Unix epoch, as tokens count them (RFC 7519 section 2, NumericDate).
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        i64::try_from(self.since_epoch.as_secs()).unwrap_or(i64::MAX)
    }

    /// Time since the Unix epoch by the wall clock.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        self.since_epoch
    }

    /// How much time has passed since `earlier`: the larger of what the two clocks say, so that neither a wall clock
    /// that was set back nor a monotonic clock that stood still makes anything look younger than it is.
    #[must_use]
    pub fn age_since(self, earlier: Self) -> Duration {
        let wall = self.since_epoch.saturating_sub(earlier.since_epoch);
        let monotonic = self.monotonic.saturating_sub(earlier.monotonic);
        wall.max(monotonic)
    }
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Moment {
        use std::sync::OnceLock;
        use std::time::{Instant, SystemTime, UNIX_EPOCH};

        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let instant = Instant::now();
        let origin = *ORIGIN.get_or_init(|| instant);
        // A wall clock before 1970 reads as 1970: every token is then "not yet valid", which fails closed.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::new(since_epoch, instant.saturating_duration_since(origin))
    }
}

/// A clock that stands still until it is moved: for tests, of this crate and of services built on it.
///
/// ```
/// use std::time::Duration;
/// use countersign::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at_unix_seconds(1_700_000_000);
/// clock.advance(Duration::from_secs(61));
/// assert_eq!(clock.now().unix_seconds(), 1_700_000_061);
/// ```
#[derive(Debug)]
pub struct ManualClock(Mutex<Moment>);

impl ManualClock {
    /// A clock that shows this time, in seconds since the Unix epoch.
    #[must_use]
    pub fn at_unix_seconds(seconds: u64) -> Self {
        Self(Mutex::new(Moment::new(Duration::from_secs(seconds), Duration::ZERO)))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.change(|now| Moment::new(now.since_epoch + by, now.monotonic + by));
    }

    /// Sets the wall clock alone, as an administrator or NTP does; the monotonic clock does not notice.
    pub fn set_wall(&self, unix_seconds: u64) {
        self.change(|now| Moment::new(Duration::from_secs(unix_seconds), now.monotonic));
    }

    /// Moves the wall clock alone forward, as a frozen instance sees it when it wakes.
    pub fn advance_wall(&self, by: Duration) {
        self.change(|now| Moment::new(now.since_epoch + by, now.monotonic));
    }

    fn change(&self, to: impl FnOnce(Moment) -> Moment) {
        // A panic elsewhere cannot leave a `Moment` half written: the value behind a poisoned lock is good.
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = to(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_the_larger_of_both_clocks() {
        let clock = ManualClock::at_unix_seconds(1_000);
        let start = clock.now();
        clock.advance(Duration::from_secs(10));
        assert_eq!(clock.now().age_since(start), Duration::from_secs(10));

        clock.set_wall(5);
        assert_eq!(clock.now().age_since(start), Duration::from_secs(10), "set back");

        clock.set_wall(1_500);
        assert_eq!(clock.now().age_since(start), Duration::from_secs(500), "frozen and woken");
    }

    #[test]
    fn system_clock_goes_forward_and_knows_the_century() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.unix_seconds() > 1_700_000_000);
    }
}
