//! Where one event stands, for people who ask: settled, not read yet, or pending and what it waits for.
//!
//! It is asked now and then and may look through all pending events; nothing of the delivery path uses it.

use eventail_wire::{Offset, Timestamp};

use super::Subscription;
use super::entry::Tries;
use super::slots::Place;

/// Where one event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It was not offered yet, or it did not match.
    Ahead,
    /// Nothing more happens to it: it was delivered, given up, expired or passed over, or it did not match.
    Settled,
    /// It matched and is not settled.
    Pending {
        /// What it waits for.
        wait: Wait,
        /// What became of earlier attempts.
        tries: Option<Box<Tries>>,
    },
}

/// What a pending event waits for. Beyond that, what holds the whole subscription holds it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For its turn.
    Turn,
    /// For this event, which has its key and came before it.
    Behind(Offset),
    /// For the other events of its batch.
    Batch,
    /// For this time.
    Until(Timestamp),
    /// For an attempt that is under way.
    Attempt {
        /// When it began.
        since: Timestamp,
        /// When it ends at the latest.
        deadline: Timestamp,
    },
    /// For its dead letter to be written.
    DeadLetter,
}

impl Subscription {
    /// Where the event at `offset` stands. Those that did not match are not told from those that were settled.
    #[must_use]
    pub fn whereabouts(&self, offset: Offset) -> Whereabouts {
        if let Some(index) = self.window.find(offset, &self.slots) {
            return self.pending(index);
        }
        if offset < self.scanned || self.settled_ahead.end_of(offset).is_some() {
            return Whereabouts::Settled;
        }
        // Known from before a restart, and not read again yet.
        self.retries_ahead.get(&offset).map_or(Whereabouts::Ahead, |tries| Whereabouts::Pending {
            wait: Wait::Until(tries.due),
            tries: Some(Box::new(tries.clone())),
        })
    }

    fn pending(&self, index: u32) -> Whereabouts {
        let slot = self.slots.get(index);
        let wait = match slot.place {
            Place::Fresh | Place::Free => Wait::Turn,
            Place::Behind => {
                let mut of_its_key =
                    self.window.iter(&self.slots).filter(|&(_, other)| self.slots.get(other).key == slot.key);
                of_its_key.next().map_or(Wait::Turn, |(head, _)| Wait::Behind(head))
            }
            Place::Grouped => Wait::Batch,
            Place::Waiting(due) => Wait::Until(due),
            Place::Leased(held) => Wait::Attempt { since: held.leased_at, deadline: held.deadline },
            Place::Dead => Wait::DeadLetter,
        };
        Whereabouts::Pending { wait, tries: slot.tries.clone() }
    }
}
