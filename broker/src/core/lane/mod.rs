//! A lane: one subscription on one log, and what it needs to be filled, leased from and settled.
//!
//! Triggers, redrives, replays and subscribers are all lanes; they differ in who takes the leases. All state stands behind one lock that is
//! never held across an await, and entries are handed to the journal under it, so that the journal has them in order. Payloads
//! of events that wait for a retry are not kept: they are read again from the log.
//!
//! A lane has one configuration for as long as it lives. What has to outlive it, the subscription, is its body: an exchange makes
//! another lane around the same body. From then on the old one takes and leases nothing, and what it has under way is settled
//! through it as ever. So order per key holds over an exchange, and each event is matched by the one pattern or by the other.

mod calling;
mod drive;
mod inputs;
mod intake;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_storage::log::{AppendError, Appended, BoxFuture, Log, NewRecord, ReadError, ReadLimit};
use eventail_triggers::key::{DedupKey, KeyPath};
use eventail_triggers::pattern::{Matcher, Pattern};
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::rate::Bucket;
use eventail_triggers::subscription::{
    CallEnding, Effect, Ending, Entry, Lease, Settled, Snapshot, State as SubscriptionState, Subscription,
    Verdict,
};
use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};
use tokio::sync::{Notify, watch};

use super::graveyard::Burial;
use super::journal::{Journal, Journaled};
use super::letter::{self, Origin};
use super::timeline::{Step, Timeline, Track};
use crate::metrics::TriggerMetrics;
use crate::status::{Observer, RateWait};

pub(crate) use drive::Driver;
pub(crate) use intake::Filled;

/// Payload bytes that a lane holds for events that wait for their first attempt.
const HELD_BYTES_MAX: usize = 16 << 20;

/// What a lane is made of.
pub(crate) struct LaneOptions {
    /// Under which the journal keeps its state.
    pub(crate) name: Arc<str>,
    pub(crate) trigger: TriggerName,
    pub(crate) topic: TopicName,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) pattern: Option<Pattern>,
    /// What makes it a replay, if it is one.
    pub(crate) replay: Option<ReplayOptions>,
    pub(crate) key: Option<KeyPath>,
    /// What repeats are told by, where the policy has a window for them.
    pub(crate) dedup_key: Option<DedupKey>,
    pub(crate) policy: DeliveryPolicy,
    /// Where it begins if the journal knows nothing of it.
    pub(crate) start: Offset,
    pub(crate) dead_letter_topic: TopicName,
    /// Whether records are dead letters that are to be delivered as the events that they were.
    pub(crate) redrives: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Where it is kept what happens to its events, if it is.
    pub(crate) timeline: Option<Arc<Timeline>>,
    pub(crate) seed: u64,
}

/// What makes a lane a replay: it has an end, and what comes of it says so.
pub(crate) struct ReplayOptions {
    pub(crate) id: Arc<str>,
    /// The first offset that is not part of it.
    pub(crate) end: Offset,
    /// What must match too.
    pub(crate) filter: Option<Pattern>,
    pub(crate) pace: Option<Bucket>,
    /// Whether it has a target of its own, and so ends when that wants no more.
    pub(crate) is_one_off: bool,
}

/// A stored event as a target gets to see it, and where it was first.
pub(crate) struct Unpacked {
    pub(crate) event: Event,
    pub(crate) topic: TopicName,
    pub(crate) offset: Offset,
    /// The replay that it is, or was when it became a dead letter.
    pub(crate) replay: Option<Arc<str>>,
}

/// One subscription on one log, under one configuration.
pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    pub(crate) trigger: TriggerName,
    pub(crate) topic: TopicName,
    pub(crate) metrics: TriggerMetrics,
    /// Where it puts down what happens.
    pub(crate) track: Option<Arc<Track>>,
    redrives: bool,
    /// The replay that it is.
    replay: Option<Arc<str>>,
    /// Where it is over.
    end: Option<Offset>,
    is_one_off: bool,
    /// Whether a call may have several events.
    batches: bool,
    observer: Option<Arc<dyn Observer>>,
    log: Arc<dyn Log>,
    matcher: Matcher,
    /// How many patterns of the matcher an event has to match.
    patterns: usize,
    key: Option<KeyPath>,
    dedup_key: Option<DedupKey>,
    /// The rate limit that it waits for, if it does.
    rate_wait: Mutex<Option<RateWait>>,
    journal: Arc<Journal>,
    /// Which of those around its body it is.
    generation: u64,
    body: Arc<Body>,
}

/// What the lanes of a subscription share, one after the other. The lock of the intake comes before that of the state.
struct Body {
    wake: Arc<Notify>,
    /// The cursor when settled events were trimmed last.
    trimmable: AtomicU64,
    intake: Mutex<intake::Intake>,
    state: Mutex<State>,
}

struct State {
    /// Under which the journal keeps it.
    name: Arc<str>,
    /// The lane that takes and leases; the others settle what they have.
    generation: u64,
    /// Where what is given up goes, under whichever configuration it was tried.
    dead_letter_topic: TopicName,
    subscription: Subscription,
    /// How fast events may come in.
    pace: Option<Bucket>,
    held: HashMap<Offset, Event>,
    held_bytes: usize,
    /// Entries of this turn, on their way to the journal.
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    /// Dead letters that are being written.
    burying: usize,
    /// Whether it was a dead letter that could not be written that stopped the lane.
    stopped_by_burial: bool,
}

/// A lease together with what is delivered under it.
#[derive(Debug)]
pub(crate) struct Consignment {
    pub(crate) lease: Lease,
    /// `None` where it has to be read again.
    pub(crate) event: Option<Event>,
}

impl Lane {
    pub(crate) fn open(journal: &Arc<Journal>, options: LaneOptions) -> Arc<Self> {
        let LaneOptions { name, policy, seed, .. } = &options;
        let subscription = match journal.state_of(name) {
            Some(mut state) => {
                let end = options.log.status().range.end;
                if state.cut(end) {
                    tracing::error!(
                        trigger = %options.trigger, topic = %options.topic, end = %end,
                        "the log ends before what was delivered of it: it lost its last records; deliveries go on at its end"
                    );
                }
                let mut subscription = Subscription::restore(policy.clone(), state, *seed);
                if subscription.state() == SubscriptionState::Stopped {
                    // What stopped it may have passed; if not, it stops again and says so again.
                    subscription.resume();
                }
                subscription
            }
            None => Subscription::new(policy.clone(), options.start, *seed),
        };
        let state = State {
            name: Arc::clone(&options.name),
            generation: 0,
            dead_letter_topic: options.dead_letter_topic.clone(),
            subscription,
            pace: options.replay.as_ref().and_then(|replay| replay.pace),
            held: HashMap::new(),
            held_bytes: 0,
            entries: Vec::new(),
            effects: Vec::new(),
            burying: 0,
            stopped_by_burial: false,
        };
        let body = Arc::new(Body {
            wake: Arc::new(Notify::new()),
            trimmable: AtomicU64::new(0),
            intake: Mutex::default(),
            state: Mutex::new(state),
        });
        let (is_new, start) = (!journal.knows(&options.name) && !options.redrives, options.start);
        let lane = Self::around(body, 0, journal, options);
        if let Some(track) = lane.track.as_ref().filter(|_| is_new) {
            track.lane(&Step::Started { offset: start });
        }
        lane.journal.register(&lane.name, &lane.body);
        lane
    }

    fn around(body: Arc<Body>, generation: u64, journal: &Arc<Journal>, options: LaneOptions) -> Arc<Self> {
        let LaneOptions { name, topic, trigger, timeline, .. } = &options;
        let track = timeline.as_ref().and_then(|timeline| timeline.track(name, topic, trigger));
        let (replay, end, is_one_off, filter) = match options.replay {
            Some(ReplayOptions { id, end, filter, is_one_off, .. }) => {
                (Some(id), Some(end), is_one_off, filter)
            }
            None => (None, None, false, None),
        };
        let patterns: Vec<_> = std::iter::once(options.pattern).chain(filter.map(Some)).collect();
        Arc::new(Self {
            metrics: TriggerMetrics::new(&options.trigger),
            track,
            name: options.name,
            trigger: options.trigger,
            topic: options.topic,
            redrives: options.redrives,
            replay,
            end,
            is_one_off,
            batches: options.policy.batch.is_some(),
            observer: options.observer,
            log: options.log,
            patterns: patterns.len(),
            matcher: Matcher::new(&patterns),
            key: options.key,
            dedup_key: options.dedup_key,
            rate_wait: Mutex::default(),
            journal: Arc::clone(journal),
            generation,
            body,
        })
    }

    /// Another lane around the same subscription, under other options and perhaps another name; the log is the same. What was offered
    /// stays and is delivered by it; everything behind is matched by its pattern. What this one has under way ends as if nothing had
    /// happened. Its own name, if it changes, must have no state yet.
    pub(crate) fn exchange(&self, options: LaneOptions) -> Arc<Self> {
        let mut intake = self.intake();
        let mut state = self.lock();
        state.generation += 1;
        *intake = intake::Intake::new(state.generation, state.subscription.scanned());
        if *state.subscription.policy() != options.policy {
            state.subscription.set_policy(options.policy.clone());
        }
        state.dead_letter_topic.clone_from(&options.dead_letter_topic);
        let (generation, old_name) = (state.generation, Arc::clone(&state.name));
        drop(state);
        drop(intake);
        if old_name != options.name {
            self.journal.rename(&old_name, &options.name, &self.body);
        }
        let lane = Self::around(Arc::clone(&self.body), generation, &self.journal, options);
        // Whoever drives this one notices that it is over.
        lane.ring();
        lane
    }

    /// Lets nobody take or lease any more, until it is exchanged. What is under way is settled.
    pub(crate) fn retire(&self) {
        let mut intake = self.intake();
        let mut state = self.lock();
        state.generation += 1;
        *intake = intake::Intake::new(state.generation, state.subscription.scanned());
        drop(state);
        drop(intake);
        self.ring();
    }

    /// Whether it takes and leases nothing any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.lock().generation != self.generation
    }

    /// Lets go of what was settled when this was asked before, where the log is the lane's own: what was settled since then may not
    /// be journaled yet.
    pub(crate) async fn trim_settled(&self) -> Result<Offset, AppendError> {
        let cursor = self.look(Subscription::cursor);
        let before = self.body.trimmable.swap(cursor.0, Ordering::Relaxed);
        self.log.trim(Offset(before)).await
    }

    /// The end of the lane's log, to be watched.
    pub(crate) fn durable_end(&self) -> watch::Receiver<Offset> {
        self.log.durable_end()
    }

    /// Appends to the lane's own log: how redriven events get into it.
    pub(crate) fn append(
        &self,
        records: Vec<NewRecord>,
    ) -> impl Future<Output = Result<Vec<Appended>, AppendError>> + use<> {
        self.log.append(records)
    }

    /// Where dead letters go now.
    pub(crate) fn dead_letter_topic(&self) -> TopicName {
        self.lock().dead_letter_topic.clone()
    }

    /// What wakes whoever drives the lane.
    pub(crate) fn wake(&self) -> &Arc<Notify> {
        &self.body.wake
    }

    /// Wakes all who wait, and the driver even if it does not wait yet.
    pub(crate) fn ring(&self) {
        self.body.wake.notify_waiters();
        self.body.wake.notify_one();
    }

    /// Why nothing can be leased now, if so.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.journal.refusal()
    }

    /// Gives the lane's state back to the journal: nobody uses it any more.
    pub(crate) fn sleep(&self) {
        self.journal.sleep(&self.name, self.body.as_ref());
    }

    /// Looks at the subscription.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Subscription) -> T) -> T {
        look(&self.lock().subscription)
    }

    /// Changes the subscription from outside and answers when the change is journaled.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut Subscription) -> Entry,
    ) -> BoxFuture<'static, Result<(), super::BrokerError>> {
        let mut state = self.lock();
        let entries = vec![change(&mut state.subscription)];
        self.note(&entries);
        let cursor = state.subscription.cursor();
        state.let_go_before(cursor);
        let written = self.journal.write(&state.name, entries);
        drop(state);
        self.ring();
        Box::pin(written)
    }

    /// Whether a call may go now.
    pub(crate) fn may_lease(&self, now: Timestamp) -> bool {
        if self.journal.refusal().is_some() {
            return false;
        }
        let mut state = self.lock();
        if state.generation != self.generation {
            return false;
        }
        self.expire(&mut state, now);
        state.subscription.may_lease(now)
    }

    /// Leases the events of at most `max` calls that may go now.
    pub(crate) fn lease(&self, now: Timestamp, max: usize, into: &mut Vec<Consignment>) {
        if self.journal.refusal().is_some() {
            return;
        }
        let mut leases = Vec::new();
        let mut state = self.lock();
        let state = &mut *state;
        if state.generation != self.generation {
            return;
        }
        self.expire(state, now);
        state.subscription.lease(now, max, &mut leases);
        into.extend(
            leases
                .into_iter()
                .map(|lease| Consignment { event: state.held.get(&lease.offset).cloned(), lease }),
        );
    }

    /// Settles what waits and is past its `expirytime`.
    fn expire(&self, state: &mut State, now: Timestamp) {
        if state.subscription.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        state.subscription.expire(now, &mut state.effects);
        for effect in std::mem::take(&mut state.effects) {
            if let Effect::Journal(entry) = effect {
                if let Entry::Expired { offset } = entry {
                    self.tell_expired(offset);
                    state.let_go(offset);
                }
                state.entries.push(entry);
            }
        }
        self.flush(state);
    }

    fn tell_expired(&self, offset: Offset) {
        tracing::debug!(trigger = %self.trigger, topic = %self.topic, offset = %offset, "event expired before it was delivered");
        if let Some(track) = &self.track {
            track.event(offset, &Step::Expired);
        }
    }

    fn tell_deduplicated(&self, offset: Offset) {
        tracing::debug!(
            trigger = %self.trigger, topic = %self.topic, offset = %offset,
            "event not delivered: an earlier one has its business key"
        );
        if let Some(track) = &self.track {
            track.event(offset, &Step::Deduplicated);
        }
    }

    /// Notes which rate limit keeps calls back, if one does.
    pub(crate) fn note_rate_wait(&self, wait: Option<RateWait>) {
        let mut known = self.rate_wait.lock().unwrap_or_else(PoisonError::into_inner);
        if wait.is_some() && known.is_none() {
            self.metrics.rate_waits.increment(1);
        }
        *known = wait;
    }

    /// The rate limit that it waits for, if it does.
    pub(crate) fn rate_wait(&self) -> Option<RateWait> {
        self.rate_wait.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the journal knows of the attempts before these: one that is made again must not be counted anew after
    /// a restart. First attempts, which are nearly all, wait for nothing.
    pub(crate) async fn attempts_are_journaled<'a>(
        &self,
        leases: impl IntoIterator<Item = &'a Lease>,
    ) -> Result<(), super::BrokerError> {
        if leases.into_iter().any(|lease| lease.attempt > 1) { self.journal.written().await } else { Ok(()) }
    }

    /// When something is due by itself, a lease that runs out included.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        self.lock().subscription.next_wakeup()
    }

    /// When the next event that waits expires.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.lock().subscription.next_expiry()
    }

    /// When something is due by itself, where attempts end by themselves.
    pub(crate) fn next_lease_at(&self) -> Option<Timestamp> {
        self.lock().subscription.next_lease_at()
    }

    /// Settles leases and hands the entries over. Answers what came of each, `None` where the lease was stale, and the dead letters
    /// that have to be written.
    pub(crate) fn settle(
        &self,
        now: Timestamp,
        endings: impl IntoIterator<Item = (u64, Ending)>,
    ) -> (Vec<Option<Settled>>, Vec<Burial>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut settled = Vec::new();
        for (token, ending) in endings {
            let one = state.subscription.settle(now, token, ending, &mut state.effects).ok();
            if let Some(Settled { offset, verdict: Verdict::Delivered | Verdict::Retry { .. }, .. }) = one {
                // A retry reads it again: what waits long must not hold memory.
                state.let_go(offset);
            }
            settled.push(one);
        }
        let burials = self.take_effects(state);
        (settled, burials)
    }

    /// Settles a call with several events. Answers what came of each, `None` where its lease was stale, and the dead letters that
    /// have to be written.
    pub(crate) fn settle_call(
        &self,
        now: Timestamp,
        call: u64,
        ending: CallEnding,
    ) -> (Vec<Option<Settled>>, Vec<Burial>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        // Where nothing of it stands any more there is nothing to settle.
        let settled =
            state.subscription.settle_call(now, call, ending, &mut state.effects).unwrap_or_default();
        for one in settled.iter().flatten() {
            if let Verdict::Delivered | Verdict::Retry { .. } = one.verdict {
                state.let_go(one.offset);
            }
        }
        let burials = self.take_effects(state);
        (settled, burials)
    }

    /// Redelivers what was leased for too long.
    pub(crate) fn expire_leases(&self, now: Timestamp) -> Vec<Burial> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.subscription.expire_leases(now, &mut state.effects);
        self.take_effects(state)
    }

    /// Hands leases back as if they had never been taken.
    pub(crate) fn release(&self, tokens: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for token in tokens {
            // A lease that ran out meanwhile is back already.
            let _ = state.subscription.release(token);
        }
        drop(state);
        self.ring();
    }

    /// Prolongs leases; answers the tokens that were stale.
    pub(crate) fn extend(&self, now: Timestamp, tokens: &[u64], lease_ms: u64) -> Vec<u64> {
        let mut state = self.lock();
        tokens
            .iter()
            .copied()
            .filter(|&token| state.subscription.extend(now, token, lease_ms).is_err())
            .collect()
    }

    /// Notes that a dead letter is durable. If the lane stood still because it could not be written, it goes on.
    pub(crate) fn buried(&self, offset: Offset) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let entry = state.subscription.dead_letter_written(offset);
        state.entries.extend(entry);
        state.end_burial();
        self.flush(state);
        drop(guard);
        self.ring();
    }

    /// Gives up on writing a dead letter: its event went with retention, or the broker stops and will see it again. If the lane stood
    /// still because of it, it goes on.
    pub(crate) fn abandon_burial(&self) {
        self.lose_before(self.log.status().range.start);
        let mut guard = self.lock();
        guard.end_burial();
        self.flush(&mut guard);
        drop(guard);
        self.ring();
    }

    /// Whether nothing is under way: no attempt and no dead letter.
    pub(crate) fn is_at_rest(&self) -> bool {
        let state = self.lock();
        state.burying == 0 && state.subscription.in_flight() == 0
    }

    /// Whether everything up to the lane's end is settled. A lane without an end is never over.
    pub(crate) fn is_over(&self) -> bool {
        let Some(end) = self.end else { return false };
        let state = self.lock();
        let subscription = &state.subscription;
        let is_refused = self.is_one_off && subscription.state() == SubscriptionState::Disabled;
        state.burying == 0 && subscription.in_flight() == 0 && (subscription.cursor() >= end || is_refused)
    }

    /// Reads one event again. `Ok(None)` where retention took it, or its stored bytes are damaged and it is counted as lost now.
    pub(crate) async fn read_again(&self, offset: Offset) -> Result<Option<Event>, ReadError> {
        let limit = ReadLimit { records: 1, bytes: 1 };
        let records = match self.log.read_tail(offset, limit) {
            Some(records) => records,
            None => match self.log.read(offset, limit).await {
                Err(ReadError::Trimmed { .. }) => return Ok(None),
                Err(ReadError::Corrupt { .. }) => {
                    self.lose_damaged(offset, offset.plus(1));
                    return Ok(None);
                }
                records => records?,
            },
        };
        Ok(records.into_iter().next().and_then(|record| Event::from_stored(record.payload).ok()))
    }

    /// What a target gets to see of a stored event, and where it first was.
    pub(crate) fn unpack(&self, offset: Offset, stored: Event) -> Unpacked {
        if self.redrives
            && let (Some(origin), Some(event)) = (letter::origin_of(&stored), letter::event_of(&stored))
        {
            let Origin { topic, offset, replay, .. } = origin;
            return Unpacked { event, topic, offset, replay };
        }
        Unpacked { event: stored, topic: self.topic.clone(), offset, replay: self.replay.clone() }
    }

    /// Expires and counts what retention took before it was delivered or read, and tells.
    pub(crate) fn lose_before(&self, start: Offset) {
        // What lies behind the end is no concern of the lane.
        let start = self.end.map_or(start, |end| start.min(end));
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(entry) = state.subscription.lost(start) {
            if let Entry::Lost { lost, expired, .. } = entry {
                tracing::warn!(
                    trigger = %self.trigger, topic = %self.topic, start = %start, lost, expired,
                    "retention took events before the trigger had delivered them"
                );
            }
            state.entries.push(entry);
            state.let_go_before(start);
            self.flush(state);
            drop(guard);
            // There is room now.
            self.ring();
        }
    }

    /// Counts events whose stored bytes are damaged, tells which they are, and goes on behind them.
    pub(crate) fn lose_damaged(&self, first: Offset, next: Offset) {
        let next = self.end.map_or(next, |end| next.min(end));
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(entry) = state.subscription.damaged(first, next) else { return };
        if let Entry::Damaged { lost, expired, .. } = entry {
            tracing::error!(
                trigger = %self.trigger, topic = %self.topic, %first, %next, lost, expired,
                "stored events are damaged and cannot be delivered; the trigger goes on behind them"
            );
        }
        state.entries.push(entry);
        state.let_go_of(first, next);
        self.flush(state);
        drop(guard);
        self.ring();
    }

    /// Stops the lane for a reason that an operator has to see. One that an operator paused or its target disabled stays so.
    pub(crate) fn stop(&self, reason: &str) {
        self.stop_running(reason, false);
    }

    /// Stops the lane until its dead letters can be written.
    pub(crate) fn stop_for_burial(&self, reason: &str) {
        self.stop_running(reason, true);
    }

    /// Pauses the lane because its target wants no events until somebody sees to it.
    pub(crate) fn pause_for_target(&self, reason: &str) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.subscription.state() == SubscriptionState::Running {
            tracing::warn!(trigger = %self.trigger, topic = %self.topic, reason, "trigger paused");
            let entry = state.subscription.pause(reason.to_owned());
            state.entries.push(entry);
            self.flush(state);
        }
    }

    fn stop_running(&self, reason: &str, by_burial: bool) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.subscription.state() == SubscriptionState::Running {
            tracing::error!(trigger = %self.trigger, topic = %self.topic, reason, "trigger stopped");
            state.stopped_by_burial = by_burial;
            let entry = state.subscription.stop(reason.to_owned());
            state.entries.push(entry);
            self.flush(state);
        }
    }

    fn take_effects(&self, state: &mut State) -> Vec<Burial> {
        let mut burials = Vec::new();
        for effect in std::mem::take(&mut state.effects) {
            match effect {
                Effect::Journal(entry) => state.entries.push(entry),
                Effect::DeadLetter(order) => {
                    state.burying += 1;
                    burials.push(Burial { event: state.let_go(order.offset), order });
                }
            }
        }
        self.flush(state);
        burials
    }

    fn flush(&self, state: &mut State) {
        if state.subscription.is_checkpoint_due() {
            let checkpoint = state.subscription.checkpoint();
            state.entries.push(checkpoint);
        }
        let mut entries = std::mem::take(&mut state.entries);
        Entry::merge(&mut entries);
        self.note(&entries);
        self.journal.hand_over(&state.name, entries);
    }

    fn note(&self, entries: &[Entry]) {
        if let Some(track) = &self.track {
            track.entries(entries);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.body.lock()
    }

    fn intake(&self) -> MutexGuard<'_, intake::Intake> {
        self.body.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journaled for Body {
    fn with_snapshot(&self, write: &mut dyn FnMut(Snapshot)) {
        write(self.lock().subscription.snapshot());
    }

    fn renamed(&self, name: &Arc<str>, write: &mut dyn FnMut(Snapshot)) {
        let mut state = self.lock();
        state.name = Arc::clone(name);
        write(state.subscription.snapshot());
    }
}

impl State {
    /// A dead letter is written, or will not be. Behind the last one a lane that stood still because of them goes on.
    fn end_burial(&mut self) {
        self.burying -= 1;
        if self.burying == 0
            && std::mem::take(&mut self.stopped_by_burial)
            && self.subscription.state() == SubscriptionState::Stopped
        {
            let entry = self.subscription.resume();
            self.entries.push(entry);
        }
    }

    /// Lets go of an event's payload.
    fn let_go(&mut self, offset: Offset) -> Option<Event> {
        let event = self.held.remove(&offset)?;
        self.held_bytes -= event.as_bytes().len();
        Some(event)
    }

    fn let_go_of(&mut self, first: Offset, next: Offset) {
        self.held.retain(|offset, _| !(first..next).contains(offset));
        self.held_bytes = self.held.values().map(|event| event.as_bytes().len()).sum();
    }

    fn let_go_before(&mut self, start: Offset) {
        self.held.retain(|&offset, _| offset >= start);
        self.held_bytes = self.held.values().map(|event| event.as_bytes().len()).sum();
    }
}
