//! The index in memory: for tests, and where the disk has no place for one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::{Index, IndexBatch, IndexError, RowVisitor};

/// An index that a restart loses.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Index for MemoryIndex {
    fn may_block(&self) -> bool {
        false
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn apply(&self, batch: IndexBatch) -> Result<(), IndexError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn scan(&self, prefix: &[u8], from: Option<&[u8]>, visit: &mut RowVisitor<'_>) -> Result<(), IndexError> {
        let begin = from.filter(|from| *from > prefix).unwrap_or(prefix);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in rows.range::<[u8], _>((Bound::Included(begin), Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
