//! Filling a lane: from its topic's feed while it keeps up, from the log while it does not.

use std::collections::VecDeque;
use std::sync::Arc;

use eventail_storage::log::{ReadError, ReadLimit, Record};
use eventail_triggers::pattern::Scratch;
use eventail_triggers::subscription::{Effect, Entry, Offer, Offered, Subscription};
use eventail_wire::{Event, Offset, Timestamp};

use super::{HELD_BYTES_MAX, Lane, State};
use crate::core::feed::{Feed, Incoming, Reach, detached};
use crate::status::Observation;

/// What one read of a lane that lags takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 1 << 20 };
/// What stands between the log and the subscription.
#[derive(Default)]
pub(super) struct Intake {
    /// Matched events that found no room yet.
    waiting: VecDeque<Incoming>,
    /// Everything before this was matched, and what matched is offered or waiting.
    reached: Offset,
    /// Whether the feed fills the waiting ones.
    member: bool,
    scratch: Scratch,
    taken: Vec<Incoming>,
    /// The lane that fills: another one's matches are not its.
    generation: u64,
}

/// Why filling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is no room, or nothing more yet; the feed will wake the lane.
    Waiting,
    /// The lane has read everything and watches the durable end by itself.
    AtEnd,
    /// The log cannot be read now.
    Failed,
    /// More may come in only after this time.
    Paced { wait_ms: u64 },
}

impl Lane {
    /// Offers matched events while there is room for them. Several may fill one lane: each batch is taken by one of them.
    pub(crate) async fn fill(&self, now: Timestamp, feed: Option<(&Arc<Feed>, usize)>) -> Filled {
        loop {
            let from = match self.fill_from_memory(now, feed) {
                Ok(from) => from,
                Err(filled) => return filled,
            };
            let records = match self.log.read_tail(from, READ_LIMIT) {
                Some(records) => Ok(records),
                None => self.log.read(from, READ_LIMIT).await,
            };
            match records {
                Ok(records) => self.take_batch(from, &records),
                Err(ReadError::Trimmed { start, .. }) => self.lose_before(start),
                Err(ReadError::Corrupt { offset, next, .. }) => self.pass_damage(from, offset, next),
                Err(error) => {
                    tracing::warn!(trigger = %self.trigger, topic = %self.topic, %error, "the log cannot be read");
                    return Filled::Failed;
                }
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Offers what is at hand; answers where the log has to be read next, or why not.
    fn fill_from_memory(&self, now: Timestamp, feed: Option<(&Arc<Feed>, usize)>) -> Result<Offset, Filled> {
        let mut intake = self.intake();
        let intake = &mut *intake;
        if intake.generation != self.generation {
            return Err(Filled::Waiting);
        }
        let scanned = self.look(Subscription::scanned);
        if scanned > intake.reached {
            // A skip or a loss moved on: what waits from before is not wanted any more.
            intake.reached = scanned;
            intake.waiting.retain(|incoming| incoming.offset >= scanned);
        }
        loop {
            // What was taken before goes first: taking more on top of it would make the inbox's bound none.
            let takes = intake.waiting.is_empty() && intake.member;
            if takes && let Some((feed, seat)) = feed {
                intake.take(feed, seat);
            }
            self.offer(now, intake)?;
            if takes && intake.member {
                return Err(Filled::Waiting);
            }
            if intake.member {
                continue;
            }
            let end = *self.log.durable_end().borrow();
            let end = self.end.map_or(end, |bound| bound.min(end));
            if intake.reached < end {
                return Ok(intake.reached);
            }
            if self.end.is_some_and(|bound| intake.reached >= bound) {
                // Nothing more comes, however much is appended.
                return Err(Filled::Waiting);
            }
            match feed {
                Some((feed, seat)) if feed.join(seat, intake.reached) => intake.member = true,
                _ => return Err(Filled::AtEnd),
            }
        }
    }

    fn take_batch(&self, from: Offset, records: &[Record]) {
        let mut intake = self.intake();
        // Another one may have taken it meanwhile, or be what takes from now on.
        if intake.reached == from && intake.generation == self.generation {
            intake.select(self, records);
        }
    }

    /// Goes on behind damaged bytes, which begin where it stands.
    fn pass_damage(&self, from: Offset, first: Offset, next: Offset) {
        let mut intake = self.intake();
        if intake.reached != from || intake.generation != self.generation {
            return;
        }
        // What is behind it and was settled before a restart is passed over when it is read; nothing is left unread before it.
        intake.reached = next;
        // The intake stays locked: whoever fills meanwhile would offer what is behind, and nothing would seem lost.
        self.lock().subscription.advance(first);
        self.lose_damaged(first, next);
    }

    /// Offers what waits; the reason where some of it has to go on waiting.
    fn offer(&self, now: Timestamp, intake: &mut Intake) -> Result<(), Filled> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut matched = Vec::new();
        let mut outcome = Ok(());
        while let Some(incoming) = intake.waiting.front() {
            if state.subscription.room() == 0 {
                outcome = Err(Filled::Waiting);
                break;
            }
            if let Some(Err(wait_ms)) = state.pace.as_mut().map(|pace| pace.take(now)) {
                outcome = Err(Filled::Paced { wait_ms });
                break;
            }
            let Incoming { offset, appended_at, event } = incoming;
            let key = self.key.as_ref().and_then(|key| key.key_of(event));
            let offer = Offer {
                offset: *offset,
                appended_at: *appended_at,
                key,
                bytes: event.as_bytes().len(),
                // What an operator asked for again is delivered, expired or not.
                expires_at: if self.redrives || self.replay.is_some() { None } else { event.expires_at() },
                dedup_key: self.dedup_key.as_ref().and_then(|key| key.key_of(event)),
            };
            let offered = state.subscription.take_in(now, &offer, &mut state.effects);
            let is_new = offered == Offered::Pending;
            if offered != Offered::Known && self.observer.is_some() {
                matched.push(*offset);
            }
            // Without room for its payload it is read again: a key that waits must not hold up the others.
            if is_new && state.held_bytes <= HELD_BYTES_MAX {
                state.held_bytes += event.as_bytes().len();
                state.held.insert(*offset, event.clone());
            }
            intake.waiting.pop_front();
        }
        let scanned = intake.waiting.front().map_or(intake.reached, |incoming| incoming.offset);
        state.subscription.advance(scanned);
        let settled = self.take_settled(state);
        if settled || state.subscription.is_checkpoint_due() {
            self.flush(state);
        }
        drop(guard);
        let is_live = !self.redrives && self.replay.is_none();
        if let Some(observer) = self.observer.as_ref().filter(|_| is_live) {
            for offset in matched {
                observer.observe(&Observation::Matched { trigger: self.trigger.clone(), offset });
            }
        }
        outcome
    }

    /// Takes over what was settled by being offered; `false` where nothing was.
    fn take_settled(&self, state: &mut State) -> bool {
        let effects = std::mem::take(&mut state.effects);
        let settled = !effects.is_empty();
        for effect in effects {
            let Effect::Journal(entry) = effect else { continue };
            match entry {
                Entry::Expired { offset } => self.tell_expired(offset),
                Entry::Deduplicated { offset } => self.tell_deduplicated(offset),
                _ => {}
            }
            state.entries.push(entry);
        }
        settled
    }
}

impl Intake {
    /// For this lane of a subscription, which goes on behind what was offered.
    pub(super) fn new(generation: u64, reached: Offset) -> Self {
        Self { generation, reached, ..Self::default() }
    }

    fn take(&mut self, feed: &Feed, seat: usize) {
        let reach = feed.take(seat, &mut self.taken);
        let known = self.reached;
        self.waiting.extend(self.taken.drain(..).filter(|incoming| incoming.offset >= known));
        match reach {
            Reach::Member(position) => self.reached = self.reached.max(position),
            Reach::Left(position) => {
                self.reached = self.reached.max(position);
                self.member = false;
            }
        }
    }

    fn select(&mut self, lane: &Lane, records: &[Record]) {
        let mut matched = Vec::new();
        let first = self.waiting.len();
        let (mut wanted_bytes, mut batch_bytes) = (0, 0);
        for record in records {
            if lane.end.is_some_and(|end| record.offset >= end) {
                break;
            }
            self.reached = record.offset.plus(1);
            batch_bytes += record.payload.len();
            let Ok(event) = Event::from_stored(record.payload.clone()) else { continue };
            lane.matcher.matches(&event, &mut self.scratch, &mut matched);
            if matched.len() == lane.patterns {
                wanted_bytes += record.payload.len();
                self.waiting.push_back(Incoming {
                    offset: record.offset,
                    appended_at: record.appended_at,
                    event,
                });
            }
        }
        if wanted_bytes * 2 < batch_bytes {
            self.waiting
                .iter_mut()
                .skip(first)
                .for_each(|incoming| incoming.event = detached(&incoming.event));
        }
    }
}
