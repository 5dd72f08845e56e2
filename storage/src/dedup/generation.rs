//! One generation of remembered fingerprints: an open-addressing table with slots of 20 bytes.
//!
//! The slots are ordered by hash, so that a search for what is not there ends as soon as a larger hash is met: at a load of
//! four fifths that is after three slots instead of thirteen. There is no wrap-around; the table has some slots behind its
//! nominal end for what is pushed there.

use eventail_wire::{Offset, Timestamp};

use crate::log::Fingerprint;

/// What a slot takes.
pub(crate) const SLOT_BYTES: usize = 20;
/// No record is this far from the generation's first one.
const NO_OFFSET: u32 = u32::MAX;
const EMPTY: Slot = [0, 0, 0, NO_OFFSET, 0];
/// Slots behind the nominal end.
const SLACK: usize = 32;
/// The load at which a table grows, and to which a closed one is packed, in tenths.
const LOAD_TENTHS: usize = 8;

/// Three words of the key, the offset and the time relative to the generation's.
pub(crate) type Slot = [u32; 5];

/// The 96 bits of a fingerprint that are kept, the first word being evenly distributed. Ten million ids meet by chance
/// once in 10^15 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u32; 3]);

impl Key {
    pub(crate) fn new(fingerprint: Fingerprint) -> Self {
        // Multiplied by an odd number no two different halves become equal, and the upper bits depend on all others.
        let mixed = (fingerprint as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self([(mixed >> 32) as u32, mixed as u32, (fingerprint >> 64) as u32])
    }
}

/// Fingerprints of a range of the log.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// What of the log is remembered here.
    pub(crate) from: Offset,
    pub(crate) end: Offset,
    /// When the first and the newest was appended.
    pub(crate) first_at: Timestamp,
    pub(crate) newest_at: Timestamp,
    pub(crate) ids: usize,
    /// The nominal size; `slots` is a little longer.
    pub(crate) capacity: usize,
    pub(crate) slots: Vec<Slot>,
}

impl Generation {
    /// An empty one that will remember what is appended from `from` on.
    pub(crate) fn new(from: Offset, first_at: Timestamp) -> Self {
        Self { from, end: from, first_at, newest_at: first_at, ids: 0, capacity: 0, slots: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * SLOT_BYTES
    }

    /// Whether an id of this offset and time can be told relative to the generation's.
    pub(crate) fn reaches(&self, offset: Offset, at: Timestamp) -> bool {
        offset.since(self.from) < u64::from(NO_OFFSET) && at.since_ms(self.first_at) <= u64::from(u32::MAX)
    }

    /// Reads a word near where the key would be, so that the memory is on its way when it is searched.
    pub(crate) fn touch(&self, key: Key) -> u32 {
        self.slots.get(self.home(key.0[0])).map_or(0, |slot| slot[0])
    }

    /// Where and when the key was appended.
    pub(crate) fn find(&self, key: Key) -> Option<(Offset, Timestamp)> {
        let [.., offset, time] = self.slots[self.place(key)?];
        Some((self.from.plus(u64::from(offset)), self.first_at.plus_ms(u64::from(time))))
    }

    /// Remembers the key, in place of an older appearance. It must be one that [`Generation::reaches`].
    pub(crate) fn insert(&mut self, key: Key, offset: Offset, at: Timestamp) {
        let offset = u32::try_from(offset.since(self.from)).unwrap_or(NO_OFFSET - 1);
        let time = u32::try_from(at.since_ms(self.first_at)).unwrap_or(u32::MAX);
        self.newest_at = self.newest_at.max(at);
        let slot = [key.0[0], key.0[1], key.0[2], offset, time];
        if let Some(place) = self.place(key) {
            self.slots[place] = slot;
            return;
        }
        if self.ids * 10 >= self.capacity * LOAD_TENTHS {
            self.resize((self.capacity + self.capacity / 2).max(16));
        }
        self.insert_new(slot);
        self.ids += 1;
    }

    /// Forgets the key.
    pub(crate) fn remove(&mut self, key: Key) -> bool {
        let Some(mut place) = self.place(key) else { return false };
        while let Some(&next) = self.slots.get(place + 1)
            && next[3] != NO_OFFSET
            && self.home(next[0]) <= place
        {
            self.slots[place] = next;
            place += 1;
        }
        self.slots[place] = EMPTY;
        self.ids -= 1;
        true
    }

    /// Makes the table as small as it may be.
    pub(crate) fn pack(&mut self) {
        self.resize((self.ids * 10).div_ceil(LOAD_TENTHS).max(1));
    }

    /// How many were appended at or after a moment.
    pub(crate) fn ids_since(&self, at: Timestamp) -> usize {
        if at <= self.first_at {
            return self.ids;
        }
        let least = at.since_ms(self.first_at);
        self.slots.iter().filter(|slot| slot[3] != NO_OFFSET && u64::from(slot[4]) >= least).count()
    }

    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.capacity as u64) >> 32) as usize
    }

    fn place(&self, key: Key) -> Option<usize> {
        let home = self.home(key.0[0]);
        for (distance, slot) in self.slots.get(home..)?.iter().enumerate() {
            if slot[3] == NO_OFFSET || slot[0] > key.0[0] {
                return None;
            }
            if slot[..3] == key.0 {
                return Some(home + distance);
            }
        }
        None
    }

    fn insert_new(&mut self, slot: Slot) {
        let home = self.home(slot[0]);
        let behind = self.slots[home..].iter().position(|other| other[3] == NO_OFFSET || other[0] > slot[0]);
        let place = behind.map_or(self.slots.len(), |distance| home + distance);
        let empty = self.slots[place..].iter().position(|other| other[3] == NO_OFFSET);
        let empty = empty.map_or(self.slots.len(), |distance| place + distance);
        if empty == self.slots.len() {
            self.slots.reserve_exact(SLACK);
            self.slots.push(EMPTY);
        }
        self.slots.copy_within(place..empty, place + 1);
        self.slots[place] = slot;
    }

    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        let mut slots = Vec::with_capacity(capacity + SLACK);
        slots.resize(capacity, EMPTY);
        let old = std::mem::replace(&mut self.slots, slots);
        // They come in the order of their hashes, so each goes behind the one before or to its home.
        let mut free = 0;
        for slot in old.into_iter().filter(|slot| slot[3] != NO_OFFSET) {
            let place = self.home(slot[0]).max(free);
            if place >= self.slots.len() {
                self.slots.reserve_exact(SLACK);
                self.slots.resize(place + 1, EMPTY);
            }
            self.slots[place] = slot;
            free = place + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(
            steps in proptest::collection::vec((any::<bool>(), 0_u128..200, 0_u64..1_000), 0..600),
            spread in any::<bool>(),
        ) {
            let mut table = Generation::new(Offset(100), Timestamp(50));
            let mut model = HashMap::new();
            for (insert, id, at) in steps {
                // Crowded at the end of the table, or spread evenly.
                let fingerprint = if spread { id.wrapping_mul(0x1234_5678_9abc_def1) } else { id << 64 };
                let key = Key::new(fingerprint);
                if insert {
                    table.insert(key, Offset(100 + at), Timestamp(50 + at));
                    model.insert(fingerprint, at);
                } else {
                    prop_assert_eq!(table.remove(key), model.remove(&fingerprint).is_some());
                }
                prop_assert_eq!(table.ids, model.len());
            }
            table.pack();
            for (&fingerprint, &at) in &model {
                let found = table.find(Key::new(fingerprint));
                prop_assert_eq!(found, Some((Offset(100 + at), Timestamp(50 + at))));
            }
            prop_assert_eq!(table.find(Key::new(77 << 80)), None);
        }
    }
}
