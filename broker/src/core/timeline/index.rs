//! Which pages tell of an event: a row for each block of consecutive pages and each [`BUCKET`] of a topic's offsets that they touch.
//!
//! Rows stand in epochs of pages, so that what the log let go of goes here without a look at the rest. What is missing is rebuilt from
//! the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventail_storage::index::{Index, IndexBatch, IndexError};
use eventail_wire::{Offset, Timestamp};

/// Offsets of a topic that share a row.
pub(super) const BUCKET: u64 = 512;
/// The bucket of what is about a trigger and no event.
pub(super) const LANE_BUCKET: u64 = u64::MAX;
/// Pages of an epoch, as a shift.
const EPOCH_SHIFT: u32 = 16;
/// Rows: this, the epoch, the topic, 0, the bucket, the first page's offset (numbers big-endian).
const ROW_PREFIX: &[u8] = b"why/";
/// How far the log was read.
const APPLIED_KEY: &[u8] = b"why-applied";

/// Consecutive pages, and the latest time that they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: Offset,
    pub(super) pages: u64,
    pub(super) latest: Timestamp,
}

/// What a block touches: by topic and bucket, the latest time.
pub(super) type Touched = BTreeMap<(String, u64), Timestamp>;

/// The rows.
#[derive(Debug)]
pub(super) struct PageIndex {
    index: Arc<dyn Index>,
}

impl PageIndex {
    /// Whether calls may block.
    pub(super) fn may_block(&self) -> bool {
        self.index.may_block()
    }

    pub(super) fn new(index: Arc<dyn Index>) -> Self {
        Self { index }
    }

    /// The first page that is not indexed.
    pub(super) fn applied(&self) -> Result<Offset, IndexError> {
        let applied = self.index.get(APPLIED_KEY)?;
        Ok(Offset(applied.and_then(|bytes| number(&bytes)).unwrap_or(0)))
    }

    /// Indexes a block.
    pub(super) fn add(&self, first: Offset, pages: u64, touched: &Touched) -> Result<(), IndexError> {
        let mut batch = IndexBatch::default();
        for ((topic, bucket), latest) in touched {
            let value = [pages, latest.0].map(u64::to_be_bytes).concat();
            batch.put([&prefix(epoch_of(first), topic, *bucket)[..], &first.0.to_be_bytes()].concat(), value);
        }
        batch.put(APPLIED_KEY.to_vec(), first.plus(pages).0.to_be_bytes().to_vec());
        self.index.apply(batch)
    }

    /// The blocks of `kept` that touch a bucket, in order.
    pub(super) fn blocks(
        &self,
        kept: std::ops::Range<Offset>,
        topic: &str,
        bucket: u64,
    ) -> Result<Vec<Block>, IndexError> {
        let mut blocks = Vec::new();
        for epoch in epoch_of(kept.start)..=epoch_of(kept.end) {
            let prefix = prefix(epoch, topic, bucket);
            self.index.scan(&prefix, None, &mut |key, value| {
                blocks.extend(block(&key[prefix.len()..], value));
                true
            })?;
        }
        Ok(blocks)
    }

    /// Lets go of the epochs that lie wholly before `start`.
    pub(super) fn trim(&self, start: Offset) -> Result<(), IndexError> {
        let mut batch = IndexBatch::default();
        let limit = [ROW_PREFIX, &epoch_of(start).to_be_bytes()].concat();
        self.index.scan(ROW_PREFIX, None, &mut |key, _| {
            let is_gone = key < limit.as_slice();
            if is_gone {
                batch.delete(key.to_vec());
            }
            is_gone
        })?;
        self.index.apply(batch)
    }
}

const fn epoch_of(page: Offset) -> u64 {
    page.0 >> EPOCH_SHIFT
}

fn prefix(epoch: u64, topic: &str, bucket: u64) -> Vec<u8> {
    [ROW_PREFIX, &epoch.to_be_bytes(), topic.as_bytes(), &[0], &bucket.to_be_bytes()].concat()
}

fn block(first: &[u8], value: &[u8]) -> Option<Block> {
    // Rows of before have the earliest time between the two.
    let (pages, latest) = (value.first_chunk::<8>()?, value.last_chunk::<8>()?);
    Some(Block {
        first: Offset(number(first)?),
        pages: u64::from_be_bytes(*pages),
        latest: Timestamp(u64::from_be_bytes(*latest)),
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use eventail_storage::index::MemoryIndex;

    use super::*;

    const EPOCH: u64 = 1 << EPOCH_SHIFT;

    fn touching(topic: &str, buckets: &[u64]) -> Touched {
        buckets.iter().map(|bucket| ((topic.to_owned(), *bucket), Timestamp(5))).collect()
    }

    fn firsts(index: &PageIndex, topic: &str, bucket: u64) -> Vec<u64> {
        let blocks = index.blocks(Offset(0)..Offset(3 * EPOCH), topic, bucket).unwrap();
        blocks.into_iter().map(|block| block.first.0).collect()
    }

    #[test]
    fn a_bucket_has_the_blocks_that_touch_it_and_no_others_over_all_epochs() {
        let index = PageIndex::new(Arc::new(MemoryIndex::default()));
        assert_eq!(index.applied().unwrap(), Offset(0));
        index.add(Offset(0), 3, &touching("orders", &[0, 1])).unwrap();
        index.add(Offset(3), 1, &touching("orders.eu", &[1])).unwrap();
        index.add(Offset(2 * EPOCH), 2, &touching("orders", &[1, LANE_BUCKET])).unwrap();
        assert_eq!(index.applied().unwrap(), Offset(2 * EPOCH + 2));
        assert_eq!(firsts(&index, "orders", 1), [0, 2 * EPOCH]);
        assert_eq!(firsts(&index, "orders", 0), [0]);
        assert_eq!(firsts(&index, "orders", LANE_BUCKET), [2 * EPOCH]);
        assert_eq!(firsts(&index, "orders", 7), [] as [u64; 0]);
        let block = index.blocks(Offset(0)..Offset(9), "orders", 0).unwrap()[0];
        assert_eq!((block.pages, block.latest), (3, Timestamp(5)));
    }

    #[test]
    fn epochs_that_the_log_let_go_of_are_gone() {
        let index = PageIndex::new(Arc::new(MemoryIndex::default()));
        index.add(Offset(0), 3, &touching("orders", &[1])).unwrap();
        index.add(Offset(EPOCH), 2, &touching("orders", &[1])).unwrap();
        index.trim(Offset(EPOCH + 1)).unwrap();
        assert_eq!(firsts(&index, "orders", 1), [EPOCH]);
    }
}
