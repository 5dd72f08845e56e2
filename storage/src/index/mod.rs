//! What is looked up by key, and can be rebuilt from the logs at any time.
//!
//! Nothing is ever acknowledged because of the index, and no answer may depend on it having anything: whoever uses it keeps in it
//! how far each log was applied, and applies the rest at start.

pub mod event_ids;
mod memory;
mod name_filter;
mod sled_index;
pub mod timers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use eventail_wire::Code;

pub use memory::MemoryIndex;
pub use sled_index::SledIndex;

/// Why the index did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The folder can be neither used nor put aside.
    #[error("the index in {dir} cannot be opened", dir = dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Another process has the folder open.
    #[error("the index in {dir} is in use by another process: stop it first", dir = dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The engine's file lost its end.
    #[error("the index in {dir} has {found} bytes of {noted}", dir = dir.display())]
    Truncated {
        /// The folder.
        dir: PathBuf,
        /// The bytes that are there.
        found: u64,
        /// The bytes that there were.
        noted: u64,
    },
    /// The engine failed.
    #[error("the index cannot be read or written")]
    Engine(#[source] Box<sled::Error>),
    /// The engine panicked.
    #[error("the index's engine panicked")]
    Panicked,
}

impl IndexError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::Internal
    }

    /// Whether the same call may succeed later: only after a restart, which rebuilds the index.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// Changes that are applied together or not at all. The last one of a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexBatch {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl IndexBatch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// How many keys it changes.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.changes.len()
    }

    /// What this batch would set a key to, if it does.
    #[must_use]
    pub fn pending(&self, key: &[u8]) -> Option<&[u8]> {
        self.changes.get(key)?.as_deref()
    }
}

/// Takes rows of a scan in key order, as long as it answers `true`.
pub type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// An ordered map from bytes to bytes. Calls may block: keep them off async threads unless they are few and small.
pub trait Index: Send + Sync + std::fmt::Debug + 'static {
    /// Whether calls may block at all: one that is in memory needs no other thread.
    fn may_block(&self) -> bool {
        true
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Where the engine fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Applies all changes or none.
    ///
    /// # Errors
    /// Where the engine fails.
    fn apply(&self, batch: IndexBatch) -> Result<(), IndexError>;

    /// Visits the rows whose key begins with `prefix`, in order, from the key `from` on where it is given.
    ///
    /// # Errors
    /// Where the engine fails.
    fn scan(&self, prefix: &[u8], from: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), IndexError>;

    /// Brings what was applied to disk. Only the cost of the next start depends on it.
    ///
    /// # Errors
    /// Where the engine or the disk fails.
    fn flush(&self) -> Result<(), IndexError>;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn exercise(index: &dyn Index) {
        let mut batch = IndexBatch::default();
        for key in ["a/1", "a/2", "a/3", "b/1"] {
            batch.put(key.as_bytes().to_vec(), key.to_uppercase().into_bytes());
        }
        assert_eq!(batch.pending(b"a/1"), Some(&b"A/1"[..]));
        index.apply(batch).unwrap();
        let mut batch = IndexBatch::default();
        batch.delete(b"a/2".to_vec());
        index.apply(batch).unwrap();
        index.flush().unwrap();

        assert_eq!(index.get(b"a/1").unwrap().as_deref(), Some(&b"A/1"[..]));
        assert_eq!(index.get(b"a/2").unwrap(), None);
        let rows = |from: Option<&[u8]>, most: usize| {
            let mut rows = Vec::new();
            let mut visit = |key: &[u8], _: &[u8]| {
                rows.push(String::from_utf8(key.to_vec()).unwrap());
                rows.len() < most
            };
            index.scan(b"a/", from, &mut visit).unwrap();
            rows
        };
        assert_eq!(rows(None, 9), ["a/1", "a/3"]);
        assert_eq!(rows(Some(b"a/2"), 9), ["a/3"]);
        assert_eq!(rows(None, 1), ["a/1"]);
    }

    #[test]
    fn every_engine_keeps_the_contract() {
        exercise(&MemoryIndex::default());
        let dir = tempfile::tempdir().unwrap();
        exercise(&SledIndex::open(&dir.path().join("index")).unwrap());
    }

    #[test]
    fn what_was_flushed_is_there_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut batch = IndexBatch::default();
        batch.put(b"k".to_vec(), b"v".to_vec());
        {
            let index = SledIndex::open(&path).unwrap();
            index.apply(batch).unwrap();
            index.flush().unwrap();
        }
        assert_eq!(SledIndex::open(&path).unwrap().get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn a_folder_whose_file_is_still_locked_is_waited_for_and_never_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut batch = IndexBatch::default();
        batch.put(b"k".to_vec(), b"v".to_vec());
        SledIndex::open(&path).unwrap().apply(batch).unwrap();

        #[allow(clippy::disallowed_methods, reason = "the test plays sled's late thread")]
        let holder = std::fs::File::open(path.join("db")).unwrap();
        holder.lock().unwrap();
        let refused = SledIndex::open_within(&path, Duration::from_millis(5)).unwrap_err();
        assert!(matches!(refused, IndexError::Busy { .. }), "{refused}");

        let opening = std::thread::spawn(move || SledIndex::open(&path).unwrap().get(b"k").unwrap());
        holder.unlock().unwrap();
        assert_eq!(opening.join().unwrap().as_deref(), Some(&b"v"[..]));
        assert!(!dir.path().join("index.corrupt-1").exists(), "nothing was put aside");
    }

    #[test]
    fn a_damaged_folder_is_put_aside_and_an_empty_index_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        {
            let index = SledIndex::open(&path).unwrap();
            let mut batch = IndexBatch::default();
            for number in 0..2_000_u32 {
                batch.put(number.to_be_bytes().to_vec(), vec![7; 100]);
            }
            index.apply(batch).unwrap();
            index.flush().unwrap();
        }
        let database = path.join("db");
        let length = std::fs::metadata(&database).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&database).unwrap().set_len(length / 3).unwrap();

        let index = SledIndex::open(&path).unwrap();
        assert!(dir.path().join("index.corrupt-1").exists(), "the damaged folder is put aside");
        assert!(index.get(&5_u32.to_be_bytes()).unwrap().is_none());
        let mut batch = IndexBatch::default();
        batch.put(b"k".to_vec(), b"v".to_vec());
        index.apply(batch).unwrap();
        assert!(index.get(b"k").unwrap().is_some());
    }

    const BATCHES: u32 = 60;
    const ROWS: u32 = 40;

    fn row(number: u32) -> Vec<u8> {
        let mut value = number.to_be_bytes().repeat(20);
        value.extend_from_slice(b"row");
        value
    }

    /// An index as the broker keeps one: rows, and with each batch of them how far it reaches.
    fn filled(path: &std::path::Path) {
        let index = SledIndex::open(path).unwrap();
        for batch in 0..BATCHES {
            let mut rows = IndexBatch::default();
            for number in batch * ROWS..(batch + 1) * ROWS {
                rows.put([b"row/".as_slice(), &number.to_be_bytes()].concat(), row(number));
            }
            rows.put(b"applied".to_vec(), ((batch + 1) * ROWS).to_be_bytes().to_vec());
            index.apply(rows).unwrap();
            if batch % 20 == 19 {
                index.flush().unwrap();
            }
        }
    }

    /// Whatever happened to its files: it opens, what it says that it has it has, and the rest can be written again.
    fn assert_usable(path: &std::path::Path, what: &str) {
        let index = SledIndex::open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
        let applied =
            index.get(b"applied").unwrap().map_or(0, |value| u32::from_be_bytes(value.try_into().unwrap()));
        for number in 0..applied {
            let key = [b"row/".as_slice(), &number.to_be_bytes()].concat();
            assert_eq!(index.get(&key).unwrap(), Some(row(number)), "{what}: {number} of {applied}");
        }
        let mut batch = IndexBatch::default();
        batch.put(b"applied".to_vec(), (BATCHES * ROWS).to_be_bytes().to_vec());
        index.apply(batch).unwrap();
        index.flush().unwrap();
        drop(index);
        let again = SledIndex::open(path).unwrap();
        assert_eq!(again.get(b"applied").unwrap(), Some((BATCHES * ROWS).to_be_bytes().to_vec()), "{what}");
    }

    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(from, to).unwrap();
            }
        }
    }

    fn files(dir: &std::path::Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
        files.sort();
        files
    }

    #[test]
    fn whatever_happens_to_the_files_the_index_opens_and_tells_nothing_wrong() {
        let home = tempfile::tempdir().unwrap();
        let whole = home.path().join("whole");
        filled(&whole);
        let mut tried = 0;
        for (number, file) in files(&whole).into_iter().enumerate() {
            let bytes = std::fs::read(&file).unwrap();
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            for part in 0..6 {
                let at = used * part / 6;
                let changes: [(&str, Vec<u8>); 4] = [
                    ("cut off", bytes[..at].to_vec()),
                    (
                        "flipped",
                        bytes.iter().enumerate().map(|(place, byte)| byte ^ u8::from(place == at)).collect(),
                    ),
                    (
                        "zeroed",
                        bytes
                            .iter()
                            .enumerate()
                            .map(|(place, &byte)| if place / 512 == at / 512 { 0 } else { byte })
                            .collect(),
                    ),
                    ("foreign", b"#!/bin/sh\n".repeat(at + 1)),
                ];
                for (what, changed) in changes {
                    tried += 1;
                    let dir = home.path().join(format!("{tried}"));
                    copy(&whole, &dir);
                    let place = file.strip_prefix(&whole).unwrap();
                    std::fs::write(dir.join(place), changed).unwrap();
                    assert_usable(&dir, &format!("file {number} ({}) {what} at {at}", place.display()));
                    std::fs::remove_dir_all(&dir).unwrap();
                }
            }
        }
        assert!(tried >= 48, "{tried}");
    }

    #[test]
    fn a_missing_file_of_the_index_costs_nothing_but_the_rebuilding() {
        let home = tempfile::tempdir().unwrap();
        let whole = home.path().join("whole");
        filled(&whole);
        for (number, file) in files(&whole).into_iter().enumerate() {
            let dir = home.path().join(format!("{number}"));
            copy(&whole, &dir);
            std::fs::remove_file(dir.join(file.strip_prefix(&whole).unwrap())).unwrap();
            assert_usable(&dir, &format!("without {}", file.display()));
        }
    }
}
