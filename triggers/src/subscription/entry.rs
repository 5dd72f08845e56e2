//! What the delivery machine asks to be done and remembered: effects, and the entries of the journal.

use eventail_wire::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

use super::breaker::OpenBreaker;
use super::state::State;
use crate::outcome::{RejectReason, Response, RetryClass};

/// What became of the attempts at one event so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// Attempts that count against `max_attempts`.
    pub burnt: u32,
    /// Attempts in all; those that a throttle or an outage ended are among them.
    pub made: u32,
    /// When the first attempt began.
    pub first_at: Timestamp,
    /// When the last attempt began.
    pub last_at: Timestamp,
    /// When the next one is due; `Timestamp(0)` is at once.
    pub due: Timestamp,
    /// How the last attempt failed.
    pub class: RetryClass,
    /// What the target said.
    #[serde(with = "response_fields")]
    pub response: Response,
}

/// What an event gets back because an outage made it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenBack {
    /// Which event.
    pub offset: Offset,
    /// The attempts that the outage burnt.
    pub attempts: u32,
    /// When the next one is due now.
    pub due: Timestamp,
}

/// An event that is given up, with all but its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterOrder {
    /// The event's place.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Why it is given up.
    pub reason: RejectReason,
    /// The class of the last failure, where it was one that is retried.
    pub class: Option<RetryClass>,
    /// Which try was the last one, counted from 1; throttles and outages do not count.
    pub attempts: u32,
    /// When the first attempt began.
    pub first_attempt_at: Timestamp,
    /// When the last attempt began.
    pub last_attempt_at: Timestamp,
    /// What the target said last.
    pub response: Response,
}

/// What must happen outside because of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this to the journal, in the order in which the entries came.
    Journal(Entry),
    /// Append and sync this dead letter, then call [`super::Subscription::dead_letter_written`].
    DeadLetter(Box<DeadLetterOrder>),
}

/// What the failure of one of several events of a call says of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallPart {
    /// It stands for its call: the breaker counts it. Nothing was burnt.
    Counts,
    /// Another one stands for the call. What was burnt is given back if it was an outage.
    Along,
    /// Nothing.
    Apart,
}

/// One change of the durable state. [`super::Snapshot::apply`] replays it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The target took `count` events that lie side by side.
    #[serde(rename = "d")]
    Delivered {
        /// The first of them.
        first: Offset,
        /// How many.
        count: u64,
    },
    /// An attempt failed, and the event will be tried again.
    #[serde(rename = "r")]
    Retried {
        /// Which event.
        offset: Offset,
        /// What became of its attempts so far.
        tries: Box<Tries>,
    },
    /// A call with several events failed, and this one of them will be tried again.
    #[serde(rename = "w")]
    RetriedWithin {
        /// Which event.
        offset: Offset,
        /// What became of its attempts so far.
        tries: Box<Tries>,
        /// What its failure says of the target.
        part: CallPart,
    },
    /// The event's dead letter is durable.
    #[serde(rename = "x")]
    DeadLettered {
        /// Which event.
        offset: Offset,
    },
    /// The target took the event, and later ones with its business key are repeats of it.
    #[serde(rename = "o")]
    DeliveredOnce {
        /// Which event.
        offset: Offset,
        /// When it was appended.
        at: Timestamp,
        /// The two halves of its key.
        key: (u64, u64),
    },
    /// The event's `expirytime` was over.
    #[serde(rename = "e")]
    Expired {
        /// Which event.
        offset: Offset,
    },
    /// The event is a repeat of another one, and is not delivered.
    #[serde(rename = "u")]
    Deduplicated {
        /// Which event.
        offset: Offset,
    },
    /// The target answered, though it did not take the event: what failed before was no outage.
    #[serde(rename = "a")]
    Answered,
    /// The breaker opened, stayed open or closed (`None`).
    #[serde(rename = "b")]
    Breaker {
        /// Until when, if it is open.
        open: Option<OpenBreaker>,
        /// The events whose failures made it an outage.
        given_back: Vec<GivenBack>,
    },
    /// The target throttles.
    #[serde(rename = "h")]
    Held {
        /// Nothing goes out before.
        until: Option<Timestamp>,
        /// Throttles in a row.
        throttles: u32,
    },
    /// The subscription was paused, resumed, disabled or stopped.
    #[serde(rename = "s")]
    State {
        /// What it is now.
        state: State,
        /// Why.
        reason: Option<String>,
    },
    /// Everything before `to` was passed over.
    #[serde(rename = "k")]
    Skipped {
        /// The new least cursor.
        to: Offset,
        /// Pending events among them.
        expired: u64,
    },
    /// Retention took what lies before `start`.
    #[serde(rename = "l")]
    Lost {
        /// The first offset that is kept.
        start: Offset,
        /// Events that were never read.
        lost: u64,
        /// Pending events.
        expired: u64,
    },
    /// What is stored at these offsets is damaged.
    #[serde(rename = "g")]
    Damaged {
        /// The first of them.
        first: Offset,
        /// The first offset behind them.
        next: Offset,
        /// Events that were never read.
        lost: u64,
        /// Pending events.
        expired: u64,
    },
    /// Everything before `scanned` is settled or did not match, except these. It makes replay's memory small.
    #[serde(rename = "c")]
    Checkpoint {
        /// The next offset to be matched.
        scanned: Offset,
        /// The pending events before it, in order.
        pending: Vec<Offset>,
    },
}

impl Entry {
    /// Puts deliveries that follow each other in `entries` into as few ranges as possible. The order of all others, and
    /// of deliveries among them, stays: replay depends on it.
    pub fn merge(entries: &mut Vec<Self>) {
        for run in entries.chunk_by_mut(|a, b| a.is_delivery() && b.is_delivery()) {
            run.sort_unstable_by_key(|entry| match entry {
                Self::Delivered { first, .. } => *first,
                _ => Offset(0),
            });
        }
        entries.dedup_by(|later, earlier| match (earlier, later) {
            (Self::Delivered { first, count }, Self::Delivered { first: next, count: more })
                if first.plus(*count) == *next =>
            {
                *count += *more;
                true
            }
            _ => false,
        });
    }

    const fn is_delivery(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }
}

/// A response as four plain fields: [`Response`] leaves empty fields out, which only a format with field names bears.
mod response_fields {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::outcome::Response;

    pub(super) fn serialize<S: Serializer>(response: &Response, serializer: S) -> Result<S::Ok, S::Error> {
        (response.status, &response.body, &response.error, &response.log).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Response, D::Error> {
        let (status, body, error, log) = Deserialize::deserialize(deserializer)?;
        Ok(Response { status, body, error, log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(first: u64, count: u64) -> Entry {
        Entry::Delivered { first: Offset(first), count }
    }

    #[test]
    fn deliveries_side_by_side_become_one_range() {
        let mut entries = vec![delivered(3, 1), delivered(1, 1), delivered(2, 1), delivered(9, 1)];
        Entry::merge(&mut entries);
        assert_eq!(entries, [delivered(1, 3), delivered(9, 1)]);
    }

    #[test]
    fn deliveries_do_not_move_past_other_entries() {
        let mut entries = vec![delivered(2, 1), Entry::Answered, delivered(1, 1), delivered(3, 1)];
        let before = entries.clone();
        Entry::merge(&mut entries);
        assert_eq!(entries, before);
    }
}
