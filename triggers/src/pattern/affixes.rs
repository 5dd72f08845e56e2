//! Beginnings or ends of texts, looked up once for each length that there is.

use std::collections::HashMap;

use super::paths::Hashing;

/// Beginnings, or ends, and what each leads to.
#[derive(Debug, Default)]
pub(super) struct Affixes {
    goals: HashMap<Box<[u8]>, usize, Hashing>,
    /// The lengths that they have, ascending.
    lengths: Vec<usize>,
}

impl Affixes {
    pub(super) fn insert(&mut self, affix: &[u8], goal: usize) {
        self.goals.insert(affix.into(), goal);
        if let Err(at) = self.lengths.binary_search(&affix.len()) {
            self.lengths.insert(at, affix.len());
        }
    }

    pub(super) fn get(&self, affix: &[u8]) -> Option<usize> {
        self.goals.get(affix).copied()
    }

    /// Calls `each` with the goal of every beginning that the text has.
    pub(super) fn find_beginnings(&self, text: &[u8], each: &mut impl FnMut(usize)) {
        for &length in &self.lengths {
            let Some(beginning) = text.get(..length) else { return };
            if let Some(&goal) = self.goals.get(beginning) {
                each(goal);
            }
        }
    }

    /// The same for ends.
    pub(super) fn find_ends(&self, text: &[u8], each: &mut impl FnMut(usize)) {
        for &length in &self.lengths {
            let Some(start) = text.len().checked_sub(length) else { return };
            if let Some(&goal) = self.goals.get(&text[start..]) {
                each(goal);
            }
        }
    }
}
