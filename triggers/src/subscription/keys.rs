//! Business keys that were seen, each with the event that had it: what repeats are told by.
//!
//! A key is a hash of 128 bits. Keys are kept in the order in which they came, so that the oldest go first where there are more than
//! may be remembered, and those whose window is over go without a search.

use std::collections::{HashMap, VecDeque};

use eventail_wire::{Offset, Timestamp};
use rapidhash::fast::RandomState;
use serde::{Deserialize, Serialize};

/// Below this many the order is not worth compacting.
const COMPACT_MIN: usize = 1_024;

/// The event that had a key last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its place.
    pub offset: Offset,
    /// When it was appended.
    pub at: Timestamp,
}

/// A set of keys, bounded by whoever adds to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64, u64, u64)>", into = "Vec<(u64, u64, u64, u64)>")]
pub struct Keys {
    by_key: HashMap<u128, Seen, RandomState>,
    /// As they came, those that were forgotten or seen again taken out lazily.
    in_order: VecDeque<(Seen, u128)>,
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }
}

impl Eq for Keys {}

/// Halves of the key, offset and time.
impl From<Vec<(u64, u64, u64, u64)>> for Keys {
    fn from(rows: Vec<(u64, u64, u64, u64)>) -> Self {
        let mut keys = Self::default();
        for (high, low, offset, at) in rows {
            let key = u128::from(high) << 64 | u128::from(low);
            keys.insert(key, Seen { offset: Offset(offset), at: Timestamp(at) });
        }
        keys
    }
}

impl From<Keys> for Vec<(u64, u64, u64, u64)> {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
    fn from(keys: Keys) -> Self {
        keys.rows().map(|(key, seen)| ((key >> 64) as u64, key as u64, seen.offset.0, seen.at.0)).collect()
    }
}

impl Keys {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The event that had this key last.
    #[must_use]
    pub fn get(&self, key: u128) -> Option<Seen> {
        self.by_key.get(&key).copied()
    }

    /// Adds a key. Where it is there, the later event stays.
    pub fn insert(&mut self, key: u128, seen: Seen) {
        let there = self.by_key.entry(key).or_insert(seen);
        if there.offset > seen.offset {
            return;
        }
        *there = seen;
        self.in_order.push_back((seen, key));
        if self.in_order.len() > COMPACT_MIN && self.in_order.len() > 2 * self.by_key.len() {
            let by_key = &self.by_key;
            self.in_order.retain(|(seen, key)| by_key.get(key) == Some(seen));
        }
    }

    /// Forgets a key if this event was the last that had it.
    pub fn remove(&mut self, key: u128, offset: Offset) {
        if self.get(key).is_some_and(|seen| seen.offset == offset) {
            self.by_key.remove(&key);
        }
    }

    /// Forgets the oldest until no more than `most` are left; answers how many those were.
    pub fn evict(&mut self, most: usize) -> u64 {
        let mut evicted = 0;
        while self.by_key.len() > most
            && let Some((seen, key)) = self.in_order.pop_front()
        {
            if self.by_key.get(&key) == Some(&seen) {
                self.by_key.remove(&key);
                evicted += 1;
            }
        }
        evicted
    }

    /// Forgets those whose window is over at `now`, as far as they came in order of time.
    pub fn prune(&mut self, now: Timestamp, window_ms: u64) {
        while let Some((seen, key)) = self.in_order.front().copied() {
            let stands = self.by_key.get(&key) == Some(&seen);
            if stands && now.since_ms(seen.at) < window_ms {
                break;
            }
            self.in_order.pop_front();
            if stands {
                self.by_key.remove(&key);
            }
        }
    }

    /// Forgets the keys of events from `end` on.
    pub fn forget_from(&mut self, end: Offset) {
        self.by_key.retain(|_, seen| seen.offset < end);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        for (key, seen) in other.rows() {
            self.insert(key, seen);
        }
    }

    /// Takes the first so many out, in order.
    #[must_use]
    pub fn split_first(&mut self, most: usize) -> Self {
        let mut first = Self::default();
        while first.len() < most
            && let Some((seen, key)) = self.in_order.pop_front()
        {
            if self.by_key.get(&key) == Some(&seen) {
                self.by_key.remove(&key);
                first.insert(key, seen);
            }
        }
        first
    }

    /// All of them, in the order in which they came.
    pub fn rows(&self) -> impl Iterator<Item = (u128, Seen)> + '_ {
        let stands =
            |(seen, key): &(Seen, u128)| (self.by_key.get(key) == Some(seen)).then_some((*key, *seen));
        self.in_order.iter().filter_map(stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offset: u64, at: u64) -> Seen {
        Seen { offset: Offset(offset), at: Timestamp(at) }
    }

    #[test]
    fn the_last_event_of_a_key_is_the_one_that_counts() {
        let mut keys = Keys::default();
        keys.insert(7, seen(5, 100));
        keys.insert(7, seen(3, 50));
        assert_eq!(keys.get(7), Some(seen(5, 100)));
        keys.remove(7, Offset(3));
        assert_eq!(keys.len(), 1);
        keys.remove(7, Offset(5));
        assert!(keys.is_empty());
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let mut keys = Keys::default();
        (0..10).for_each(|n| keys.insert(u128::from(n), seen(n, n)));
        keys.insert(0, seen(10, 10));
        assert_eq!(keys.evict(8), 2);
        let left: Vec<u128> = keys.rows().map(|(key, _)| key).collect();
        assert_eq!(left, [3, 4, 5, 6, 7, 8, 9, 0]);
    }

    #[test]
    fn a_key_goes_with_its_window() {
        let mut keys = Keys::default();
        (0..10).for_each(|n| keys.insert(u128::from(n), seen(n, n * 10)));
        keys.prune(Timestamp(65), 30);
        assert_eq!(keys.rows().map(|(key, _)| key).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn keys_that_are_seen_again_and_again_take_no_more_memory() {
        let mut keys = Keys::default();
        (0..100_000).for_each(|n| keys.insert(u128::from(n % 3), seen(n, n)));
        assert!(keys.in_order.len() <= COMPACT_MIN + 1, "{}", keys.in_order.len());
    }

    #[test]
    fn what_is_written_in_parts_is_read_as_a_whole() {
        let mut keys = Keys::default();
        (0..10_u64).for_each(|n| keys.insert(u128::from(n) << 70 | 5, seen(n, n)));
        let (mut rest, mut read) = (keys.clone(), Keys::default());
        while !rest.is_empty() {
            let bytes = rmp_serde::to_vec(&rest.split_first(3)).unwrap();
            read.extend(&rmp_serde::from_slice(&bytes).unwrap());
        }
        assert_eq!(read, keys);
    }
}
