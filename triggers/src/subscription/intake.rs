//! How events come in: in offset order, as many as there is room for.

use eventail_wire::{Offset, Timestamp};

use super::Subscription;
use super::entry::Entry;
use super::slots::{PENDING_MAX, Place, Slot};
use crate::policy::Ordering;

/// The least and the most events that wait for their first attempt, whatever the concurrency: enough that a batch of the
/// log feeds it, and not so much that a thousand idle triggers cost memory.
const FRESH_MIN: usize = 256;
const FRESH_MAX: usize = 65_536;
/// How many calls' worth of events wait for each call that may be under way.
const CALLS_AHEAD: usize = 4;

/// Checkpoints are due after so many settlements at least, so that their cost is shared.
const CHECKPOINT_SETTLEMENTS: usize = 1_024;

/// Checkpoints are due after so many scanned records, so that a restart does not read again what did not match.
const CHECKPOINT_SCANNED: u64 = 65_536;

impl Subscription {
    /// How many more matched events may be offered now. 0 where `parked_max` is reached: the backlog stays in the log.
    #[must_use]
    pub fn room(&self) -> usize {
        let (per_call, least) = match &self.policy.batch {
            None => (CALLS_AHEAD, FRESH_MIN),
            // A batch must find room for all of its events, however many.
            Some(batch) => {
                (batch.max_events.saturating_mul(2).max(CALLS_AHEAD), batch.max_events.max(FRESH_MIN))
            }
        };
        let fresh_max = self.policy.concurrency.saturating_mul(per_call).clamp(least, FRESH_MAX.max(least));
        let parked = self.waiting.len() + self.grouped + self.behind + self.orders.len();
        fresh_max
            .saturating_sub(self.fresh.len())
            .min(self.policy.parked_max.saturating_sub(parked))
            .min(PENDING_MAX.saturating_sub(self.slots.len()))
    }

    /// The next offset to be matched.
    #[must_use]
    pub const fn scanned(&self) -> Offset {
        self.scanned
    }

    /// Everything before is settled or did not match.
    #[must_use]
    pub fn cursor(&self) -> Offset {
        self.window.front().map_or(self.scanned, |(offset, _)| offset)
    }

    /// Takes an event that matched; they must come in offset order. `false` where it is settled already, or was offered
    /// before: then nothing changes. `bytes` is its size as stored, which batches are measured by.
    pub fn offer(
        &mut self,
        now: Timestamp,
        offset: Offset,
        appended_at: Timestamp,
        key: Option<u64>,
        bytes: usize,
    ) -> bool {
        if offset < self.scanned || self.settled_ahead.end_of(offset).is_some() {
            return false;
        }
        let tries = self.retries_ahead.remove(&offset).map(Box::new);
        let key = key.filter(|_| self.policy.ordering == Ordering::Key);
        let due = tries.as_ref().map(|tries| tries.due);
        let index = self.slots.insert(Slot {
            offset,
            appended_at,
            ready_at: now,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            alone: false,
            key,
            next: None,
            place: Place::Fresh,
            tries,
        });
        self.window.push(offset, index);
        let is_head = key.is_none_or(|key| self.lanes.join(key, index, &mut self.slots));
        match due {
            _ if !is_head => {
                self.slots.get_mut(index).place = Place::Behind;
                self.behind += 1;
            }
            Some(due) => self.park(index, due),
            None => self.fresh.push_back(index),
        }
        self.advance(offset.plus(1));
        true
    }

    /// Everything before `scanned_to` was offered or did not match.
    pub fn advance(&mut self, scanned_to: Offset) {
        self.scanned = self.scanned.max(scanned_to);
        if let Some(end) = self.settled_ahead.end_of(self.scanned) {
            self.scanned = end;
        }
        if !self.settled_ahead.is_empty() {
            self.settled_ahead.remove_before(self.scanned);
        }
        while let Some(first) = self.retries_ahead.first_entry() {
            if *first.key() >= self.scanned {
                break;
            }
            // It was tried before a restart, and the pattern does not match it any more.
            first.remove();
        }
    }

    /// Whether a checkpoint is worth its bytes. It costs replay its memory, and a restart the reading again, if none is
    /// ever journaled.
    #[must_use]
    pub fn is_checkpoint_due(&self) -> bool {
        self.settled_since >= CHECKPOINT_SETTLEMENTS.max(self.slots.len())
            || self.scanned.since(self.checkpointed) >= CHECKPOINT_SCANNED.max(self.slots.len() as u64)
    }

    /// Which events are pending, to be journaled behind the entries handed out before.
    pub fn checkpoint(&mut self) -> Entry {
        self.settled_since = 0;
        self.checkpointed = self.scanned;
        let pending = self.window.iter(&self.slots).map(|(offset, _)| offset).collect();
        Entry::Checkpoint { scanned: self.scanned, pending }
    }

    /// Retention took what lies before `start`: pending events before it expire, and events that were not read are
    /// counted as lost. `None` where that concerns nothing.
    pub fn lost(&mut self, start: Offset) -> Option<Entry> {
        if start <= self.cursor() {
            return None;
        }
        let known = self.settled_ahead.count_before(start) + self.retries_ahead.range(..start).count() as u64;
        let lost = start.since(self.scanned).saturating_sub(known);
        self.lost += lost;
        let expired = self.expire_before(start);
        Some(Entry::Lost { start, lost, expired })
    }

    /// Expires every pending event before `limit` and moves on to it.
    pub(super) fn expire_before(&mut self, limit: Offset) -> u64 {
        let mut gone: u64 = 0;
        while let Some((offset, index)) = self.window.front() {
            if offset >= limit {
                break;
            }
            self.remove(index);
            gone += 1;
        }
        gone += self.retries_ahead.range(..limit).count() as u64;
        let slots = &self.slots;
        self.fresh.retain(|&index| slots.get(index).place == Place::Fresh);
        self.fresh.make_contiguous().sort_unstable_by_key(|&index| slots.get(index).offset);
        self.expired += gone;
        self.advance(limit);
        gone
    }
}
