//! Looking for the culprit: a batch that failed whole is halved, and each half is tried again as a call of its own.
//!
//! The halves are tried at once (or when the target said), the first one first, and again halved where they fail, until one event
//! is left. Nothing is burnt on the way; the one that is left burns its attempts as ever and goes alone from then on. Where order
//! is kept per key, those of the second half whose key is in the first one wait behind it instead.
//!
//! An outage says nothing of the events, but what was halved before it stays so: where every batch has a bad event, batches that
//! fail look like an outage, and were they put together anew behind each, none would ever be found. Halves are in memory only:
//! after a restart batches are put together anew.

use std::collections::{HashMap, HashSet};

use eventail_wire::{Offset, Timestamp};
use rapidhash::fast::RandomState;

use super::Subscription;
use super::slots::Place;

/// The halves that wait. The first event of each waits as any other; the others wait for it.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// By the slot of the first event: the others, in order.
    by_first: HashMap<u32, Vec<(Offset, u32)>, RandomState>,
}

impl Subscription {
    /// Whether an event, which waits, is a call of its own or begins a half that is one.
    pub(super) fn is_solitary(&self, index: u32) -> bool {
        self.slots.get(index).alone
            || (!self.halves.by_first.is_empty() && self.halves.by_first.contains_key(&index))
    }

    /// Adds those that go with the first event of a half, which was taken. `true` where there are any. What expired behind another
    /// one of its key stays there until its turn comes.
    pub(super) fn join_half(&mut self, now: Timestamp, first: u32, members: &mut Vec<u32>) -> bool {
        let Some(others) = self.halves.by_first.remove(&first) else { return false };
        let others: Vec<u32> = self.still_grouped(&others).map(|(_, index)| index).collect();
        for index in others {
            if self.is_past(now, index) {
                self.grouped -= 1;
                self.behind += 1;
                self.slots.get_mut(index).place = Place::Behind;
            } else {
                members.push(index);
            }
        }
        true
    }

    fn still_grouped<'a>(&'a self, others: &'a [(Offset, u32)]) -> impl Iterator<Item = (Offset, u32)> + 'a {
        let is_grouped = |&(offset, index): &(Offset, u32)| {
            self.slots.holds(index, offset) && self.slots.get(index).place == Place::Grouped
        };
        others.iter().copied().filter(is_grouped)
    }

    /// Halves a batch whose events wait again.
    pub(super) fn halve(&mut self, events: &[(Offset, u32)]) {
        let wait = |&(offset, index): &(Offset, u32)| {
            self.slots.holds(index, offset)
                && matches!(self.slots.get(index).place, Place::Waiting(_) | Place::Behind)
        };
        let pending: Vec<(Offset, u32)> = events.iter().copied().filter(wait).collect();
        let (first, second) = pending.split_at(pending.len() / 2);
        self.group(first);
        self.group(second);
    }

    /// Lets events that wait go as a call of their own.
    pub(super) fn group(&mut self, events: &[(Offset, u32)]) {
        let mut keys = HashSet::new();
        let mut chosen = Vec::with_capacity(events.len());
        for &(offset, index) in events {
            let slot = self.slots.get(index);
            let goes = match slot.place {
                Place::Waiting(_) => true,
                Place::Behind => slot.key.is_some_and(|key| keys.contains(&key)),
                _ => false,
            };
            if goes {
                keys.extend(slot.key);
                chosen.push((offset, index));
            }
        }
        let Some((&(_, first), others)) = chosen.split_first() else { return };
        if others.is_empty() {
            self.slots.get_mut(first).alone = true;
            return;
        }
        for &(offset, index) in others {
            let slot = self.slots.get_mut(index);
            match std::mem::replace(&mut slot.place, Place::Grouped) {
                Place::Waiting(due) => drop(self.waiting.remove(&(due, offset, index))),
                _ => self.behind -= 1,
            }
        }
        self.grouped += others.len();
        self.halves.by_first.insert(first, others.to_vec());
    }

    /// Takes the first event of a half out of it; the others stay one.
    pub(super) fn behead(&mut self, first: u32) {
        let others = self.disband(first);
        self.group(&others);
    }

    /// Lets each event of a half go by itself again, because its first event was taken out. Answers the others.
    pub(super) fn disband(&mut self, first: u32) -> Vec<(Offset, u32)> {
        if self.halves.by_first.is_empty() {
            return Vec::new();
        }
        let Some(others) = self.halves.by_first.remove(&first) else { return Vec::new() };
        let others: Vec<(Offset, u32)> = self.still_grouped(&others).collect();
        let mut keys: HashSet<u64> = self.slots.get(first).key.into_iter().collect();
        for &(_, index) in &others {
            self.grouped -= 1;
            let slot = self.slots.get_mut(index);
            if slot.key.is_some_and(|key| !keys.insert(key)) {
                slot.place = Place::Behind;
                self.behind += 1;
                self.unwatch_expiry(index);
            } else {
                let due = slot.tries.as_ref().map_or(Timestamp(0), |tries| tries.due);
                self.park(index, due);
            }
        }
        others
    }

    /// Does so for every half.
    pub(super) fn disband_all(&mut self) {
        let firsts: Vec<u32> = self.halves.by_first.keys().copied().collect();
        for first in firsts {
            self.disband(first);
        }
    }
}
