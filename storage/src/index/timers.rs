//! What waits for its time, by time, by handle and by name.
//!
//! Rows, all numbers big-endian, so that the order of keys is the order of numbers:
//!
//! ```text
//! timers/due/   time (8)  id (8)          -> what the owner wants to know of it while it looks through many
//! timers/entry/ id (8)                    -> the owner's entry, opaque
//! timers/name/  name (4)  identity (12)   -> id (8): who bears a name, and whether an identity was seen
//! timers/done/  time (8)  id (8)          -> nothing: entries that no longer wait, by when they ceased to
//! timers/state                            -> how far the owner's log was applied (8), the totals (8 each)
//! ```
//!
//! An [`Edit`] gathers changes, sees its own, and is applied as a whole with the new state, so that the rows are always those of
//! a prefix of the owner's log.

use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};
use rapidhash::v3::rapidhash_v3;

use super::name_filter::NameFilter;
use super::{Index, IndexBatch, IndexError};

const DUE_PREFIX: &[u8] = b"timers/due/";
const ENTRY_PREFIX: &[u8] = b"timers/entry/";
const NAME_PREFIX: &[u8] = b"timers/name/";
const DONE_PREFIX: &[u8] = b"timers/done/";
const STATE_KEY: &[u8] = b"timers/state";
const ALL_PREFIX: &[u8] = b"timers/";
/// How many rows one change should touch. What a batch replaces stays in sled's memory until the batch is through, and some of it for
/// good: with 1,500 rows in a batch a million entries took gigabytes and three times as long.
pub const ROWS_AT_ONCE: usize = 128;

/// How far the log was applied, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimersState {
    /// Records of the owner's log before this one are in the rows.
    pub applied: Offset,
    /// Entries that wait.
    pub waiting: u64,
    /// The bytes that the owner counts for them.
    pub waiting_bytes: u64,
    /// Entries that no longer wait and are remembered.
    pub done: u64,
}

impl TimersState {
    fn to_bytes(self) -> Vec<u8> {
        let Self { applied, waiting, waiting_bytes, done } = self;
        [applied.0, waiting, waiting_bytes, done].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(8).filter_map(number);
        let mut next = || numbers.next();
        let (applied, waiting, waiting_bytes, done) = (Offset(next()?), next()?, next()?, next()?);
        Some(Self { applied, waiting, waiting_bytes, done })
    }
}

/// A name and an identity, shortened. Several entries may bear a name; an identity has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerName {
    name: [u8; 4],
    identity: [u8; 12],
}

impl TimerName {
    /// From a name, such as an event's id, and 128 bits that stand for the whole identity.
    #[must_use]
    pub fn new(name: &str, identity: u128) -> Self {
        let mut short = [0; 12];
        short.copy_from_slice(&identity.to_be_bytes()[4..]);
        Self { name: short_name(name), identity: short }
    }

    pub(super) const fn identity(self) -> [u8; 12] {
        self.identity
    }

    fn key(self) -> Vec<u8> {
        [NAME_PREFIX, &self.name, &self.identity].concat()
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let (name, identity) = key.strip_prefix(NAME_PREFIX)?.split_first_chunk::<4>()?;
        Some(Self { name: *name, identity: identity.try_into().ok()? })
    }
}

fn short_name(name: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = rapidhash_v3(name.as_bytes()).to_be_bytes();
    [a, b, c, d]
}

/// The rows of what waits.
#[derive(Clone, Debug)]
pub struct Timers {
    index: Arc<dyn Index>,
    names: Arc<NameFilter>,
}

impl Timers {
    /// Keeps them in this index, and reads the names that are there.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn open(index: Arc<dyn Index>) -> Result<Self, IndexError> {
        let names = Arc::new(NameFilter::default());
        index.scan(NAME_PREFIX, None, &mut |key, _| {
            TimerName::of_key(key).into_iter().for_each(|name| names.add(name));
            true
        })?;
        Ok(Self { index, names })
    }

    /// Whether there is any entry with an identity.
    #[must_use]
    pub fn knows_any(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether there may be an entry of this identity; answered from memory, and `false` is certain.
    #[must_use]
    pub fn may_know(&self, name: TimerName) -> bool {
        self.names.may_have(name)
    }

    /// How far the log was applied, and what there is.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn state(&self) -> Result<TimersState, IndexError> {
        let row = self.index.get(STATE_KEY)?;
        Ok(row.and_then(|row| TimersState::read(&row)).unwrap_or_default())
    }

    /// An entry.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn entry(&self, id: u64) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(&entry_key(id))
    }

    /// Which entry has this identity.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn identified(&self, name: TimerName) -> Result<Option<u64>, IndexError> {
        Ok(self.index.get(&name.key())?.and_then(|id| number(&id)))
    }

    /// Entries that may bear this name; a chance collision is possible.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn named(&self, name: &str) -> Result<Vec<u64>, IndexError> {
        let mut ids = Vec::new();
        let prefix = [NAME_PREFIX, &short_name(name)[..]].concat();
        self.index.scan(&prefix, None, &mut |_, id| {
            ids.extend(number(id));
            true
        })?;
        Ok(ids)
    }

    /// Visits what waits in the order of time and id, behind `after` where it is given, as long as `visit` answers `true`.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn waiting(
        &self,
        after: Option<(Timestamp, u64)>,
        visit: &mut dyn FnMut(Timestamp, u64, &[u8]) -> bool,
    ) -> Result<(), IndexError> {
        // A key with one byte more is the least that is greater.
        let from = after.map(|(at, id)| [&timed_key(DUE_PREFIX, at, id)[..], &[0]].concat());
        self.index.scan(DUE_PREFIX, from.as_deref(), &mut |key, note| {
            read_timed(DUE_PREFIX, key).is_none_or(|(at, id)| visit(at, id, note))
        })
    }

    /// Those that ceased to wait first, at most `limit`.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn oldest_done(&self, limit: usize) -> Result<Vec<(Timestamp, u64)>, IndexError> {
        let mut done = Vec::new();
        self.index.scan(DONE_PREFIX, None, &mut |key, _| {
            done.extend(read_timed(DONE_PREFIX, key));
            done.len() < limit
        })?;
        Ok(done)
    }

    /// Forgets everything, so that the log can be applied from its beginning.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn clear(&self) -> Result<(), IndexError> {
        loop {
            let mut batch = IndexBatch::default();
            let mut rows = 0;
            self.index.scan(ALL_PREFIX, None, &mut |key, _| {
                batch.delete(key.to_vec());
                rows += 1;
                rows < ROWS_AT_ONCE
            })?;
            if rows == 0 {
                self.names.clear();
                return Ok(());
            }
            self.index.apply(batch)?;
        }
    }

    /// Begins changes.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn edit(&self) -> Result<Edit<'_>, IndexError> {
        Ok(Edit { timers: self, batch: IndexBatch::default(), state: self.state()? })
    }
}

/// Changes that are applied together. It sees what it changed itself.
#[derive(Debug)]
pub struct Edit<'a> {
    timers: &'a Timers,
    batch: IndexBatch,
    /// The state that is written with them.
    pub state: TimersState,
}

impl Edit<'_> {
    /// How many rows it touches so far; see [`ROWS_AT_ONCE`].
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }

    /// An entry, as it is with these changes.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn entry(&self, id: u64) -> Result<Option<Vec<u8>>, IndexError> {
        self.get(&entry_key(id))
    }

    /// Which entry has this identity, with these changes.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn identified(&self, name: TimerName) -> Result<Option<u64>, IndexError> {
        Ok(self.get(&name.key())?.and_then(|id| number(&id)))
    }

    /// Sets an entry.
    pub fn put_entry(&mut self, id: u64, entry: Vec<u8>) {
        self.batch.put(entry_key(id), entry);
    }

    /// Removes an entry.
    pub fn delete_entry(&mut self, id: u64) {
        self.batch.delete(entry_key(id));
    }

    /// Gives an identity to an entry.
    pub fn put_name(&mut self, name: TimerName, id: u64) {
        self.batch.put(name.key(), id.to_be_bytes().to_vec());
    }

    /// Takes an identity away from an entry; from another one it is not taken.
    ///
    /// # Errors
    /// Where the index fails.
    pub fn delete_name(&mut self, name: TimerName, id: u64) -> Result<(), IndexError> {
        if self.identified(name)? == Some(id) {
            self.batch.delete(name.key());
        }
        Ok(())
    }

    /// Lets an entry wait until `at`.
    pub fn put_due(&mut self, at: Timestamp, id: u64, note: &[u8]) {
        self.batch.put(timed_key(DUE_PREFIX, at, id), note.to_vec());
    }

    /// Lets it wait no more.
    pub fn delete_due(&mut self, at: Timestamp, id: u64) {
        self.batch.delete(timed_key(DUE_PREFIX, at, id));
    }

    /// Notes when it ceased to wait.
    pub fn put_done(&mut self, at: Timestamp, id: u64) {
        self.batch.put(timed_key(DONE_PREFIX, at, id), Vec::new());
    }

    /// Forgets when it ceased to wait.
    pub fn delete_done(&mut self, at: Timestamp, id: u64) {
        self.batch.delete(timed_key(DONE_PREFIX, at, id));
    }

    /// Applies the changes and answers the new state.
    ///
    /// # Errors
    /// Where the index fails: then none of them is.
    pub fn apply(mut self) -> Result<TimersState, IndexError> {
        self.batch.put(STATE_KEY.to_vec(), self.state.to_bytes());
        let mut gone = Vec::new();
        for (key, changed) in &self.batch.changes {
            let Some(name) = TimerName::of_key(key) else { continue };
            match (self.timers.index.get(key)?.is_some(), changed.is_some()) {
                (false, true) => self.timers.names.add(name),
                (true, false) => gone.push(name),
                _ => {}
            }
        }
        self.timers.index.apply(self.batch)?;
        gone.into_iter().for_each(|name| self.timers.names.remove(name));
        Ok(self.state)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match self.batch.changes.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.timers.index.get(key),
        }
    }
}

fn entry_key(id: u64) -> Vec<u8> {
    [ENTRY_PREFIX, &id.to_be_bytes()].concat()
}

fn timed_key(prefix: &[u8], at: Timestamp, id: u64) -> Vec<u8> {
    [prefix, &at.0.to_be_bytes(), &id.to_be_bytes()].concat()
}

fn read_timed(prefix: &[u8], key: &[u8]) -> Option<(Timestamp, u64)> {
    let (at, id) = key.strip_prefix(prefix)?.split_first_chunk::<8>()?;
    Some((Timestamp(u64::from_be_bytes(*at)), number(id)?))
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MemoryIndex;

    fn timers() -> Timers {
        Timers::open(Arc::new(MemoryIndex::default())).unwrap()
    }

    fn waiting(timers: &Timers, after: Option<(Timestamp, u64)>) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let mut visit = |at: Timestamp, id, _: &[u8]| {
            found.push((at.0, id));
            true
        };
        timers.waiting(after, &mut visit).unwrap();
        found
    }

    #[test]
    fn what_waits_is_visited_by_time_whatever_the_order_it_came_in() {
        let timers = timers();
        let mut edit = timers.edit().unwrap();
        for (at, id) in [(300, 1), (5, 2), (70_000, 3), (5, 4)] {
            edit.put_due(Timestamp(at), id, b"orders");
        }
        edit.apply().unwrap();
        assert_eq!(waiting(&timers, None), [(5, 2), (5, 4), (300, 1), (70_000, 3)]);
        assert_eq!(waiting(&timers, Some((Timestamp(5), 2))), [(5, 4), (300, 1), (70_000, 3)]);
        let mut edit = timers.edit().unwrap();
        edit.delete_due(Timestamp(5), 2);
        edit.apply().unwrap();
        assert_eq!(waiting(&timers, None), [(5, 4), (300, 1), (70_000, 3)]);
    }

    #[test]
    fn an_edit_sees_its_own_changes_and_deletions() {
        let timers = timers();
        let name = TimerName::new("1", 7);
        let mut edit = timers.edit().unwrap();
        edit.put_entry(1, b"one".to_vec());
        edit.put_name(name, 1);
        assert_eq!(edit.entry(1).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(edit.identified(name).unwrap(), Some(1));
        edit.apply().unwrap();

        let mut edit = timers.edit().unwrap();
        edit.delete_name(name, 2).unwrap();
        assert_eq!(edit.identified(name).unwrap(), Some(1), "another one's name is not taken away");
        edit.delete_name(name, 1).unwrap();
        edit.delete_entry(1);
        assert_eq!((edit.entry(1).unwrap(), edit.identified(name).unwrap()), (None, None));
        edit.state = TimersState { applied: Offset(9), waiting: 1, waiting_bytes: 2, done: 3 };
        let state = edit.apply().unwrap();
        assert_eq!(timers.state().unwrap(), state);
        assert_eq!(timers.entry(1).unwrap(), None);
    }

    #[test]
    fn a_name_finds_all_who_bear_it() {
        let timers = timers();
        let mut edit = timers.edit().unwrap();
        edit.put_name(TimerName::new("a", 1), 10);
        edit.put_name(TimerName::new("a", 2), 11);
        edit.put_name(TimerName::new("b", 3), 12);
        edit.apply().unwrap();
        assert_eq!(timers.named("a").unwrap(), [10, 11]);
        assert_eq!(timers.identified(TimerName::new("a", 2)).unwrap(), Some(11));
        assert_eq!(timers.identified(TimerName::new("c", 2)).unwrap(), None);
        let again = Timers::open(Arc::clone(&timers.index)).unwrap();
        for timers in [&timers, &again] {
            assert!((1..4).all(|number| timers.may_know(TimerName::new("a", number))));
            assert!(!timers.may_know(TimerName::new("a", 9)));
        }
        let mut edit = timers.edit().unwrap();
        edit.delete_name(TimerName::new("b", 3), 12).unwrap();
        edit.apply().unwrap();
        assert!(!timers.may_know(TimerName::new("b", 3)) && timers.may_know(TimerName::new("a", 1)));
    }

    #[test]
    fn a_clear_leaves_nothing_of_it_and_all_of_others() {
        let index: Arc<dyn Index> = Arc::new(MemoryIndex::default());
        let mut other = IndexBatch::default();
        other.put(b"ids/x".to_vec(), b"x".to_vec());
        index.apply(other).unwrap();
        let timers = Timers::open(Arc::clone(&index)).unwrap();
        let mut edit = timers.edit().unwrap();
        for id in 0..ROWS_AT_ONCE as u64 + 5 {
            edit.put_due(Timestamp(id), id, b"");
        }
        edit.put_done(Timestamp(3), 1);
        edit.state.waiting = 5;
        edit.apply().unwrap();
        assert_eq!(timers.oldest_done(5).unwrap(), [(Timestamp(3), 1)]);
        timers.clear().unwrap();
        assert_eq!((waiting(&timers, None), timers.state().unwrap()), (vec![], TimersState::default()));
        assert!(index.get(b"ids/x").unwrap().is_some());
    }
}
