//! Order per key: the pending events of one key form a chain of which only the head may be under way.

use std::collections::HashMap;

use rapidhash::fast::RandomState;

use super::slots::Slots;

/// The last event of each key that has pending ones; the chains run through the slots.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    tails: HashMap<u64, u32, RandomState>,
}

impl Lanes {
    /// Puts an event at the end of its key's chain; `true` where it is the head and may go.
    pub(super) fn join(&mut self, key: u64, index: u32, slots: &mut Slots) -> bool {
        match self.tails.insert(key, index) {
            None => true,
            Some(tail) => {
                slots.get_mut(tail).next = Some(index);
                false
            }
        }
    }

    /// Takes the head of a chain out; answers the next one, which may now go.
    pub(super) fn leave(&mut self, key: u64, index: u32, slots: &Slots) -> Option<u32> {
        let next = slots.get(index).next;
        if next.is_none() {
            self.tails.remove(&key);
        }
        next
    }

    /// Forgets every chain.
    pub(super) fn clear(&mut self) {
        self.tails.clear();
    }
}
