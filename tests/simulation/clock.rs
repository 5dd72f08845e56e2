//! The wall clock of the simulation: simulated time, and what somebody added to it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use eventail_wire::{Clock, Timestamp};

/// 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;

#[derive(Debug, Default)]
pub(crate) struct SimClock {
    /// Added by those who set the clock.
    skew_ms: AtomicI64,
    latest_ms: AtomicU64,
}

impl SimClock {
    pub(crate) fn jump(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Simulated milliseconds since the start.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        // What is dropped in a crash may ask outside of every runtime, where only the machine's time is told.
        let is_running = tokio::runtime::Handle::try_current().is_ok();
        let elapsed = is_running.then(turmoil::sim_elapsed).flatten();
        if let Some(elapsed) = elapsed {
            self.latest_ms.store(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.latest_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        Timestamp(u64::try_from(EPOCH_MS + elapsed + self.skew_ms.load(Ordering::Relaxed)).unwrap_or(0))
    }
}
