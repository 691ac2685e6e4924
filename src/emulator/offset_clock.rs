//! The emulator's own time: the injected clock, moved by an offset.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;

/// A clock that runs as another does, some seconds ahead of it or behind.
#[derive(Debug)]
pub(super) struct OffsetClock {
    base: Arc<dyn Clock>,
    offset_seconds: AtomicI64,
}

impl OffsetClock {
    pub(super) fn new(base: Arc<dyn Clock>) -> Self {
        Self { base, offset_seconds: AtomicI64::new(0) }
    }

    /// Seconds since the Unix epoch, as the emulated Google sees it.
    pub(super) fn unix_seconds(&self) -> i64 {
        self.base.now().unix_seconds().saturating_add(self.offset_seconds())
    }

    pub(super) fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::Relaxed)
    }

    pub(super) fn set_offset_seconds(&self, seconds: i64) {
        self.offset_seconds.store(seconds, Ordering::Relaxed);
    }
}
