//! Where steps are put down: in memory, by whoever delivers, at the cost of one short lock for each turn of a lane.
//!
//! Nobody waits here. What finds no room because the log does not keep up is counted and forgotten: a delivery must never wait for its
//! own story.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventail_triggers::outcome::Response;
use eventail_triggers::subscription::{Entry, Settled, State as SubscriptionState, Verdict};
use eventail_wire::{Clock, Offset, Timestamp};
use tokio::sync::Notify;

use super::page::{Heading, PageWriter};
use super::step::{Attempt, Step};
use crate::metrics::{AttemptEnd, TimelineMetrics};

/// Bytes of all tracks that may wait to be written.
pub(crate) const HELD_BYTES_MAX: usize = 16 << 20;
/// When a page is full: small, since a look-up reads whole pages.
const PAGE_BYTES: usize = 32 << 10;

/// What all tracks share.
pub(crate) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: TimelineMetrics,
    /// Bytes that wait.
    held: AtomicUsize,
    /// Tracks that have something to be written.
    ready: Mutex<Vec<Arc<Track>>>,
    pub(super) wake: Notify,
}

/// The steps of one lane, or of one topic, that were not written yet.
pub(crate) struct Track {
    shared: Arc<Shared>,
    lane: Arc<str>,
    topic: String,
    trigger: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    page: PageWriter,
    /// Full pages, and the steps in them.
    full: Vec<(Vec<u8>, u64)>,
    /// Bytes of steps that wait here.
    held: usize,
    is_ready: bool,
}

/// An attempt that was settled.
pub(crate) struct AttemptEnded<'a> {
    /// Where the event was first.
    pub(crate) origin: Offset,
    pub(crate) end: AttemptEnd,
    pub(crate) response: Option<&'a Response>,
    pub(crate) took: Duration,
    pub(crate) settled: Settled,
    pub(crate) is_probe: bool,
}

impl AttemptEnded<'_> {
    /// Whether it is what nearly all are: taken at the first attempt.
    fn is_plain(&self) -> bool {
        self.end == AttemptEnd::Delivered && self.settled.attempt == 1 && !self.is_probe
    }

    fn took_us(&self) -> u64 {
        u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX)
    }

    fn step(&self) -> Step {
        let class = match self.end {
            AttemptEnd::Failed(class) => Some(class),
            AttemptEnd::Delivered | AttemptEnd::Rejected => None,
        };
        let (next_at, reject) = match self.settled.verdict {
            Verdict::Retry { at } => (Some(at), None),
            Verdict::DeadLetter { reason } => (None, Some(reason)),
            Verdict::Delivered | Verdict::HandedBack => (None, None),
        };
        let attempt = Attempt {
            number: self.settled.attempt,
            took_us: self.took_us(),
            class,
            reject,
            next_at,
            is_probe: self.is_probe,
            ..Attempt::default()
        };
        Step::Attempt(Box::new(attempt.responded(self.response)))
    }
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            metrics: TimelineMetrics::new(),
            held: AtomicUsize::new(0),
            ready: Mutex::default(),
            wake: Notify::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The pages that wait, each with its steps; from now on they are whoever takes them's.
    pub(super) fn take(&self) -> Vec<(Vec<u8>, u64)> {
        let ready = std::mem::take(&mut *lock(&self.ready));
        let mut pages = Vec::with_capacity(ready.len());
        for track in ready {
            track.take(&mut pages);
        }
        pages
    }
}

impl Track {
    pub(super) fn new(shared: &Arc<Shared>, lane: &Arc<str>, topic: &str, trigger: &str) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            lane: Arc::clone(lane),
            topic: topic.to_owned(),
            trigger: trigger.to_owned(),
            state: Mutex::default(),
        })
    }

    /// Puts down the attempts of one turn.
    pub(crate) fn attempts<'a>(
        self: &Arc<Self>,
        at: Timestamp,
        ended: impl Iterator<Item = AttemptEnded<'a>> + Clone,
    ) {
        self.write(|page| {
            let plain = ended.clone().filter(AttemptEnded::is_plain);
            page.delivered(at, plain.map(|ended| (ended.origin, ended.took_us())));
            for other in ended.filter(|ended| !ended.is_plain()) {
                page.add(at, Some(other.origin), &other.step());
            }
        });
    }

    /// Puts down a step of one event.
    pub(crate) fn event(self: &Arc<Self>, offset: Offset, step: &Step) {
        let at = self.shared.clock.now();
        self.write(|page| page.add(at, Some(offset), step));
    }

    /// Puts down what is about the lane itself.
    pub(crate) fn lane(self: &Arc<Self>, step: &Step) {
        let at = self.shared.clock.now();
        self.write(|page| page.add(at, None, step));
    }

    /// Puts down what journal entries tell of the lane. Those of its events come as attempts.
    pub(crate) fn entries(self: &Arc<Self>, entries: &[Entry]) {
        for step in entries.iter().filter_map(lane_step) {
            self.lane(&step);
        }
    }

    fn write(self: &Arc<Self>, write: impl FnOnce(&mut PageWriter)) {
        let shared = &self.shared;
        let mut state = self.state();
        if shared.held.load(Ordering::Relaxed) >= HELD_BYTES_MAX {
            // What it would have been is known only by writing it.
            let mut unwritten = PageWriter::default();
            write(&mut unwritten);
            shared.metrics.dropped.increment(unwritten.steps());
            return;
        }
        let before = state.page.len();
        write(&mut state.page);
        let after = state.page.len();
        if after == before {
            return;
        }
        state.held += after - before;
        shared.held.fetch_add(after - before, Ordering::Relaxed);
        if after >= PAGE_BYTES {
            state.seal(self.heading());
        }
        let is_first = !std::mem::replace(&mut state.is_ready, true);
        drop(state);
        if is_first {
            lock(&shared.ready).push(Arc::clone(self));
            shared.wake.notify_one();
        }
    }

    fn take(&self, pages: &mut Vec<(Vec<u8>, u64)>) {
        let mut state = self.state();
        state.is_ready = false;
        self.shared.held.fetch_sub(std::mem::take(&mut state.held), Ordering::Relaxed);
        state.seal(self.heading());
        pages.append(&mut state.full);
    }

    fn heading(&self) -> Heading<'_> {
        Heading { lane: &self.lane, topic: &self.topic, trigger: &self.trigger }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn seal(&mut self, heading: Heading<'_>) {
        let steps = self.page.steps();
        self.full.extend(self.page.take(heading).map(|page| (page, steps)));
    }
}

/// What an entry tells of its lane.
fn lane_step(entry: &Entry) -> Option<Step> {
    Some(match entry {
        Entry::Breaker { open, .. } => Step::Breaker { until: open.map(|open| open.until) },
        Entry::Held { until, throttles } => Step::Held { until: until.filter(|_| *throttles > 0) },
        Entry::State { state, reason } => {
            let state = match state {
                SubscriptionState::Running => "running",
                SubscriptionState::Paused => "paused",
                SubscriptionState::Disabled => "disabled",
                SubscriptionState::Stopped => "stopped",
            };
            Step::State { state: state.to_owned(), reason: reason.clone() }
        }
        Entry::Skipped { to, .. } => Step::Skipped { to: *to },
        Entry::Lost { start, .. } => Step::Lost { start: *start },
        _ => return None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
