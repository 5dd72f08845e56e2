//! Event id -> offset, at a cost that a fast log can bear.
//!
//! A row for each id would cost more than the event itself. So ids are kept as 32-bit hashes, [`BLOCK`] consecutive records a row,
//! written as they come. A look-up that had to go through all of these would read tens of megabytes, so rows are merged: sixteen
//! consecutive runs of one level become one run of the next, whose rows are sixteen times as many, each for the hashes with the same
//! first bits. A row of any level so has about [`BLOCK`] entries, and a look-up reads one row of each run: some hundred of them in a
//! log of ten million events. What it answers are candidates, which the caller reads and compares.
//!
//! ```text
//! row:    event-ids/   log   0   u8 level   u16 partition   u64 the run's first offset   (big-endian)
//! value:  for each record 6 bytes, little-endian: its place in the run, and above that the bits of its hash behind the partition's
//! ```
//!
//! A merge moves all that lies below its end, so what a crash left behind moves with the next one. It goes from level to level one
//! partition at a time, in memory for those rows alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_wire::Offset;
use rapidhash::v3::rapidhash_v3;

use super::{Index, IndexBatch, IndexError};

/// Records of a row as they come.
pub const BLOCK: u64 = 1 << BLOCK_BITS;

const BLOCK_BITS: u32 = 10;
/// How many runs of a level are one of the next, as a shift: the rows of a run grow by the same.
const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;
/// Four million records a run.
const LEVEL_MAX: u32 = 3;
const HASH_BITS: u32 = 32;
/// What an entry takes: a level that needs more bits for the place needs fewer for the hash.
const ENTRY_BYTES: usize = (BLOCK_BITS + HASH_BITS).div_ceil(8) as usize;
const ENTRY_MASK: u64 = (1 << (BLOCK_BITS + HASH_BITS)) - 1;

const ROW_PREFIX: &[u8] = b"event-ids/";
const INDEXED_PREFIX: &[u8] = b"event-ids-indexed/";
const TRIMMED_PREFIX: &[u8] = b"event-ids-trimmed/";
/// What rows of an earlier layout begin with.
const OLD_PREFIXES: [&[u8]; 2] = [b"ids/", b"ids-applied/"];
/// Rows that are let go of at once.
const FORGET_ROWS: usize = 1024;

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
    /// Held by whoever changes rows: a merge must not put back what a trim takes.
    changing: Mutex<()>,
}

impl EventIds {
    /// Keeps ids in this index.
    #[must_use]
    pub fn new(index: Arc<dyn Index>) -> Self {
        Self { index, changing: Mutex::default() }
    }

    /// The first offset of the log whose block is not indexed yet.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn indexed_to(&self, log: &str) -> Result<Offset, IndexError> {
        self.mark(INDEXED_PREFIX, log)
    }

    /// Indexes the block that begins at `first`, a multiple of [`BLOCK`], and merges what is due then.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn add_block(&self, log: &str, first: Offset, hashes: &[u32]) -> Result<(), IndexError> {
        let _changing = self.changing();
        let end = first.plus(BLOCK);
        let mut batch = IndexBatch::default();
        if end > self.mark(TRIMMED_PREFIX, log)? {
            let level = Level(0);
            let entries = hashes.iter().zip(0..).flat_map(|(hash, place)| level.entry(*hash, place));
            batch.put(level.row_key(log, 0, first.0), entries.collect());
        }
        batch.put(mark_key(INDEXED_PREFIX, log), end.0.to_be_bytes().to_vec());
        self.index.apply(batch)?;
        (1..=LEVEL_MAX)
            .map(Level)
            .take_while(|level| level.run_of(end.0) == end.0)
            .try_for_each(|level| self.merge_into(log, level, end))
    }

    /// Offsets of the log whose id may be the one with this hash, in order.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn candidates(&self, log: &str, hash: u32) -> Result<Vec<Offset>, IndexError> {
        let mut found = Vec::new();
        // From below: what is merged meanwhile is met twice, and not missed.
        for level in Level::all() {
            let partition = level.partition_of(hash);
            let wanted = level.packed(hash, 0);
            self.rows(log, level, partition, &mut |run, _, value| {
                let packed = value.chunks_exact(ENTRY_BYTES).map(packed_of);
                let matching = packed.filter(|packed| level.run_of(*packed) == wanted);
                found.extend(matching.map(|packed| Offset(run + level.place_of(packed))));
                true
            })?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Lets go of the runs that lie wholly before `start`.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn trim(&self, log: &str, start: Offset) -> Result<(), IndexError> {
        let _changing = self.changing();
        let before = self.mark(TRIMMED_PREFIX, log)?;
        // A level is looked at only where one of its runs may have gone.
        let due = |level: &Level| level.run_of(start.0) > level.run_of(before.0);
        if !due(&Level(0)) {
            return Ok(());
        }
        for level in Level::all().take_while(due) {
            for partition in 0..level.partitions() {
                let mut batch = IndexBatch::default();
                self.rows(log, level, partition, &mut |run, key, _| {
                    let is_gone = run < level.run_of(start.0);
                    if is_gone {
                        batch.delete(key.to_vec());
                    }
                    is_gone
                })?;
                self.index.apply(batch)?;
            }
        }
        let mut batch = IndexBatch::default();
        batch.put(mark_key(TRIMMED_PREFIX, log), start.0.to_be_bytes().to_vec());
        self.index.apply(batch)
    }

    /// Lets go of all that is known of a log: another one has its name.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn forget(&self, log: &str) -> Result<(), IndexError> {
        let _changing = self.changing();
        let mut batch = IndexBatch::default();
        batch.delete(mark_key(INDEXED_PREFIX, log));
        batch.delete(mark_key(TRIMMED_PREFIX, log));
        self.index.apply(batch)?;
        self.remove(&log_prefix(log))
    }

    /// Lets go of what earlier versions kept in another layout.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn forget_old_layouts(&self) -> Result<(), IndexError> {
        OLD_PREFIXES.iter().try_for_each(|prefix| self.remove(prefix))
    }

    /// Moves the rows of the level below that lie before `end` into this one.
    fn merge_into(&self, log: &str, level: Level, end: Offset) -> Result<(), IndexError> {
        let below = Level(level.0 - 1);
        for partition in 0..below.partitions() {
            let mut batch = IndexBatch::default();
            let mut runs: BTreeMap<u64, [Vec<u8>; FAN]> = BTreeMap::new();
            self.rows(log, below, partition, &mut |first, key, value| {
                if first >= end.0 {
                    return false;
                }
                let run = level.run_of(first);
                let children = runs.entry(run).or_default();
                for packed in value.chunks_exact(ENTRY_BYTES).map(packed_of) {
                    let hash = below.hash_of(packed, partition);
                    let place = first - run + below.place_of(packed);
                    let child = usize::from(level.partition_of(hash)) % FAN;
                    children[child].extend(level.entry(hash, place));
                }
                batch.delete(key.to_vec());
                true
            })?;
            for (run, children) in runs {
                for (child, entries) in (0..).zip(children).filter(|(_, entries)| !entries.is_empty()) {
                    let key = level.row_key(log, (partition << FAN_BITS) | child, run);
                    // It is there where a crash cut the run's own merge short.
                    let mut value = self.index.get(&key)?.unwrap_or_default();
                    value.extend(entries);
                    batch.put(key, value);
                }
            }
            self.index.apply(batch)?;
        }
        Ok(())
    }

    /// Visits the rows of a partition: each run's first offset, key and value.
    fn rows(
        &self,
        log: &str,
        level: Level,
        partition: u16,
        visit: &mut dyn FnMut(u64, &[u8], &[u8]) -> bool,
    ) -> Result<(), IndexError> {
        let prefix = level.partition_prefix(log, partition);
        self.index.scan(&prefix, None, &mut |key, value| match number(&key[prefix.len()..]) {
            Some(run) => visit(run, key, value),
            None => true,
        })
    }

    fn remove(&self, prefix: &[u8]) -> Result<(), IndexError> {
        loop {
            let (mut batch, mut rows) = (IndexBatch::default(), 0);
            self.index.scan(prefix, None, &mut |key, _| {
                batch.delete(key.to_vec());
                rows += 1;
                rows < FORGET_ROWS
            })?;
            self.index.apply(batch)?;
            if rows < FORGET_ROWS {
                return Ok(());
            }
        }
    }

    fn mark(&self, prefix: &[u8], log: &str) -> Result<Offset, IndexError> {
        let mark = self.index.get(&mark_key(prefix, log))?;
        Ok(Offset(mark.and_then(|bytes| number(&bytes)).unwrap_or(0)))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often rows were merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level(u32);

impl Level {
    fn all() -> impl Iterator<Item = Self> {
        (0..=LEVEL_MAX).map(Self)
    }

    /// Bits of a place in a run.
    const fn place_bits(self) -> u32 {
        BLOCK_BITS + self.partition_bits()
    }

    const fn partition_bits(self) -> u32 {
        FAN_BITS * self.0
    }

    const fn partitions(self) -> u16 {
        1 << self.partition_bits()
    }

    /// The first offset of the run that has this one; of an entry, all but the place.
    const fn run_of(self, offset: u64) -> u64 {
        (offset >> self.place_bits()) << self.place_bits()
    }

    #[allow(clippy::cast_possible_truncation, reason = "at most twelve bits are left")]
    const fn partition_of(self, hash: u32) -> u16 {
        ((hash as u64) >> (HASH_BITS - self.partition_bits())) as u16
    }

    /// An entry as a number; the partition says the first bits of the hash.
    const fn packed(self, hash: u32, place: u64) -> u64 {
        (((hash as u64) << self.place_bits()) & ENTRY_MASK) | place
    }

    const fn place_of(self, packed: u64) -> u64 {
        packed - self.run_of(packed)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a partition and its rest are 32 bits")]
    const fn hash_of(self, packed: u64, partition: u16) -> u32 {
        let rest = packed >> self.place_bits();
        (((partition as u64) << (HASH_BITS - self.partition_bits())) | rest) as u32
    }

    fn entry(self, hash: u32, place: u64) -> [u8; ENTRY_BYTES] {
        let [entry @ .., _, _] = self.packed(hash, place).to_le_bytes();
        entry
    }

    #[allow(clippy::cast_possible_truncation, reason = "there are four levels")]
    fn partition_prefix(self, log: &str, partition: u16) -> Vec<u8> {
        [&log_prefix(log)[..], &[self.0 as u8], &partition.to_be_bytes()].concat()
    }

    fn row_key(self, log: &str, partition: u16, run: u64) -> Vec<u8> {
        [&self.partition_prefix(log, partition)[..], &run.to_be_bytes()].concat()
    }
}

fn packed_of(entry: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..ENTRY_BYTES].copy_from_slice(entry);
    u64::from_le_bytes(bytes)
}

fn log_prefix(log: &str) -> Vec<u8> {
    [ROW_PREFIX, log.as_bytes(), &[0]].concat()
}

fn mark_key(prefix: &[u8], log: &str) -> Vec<u8> {
    [prefix, log.as_bytes()].concat()
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::index::MemoryIndex;

    fn block(from: u64) -> Vec<u32> {
        (from..from + BLOCK).map(|number| hash(&format!("id-{number}"))).collect()
    }

    fn ids() -> (Arc<MemoryIndex>, EventIds) {
        let index = Arc::new(MemoryIndex::default());
        (Arc::clone(&index), EventIds::new(index))
    }

    fn rows(index: &dyn Index, prefix: &[u8]) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut visit = |_: &[u8], value: &[u8]| {
            rows.push(value.len());
            true
        };
        index.scan(prefix, None, &mut visit).unwrap();
        rows
    }

    #[test]
    fn an_id_is_found_in_its_log_and_in_no_other() {
        let (_, ids) = ids();
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
        let (_, ids) = ids();
        for first in [0, BLOCK, 2 * BLOCK] {
            ids.add_block("t", Offset(first), &block(first)).unwrap();
        }
        ids.trim("t", Offset(BLOCK + 5)).unwrap();
        assert_eq!(ids.candidates("t", hash("id-3")).unwrap(), []);
        assert_eq!(ids.candidates("t", hash("id-1030")).unwrap(), [Offset(1030)]);
        // A block that retention took while it was read.
        ids.trim("t", Offset(4 * BLOCK)).unwrap();
        ids.add_block("t", Offset(3 * BLOCK), &block(3 * BLOCK)).unwrap();
        assert_eq!(ids.candidates("t", hash("id-3080")).unwrap(), []);
        assert_eq!(ids.indexed_to("t").unwrap(), Offset(4 * BLOCK));
    }

    #[test]
    fn a_look_up_in_many_blocks_reads_few_rows_and_trimming_leaves_none_behind() {
        let (index, ids) = ids();
        let blocks = 16 * 16 * 2 + 16 + 1;
        for number in 0..blocks {
            ids.add_block("t", Offset(number * BLOCK), &block(number * BLOCK)).unwrap();
        }
        for id in [0, 17, 16 * BLOCK, 300 * BLOCK + 7, blocks * BLOCK - 1] {
            assert_eq!(ids.candidates("t", hash(&format!("id-{id}"))).unwrap(), [Offset(id)]);
        }
        // Two runs of 256 blocks, one of sixteen and one block.
        let of_partition = |level: Level| rows(index.as_ref(), &level.partition_prefix("t", 0));
        let read: Vec<usize> = Level::all().map(|level| of_partition(level).len()).collect();
        assert_eq!(read, [1, 1, 2, 0]);
        let bytes: usize = Level::all().flat_map(of_partition).sum();
        assert!(bytes < 5 * 6 * 1024, "a look-up reads {bytes} bytes");

        ids.trim("t", Offset(256 * BLOCK)).unwrap();
        assert_eq!(ids.candidates("t", hash("id-17")).unwrap(), []);
        ids.trim("t", Offset(blocks * BLOCK)).unwrap();
        let all: usize = rows(index.as_ref(), ROW_PREFIX).iter().sum();
        assert_eq!(all / ENTRY_BYTES, 0, "nothing is kept of what is gone");
    }

    #[test]
    fn what_a_crash_left_below_moves_with_the_next_merge_and_is_found_until_then() {
        let (index, ids) = ids();
        // The first sixteen blocks lie there unmerged, and half of them were merged already.
        for number in 0..16 {
            let level = Level(u32::from(number < 8));
            for (hash, place) in block(number * BLOCK).into_iter().zip(0..) {
                let offset = number * BLOCK + place;
                let run = level.run_of(offset);
                let key = level.row_key("t", level.partition_of(hash), run);
                let mut value = index.get(&key).unwrap().unwrap_or_default();
                value.extend(level.entry(hash, offset - run));
                let mut batch = IndexBatch::default();
                batch.put(key, value);
                index.apply(batch).unwrap();
            }
        }
        let found = || [5, 9 * BLOCK].map(|id| ids.candidates("t", hash(&format!("id-{id}"))).unwrap());
        assert_eq!(found(), [[Offset(5)], [Offset(9 * BLOCK)]]);
        for number in 16..32 {
            ids.add_block("t", Offset(number * BLOCK), &block(number * BLOCK)).unwrap();
        }
        assert_eq!(found(), [[Offset(5)], [Offset(9 * BLOCK)]]);
        assert_eq!(rows(index.as_ref(), &Level(0).partition_prefix("t", 0)), [] as [usize; 0]);
    }

    #[test]
    fn a_log_that_is_forgotten_and_rows_of_earlier_layouts_are_gone() {
        let (index, ids) = ids();
        ids.add_block("t", Offset(0), &block(0)).unwrap();
        ids.add_block("t.2", Offset(0), &block(0)).unwrap();
        ids.forget("t").unwrap();
        assert_eq!(ids.indexed_to("t").unwrap(), Offset(0));
        assert_eq!(ids.candidates("t", hash("id-3")).unwrap(), []);
        assert_eq!(ids.candidates("t.2", hash("id-3")).unwrap(), [Offset(3)]);

        let mut batch = IndexBatch::default();
        for number in 0..3_000_u32 {
            batch.put([&b"ids/t"[..], &[0], &number.to_be_bytes()].concat(), vec![1]);
        }
        batch.put(b"ids-applied/t".to_vec(), vec![1]);
        index.apply(batch).unwrap();
        ids.forget_old_layouts().unwrap();
        assert!(rows(index.as_ref(), b"ids").is_empty());
        assert_eq!(ids.candidates("t.2", hash("id-3")).unwrap(), [Offset(3)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Few different hashes, so that each has many places, at the ends of all partitions; blocks of few records, so that they are
        /// merged up to the highest level in no time.
        #[test]
        fn candidates_are_exactly_the_places_of_the_hash(
            first in 3_600..4_096_u64,
            blocks in 1..700_u64,
            trims in proptest::collection::vec((0..700_u64, 3_600 * BLOCK..4_500 * BLOCK), 0..3),
            seed in any::<u32>(),
        ) {
            let (_, ids) = ids();
            let mut model: HashMap<u32, Vec<Offset>> = HashMap::new();
            let of = |offset: u64| rapidhash_v3(&(offset ^ u64::from(seed)).to_le_bytes());
            let hash_of = |offset: u64| match of(offset) % 700 {
                0 => 0,
                1 => u32::MAX,
                2 => seed,
                rest => u32::try_from(rest).unwrap().rotate_right(12),
            };
            let mut start = 0;
            for number in first..first + blocks {
                let offsets = number * BLOCK..number * BLOCK + 8;
                let hashes: Vec<u32> = offsets.clone().map(hash_of).collect();
                ids.add_block("t", Offset(number * BLOCK), &hashes).unwrap();
                for (hash, offset) in hashes.into_iter().zip(offsets) {
                    model.entry(hash).or_default().push(Offset(offset));
                }
                for (_, to) in trims.iter().filter(|(at, _)| first + at == number) {
                    start = start.max(*to);
                    ids.trim("t", Offset(*to)).unwrap();
                }
            }
            prop_assert_eq!(ids.indexed_to("t").unwrap(), Offset((first + blocks) * BLOCK));
            for (hash, places) in model {
                let mut found = ids.candidates("t", hash).unwrap();
                // Of what was trimmed a run may keep the rest.
                found.retain(|offset| offset.0 >= start);
                let kept: Vec<_> = places.into_iter().filter(|offset| offset.0 >= start).collect();
                prop_assert_eq!(found, kept);
            }
            prop_assert!(ids.candidates("t", 12_345_678).unwrap().is_empty());
        }
    }
}
