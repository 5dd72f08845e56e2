//! How events come in: in offset order, as many as there is room for.

use eventail_wire::{Offset, Timestamp};

use super::Subscription;
use super::entry::{Effect, Entry};
use super::expiring::NEVER;
use super::keys::Seen;
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

/// An event that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its place.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// What stands for the key that its order is kept by.
    pub key: Option<u64>,
    /// Its size as stored, which batches are measured by.
    pub bytes: usize,
    /// When it must not be sent any more.
    pub expires_at: Option<Timestamp>,
    /// What stands for the business key that its repeats are told by.
    pub dedup_key: Option<u128>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Nothing: it is settled already, or was offered before.
    Known,
    /// It is pending.
    Pending,
    /// It is settled as expired.
    Expired,
    /// It is settled as a repeat.
    Repeat,
}

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

    /// [`Subscription::take_in`] of an event that neither expires nor can be a repeat. `false` where it is settled already, or was
    /// offered before.
    pub fn offer(
        &mut self,
        now: Timestamp,
        offset: Offset,
        appended_at: Timestamp,
        key: Option<u64>,
        bytes: usize,
    ) -> bool {
        let offer = Offer { offset, appended_at, key, bytes, expires_at: None, dedup_key: None };
        self.take_in(now, &offer, &mut Vec::new()) != Offered::Known
    }

    /// Takes an event that matched; they must come in offset order. One that is past its time, or the repeat of another one, is settled
    /// at once, and what must be journaled about it is appended to `effects`.
    pub fn take_in(&mut self, now: Timestamp, offer: &Offer, effects: &mut Vec<Effect>) -> Offered {
        let &Offer { offset, appended_at, key, bytes, expires_at, dedup_key } = offer;
        if offset < self.scanned || self.settled_ahead.end_of(offset).is_some() {
            return Offered::Known;
        }
        let tries = self.retries_ahead.remove(&offset).map(Box::new);
        if expires_at.is_some_and(|at| at <= now) {
            self.expired += 1;
            effects.push(Effect::Journal(Entry::Expired { offset }));
            self.pass(offset);
            return Offered::Expired;
        }
        if self.policy.dedup_window_ms > 0
            && let Some(key) = dedup_key
        {
            let event = Seen { offset, at: appended_at };
            // What was tried before a restart was no repeat then.
            if tries.is_none() && self.repeats.is_repeat(&self.policy, key, event) {
                self.deduplicated += 1;
                effects.push(Effect::Journal(Entry::Deduplicated { offset }));
                self.pass(offset);
                return Offered::Repeat;
            }
            self.repeats.remember(&self.policy, key, event);
        }
        let key = key.filter(|_| self.policy.ordering == Ordering::Key);
        let due = tries.as_ref().map(|tries| tries.due);
        let index = self.slots.insert(Slot {
            offset,
            appended_at,
            ready_at: now,
            expires_at: expires_at.unwrap_or(NEVER),
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
            None => {
                self.fresh.push_back(index);
                self.watch_expiry(index);
            }
        }
        self.advance(offset.plus(1));
        Offered::Pending
    }

    /// An event is settled without having been pending.
    fn pass(&mut self, offset: Offset) {
        self.settled_since += 1;
        self.advance(offset.plus(1));
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

    /// What is stored at `first..next` is damaged: pending events among them expire, and those that were not read are counted as lost.
    /// Nothing before `first` may be unread. `None` where that concerns nothing.
    pub fn damaged(&mut self, first: Offset, next: Offset) -> Option<Entry> {
        if next <= first || first > self.scanned {
            return None;
        }
        let ahead = self.scanned.clamp(first, next);
        let tried = self.retries_ahead.range(ahead..next).count() as u64;
        let settled = self.settled_ahead.count_before(next) - self.settled_ahead.count_before(ahead);
        let lost = next.since(ahead).saturating_sub(settled + tried);
        self.lost += lost;
        let pending = self.window.iter(&self.slots).filter(|(offset, _)| (first..next).contains(offset));
        let pending: Vec<_> = pending.collect();
        let expired = pending.len() as u64 + tried;
        for (offset, index) in pending {
            self.repeats.forget(offset);
            self.remove(index);
        }
        self.forget_gone_fresh();
        self.expired += expired;
        self.advance(next);
        (lost + expired > 0).then_some(Entry::Damaged { first, next, lost, expired })
    }

    /// Expires every pending event before `limit` and moves on to it.
    pub(super) fn expire_before(&mut self, limit: Offset) -> u64 {
        let mut gone: u64 = 0;
        while let Some((offset, index)) = self.window.front() {
            if offset >= limit {
                break;
            }
            self.repeats.forget(offset);
            self.remove(index);
            gone += 1;
        }
        gone += self.retries_ahead.range(..limit).count() as u64;
        self.forget_gone_fresh();
        self.expired += gone;
        self.advance(limit);
        gone
    }

    /// Takes those out of the fresh ones that are gone, and brings those in order that take the turn of one.
    fn forget_gone_fresh(&mut self) {
        let slots = &self.slots;
        self.fresh.retain(|&index| slots.get(index).place == Place::Fresh);
        self.fresh.make_contiguous().sort_unstable_by_key(|&index| slots.get(index).offset);
    }
}
