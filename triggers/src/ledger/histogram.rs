//! A histogram of durations that is small, can be added to another, and is never wrong by more than 5 %.
//!
//! Buckets are log-linear: each power of two of microseconds is cut into 16 equal parts, so a bucket is at most 1/16 of its
//! lower end wide, and its middle at most 1/32 (3.2 %) away from what fell into it. Below 16 µs each microsecond is a bucket.
//!
//! Only buckets that hold something exist, in memory and when serialised: as a list of the distance to the bucket before and the
//! count, by turns.

use serde::{Deserialize, Serialize};

/// Parts of a power of two, as bits.
const PART_BITS: u32 = 4;
/// Parts of a power of two.
const PARTS: u64 = 1 << PART_BITS;
/// The bits of an entry that say which bucket it is; the others count. 64-bit values have less than 2^10 buckets.
const INDEX_BITS: u32 = 10;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// The bucket of the largest value there is.
const INDEX_MAX: u64 = (64 - PART_BITS as u64) * PARTS + PARTS - 1;
/// The most that a bucket counts to.
const COUNT_MAX: u64 = u64::MAX >> INDEX_BITS;

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Histogram {
    /// Ascending by bucket; each is the bucket's index and, above it, its count.
    entries: Vec<u64>,
}

/// Why a list of numbers is no histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// A distance without a count.
    #[error("a histogram's last bucket has no count")]
    Odd,
    /// A bucket comes twice, lies beyond the last one, or counts nothing or too much.
    #[error("a histogram's bucket is not one")]
    Bucket,
}

impl Histogram {
    /// Adds one duration. What is below 0 or no number counts as 0.
    pub fn record(&mut self, milliseconds: f64) {
        // `as` takes what is out of range as the nearest that is in it.
        self.add(index_of((milliseconds * 1000.0).round() as u64), 1);
    }

    /// Adds all that another holds.
    pub fn merge(&mut self, other: &Self) {
        for entry in &other.entries {
            self.add(entry & INDEX_MASK, entry >> INDEX_BITS);
        }
    }

    /// How many durations it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|entry| entry >> INDEX_BITS).sum()
    }

    /// The duration in milliseconds that the share `quantile` (0 to 1) does not exceed; `None` where it holds none.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let wanted = ((self.count() as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut counted = 0;
        let entry = self.entries.iter().find(|entry| {
            counted += **entry >> INDEX_BITS;
            counted >= wanted
        });
        entry.or(self.entries.last()).map(|entry| middle_of(entry & INDEX_MASK) / 1000.0)
    }

    fn add(&mut self, index: u64, count: u64) {
        match self.entries.binary_search_by_key(&index, |entry| entry & INDEX_MASK) {
            Ok(at) => {
                let entry = &mut self.entries[at];
                *entry = packed(index, (*entry >> INDEX_BITS).saturating_add(count));
            }
            Err(at) => self.entries.insert(at, packed(index, count)),
        }
    }
}

impl From<Histogram> for Vec<u64> {
    fn from(histogram: Histogram) -> Self {
        let mut before = 0;
        let mut list = Self::with_capacity(histogram.entries.len() * 2);
        for entry in histogram.entries {
            let index = entry & INDEX_MASK;
            list.extend([index - before, entry >> INDEX_BITS]);
            before = index;
        }
        list
    }
}

impl TryFrom<Vec<u64>> for Histogram {
    type Error = HistogramError;

    fn try_from(list: Vec<u64>) -> Result<Self, HistogramError> {
        let (pairs, rest) = list.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(HistogramError::Odd);
        }
        let mut before = None;
        let mut entries = Vec::with_capacity(pairs.len());
        for &[distance, count] in pairs {
            let index = before.unwrap_or(0_u64).saturating_add(distance);
            let is_next = before.is_none() || distance > 0;
            if !is_next || index > INDEX_MAX || count == 0 || count > COUNT_MAX {
                return Err(HistogramError::Bucket);
            }
            entries.push(packed(index, count));
            before = Some(index);
        }
        Ok(Self { entries })
    }
}

const fn packed(index: u64, count: u64) -> u64 {
    let count = if count > COUNT_MAX { COUNT_MAX } else { count };
    count << INDEX_BITS | index
}

const fn index_of(microseconds: u64) -> u64 {
    if microseconds < PARTS {
        return microseconds;
    }
    let power = microseconds.ilog2();
    let part = (microseconds >> (power - PART_BITS)) & (PARTS - 1);
    (power - PART_BITS + 1) as u64 * PARTS + part
}

/// The middle of a bucket, in microseconds.
fn middle_of(index: u64) -> f64 {
    if index < PARTS {
        return index as f64;
    }
    let shift = index / PARTS - 1;
    let width = (1_u64 << shift) as f64;
    (PARTS + index % PARTS) as f64 * width + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration));
        histogram
    }

    #[test]
    fn an_empty_one_has_no_quantiles() {
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
        assert_eq!(Histogram::default().count(), 0);
    }

    #[test]
    fn what_is_no_duration_is_counted_all_the_same() {
        let odd = of(&[f64::NAN, -3.0, f64::INFINITY, f64::MAX, 0.0]);
        assert_eq!(odd.count(), 5);
        assert_eq!(odd.quantile_ms(0.0), Some(0.0));
        assert!(odd.quantile_ms(1.0).unwrap() > 1e15);
        assert_eq!(index_of(u64::MAX), INDEX_MAX);
        const { assert!(INDEX_MAX <= INDEX_MASK) };
    }

    #[test]
    fn it_is_small_on_disk() {
        let histogram = of(&(0..10_000).map(|nth| 20.0 + f64::from(nth % 100) / 10.0).collect::<Vec<_>>());
        let bytes = rmp_serde::to_vec(&histogram).unwrap();
        assert!(bytes.len() < 50, "{}", bytes.len());
        assert_eq!(rmp_serde::from_slice::<Histogram>(&bytes).unwrap(), histogram);
    }

    #[test]
    fn numbers_that_are_no_histogram_are_refused() {
        for (list, error) in [
            (vec![1], HistogramError::Odd),
            (vec![1, 0], HistogramError::Bucket),
            (vec![1, 1, 0, 1], HistogramError::Bucket),
            (vec![INDEX_MAX + 1, 1], HistogramError::Bucket),
            (vec![5, 1, u64::MAX, 1], HistogramError::Bucket),
            (vec![5, u64::MAX], HistogramError::Bucket),
        ] {
            assert_eq!(Histogram::try_from(list), Err(error));
        }
        assert!(Histogram::try_from(vec![0, 1, 1, 1]).is_ok());
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_five_percent(
            durations in prop::collection::vec(0.02..1e7_f64, 1..200), quantile in 0.0..=1.0_f64,
        ) {
            let found = of(&durations).quantile_ms(quantile).unwrap();
            let mut sorted = durations;
            sorted.sort_by(f64::total_cmp);
            let at = ((sorted.len() as f64 * quantile).ceil() as usize).max(1) - 1;
            let error = (found - sorted[at]).abs() / sorted[at];
            prop_assert!(error <= 0.05, "{found} for {}: {error}", sorted[at]);
        }

        #[test]
        fn merged_is_as_if_it_had_been_one(
            one in prop::collection::vec(0.0..1e6_f64, 0..100), other in prop::collection::vec(0.0..1e6_f64, 0..100),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(&merged, &of(&[one, other].concat()));
            let bytes = rmp_serde::to_vec(&merged).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Histogram>(&bytes).unwrap(), merged);
        }

        #[test]
        fn no_list_of_numbers_breaks_it(list in prop::collection::vec(any::<u64>(), 0..20)) {
            if let Ok(histogram) = Histogram::try_from(list.clone()) {
                prop_assert_eq!(Vec::from(histogram), list);
            }
        }
    }
}
