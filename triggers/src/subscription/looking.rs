//! What a subscription tells about itself.

use eventail_wire::Timestamp;

use super::Subscription;
use super::state::{Account, BreakerState, State};
use crate::outcome::Response;
use crate::policy::DeliveryPolicy;

impl Subscription {
    /// What became of the events that matched. After a restart, events that were pending are counted again as they are
    /// offered again.
    #[must_use]
    pub fn account(&self) -> Account {
        let pending = self.slots.len() as u64;
        Account {
            matched: self.delivered + self.dead_lettered + self.expired + self.deduplicated + pending,
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            expired: self.expired,
            deduplicated: self.deduplicated,
            pending,
        }
    }

    /// The policy that it goes by.
    #[must_use]
    pub const fn policy(&self) -> &DeliveryPolicy {
        &self.policy
    }

    /// Whether it delivers.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why not, if it does not.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The breaker.
    #[must_use]
    pub const fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Nothing goes out before this, because the target throttles or is out; `None` where neither holds at `now`.
    #[must_use]
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.gate().filter(|until| now < *until)
    }

    /// Events under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Calls under way: as many as the events, unless they go in batches.
    #[must_use]
    pub const fn calls_in_flight(&self) -> usize {
        self.calls.under_way()
    }

    /// Events that wait for a retry, or that were handed back.
    #[must_use]
    pub fn retrying(&self) -> usize {
        self.waiting.len() + self.grouped
    }

    /// Events that retention took, or damage, before they were read, in all.
    #[must_use]
    pub const fn lost_events(&self) -> u64 {
        self.lost
    }

    /// Business keys that are remembered.
    #[must_use]
    pub fn remembered_keys(&self) -> usize {
        self.repeats.len()
    }

    /// Business keys that were forgotten before their time because there were too many, since the start.
    #[must_use]
    pub const fn evicted_keys(&self) -> u64 {
        self.repeats.evicted()
    }

    /// What the target said at the last failure.
    #[must_use]
    pub const fn last_failure(&self) -> Option<&Response> {
        self.last_failure.as_ref()
    }

    /// When the oldest pending event was appended.
    #[must_use]
    pub fn oldest_pending_at(&self) -> Option<Timestamp> {
        self.window.front().map(|(_, index)| self.slots.get(index).appended_at)
    }
}
