//! A set of offsets kept as half-open ranges that neither touch nor overlap.

use std::collections::BTreeMap;

use eventail_wire::Offset;
use serde::{Deserialize, Serialize};

/// A set of offsets as few half-open ranges, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Ranges {
    /// Start to end; neighbours are merged.
    by_start: BTreeMap<u64, u64>,
}

impl From<Vec<(u64, u64)>> for Ranges {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut ranges = Self::default();
        for (start, end) in pairs {
            ranges.insert(Offset(start), Offset(end));
        }
        ranges
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.by_start.into_iter().collect()
    }
}

impl Ranges {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// How many ranges it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> + '_ {
        self.by_start.iter().map(|(&start, &end)| (Offset(start), Offset(end)))
    }

    /// The end of the range that `offset` lies in.
    #[must_use]
    pub fn end_of(&self, offset: Offset) -> Option<Offset> {
        let (_, &end) = self.by_start.range(..=offset.0).next_back()?;
        (offset.0 < end).then_some(Offset(end))
    }

    /// How many offsets before `limit` are in it.
    #[must_use]
    pub fn count_before(&self, limit: Offset) -> u64 {
        self.by_start.range(..limit.0).map(|(&start, &end)| end.min(limit.0) - start).sum()
    }

    /// Adds `start..end`.
    pub fn insert(&mut self, start: Offset, end: Offset) {
        let (mut start, mut end) = (start.0, end.0);
        if start >= end {
            return;
        }
        while let Some((&other_start, &other_end)) = self.by_start.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            start = start.min(other_start);
            end = end.max(other_end);
            self.by_start.remove(&other_start);
        }
        self.by_start.insert(start, end);
    }

    /// Takes out everything from `limit` on.
    pub fn remove_from(&mut self, limit: Offset) {
        self.by_start.split_off(&limit.0);
        if let Some(mut last) = self.by_start.last_entry() {
            let end = (*last.get()).min(limit.0);
            last.insert(end);
        }
    }

    /// Takes out everything before `limit`.
    pub fn remove_before(&mut self, limit: Offset) {
        while let Some((&start, &end)) = self.by_start.first_key_value() {
            if start >= limit.0 {
                break;
            }
            self.by_start.remove(&start);
            if end > limit.0 {
                self.by_start.insert(limit.0, end);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.clone().into()
    }

    #[test]
    fn neighbours_and_overlaps_merge() {
        let mut ranges = Ranges::from(vec![(5, 6), (1, 2), (8, 10)]);
        ranges.insert(Offset(2), Offset(5));
        assert_eq!(pairs(&ranges), [(1, 6), (8, 10)]);
        ranges.insert(Offset(0), Offset(20));
        assert_eq!(pairs(&ranges), [(0, 20)]);
        ranges.insert(Offset(7), Offset(7));
        assert_eq!(pairs(&ranges), [(0, 20)]);
    }

    #[test]
    fn what_lies_before_a_limit_can_be_counted_and_removed() {
        let mut ranges = Ranges::from(vec![(1, 4), (6, 9)]);
        assert_eq!(ranges.count_before(Offset(8)), 5);
        assert_eq!(ranges.end_of(Offset(3)), Some(Offset(4)));
        assert_eq!(ranges.end_of(Offset(4)), None);
        ranges.remove_before(Offset(7));
        assert_eq!(pairs(&ranges), [(7, 9)]);
        ranges.remove_from(Offset(8));
        assert_eq!(pairs(&ranges), [(7, 8)]);
        ranges.remove_from(Offset(7));
        assert!(ranges.is_empty());
    }
}
