//! What the log of delayed events says, kept in the index: who waits, until when, and what became of those that no longer do.
//!
//! [`Book::apply`] is the one way in which anything gets into it, while the broker runs and when it is rebuilt: so it is always what
//! the log says up to some record, and can be deleted. It blocks; callers keep it off the async threads.

use std::collections::HashSet;

use eventail_storage::index::IndexError;
use eventail_storage::index::timers::{Edit, ROWS_AT_ONCE, TimerName, Timers, TimersState};
use eventail_storage::log::Record;
use eventail_wire::{Event, HeldId, Offset, Timestamp, TopicName, limits};
use rapidhash::v3::rapidhash_v3;
use serde::{Deserialize, Serialize};

use super::note::{HeldHeader, Note};
use crate::status::{DelayedEvent, DelayedFilter, DelayedState};

/// What a held event costs beside its own bytes, in its log.
const OVERHEAD_BYTES: u64 = 128;
/// How many of the oldest that are done are looked at for whether they can be forgotten, whenever something is applied.
const FORGET_AT_ONCE: usize = 64;

/// What the index has of one delayed event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What is told of it.
    pub(super) event: DelayedEvent,
    /// Its newest record in the log.
    pub(super) place: Offset,
    /// How long a repeat of it is recognised after it went to its topic.
    pub(super) window_ms: u64,
    /// Stands for topic, source and id.
    pub(super) identity: u64,
}

impl Entry {
    pub(super) fn new(header: &HeldHeader, event: &Event, id: HeldId, place: Offset) -> Self {
        Self {
            event: DelayedEvent {
                id,
                topic: header.topic.clone(),
                deliver_at: header.deliver_at,
                held_at: header.held_at,
                event_id: event.id().to_owned(),
                event_source: event.source().to_owned(),
                event_type: event.event_type().to_owned(),
                bytes: event.as_bytes().len() as u64,
                state: DelayedState::Held,
                ended_at: None,
                offset: None,
            },
            place,
            window_ms: header.window_ms,
            identity: identity(&header.topic, event),
        }
    }

    /// Whether it is still known: it is held, or it was, and a repeat of it would still be recognised.
    pub(super) fn is_remembered(&self, now: Timestamp) -> bool {
        self.event.ended_at.is_none_or(|ended| now.since_ms(ended) <= self.window_ms)
    }

    pub(super) fn is_held(&self) -> bool {
        self.event.state == DelayedState::Held
    }

    /// Where repeats are not recognised each event is its own.
    fn name(&self) -> TimerName {
        let identity = if self.window_ms > 0 { self.identity } else { self.event.id.0 };
        TimerName::new(&self.event.event_id, u128::from(identity))
    }

    fn cost(&self) -> u64 {
        self.event.bytes + OVERHEAD_BYTES
    }
}

/// What holding an event counts against `limits.delayed_bytes_max`.
pub(super) fn cost_of(event: &Event) -> u64 {
    event.as_bytes().len() as u64 + OVERHEAD_BYTES
}

fn identity(topic: &TopicName, event: &Event) -> u64 {
    let fingerprint = event.fingerprint();
    let topic = u128::from(rapidhash_v3(topic.as_str().as_bytes()));
    let mixed = fingerprint ^ topic ^ topic.rotate_left(64);
    rapidhash_v3(&mixed.to_le_bytes())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    timers: Timers,
}

impl Book {
    pub(super) const fn new(timers: Timers) -> Self {
        Self { timers }
    }

    pub(super) fn state(&self) -> Result<TimersState, IndexError> {
        self.timers.state()
    }

    /// Forgets everything: the log is then applied from its beginning.
    pub(super) fn clear(&self) -> Result<(), IndexError> {
        self.timers.clear()
    }

    /// Applies the next records of the log, some at a time.
    pub(super) fn apply(&self, records: &[Record]) -> Result<TimersState, IndexError> {
        let mut records = records.iter();
        loop {
            let state = self.apply_some(&mut records)?;
            if records.len() == 0 {
                return Ok(state);
            }
        }
    }

    fn apply_some(&self, records: &mut std::slice::Iter<'_, Record>) -> Result<TimersState, IndexError> {
        let mut edit = self.timers.edit()?;
        let mut now = Timestamp::default();
        while edit.rows() < ROWS_AT_ONCE
            && let Some(record) = records.next()
        {
            now = now.max(record.appended_at);
            edit.state.applied = record.offset.plus(1);
            let Some(note) = Note::read(&record.payload) else {
                tracing::error!(offset = %record.offset, "a record of the log of delayed events cannot be read");
                continue;
            };
            match note {
                Note::Held(header, event) => hold(&mut edit, &header, &event, record.offset)?,
                Note::Released { at, events } => {
                    for (id, offset) in events {
                        end(&mut edit, id, DelayedState::Released, at, Some(offset))?;
                    }
                }
                Note::Cancelled { at, id } => end(&mut edit, id, DelayedState::Cancelled, at, None)?,
                Note::Done(entry) => remember(&mut edit, entry, record.offset)?,
            }
        }
        self.forget(&mut edit, now)?;
        edit.apply()
    }

    /// Lets go of the oldest that are done and need not be known any more.
    fn forget(&self, edit: &mut Edit<'_>, now: Timestamp) -> Result<(), IndexError> {
        for (at, id) in self.timers.oldest_done(FORGET_AT_ONCE)? {
            let Some(entry) = read(edit.entry(id)?) else { continue };
            let are_too_many = edit.state.done > limits::DELAYED_REMEMBERED_MAX as u64;
            if are_too_many || !entry.is_remembered(now) {
                edit.delete_done(at, id);
                edit.delete_entry(id);
                edit.delete_name(entry.name(), id)?;
                edit.state.done = edit.state.done.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// An entry by its handle.
    pub(super) fn entry(&self, id: HeldId) -> Result<Option<Entry>, IndexError> {
        Ok(read(self.timers.entry(id.0)?))
    }

    /// Whether an event may be a repeat; from memory, and `false` is certain.
    pub(super) fn may_be_repeated(&self, topic: &TopicName, event: &Event) -> bool {
        self.timers.knows_any()
            && self.timers.may_know(TimerName::new(event.id(), u128::from(identity(topic, event))))
    }

    /// What an event would be a repeat of, if its topic recognised repeats.
    pub(super) fn repeated(
        &self,
        topic: &TopicName,
        event: &Event,
        now: Timestamp,
    ) -> Result<Option<Entry>, IndexError> {
        let name = TimerName::new(event.id(), u128::from(identity(topic, event)));
        let Some(id) = self.timers.identified(name)? else { return Ok(None) };
        Ok(self.entry(HeldId(id))?.filter(|entry| entry.is_remembered(now)))
    }

    /// Held events with this id of theirs.
    pub(super) fn named(&self, event_id: &str) -> Result<Vec<DelayedEvent>, IndexError> {
        let mut found = Vec::new();
        for id in self.timers.named(event_id)? {
            let entry = self.entry(HeldId(id))?;
            let is_it = |entry: &Entry| entry.is_held() && entry.event.event_id == event_id;
            found.extend(entry.filter(is_it).map(|entry| entry.event));
        }
        Ok(found)
    }

    /// Who is due, in order, at most `limit`, those of some topics left out; and when the next one is due that was not answered.
    pub(super) fn due(
        &self,
        now: Timestamp,
        limit: usize,
        without: &HashSet<TopicName>,
    ) -> Result<(Vec<HeldId>, Option<Timestamp>), IndexError> {
        let (mut due, mut next) = (Vec::new(), None);
        self.timers.waiting(None, &mut |at, id, topic| {
            if without.iter().any(|topic_left_out| topic_left_out.as_str().as_bytes() == topic) {
                return true;
            }
            if at > now || due.len() == limit {
                next = Some(at);
                return false;
            }
            due.push(HeldId(id));
            true
        })?;
        Ok((due, next))
    }

    /// Held events that the filter chooses, by their time, behind `after`, at most `limit`.
    pub(super) fn list(
        &self,
        filter: &DelayedFilter,
        after: Option<(Timestamp, HeldId)>,
        limit: usize,
    ) -> Result<Vec<DelayedEvent>, IndexError> {
        let mut ids = Vec::new();
        self.timers.waiting(after.map(|(at, id)| (at, id.0)), &mut |at, id, topic| {
            if filter.until.is_some_and(|until| at >= until) {
                return false;
            }
            if filter.topic.as_ref().is_none_or(|wanted| wanted.as_str().as_bytes() == topic) {
                ids.push(HeldId(id));
            }
            ids.len() < limit
        })?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            // What was released meanwhile is left out.
            found.extend(self.entry(id)?.filter(Entry::is_held).map(|entry| entry.event));
        }
        Ok(found)
    }
}

fn hold(edit: &mut Edit<'_>, header: &HeldHeader, event: &Event, at: Offset) -> Result<(), IndexError> {
    let id = header.id.unwrap_or(HeldId(at.0));
    if let Some(mut known) = read(edit.entry(id.0)?) {
        // It was written again, so that its first record can go.
        if known.is_held() {
            known.place = at;
            edit.put_entry(id.0, pack(&known));
        }
        return Ok(());
    }
    let entry = Entry::new(header, event, id, at);
    if header.id.is_some() {
        give_way(edit, &entry)?;
    } else if let Some(other) = edit.identified(entry.name())?
        && read(edit.entry(other)?).is_some_and(|other| other.is_remembered(header.held_at))
    {
        return Ok(());
    }
    edit.put_entry(id.0, pack(&entry));
    edit.put_name(entry.name(), id.0);
    edit.put_due(header.deliver_at, id.0, header.topic.as_str().as_bytes());
    edit.state.waiting += 1;
    edit.state.waiting_bytes += entry.cost();
    Ok(())
}

/// Takes out whoever has the identity of an entry that was written again. While its first record was there it came first; now that
/// the record is gone a repeat of it, which was never taken, has been found before it.
fn give_way(edit: &mut Edit<'_>, entry: &Entry) -> Result<(), IndexError> {
    let Some(id) = edit.identified(entry.name())?.filter(|id| *id != entry.event.id.0) else { return Ok(()) };
    let Some(repeat) = read(edit.entry(id)?).filter(Entry::is_held) else { return Ok(()) };
    edit.delete_due(repeat.event.deliver_at, id);
    edit.delete_entry(id);
    edit.state.waiting = edit.state.waiting.saturating_sub(1);
    edit.state.waiting_bytes = edit.state.waiting_bytes.saturating_sub(repeat.cost());
    Ok(())
}

fn end(
    edit: &mut Edit<'_>,
    id: HeldId,
    state: DelayedState,
    at: Timestamp,
    offset: Option<Offset>,
) -> Result<(), IndexError> {
    let Some(mut entry) = read(edit.entry(id.0)?).filter(Entry::is_held) else { return Ok(()) };
    edit.delete_due(entry.event.deliver_at, id.0);
    edit.state.waiting = edit.state.waiting.saturating_sub(1);
    edit.state.waiting_bytes = edit.state.waiting_bytes.saturating_sub(entry.cost());
    if state == DelayedState::Cancelled {
        // It never happened: the same event may be published anew.
        edit.delete_name(entry.name(), id.0)?;
    }
    entry.event = DelayedEvent { state, ended_at: Some(at), offset, ..entry.event };
    edit.put_entry(id.0, pack(&entry));
    edit.put_done(at, id.0);
    edit.state.done += 1;
    Ok(())
}

fn remember(edit: &mut Edit<'_>, entry: Entry, at: Offset) -> Result<(), IndexError> {
    let (id, Some(ended_at)) = (entry.event.id.0, entry.event.ended_at) else { return Ok(()) };
    let entry = Entry { place: at, ..entry };
    if edit.entry(id)?.is_none() {
        if entry.event.state == DelayedState::Released {
            give_way(edit, &entry)?;
            edit.put_name(entry.name(), id);
        }
        edit.put_done(ended_at, id);
        edit.state.done += 1;
    }
    edit.put_entry(id, pack(&entry));
    Ok(())
}

fn pack(entry: &Entry) -> Vec<u8> {
    rmp_serde::to_vec(entry).expect("plain data always encodes into memory")
}

fn read(bytes: Option<Vec<u8>>) -> Option<Entry> {
    rmp_serde::from_slice(&bytes?).ok()
}
