//! The pending events in offset order. The front is the cursor.
//!
//! Settled events are taken out lazily: at once where they are at the front, else when they are the greater part. An
//! event that is retried for hours therefore keeps the cursor back, but never makes the window grow with what passes.

use std::collections::VecDeque;

use eventail_wire::Offset;

use super::slots::Slots;

/// Below this many a window is not worth compacting.
const COMPACT_MIN: usize = 1_024;

/// Pending events in offset order, with some settled ones between them. The front is pending.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<(Offset, u32)>,
}

impl Window {
    /// Adds an event behind all others.
    pub(super) fn push(&mut self, offset: Offset, index: u32) {
        debug_assert!(self.entries.back().is_none_or(|(last, _)| *last < offset), "offered in offset order");
        self.entries.push_back((offset, index));
    }

    /// How many places it takes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The oldest pending event.
    pub(super) fn front(&self) -> Option<(Offset, u32)> {
        self.entries.front().copied()
    }

    /// The pending events, in order.
    pub(super) fn iter<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = (Offset, u32)> + 'a {
        self.entries.iter().copied().filter(|&(offset, index)| slots.holds(index, offset))
    }

    /// The slot of a pending event.
    pub(super) fn find(&self, offset: Offset, slots: &Slots) -> Option<u32> {
        let at = self.entries.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        let (_, index) = self.entries[at];
        slots.holds(index, offset).then_some(index)
    }

    /// To be called after slots were freed: moves the front to the oldest pending event. Amortised constant time.
    pub(super) fn settle(&mut self, slots: &Slots) {
        while let Some(&(offset, index)) = self.entries.front() {
            if slots.holds(index, offset) {
                break;
            }
            self.entries.pop_front();
        }
        if self.entries.len() > COMPACT_MIN && self.entries.len() > 2 * slots.len() {
            self.entries.retain(|&(offset, index)| slots.holds(index, offset));
        }
    }
}
