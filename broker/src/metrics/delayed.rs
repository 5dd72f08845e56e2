//! Handles of the metrics of delayed events.

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::{
    DELAYED_CANCELLED, DELAYED_HELD, DELAYED_LATENESS_SECONDS, DELAYED_NEXT_DUE, DELAYED_PENDING,
    DELAYED_PENDING_BYTES, DELAYED_RELEASED,
};
use crate::status::DelayedStatus;

/// What is counted about delayed events.
#[derive(Debug)]
pub struct DelayedMetrics {
    /// Events that were taken.
    pub held: Counter,
    /// Events that were cancelled.
    pub cancelled: Counter,
    released: Counter,
    lateness_seconds: Histogram,
}

impl DelayedMetrics {
    /// Makes the handles.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it registers metrics, which a default should not do")]
    pub fn new() -> Self {
        Self {
            held: counter!(DELAYED_HELD),
            cancelled: counter!(DELAYED_CANCELLED),
            released: counter!(DELAYED_RELEASED),
            lateness_seconds: histogram!(DELAYED_LATENESS_SECONDS),
        }
    }

    /// Counts an event that was appended so long after its time.
    #[allow(clippy::cast_precision_loss)]
    pub fn released(&self, late_ms: u64) {
        self.released.increment(1);
        self.lateness_seconds.record(late_ms as f64 / 1000.0);
    }
}

/// Sets the gauges of delayed events to what the broker tells of them now.
#[allow(clippy::cast_precision_loss)]
pub fn record_delayed(status: &DelayedStatus) {
    gauge!(DELAYED_PENDING).set(status.pending as f64);
    gauge!(DELAYED_PENDING_BYTES).set(status.pending_bytes as f64);
    gauge!(DELAYED_NEXT_DUE).set(status.next_at.map_or(0.0, |at| at.0 as f64 / 1000.0));
}
