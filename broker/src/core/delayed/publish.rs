//! Holding the events of a publish.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use eventail_storage::index::IndexError;
use eventail_storage::log::Appended;
use eventail_wire::event::delay::{DELIVER_AFTER, Delay};
use eventail_wire::{Event, HeldId, Timestamp, TopicName, limits};

use super::book::{Book, Entry, cost_of};
use super::lock;
use super::note::{HeldHeader, Note};
use crate::core::topic::{Appending, Topic, check_batch};
use crate::core::topics::topic_options;
use crate::core::{BrokerError, Core};
use crate::status::{DelayedState, Published};

/// One event of a publish.
struct Arrival {
    event: Event,
    /// Until when it is to be held; `None` where it goes at once.
    until: Option<Timestamp>,
    /// What it is a repeat of, if it is one.
    repeats: Option<Entry>,
    /// Its handle, once it is in the log.
    id: Option<HeldId>,
}

/// Room for events that are on their way into the log, until it is dropped.
struct Room {
    arriving: Arc<Mutex<(u64, u64)>>,
    events: u64,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut arriving = lock(&self.arriving);
        *arriving = (arriving.0 - self.events, arriving.1 - self.bytes);
    }
}

impl Core {
    /// A publish of which some events say when they are to be delivered. All or none are taken.
    pub(in crate::core) async fn publish_delayed(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, BrokerError> {
        let (now, limits) = (self.clock.now(), self.config().limits.clone());
        let mut arrivals = arrivals(events, now)?;
        let window_ms = topic_options(&self.config(), &topic.name).dedup_window_ms;
        if window_ms > 0 {
            self.find_repeats(topic, &mut arrivals, now).await?;
        }
        if arrivals.iter().all(|arrival| arrival.until.is_none() && arrival.repeats.is_none()) {
            let events: Vec<Event> = arrivals.into_iter().map(|arrival| arrival.event).collect();
            return self.append_now(topic, &events).await;
        }
        let events: Vec<Event> = arrivals.iter().map(|arrival| arrival.event.clone()).collect();
        let bytes = check_batch(&events, &limits)?;
        let to_hold: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.repeats.is_none()).collect();
        let _room = self.room_for(&to_hold)?;
        let in_flight = self.in_flight.enter(bytes, limits.in_flight_bytes_max)?;
        let header = |until| HeldHeader {
            id: None,
            topic: topic.name.clone(),
            deliver_at: until,
            held_at: now,
            window_ms,
        };
        let note =
            |arrival: &&Arrival| Note::Held(header(arrival.until.unwrap_or(now)), arrival.event.clone());
        let notes: Vec<Note> = to_hold.iter().map(note).collect();
        let places = Appending::new(self.delayed.append(&notes), in_flight).await?;
        for (arrival, place) in arrivals.iter_mut().filter(|arrival| arrival.repeats.is_none()).zip(places) {
            arrival.id = Some(HeldId(place.offset.0));
        }
        self.delayed.catch_up().await?;
        self.delayed.metrics.held.increment(notes.len() as u64);
        if let Some(next) = arrivals.iter().filter_map(|arrival| arrival.until).min() {
            self.delayed.note_next(next);
        }
        self.answers(topic, arrivals, now).await
    }

    async fn find_repeats(
        &self,
        topic: &Topic,
        arrivals: &mut [Arrival],
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let events: Vec<Event> = arrivals.iter().map(|arrival| arrival.event.clone()).collect();
        let topic = topic.name.clone();
        let ask = move |book: &super::Book| {
            events.iter().map(|event| book.repeated(&topic, event, now)).collect::<Result<Vec<_>, _>>()
        };
        let found = self.delayed.ask(ask).await?;
        for (arrival, repeats) in arrivals.iter_mut().zip(found) {
            arrival.repeats = repeats;
        }
        Ok(())
    }

    /// Takes room for these events, within the limits.
    fn room_for(&self, arrivals: &[&Arrival]) -> Result<Room, BrokerError> {
        let events = arrivals.len() as u64;
        let bytes = arrivals.iter().map(|arrival| cost_of(&arrival.event)).sum::<u64>();
        let config = self.config.load();
        let (events_max, bytes_max) = (config.limits.delayed_events_max, config.limits.delayed_bytes_max);
        let totals = self.delayed.totals();
        let mut arriving = lock(&self.delayed.arriving);
        let all_events = totals.waiting + arriving.0 + events;
        if all_events > events_max as u64 {
            return Err(BrokerError::TooManyDelayed { events: all_events, limit: events_max });
        }
        let all_bytes = totals.waiting_bytes + arriving.1 + bytes;
        if all_bytes > bytes_max as u64 {
            return Err(BrokerError::TooManyDelayedBytes { bytes: all_bytes, limit: bytes_max });
        }
        *arriving = (arriving.0 + events, arriving.1 + bytes);
        drop(arriving);
        Ok(Room { arriving: Arc::clone(&self.delayed.arriving), events, bytes })
    }

    /// Releases those that go at once and answers where each of them is. What could not be released yet is held, and will be.
    async fn answers(
        self: &Arc<Self>,
        topic: &Topic,
        arrivals: Vec<Arrival>,
        now: Timestamp,
    ) -> Result<Vec<Published>, BrokerError> {
        let at_once: Vec<HeldId> = arrivals
            .iter()
            .filter(|arrival| arrival.until.is_none())
            .filter_map(|arrival| arrival.id)
            .collect();
        let mut released = HashMap::new();
        if !at_once.is_empty() {
            let release = self.release(&at_once).await;
            released.extend(release.released.into_iter().map(|(id, at)| (id.0, at)));
            if let Some(error) = release.failure {
                tracing::warn!(%error, "events of a publish are held until they can be appended");
                self.delayed.note_next(now);
            }
        }
        let topic = topic.name.clone();
        // One look for all of them: each would take a thread of its own, and what each thread looked at stays in sled's memory.
        self.delayed
            .ask(move |book| {
                arrivals.into_iter().map(|arrival| arrival.answer(book, &topic, &released, now)).collect()
            })
            .await
    }
}

impl Arrival {
    fn answer(
        self,
        book: &Book,
        topic: &TopicName,
        released: &HashMap<u64, Appended>,
        now: Timestamp,
    ) -> Result<Published, IndexError> {
        let Self { event, until, repeats, id } = self;
        if let Some(at) = id.and_then(|id| released.get(&id.0)) {
            return Ok(Published::Appended { offset: at.offset, duplicate: at.duplicate });
        }
        let own = id.map(|id| book.entry(id)).transpose()?.flatten();
        // Where another one of the same identity came first, the book has no entry of this one.
        let (entry, duplicate) = match (repeats, own) {
            (Some(first), _) => (Some(first), true),
            (None, Some(own)) => (Some(own), false),
            (None, None) => (book.repeated(topic, &event, now)?, true),
        };
        let entry = entry.map(|entry| entry.event);
        Ok(match (entry, until) {
            (Some(entry), None) if entry.state == DelayedState::Released && entry.offset.is_some() => {
                Published::Appended { offset: entry.offset.unwrap_or_default(), duplicate }
            }
            (Some(entry), _) => Published::Held { id: entry.id, deliver_at: entry.deliver_at, duplicate },
            (None, until) => Published::Held {
                id: id.unwrap_or_default(),
                deliver_at: until.unwrap_or(now),
                duplicate: false,
            },
        })
    }
}

/// The events as they are stored, each with its time.
fn arrivals(events: Vec<Event>, now: Timestamp) -> Result<Vec<Arrival>, BrokerError> {
    let invalid = |index| move |source| BrokerError::Delay { index, source };
    events
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            let delay = if event.has_delay() { event.delay().map_err(invalid(index))? } else { None };
            let due = delay.map(|delay| delay.due(now));
            if let Some(deliver_at) = due.filter(|due| due.since_ms(now) > limits::DELAY_MS_MAX) {
                return Err(BrokerError::DelayTooLong { index, deliver_at });
            }
            let event = match (delay, due) {
                // The moment is told from now on: whoever publishes the event again must not delay it again.
                (Some(Delay::AfterMs(_)), Some(due)) => {
                    let told = event.to_builder().without(DELIVER_AFTER).deliver_at(due);
                    told.build().map_err(invalid(index))?
                }
                _ => event,
            };
            Ok(Arrival { event, until: due.filter(|due| *due > now), repeats: None, id: None })
        })
        .collect()
}
