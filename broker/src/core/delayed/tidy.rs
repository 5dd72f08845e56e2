//! Keeping the log of delayed events in proportion to what waits.
//!
//! One event that waits for a year must not keep everything that came after it. So when more of the log is over than waits, a pass goes
//! through it from the front: what still counts is written again at the end, and what lies before goes, segment by segment. A crash
//! leaves some of it twice, with the later one right.

use eventail_storage::log::Record;
use eventail_wire::{Offset, Timestamp};

use super::book::{Book, Entry};
use super::note::{HeldHeader, Note};
use super::{Delayed, READ_LIMIT, lock};
use crate::core::BrokerError;

/// What an entry that is remembered takes in the log, about.
const REMEMBERED_BYTES: u64 = 512;

/// How far the log was tidied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tidied {
    /// What still counts of the records before this one was written again.
    to: Offset,
    /// The end of the log when the pass that is under way began.
    pub(super) pass_to: Offset,
    /// The log's bytes when the last pass ended.
    bytes: u64,
}

impl Delayed {
    /// Goes one step through the log where that is worth it; `true` where another one should follow at once.
    pub(super) async fn tidy(&self, now: Timestamp) -> bool {
        if !self.is_worth_a_step() {
            return false;
        }
        match self.tidy_step(now).await {
            Ok(()) => {
                let tidied = *lock(&self.tidied);
                tidied.to < tidied.pass_to
            }
            Err(error) => {
                tracing::warn!(%error, "the log of delayed events was not tidied; it is tried again");
                false
            }
        }
    }

    /// Whether a pass is under way, or should begin. After a pass the log must have grown before there is another.
    fn is_worth_a_step(&self) -> bool {
        let tidied = *lock(&self.tidied);
        if tidied.to < tidied.pass_to {
            return true;
        }
        let totals = self.totals();
        let counts = totals.waiting_bytes + totals.done * REMEMBERED_BYTES;
        let bytes = self.log.status().bytes;
        let slack = self.tuning.slack_bytes;
        let is_worth = bytes > 2 * counts + slack && bytes > tidied.bytes + slack / 2;
        if is_worth {
            lock(&self.tidied).pass_to = *self.log.durable_end().borrow();
        }
        is_worth
    }

    async fn tidy_step(&self, now: Timestamp) -> Result<(), BrokerError> {
        // What is looked at must not be released or cancelled before it is written again: its end would come before it.
        let _deciding = self.deciding.lock().await;
        self.catch_up().await?;
        let Tidied { to, pass_to, .. } = *lock(&self.tidied);
        let from = to.max(self.log.status().range.start);
        let records = self.read(from, READ_LIMIT).await?;
        let Some(last) = records.last().map(|last| last.offset) else { return Ok(()) };
        let again = self.ask(move |book| still_counting(book, &records, now)).await?;
        if !again.is_empty() {
            self.append(&again).await?;
            self.catch_up().await?;
        }
        let to = last.plus(1);
        self.log
            .trim(to)
            .await
            .map_err(|source| BrokerError::Append { log: super::DELAYED_LOG.to_owned(), source })?;
        let mut tidied = lock(&self.tidied);
        tidied.to = to;
        if to >= pass_to {
            tidied.bytes = self.log.status().bytes;
            tracing::debug!(bytes = tidied.bytes, "the log of delayed events was tidied");
        }
        Ok(())
    }
}

/// What of these records has to be written again.
fn still_counting(
    book: &Book,
    records: &[Record],
    now: Timestamp,
) -> Result<Vec<Note>, eventail_storage::index::IndexError> {
    let mut again = Vec::new();
    for record in records {
        let (id, held) = match Note::read(&record.payload) {
            Some(Note::Held(header, event)) => {
                (header.id.unwrap_or(eventail_wire::HeldId(record.offset.0)), Some((header, event)))
            }
            Some(Note::Done(entry)) => (entry.event.id, None),
            // Ends come behind what they end, of which everything that counts was written again before.
            _ => continue,
        };
        let Some(entry) = book.entry(id)?.filter(|entry| entry.place == record.offset) else { continue };
        match held {
            Some((header, event)) if entry.is_held() => {
                again.push(Note::Held(HeldHeader { id: Some(id), ..header }, event));
            }
            _ if entry.is_remembered(now) => again.push(Note::Done(Entry { place: Offset(0), ..entry })),
            _ => {}
        }
    }
    Ok(again)
}
