//! Ranges of numbers, and many of them asked at once.
//!
//! A double becomes an integer that sorts as the double does, so a bound that is not included is simply the next one.

/// A closed range of doubles in the order of [`rank`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NumberRange {
    low: u64,
    high: u64,
}

impl NumberRange {
    /// Between two doubles given by their bits, each with whether it is included; `None` is no bound.
    pub(super) fn new(low: Option<(u64, bool)>, high: Option<(u64, bool)>) -> Self {
        let low = low.map_or(0, |(bits, is_included)| rank(bits).saturating_add(u64::from(!is_included)));
        let high =
            high.map_or(u64::MAX, |(bits, is_included)| rank(bits).saturating_sub(u64::from(!is_included)));
        Self { low, high }
    }

    pub(super) fn contains(self, bits: u64) -> bool {
        (self.low..=self.high).contains(&rank(bits))
    }
}

/// The place of a double, given by its bits, among all doubles. `-0` must have been made `0`.
fn rank(bits: u64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// Ranges and what each leads to: a search tree in a list sorted by where ranges begin.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    range: NumberRange,
    goal: usize,
    /// The highest end in the part of the list that this entry is the middle of.
    highest: u64,
}

impl Ranges {
    pub(super) fn insert(&mut self, range: NumberRange, goal: usize) {
        self.entries.push(Entry { range, goal, highest: range.high });
    }

    /// Must come after the last `insert`.
    pub(super) fn finish(&mut self) {
        self.entries.sort_unstable_by_key(|entry| (entry.range.low, entry.range.high));
        raise(&mut self.entries);
    }

    pub(super) fn find(&self, bits: u64, each: &mut impl FnMut(usize)) {
        find(&self.entries, rank(bits), each);
    }
}

fn raise(entries: &mut [Entry]) -> u64 {
    let middle = entries.len() / 2;
    let (left, right) = entries.split_at_mut(middle);
    let Some((entry, right)) = right.split_first_mut() else { return 0 };
    entry.highest = entry.range.high.max(raise(left)).max(raise(right));
    entry.highest
}

fn find(entries: &[Entry], rank: u64, each: &mut impl FnMut(usize)) {
    let (left, right) = entries.split_at(entries.len() / 2);
    let Some((entry, right)) = right.split_first() else { return };
    if entry.highest < rank {
        return;
    }
    find(left, rank, each);
    if entry.range.low <= rank {
        if rank <= entry.range.high {
            each(entry.goal);
        }
        find(right, rank, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_ranges_around_a_number_are_found(
            bounds in prop::collection::vec((-9i32..9, 0i32..9, any::<[bool; 4]>()), 0..40),
            number in -20i32..20,
        ) {
            let bits = |number: i32| (f64::from(number) / 2.0 + 0.0).to_bits();
            let ranges: Vec<NumberRange> = bounds.iter().map(|&(low, width, [has_low, has_high, low_in, high_in])| {
                NumberRange::new(has_low.then(|| (bits(low), low_in)), has_high.then(|| (bits(low + width), high_in)))
            }).collect();
            let holds = |&(low, width, [has_low, has_high, low_in, high_in]): &(i32, i32, [bool; 4])| {
                let above = !has_low || low < number || (low_in && low == number);
                above && (!has_high || number < low + width || (high_in && number == low + width))
            };
            let wanted: Vec<usize> = (0..bounds.len()).filter(|&at| holds(&bounds[at])).collect();
            let mut index = Ranges::default();
            ranges.iter().enumerate().for_each(|(goal, range)| index.insert(*range, goal));
            index.finish();
            let mut found = Vec::new();
            index.find(bits(number), &mut |goal| found.push(goal));
            found.sort_unstable();
            prop_assert_eq!(&found, &wanted);
            let alone: Vec<usize> = (0..ranges.len()).filter(|&at| ranges[at].contains(bits(number))).collect();
            prop_assert_eq!(&alone, &wanted);
        }
    }
}
