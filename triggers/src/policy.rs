//! How a trigger delivers: all that the delivery machine may be told, with its defaults.

use eventail_wire::limits;
use serde::{Deserialize, Serialize};

/// Whether deliveries keep an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Events go out as they come, side by side.
    #[default]
    None,
    /// Events with the same key go out one after the other.
    Key,
}

/// How events are put together into calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Events of one call.
    pub max_events: usize,
    /// Bytes of the events of one call, as encoded in the log. One event goes even if it alone is larger.
    pub max_bytes: usize,
    /// How long the first event of a call may wait for others. 0 takes what is there.
    pub window_ms: u64,
    /// Whether a batch that fails whole is halved, to find the event that fails it. Halving burns no attempt.
    pub bisect: bool,
}

/// How fast a trigger, or all that call one host, may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Calls per second in the long run.
    pub per_second: f64,
    /// Calls that may go at once after a quiet time.
    pub burst: u32,
}

/// What a trigger takes for a repeat, beyond what its topic deduplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupPolicy {
    /// Where the key is found: an attribute's name, or a path such as `$.data.order.id`.
    pub key: String,
    /// How long a key is remembered, by the time of its event's append.
    pub window_ms: u64,
}

/// The delivery policy of one subscription. Times in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryPolicy {
    /// Calls at once: a call is one attempt, or one batch of them.
    pub concurrency: usize,
    /// Where the calls at once adapt to the target: the least that they shrink to; `concurrency` is the most. `None` keeps
    /// `concurrency` fixed.
    pub concurrency_min: Option<usize>,
    /// How events are put together into one call; `None` is one event a call.
    pub batch: Option<BatchPolicy>,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// Attempts in all, the first one included, before an event is dead-lettered.
    pub max_attempts: u32,
    /// How old an event (by its append) may become before it is dead-lettered instead of retried.
    pub max_age_ms: u64,
    /// The delay before the first retry; doubled each time, with full jitter.
    pub backoff_initial_ms: u64,
    /// The most that a delay grows to. `Retry-After` may exceed it, up to `retry_after_max_ms`.
    pub backoff_max_ms: u64,
    /// The longest `Retry-After` that is obeyed.
    pub retry_after_max_ms: u64,
    /// Whether order is kept per key.
    pub ordering: Ordering,
    /// Distinct events that must fail in a row, none passing, before the breaker opens.
    pub breaker_failures: u32,
    /// How long the breaker stays open at first; doubled for each failed probe.
    pub breaker_open_ms: u64,
    /// The most that it grows to.
    pub breaker_open_max_ms: u64,
    /// Events that may wait for a retry or their turn at once; when reached, the trigger reads no further: the backlog stays in the log.
    pub parked_max: usize,
    /// How long after an event others with its business key are repeats, by the time of their appends; 0 knows no repeats.
    pub dedup_window_ms: u64,
    /// Business keys that are remembered at most.
    pub dedup_keys_max: usize,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            concurrency: 16,
            concurrency_min: None,
            batch: None,
            timeout_ms: 30_000,
            max_attempts: 8,
            max_age_ms: 24 * 60 * 60 * 1000,
            backoff_initial_ms: 1_000,
            backoff_max_ms: 10 * 60 * 1000,
            retry_after_max_ms: 60 * 60 * 1000,
            ordering: Ordering::None,
            breaker_failures: 5,
            breaker_open_ms: 1_000,
            breaker_open_max_ms: 60_000,
            parked_max: 10_000,
            dedup_window_ms: 0,
            dedup_keys_max: limits::DEDUP_KEYS_MAX,
        }
    }
}
