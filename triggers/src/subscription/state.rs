//! What a subscription tells about itself.

use eventail_wire::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a subscription delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It delivers.
    #[default]
    Running,
    /// An operator stopped it.
    Paused,
    /// The target wants no more.
    Disabled,
    /// Its dead-letter topic cannot be written.
    Stopped,
}

/// The breaker at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Deliveries flow.
    Closed,
    /// Nothing goes out before a time.
    Open {
        /// When a probe may go.
        until: Timestamp,
    },
    /// One probe is under way.
    HalfOpen,
}

/// What became of the events that matched. `matched` is always the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Events that matched.
    pub matched: u64,
    /// Taken by the target.
    pub delivered: u64,
    /// Given up; their dead letters are durable.
    pub dead_lettered: u64,
    /// Past their `expirytime`, or taken by retention or passed over while they were pending.
    pub expired: u64,
    /// Repeats, by their business key, of events that were delivered or pending.
    pub deduplicated: u64,
    /// Waiting, under way, to be retried or being dead-lettered.
    pub pending: u64,
}
