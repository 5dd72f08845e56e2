//! Events with an `expirytime`: past it they are settled as expired and never go out.
//!
//! What is past it when it is offered is settled then; what waits is settled when its time comes. An attempt that is under way is not
//! taken back: if it fails, the event expires instead of being retried. An event that waits behind another one of its key expires
//! when its turn comes.

use eventail_wire::Timestamp;

use super::Subscription;
use super::entry::{Effect, Entry};
use super::slots::Place;

/// When an event expires that never does.
pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

impl Subscription {
    /// Settles what waits and is past its time. To be called before leases are taken.
    pub fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut was_fresh = false;
        while let Some(&(at, offset, index)) = self.expiries.first() {
            if at > now {
                break;
            }
            was_fresh |= self.slots.get(index).place == Place::Fresh;
            self.repeats.forget(offset);
            self.expired += 1;
            self.remove(index);
            effects.push(Effect::Journal(Entry::Expired { offset }));
        }
        if was_fresh {
            let slots = &self.slots;
            self.fresh.retain(|&index| slots.get(index).place == Place::Fresh);
            self.fresh.make_contiguous().sort_unstable_by_key(|&index| slots.get(index).offset);
        }
    }

    /// When the next event that waits expires, whatever the state.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    /// An event waits from now on, at the head of its key.
    pub(super) fn watch_expiry(&mut self, index: u32) {
        let slot = self.slots.get(index);
        if slot.expires_at != NEVER {
            self.expiries.insert((slot.expires_at, slot.offset, index));
        }
    }

    /// It waits no more, or for another one.
    pub(super) fn unwatch_expiry(&mut self, index: u32) {
        let slot = self.slots.get(index);
        if slot.expires_at != NEVER {
            self.expiries.remove(&(slot.expires_at, slot.offset, index));
        }
    }

    /// Whether an event must not be sent any more.
    pub(super) fn is_past(&self, now: Timestamp, index: u32) -> bool {
        self.slots.get(index).expires_at <= now
    }
}
