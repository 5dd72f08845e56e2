//! When leases run out: the earliest at hand, in amortised constant time for leases of equal length.

use std::collections::{BTreeSet, VecDeque};

use eventail_wire::Timestamp;

use super::slots::Slots;

/// Below this many a queue is not worth compacting.
const COMPACT_MIN: usize = 256;

/// Deadlines of leases, those of settled ones taken out lazily.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// In order of deadline, as leases of equal length come.
    in_order: VecDeque<(Timestamp, u64)>,
    /// Those that came out of order: extended, or leased after the clock was set back or the time-out shortened.
    others: BTreeSet<(Timestamp, u64)>,
}

impl Deadlines {
    /// Adds one.
    pub(super) fn push(&mut self, deadline: Timestamp, token: u64) {
        if self.in_order.back().is_none_or(|(last, _)| *last <= deadline) {
            self.in_order.push_back((deadline, token));
        } else {
            self.others.insert((deadline, token));
        }
    }

    /// The earliest deadline and its lease.
    pub(super) fn first(&self) -> Option<(Timestamp, u64)> {
        match (self.in_order.front(), self.others.first()) {
            (Some(a), Some(b)) => Some(*a.min(b)),
            (a, b) => a.or(b).copied(),
        }
    }

    /// To be called after leases ended or were extended: forgets what no longer stands at the front.
    pub(super) fn settle(&mut self, slots: &Slots, in_flight: usize) {
        let stands = |&(deadline, token): &(Timestamp, u64)| {
            slots.lease(token).is_some_and(|(_, held)| held.deadline == deadline)
        };
        while self.in_order.front().is_some_and(|front| !stands(front)) {
            self.in_order.pop_front();
        }
        while self.others.first().is_some_and(|first| !stands(first)) {
            self.others.pop_first();
        }
        if self.in_order.len() > COMPACT_MIN && self.in_order.len() > 2 * in_flight {
            self.in_order.retain(stands);
        }
        if self.others.len() > COMPACT_MIN && self.others.len() > 2 * in_flight {
            self.others.retain(stands);
        }
    }
}
