//! Which names may have a row: answered without a look at the index, and wrong only on the side of caution.
//!
//! It counts names in slots, two for each, and takes the same memory however many there are: at a million of them one answer in
//! twenty is a needless yes. The memory is taken when the first name comes, and only as much of it as is touched.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::timers::TimerName;

/// Slots of one byte each; a power of two.
const SLOTS: usize = 8 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NameFilter {
    names: AtomicU64,
    /// How many names fell into each; what has reached the end of its byte stays there.
    slots: RwLock<Vec<u8>>,
}

impl NameFilter {
    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.names.load(Ordering::Acquire) == 0
    }

    /// Whether there may be a row of this name.
    pub(super) fn may_have(&self, name: TimerName) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        places(name).iter().all(|place| slots.get(*place).is_some_and(|count| *count > 0))
    }

    pub(super) fn add(&self, name: TimerName) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            *slots = vec![0; SLOTS];
        }
        for place in places(name) {
            slots[place] = slots[place].saturating_add(1);
        }
        self.names.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes out a name that was added.
    pub(super) fn remove(&self, name: TimerName) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for place in places(name) {
            if let Some(count) = slots.get_mut(place).filter(|count| **count < u8::MAX) {
                *count = count.saturating_sub(1);
            }
        }
        self.names.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn clear(&self) {
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        self.names.store(0, Ordering::Release);
    }
}

/// The last bytes of an identity are the ones that are surely spread.
fn places(name: TimerName) -> [usize; 2] {
    let [.., a, b, c, d, e, f, g, h] = name.identity();
    [[a, b, c, d], [e, f, g, h]].map(|bytes| u32::from_be_bytes(bytes) as usize & (SLOTS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapidhash::v3::rapidhash_v3;

    fn name(number: u64) -> TimerName {
        TimerName::new("x", u128::from(rapidhash_v3(&number.to_be_bytes())))
    }

    #[test]
    fn what_is_there_is_never_denied_and_what_is_not_nearly_always() {
        let filter = NameFilter::default();
        assert!(!filter.may_have(name(1)));
        (0..100_000).for_each(|number| filter.add(name(number)));
        (0..50_000).for_each(|number| filter.remove(name(number)));
        assert!((50_000..100_000).all(|number| filter.may_have(name(number))));
        let needless = (200_000..300_000).filter(|number| filter.may_have(name(*number))).count();
        assert!(needless < 100, "{needless} of 100000");
        filter.clear();
        assert!((0..100_000).all(|number| !filter.may_have(name(number))));
    }
}
