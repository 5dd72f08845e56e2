//! Where the pending events live: a slab that is reused, so that an event costs no allocation of its own.

use eventail_wire::{Offset, Timestamp};

use super::entry::Tries;

/// The bits of a token that name the slot; the rest is a count of leases. The count wraps after 2^40 leases: a token that
/// is older than that by exactly as many, and of the same slot, is the only stale one that could be taken for a new one.
const INDEX_BITS: u32 = 24;

/// The most events that can be pending at once: what a token can name.
pub(super) const PENDING_MAX: usize = (1 << INDEX_BITS) - 1;

/// The token of the `count`th lease, on the slot `index`.
pub(super) const fn token_of(count: u64, index: u32) -> u64 {
    (count << INDEX_BITS) | index as u64
}

/// The slot that a token names.
pub(super) const fn index_of(token: u64) -> u32 {
    (token & PENDING_MAX as u64) as u32
}

/// A lease as the slot remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// What the holder must show.
    pub(super) token: u64,
    /// The call that it is part of: the token of its first lease.
    pub(super) call: u64,
    /// When the attempt began.
    pub(super) leased_at: Timestamp,
    /// When it ends at the latest.
    pub(super) deadline: Timestamp,
    /// The hold after which it was leased: throttles of one burst count as one.
    pub(super) hold_epoch: u32,
}

/// What a pending event is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing lies here.
    Free,
    /// In the queue of those that were never tried.
    Fresh,
    /// Behind another event of its key.
    Behind,
    /// Waits for the first event of its half of a batch, and goes with it.
    Grouped,
    /// Waits until a time.
    Waiting(Timestamp),
    /// Under way.
    Leased(Held),
    /// Given up; its dead letter is not durable yet.
    Dead,
}

/// A pending event.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) offset: Offset,
    pub(super) appended_at: Timestamp,
    /// When it was offered: a window begins then.
    pub(super) ready_at: Timestamp,
    /// When it must not be sent any more.
    pub(super) expires_at: Timestamp,
    /// What it takes of a batch.
    pub(super) bytes: u32,
    /// Whether it is all that is left of a batch that failed whole: it goes alone from then on.
    pub(super) alone: bool,
    pub(super) key: Option<u64>,
    /// The next event of the same key.
    pub(super) next: Option<u32>,
    pub(super) place: Place,
    /// What became of earlier attempts.
    pub(super) tries: Option<Box<Tries>>,
}

/// The slab.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// How many events are pending.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts an event in.
    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            return index;
        }
        let index = u32::try_from(self.slots.len()).expect("room() keeps the slab below PENDING_MAX");
        self.slots.push(slot);
        index
    }

    /// Takes an event out.
    pub(super) fn remove(&mut self, index: u32) -> Option<Box<Tries>> {
        let slot = &mut self.slots[index as usize];
        debug_assert_ne!(slot.place, Place::Free, "a slot is freed once");
        slot.place = Place::Free;
        self.free.push(index);
        slot.tries.take()
    }

    pub(super) fn get(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// Whether the event at `offset` still lies at `index`.
    pub(super) fn holds(&self, index: u32, offset: Offset) -> bool {
        let slot = self.get(index);
        slot.offset == offset && slot.place != Place::Free
    }

    /// The lease that `token` stands for, if it still stands.
    pub(super) fn lease(&self, token: u64) -> Option<(u32, Held)> {
        let index = index_of(token);
        match self.slots.get(index as usize)?.place {
            Place::Leased(held) if held.token == token => Some((index, held)),
            _ => None,
        }
    }
}
