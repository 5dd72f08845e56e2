//! One reader and one matcher for all triggers of a topic that keep up.
//!
//! The feed reads each event once, asks the compiled matcher once which triggers want it, and puts it into their inboxes.
//! A trigger that falls behind (its inbox is full) leaves the feed and reads the log by itself; when it has caught up it joins
//! again. The matcher is compiled once for all of them: where one changes, another feed takes over. So a slow target holds no memory beyond its inbox, and nobody waits for it. A feed without members reads nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_storage::log::{ReadLimit, Record};
use eventail_triggers::pattern::{Matcher, Pattern, Scratch};
use eventail_wire::{Event, Offset, Timestamp};
use tokio::sync::Notify;
use tokio::sync::watch;

use super::topic::Topic;
use crate::panics::{REST, contained};

/// Events that an inbox holds before its trigger is told to read by itself.
const INBOX_EVENTS_MAX: usize = 4096;
/// Bytes that an inbox holds before its trigger is told to read by itself.
const INBOX_BYTES_MAX: usize = 4 << 20;
/// What one read of the feed takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 1 << 20 };
/// How often members that got nothing are woken to note how far they are.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// An event on its way to a trigger.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) offset: Offset,
    pub(crate) appended_at: Timestamp,
    pub(crate) event: Event,
}

/// How far an inbox reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything before this offset was looked at, and more will come.
    Member(Offset),
    /// Everything before this offset was looked at; from here on the trigger reads by itself.
    Left(Offset),
}

struct Seat {
    wake: Arc<Notify>,
    inbox: Vec<Incoming>,
    inbox_bytes: usize,
    /// Where the trigger left the feed; `None` while it is a member.
    left_at: Option<Offset>,
    /// Its place in this batch, while one is worked on.
    touched: Vec<u32>,
}

struct State {
    matcher: Matcher,
    seats: Vec<Seat>,
    position: Offset,
    members: usize,
    scratch: Scratch,
    matched: Vec<usize>,
    /// Whether another one took over.
    is_closed: bool,
}

/// The feed of one topic. Seats are numbered as the patterns that it was made with.
pub(crate) struct Feed {
    topic: Arc<Topic>,
    state: Mutex<State>,
    joined: Notify,
}

impl Feed {
    /// A feed for triggers with these patterns and wake-ups. All begin outside of it.
    pub(crate) fn new(topic: Arc<Topic>, patterns: &[Option<Pattern>], wakes: Vec<Arc<Notify>>) -> Self {
        let seats = wakes
            .into_iter()
            .map(|wake| Seat {
                wake,
                inbox: Vec::new(),
                inbox_bytes: 0,
                left_at: Some(Offset(0)),
                touched: Vec::new(),
            })
            .collect();
        let state = State {
            matcher: Matcher::new(patterns),
            seats,
            position: Offset(0),
            members: 0,
            scratch: Scratch::default(),
            matched: Vec::new(),
            is_closed: false,
        };
        Self { topic, state: Mutex::new(state), joined: Notify::new() }
    }

    /// Makes the trigger a member if it has looked at everything before `scanned` and the feed is not further on.
    pub(crate) fn join(&self, seat: usize, scanned: Offset) -> bool {
        let mut state = self.lock();
        if state.members > 0 && scanned < state.position {
            return false;
        }
        if state.members == 0 {
            state.position = scanned;
        }
        state.members += 1;
        state.seats[seat].left_at = None;
        drop(state);
        self.joined.notify_one();
        true
    }

    /// Takes what came for a trigger, and tells how far that reaches.
    pub(crate) fn take(&self, seat: usize, into: &mut Vec<Incoming>) -> Reach {
        let mut state = self.lock();
        let position = state.position;
        let seat = &mut state.seats[seat];
        seat.inbox_bytes = 0;
        if into.is_empty() {
            std::mem::swap(into, &mut seat.inbox);
        } else {
            into.append(&mut seat.inbox);
        }
        seat.left_at.map_or(Reach::Member(position), Reach::Left)
    }

    /// Ends it: another one feeds its triggers from now on.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.joined.notify_one();
    }

    /// Reads and matches until `stop` is set or it is closed.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut durable_end = self.topic.log.durable_end();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Offset(0);
        loop {
            let position = self.position_of_members();
            let end = *durable_end.borrow_and_update();
            match position {
                Some(position) if position < end => {
                    if contained(self.step(position)).await.is_err() {
                        // Whoever's pattern it was meets the same when it reads by itself, and stops with a reason.
                        self.recover();
                        tokio::time::sleep(REST).await;
                    }
                }
                _ => tokio::select! {
                    biased;
                    changed = durable_end.changed() => if changed.is_err() { return },
                    () = self.joined.notified() => {}
                    _ = tick.tick() => self.wake_all(&mut told),
                    _ = stop.wait_for(|stopped| *stopped) => return,
                },
            }
            if *stop.borrow() || self.lock().is_closed {
                return;
            }
        }
    }

    async fn step(&self, position: Offset) {
        let records = match self.topic.log.read_tail(position, READ_LIMIT) {
            Some(records) => Ok(records),
            None => self.topic.log.read(position, READ_LIMIT).await,
        };
        match records {
            Ok(records) if records.is_empty() => tokio::task::yield_now().await,
            Ok(records) => self.hand_out(position, &records),
            Err(error) => {
                // Each member meets the same error when it reads by itself, where its cursor and its reason are known.
                tracing::debug!(topic = %self.topic.name, offset = %position, %error, "feed cannot read, members read by themselves");
                self.dismiss_all();
            }
        }
    }

    fn hand_out(&self, position: Offset, records: &[Record]) {
        let batch_bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.members == 0 || state.position != position {
            return;
        }
        for seat in state.seats.iter_mut().filter(|seat| seat.left_at.is_none()) {
            if seat.inbox.len() >= INBOX_EVENTS_MAX || seat.inbox_bytes >= INBOX_BYTES_MAX {
                seat.left_at = Some(position);
                state.members -= 1;
                seat.wake.notify_one();
            }
        }
        let events: Vec<Option<Event>> =
            records.iter().map(|record| Event::from_stored(record.payload.clone()).ok()).collect();
        for (index, event) in events.iter().enumerate() {
            let Some(event) = event else { continue };
            state.matcher.matches(event, &mut state.scratch, &mut state.matched);
            for &seat in &state.matched {
                if state.seats[seat].left_at.is_none() {
                    state.seats[seat].touched.push(u32::try_from(index).unwrap_or(u32::MAX));
                }
            }
        }
        for seat in state.seats.iter_mut().filter(|seat| !seat.touched.is_empty()) {
            seat.fill(records, &events, batch_bytes);
            seat.wake.notify_one();
        }
        state.position = records.last().map_or(position, |record| record.offset.plus(1));
    }

    fn position_of_members(&self) -> Option<Offset> {
        let state = self.lock();
        (state.members > 0).then_some(state.position)
    }

    fn wake_all(&self, told: &mut Offset) {
        let state = self.lock();
        if state.position != *told {
            *told = state.position;
            state.seats.iter().for_each(|seat| seat.wake.notify_one());
        }
    }

    fn dismiss_all(&self) {
        let mut state = self.lock();
        let position = state.position;
        state.members = 0;
        for seat in &mut state.seats {
            seat.left_at.get_or_insert(position);
            seat.wake.notify_one();
        }
    }

    /// Forgets what was begun and did not end, and lets members read by themselves.
    fn recover(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let position = state.position;
        state.matched.clear();
        state.scratch = Scratch::default();
        for seat in &mut state.seats {
            seat.touched.clear();
            seat.inbox.retain(|incoming| incoming.offset < position);
            seat.inbox_bytes = seat.inbox.iter().map(|incoming| incoming.event.as_bytes().len()).sum();
        }
        drop(guard);
        self.dismiss_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn fill(&mut self, records: &[Record], events: &[Option<Event>], batch_bytes: usize) {
        let wanted: usize = self.touched.iter().map(|&index| records[index as usize].payload.len()).sum();
        let sparse = wanted * 2 < batch_bytes;
        for index in self.touched.drain(..) {
            let (record, event) = (&records[index as usize], &events[index as usize]);
            if let Some(event) = event {
                self.inbox_bytes += record.payload.len();
                let event = if sparse { detached(event) } else { event.clone() };
                self.inbox.push(Incoming { offset: record.offset, appended_at: record.appended_at, event });
            }
        }
    }
}

/// An event that no longer shares the memory of its batch: a few events that wait must not hold back many that do not.
pub(crate) fn detached(event: &Event) -> Event {
    let bytes = bytes::Bytes::copy_from_slice(event.as_bytes());
    Event::from_stored(bytes).unwrap_or_else(|_| event.clone())
}
