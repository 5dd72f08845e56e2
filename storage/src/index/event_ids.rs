//! Event id -> offset, at a cost that a fast log can bear.
//!
//! A row for each id would cost more than the event itself. So ids are indexed by blocks of [`BLOCK`] consecutive records: one row
//! holds a 32-bit hash of each id, in order of offset. A look-up goes through the rows of a log (10 million events: ten thousand
//! rows of 4 KiB) and answers candidates, which the caller reads and compares.

use std::sync::Arc;

use eventail_wire::Offset;
use rapidhash::v3::rapidhash_v3;

use super::{Index, IndexBatch, IndexError};

/// Records of one row.
pub const BLOCK: u64 = 1024;

const ROW_PREFIX: &[u8] = b"ids/";
const APPLIED_PREFIX: &[u8] = b"ids-applied/";

/// The short hash of an id. Stable across versions and machines.
#[must_use]
pub fn hash(id: &str) -> u32 {
    let [a, b, c, d, ..] = rapidhash_v3(id.as_bytes()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The ids of the events of all logs.
#[derive(Debug)]
pub struct EventIds {
    index: Arc<dyn Index>,
}

impl EventIds {
    /// Keeps ids in this index.
    #[must_use]
    pub fn new(index: Arc<dyn Index>) -> Self {
        Self { index }
    }

    /// The first offset of the log whose block is not indexed yet.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn indexed_to(&self, log: &str) -> Result<Offset, IndexError> {
        let applied = self.index.get(&applied_key(log))?;
        let offset = applied.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        Ok(Offset(offset.unwrap_or(0)))
    }

    /// Indexes the block that begins at `first`, a multiple of [`BLOCK`].
    ///
    /// # Errors
    /// Where the index fails.
    pub fn add_block(&self, log: &str, first: Offset, hashes: &[u32]) -> Result<(), IndexError> {
        let mut batch = IndexBatch::default();
        batch.put(row_key(log, first), hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect());
        batch.put(applied_key(log), first.plus(BLOCK).0.to_be_bytes().to_vec());
        self.index.apply(batch)
    }

    /// Offsets of the log whose id may be the one with this hash.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn candidates(&self, log: &str, hash: u32) -> Result<Vec<Offset>, IndexError> {
        let wanted = hash.to_le_bytes();
        let prefix = log_prefix(log);
        let mut found = Vec::new();
        self.index.scan(&prefix, None, &mut |key, value| {
            let first =
                key.get(prefix.len()..).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
            if let Some(first) = first {
                let places = value.chunks_exact(4).enumerate().filter(|(_, hash)| *hash == wanted);
                found.extend(places.map(|(place, _)| Offset(first + place as u64)));
            }
            true
        })?;
        Ok(found)
    }

    /// Lets go of blocks that lie wholly before `start`.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn trim(&self, log: &str, start: Offset) -> Result<(), IndexError> {
        let mut batch = IndexBatch::default();
        let limit = row_key(log, Offset((start.0 / BLOCK) * BLOCK));
        self.index.scan(&log_prefix(log), None, &mut |key, _| {
            let gone = key < limit.as_slice();
            if gone {
                batch.delete(key.to_vec());
            }
            gone
        })?;
        self.index.apply(batch)
    }
}

fn log_prefix(log: &str) -> Vec<u8> {
    [ROW_PREFIX, log.as_bytes(), &[0]].concat()
}

fn row_key(log: &str, first: Offset) -> Vec<u8> {
    [&log_prefix(log)[..], &first.0.to_be_bytes()].concat()
}

fn applied_key(log: &str) -> Vec<u8> {
    [APPLIED_PREFIX, log.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MemoryIndex;

    fn block(from: u64) -> Vec<u32> {
        (from..from + BLOCK).map(|number| hash(&format!("id-{number}"))).collect()
    }

    #[test]
    fn an_id_is_found_in_its_log_and_in_no_other() {
        let ids = EventIds::new(Arc::new(MemoryIndex::default()));
        ids.add_block("orders", Offset(0), &block(0)).unwrap();
        ids.add_block("orders", Offset(BLOCK), &block(BLOCK)).unwrap();
        ids.add_block("orders.eu", Offset(0), &block(9_000)).unwrap();
        assert_eq!(ids.indexed_to("orders").unwrap(), Offset(2 * BLOCK));
        assert_eq!(ids.indexed_to("other").unwrap(), Offset(0));
        assert_eq!(ids.candidates("orders", hash("id-1500")).unwrap(), [Offset(1500)]);
        assert_eq!(ids.candidates("orders.eu", hash("id-1500")).unwrap(), []);
    }

    #[test]
    fn trimmed_blocks_are_gone_and_the_rest_is_there() {
        let ids = EventIds::new(Arc::new(MemoryIndex::default()));
        for first in [0, BLOCK, 2 * BLOCK] {
            ids.add_block("t", Offset(first), &block(first)).unwrap();
        }
        ids.trim("t", Offset(BLOCK + 5)).unwrap();
        assert_eq!(ids.candidates("t", hash("id-3")).unwrap(), []);
        assert_eq!(ids.candidates("t", hash("id-1030")).unwrap(), [Offset(1030)]);
    }
}
