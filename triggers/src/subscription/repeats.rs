//! Repeats by business key: an event whose key an earlier one had within the window is not delivered.
//!
//! It promises:
//! - **A repeat is suppressed only where the earlier event was delivered or is pending.** One that is given up, expires or is
//!   passed over is forgotten with its key: the next event with the key gets its chance. What was suppressed while the earlier one
//!   was still pending stays so: it is counted, and the dead letter of the earlier one stands for both.
//! - **Append times decide**, those of the two events: a backlog that is read late or again has the same answer. The window begins
//!   with the event that is delivered and is not prolonged by repeats.
//! - **It survives a restart**: keys of delivered events are journaled with the delivery, those of pending ones are found again as
//!   the events are offered again.
//! - **Memory is bounded** by the policy: where more keys are within their windows than it allows, the oldest are forgotten and
//!   counted, and their repeats are delivered.

use std::collections::HashMap;

use eventail_wire::{Offset, Timestamp};
use rapidhash::fast::RandomState;

use super::keys::{Keys, Seen};
use crate::policy::DeliveryPolicy;

/// What one subscription remembers of keys. Empty and free of cost where the policy has no window.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Of delivered and of pending events.
    keys: Keys,
    /// The keys of pending events.
    pending: HashMap<Offset, u128, RandomState>,
    /// When the latest event that was remembered was appended.
    newest: Timestamp,
    /// Keys that were forgotten before their window was over, since the start.
    evicted: u64,
}

impl Repeats {
    /// With the keys of delivered events.
    pub(super) fn restore(policy: &DeliveryPolicy, keys: Keys) -> Self {
        if policy.dedup_window_ms == 0 {
            return Self::default();
        }
        let newest = keys.rows().map(|(_, seen)| seen.at).max().unwrap_or_default();
        // In order of the log, which the order of deliveries is not.
        let mut rows: Vec<_> = keys.rows().collect();
        rows.sort_unstable_by_key(|(_, seen)| seen.offset);
        let mut keys = Keys::default();
        rows.into_iter().for_each(|(key, seen)| keys.insert(key, seen));
        keys.prune(newest, policy.dedup_window_ms);
        Self { keys, newest, ..Self::default() }
    }

    /// Whether an event with this key was delivered or is pending, and is near enough in time.
    pub(super) fn is_repeat(&self, policy: &DeliveryPolicy, key: u128, event: Seen) -> bool {
        self.keys.get(key).is_some_and(|first| {
            first.offset < event.offset && event.at.since_ms(first.at) < policy.dedup_window_ms
        })
    }

    /// An event with this key is pending now.
    pub(super) fn remember(&mut self, policy: &DeliveryPolicy, key: u128, event: Seen) {
        self.newest = self.newest.max(event.at);
        self.keys.prune(self.newest, policy.dedup_window_ms);
        self.keys.insert(key, event);
        self.pending.insert(event.offset, key);
        self.evicted += self.keys.evict(policy.dedup_keys_max);
    }

    /// The event is delivered. Its key and time, where later events are still to be held against it.
    pub(super) fn delivered(&mut self, offset: Offset) -> Option<(u128, Timestamp)> {
        if self.pending.is_empty() {
            return None;
        }
        let key = self.pending.remove(&offset)?;
        let seen = self.keys.get(key)?;
        (seen.offset == offset).then_some((key, seen.at))
    }

    /// The event is settled in another way: what comes with its key is no repeat.
    pub(super) fn forget(&mut self, offset: Offset) {
        if !self.pending.is_empty()
            && let Some(key) = self.pending.remove(&offset)
        {
            self.keys.remove(key, offset);
        }
    }

    /// The keys of delivered events.
    pub(super) fn delivered_keys(&self) -> Keys {
        let mut keys = Keys::default();
        let delivered = self.keys.rows().filter(|(_, seen)| !self.pending.contains_key(&seen.offset));
        delivered.for_each(|(key, seen)| keys.insert(key, seen));
        keys
    }

    /// Goes on under another policy.
    pub(super) fn set_policy(&mut self, policy: &DeliveryPolicy) {
        if policy.dedup_window_ms == 0 {
            *self = Self::default();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}
