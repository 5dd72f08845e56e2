//! The delivery rules once more, in the obvious and slow way: maps that are searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use eventail_wire::{Offset, Timestamp};

use crate::outcome::{RejectReason, RetryClass};
use crate::policy::{DeliveryPolicy, Ordering};
use crate::subscription::{
    Account, BreakerState, Effect, Ending, Entry, Lease, Offer, Offered, State, Verdict,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Fresh,
    Waiting(u64),
    Leased { token: u64, call: u64, deadline: u64, hold_epoch: u64 },
    Dead,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) key: Option<u64>,
    pub(super) appended_at: u64,
    pub(super) ready_at: u64,
    pub(super) bytes: usize,
    pub(super) expires_at: Option<u64>,
    pub(super) dedup_key: Option<u128>,
    /// What is left of a batch that failed.
    pub(super) alone: bool,
    pub(super) place: Place,
    pub(super) burnt: u32,
    pub(super) made: u32,
    /// The due time of the last failure, if there was one.
    pub(super) due: Option<u64>,
}

/// One failure since the last success.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) offset: u64,
    /// Whether it stands for its call.
    pub(super) counts: bool,
    pub(super) burnt: bool,
    pub(super) unreachable: bool,
}

pub(super) struct Model {
    pub(super) policy: DeliveryPolicy,
    pub(super) state: State,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) settled: BTreeSet<u64>,
    pub(super) scanned: u64,
    pub(super) delivered: u64,
    pub(super) dead_lettered: u64,
    pub(super) expired: u64,
    pub(super) deduplicated: u64,
    /// Everything that was delivered with a business key: offset, append time, key.
    pub(super) delivered_keys: Vec<(u64, u64, u128)>,
    pub(super) failures: Vec<Failure>,
    /// Halves of batches, which go as they are.
    pub(super) halves: Vec<Vec<u64>>,
    /// Calls that are such a half.
    pub(super) half_calls: BTreeSet<u64>,
    /// Until when, and for how long.
    pub(super) open: Option<(u64, u64)>,
    pub(super) probe: Option<u64>,
    pub(super) held_until: u64,
    pub(super) hold_epoch: u64,
    throttles: u32,
    /// Keys' events must be first tried in order: the last one of each key that was.
    first_tried: BTreeMap<u64, u64>,
}

impl Model {
    pub(super) fn new(policy: DeliveryPolicy) -> Self {
        Self {
            policy,
            state: State::Running,
            pending: BTreeMap::new(),
            settled: BTreeSet::new(),
            scanned: 0,
            delivered: 0,
            dead_lettered: 0,
            expired: 0,
            deduplicated: 0,
            delivered_keys: Vec::new(),
            failures: Vec::new(),
            halves: Vec::new(),
            half_calls: BTreeSet::new(),
            open: None,
            probe: None,
            held_until: 0,
            hold_epoch: 0,
            throttles: 0,
            first_tried: BTreeMap::new(),
        }
    }

    pub(super) fn cursor(&self) -> u64 {
        self.pending.keys().next().copied().unwrap_or(self.scanned)
    }

    pub(super) fn account(&self) -> Account {
        let pending = self.pending.len() as u64;
        Account {
            matched: self.delivered + self.dead_lettered + self.expired + self.deduplicated + pending,
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            expired: self.expired,
            deduplicated: self.deduplicated,
            pending,
        }
    }

    pub(super) fn breaker(&self) -> BreakerState {
        match (self.open, self.probe) {
            (None, _) => BreakerState::Closed,
            (Some((until, _)), None) => BreakerState::Open { until: Timestamp(until) },
            (Some(_), Some(_)) => BreakerState::HalfOpen,
        }
    }

    pub(super) fn leased(&self) -> Vec<(u64, u64)> {
        let token = |(offset, event): (&u64, &Pending)| match event.place {
            Place::Leased { token, .. } => Some((token, *offset)),
            _ => None,
        };
        self.pending.iter().filter_map(token).collect()
    }

    pub(super) fn dead(&self) -> Vec<u64> {
        let dead = self.pending.iter().filter(|(_, event)| event.place == Place::Dead);
        dead.map(|(offset, _)| *offset).collect()
    }

    pub(super) fn offer(&mut self, now: u64, offer: &Offer) -> Offered {
        let (offset, appended_at) = (offer.offset.0, offer.appended_at.0);
        let expires_at = offer.expires_at.map(|at| at.0);
        self.scanned = offset + 1;
        if expires_at.is_some_and(|at| at <= now) {
            self.expired += 1;
            self.settled.insert(offset);
            return Offered::Expired;
        }
        let window_ms = self.policy.dedup_window_ms;
        let is_near = |at: u64| appended_at.saturating_sub(at) < window_ms;
        let is_repeat = offer.dedup_key.is_some_and(|key| {
            let delivered = self.delivered_keys.iter().any(|(_, at, other)| *other == key && is_near(*at));
            let mut pending = self.pending.values();
            delivered || pending.any(|other| other.dedup_key == Some(key) && is_near(other.appended_at))
        });
        if is_repeat {
            self.deduplicated += 1;
            self.settled.insert(offset);
            return Offered::Repeat;
        }
        let event = Pending {
            key: offer.key.filter(|_| self.policy.ordering == Ordering::Key),
            appended_at,
            ready_at: now,
            bytes: offer.bytes,
            expires_at,
            dedup_key: offer.dedup_key.filter(|_| window_ms > 0),
            alone: false,
            place: Place::Fresh,
            burnt: 0,
            made: 0,
            due: None,
        };
        self.pending.insert(offset, event);
        Offered::Pending
    }

    /// An event is delivered.
    pub(super) fn deliver(&mut self, offset: u64) {
        let event = self.pending.remove(&offset).unwrap();
        self.delivered_keys.extend(event.dedup_key.map(|key| (offset, event.appended_at, key)));
        self.settled.insert(offset);
        self.delivered += 1;
    }

    /// Settles what waits, is the first of its key and is past its time; answers which.
    pub(super) fn expire(&mut self, now: u64) -> BTreeSet<u64> {
        let mut expired = BTreeSet::new();
        loop {
            let is_past = |(offset, event): (&u64, &Pending)| {
                let waits = matches!(event.place, Place::Fresh | Place::Waiting(_));
                (waits && event.expires_at.is_some_and(|at| at <= now) && self.is_head(*offset))
                    .then_some((event.expires_at, *offset))
            };
            let Some((_, offset)) = self.pending.iter().filter_map(is_past).min() else { return expired };
            self.pending.remove(&offset);
            self.settled.insert(offset);
            self.expired += 1;
            self.forget_halves();
            expired.insert(offset);
        }
    }

    /// One is found to be past its time.
    pub(super) fn expire_one(&mut self, offset: u64) {
        self.pending.remove(&offset);
        self.settled.insert(offset);
        self.expired += 1;
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        let waits = |(offset, event): &(&u64, &Pending)| {
            matches!(event.place, Place::Fresh | Place::Waiting(_)) && self.is_head(**offset)
        };
        self.pending.iter().filter(waits).filter_map(|(_, event)| event.expires_at).min()
    }

    pub(super) fn is_head(&self, offset: u64) -> bool {
        let key = self.pending[&offset].key;
        key.is_none() || !self.pending.range(..offset).any(|(_, other)| other.key == key)
    }

    pub(super) fn may_go(&self, now: u64, offset: u64) -> bool {
        let is_time = match self.pending[&offset].place {
            Place::Fresh => true,
            Place::Waiting(due) => due <= now,
            Place::Leased { .. } | Place::Dead => false,
        };
        let waits = self.halves.iter().any(|half| half[1..].contains(&offset));
        is_time && !waits && self.is_head(offset)
    }

    /// Checks leases that the machine handed out, and takes them over.
    pub(super) fn leases(&mut self, now: u64, max: usize, room: usize, leases: &[Lease]) {
        let ready: Vec<u64> =
            self.pending.keys().copied().filter(|offset| self.may_go(now, *offset)).collect();
        let free = self.policy.concurrency.saturating_sub(self.calls().len()).min(max);
        let allowed = match self.open {
            _ if self.state != State::Running || now < self.held_until => 0,
            None => free,
            Some((until, _)) if now >= until && self.probe.is_none() => free.min(1),
            Some(_) => 0,
        };
        let is_probe = self.open.is_some();
        let batch = self.policy.batch.clone().filter(|_| !is_probe);
        if batch.is_none() {
            assert_eq!(leases.len(), ready.len().min(allowed), "ready: {ready:?}, allowed: {allowed}");
        }
        if is_probe && let Some(probe) = leases.first() {
            let least = ready.iter().map(|offset| self.pending[offset].made).min();
            assert_eq!(Some(self.pending[&probe.offset.0].made), least, "the least-tried event is the probe");
        }
        match &batch {
            Some(batch) => self.check_calls(now, batch, &ready, leases, (allowed, room)),
            None if !is_probe => self.check_order(&ready, leases),
            None => {}
        }
        for lease in leases {
            let offset = lease.offset.0;
            assert!(batch.is_some() || ready.contains(&offset));
            assert!(batch.is_some() || lease.call == lease.token);
            assert_eq!(lease.is_probe, is_probe);
            let hold_epoch = self.hold_epoch;
            let event = self.pending.get_mut(&offset).unwrap();
            assert_eq!((lease.attempt, lease.appended_at.0), (event.burnt + 1, event.appended_at));
            assert!(lease.attempt <= self.policy.max_attempts);
            assert_eq!(lease.deadline.0, now + self.policy.timeout_ms);
            event.place = Place::Leased {
                token: lease.token,
                call: lease.call,
                deadline: lease.deadline.0,
                hold_epoch,
            };
            // What goes back with its call was leased, though not tried: with batches the calls are checked instead.
            if let (Some(key), 0, None) = (event.key, event.made, &self.policy.batch) {
                let last = self.first_tried.insert(key, offset);
                assert!(last <= Some(offset), "first tries of a key are in order: {last:?}, {offset}");
            }
            self.probe = is_probe.then_some(lease.token).or(self.probe);
            self.take_half(offset, is_probe);
        }
    }

    /// Each kind in its own order, and neither kind keeps the other one waiting.
    fn check_order(&self, ready: &[u64], leases: &[Lease]) {
        let is_keyed = self.policy.ordering == Ordering::Key;
        let due = |offset: u64| match self.pending[&offset].place {
            Place::Waiting(due) => Some(due),
            _ => None,
        };
        let leased: Vec<u64> = leases.iter().map(|lease| lease.offset.0).collect();
        let at_once = leased.iter().filter(|offset| due(**offset) == Some(0)).count();
        assert!(leased[..at_once].iter().all(|offset| due(*offset) == Some(0)), "these are first");
        let (retries, fresh): (Vec<u64>, Vec<u64>) =
            leased[at_once..].iter().partition(|offset| due(**offset).is_some());
        assert!(retries.is_sorted_by_key(|offset| (due(*offset), *offset)));
        assert!(is_keyed || fresh.is_sorted());
        let left = |is_retry: bool| {
            ready.iter().any(|offset| due(*offset).is_some() == is_retry && !leased.contains(offset))
        };
        if left(true) && left(false) {
            assert!(retries.len().abs_diff(fresh.len()) <= 1, "by turns: {retries:?}, {fresh:?}");
        }
    }

    /// Checks what the machine made of an ending, and takes it over. Only jittered times are believed.
    pub(super) fn settle(
        &mut self,
        now: u64,
        offset: u64,
        ending: &Ending,
        verdict: Verdict,
        effects: &[Effect],
    ) {
        let Place::Leased { token, hold_epoch, .. } = self.pending[&offset].place else { unreachable!() };
        match ending {
            Ending::Ack => {
                assert_eq!(verdict, Verdict::Delivered);
                self.answered(hold_epoch);
                self.deliver(offset);
            }
            Ending::Reject { reason, disable, .. } => {
                assert_eq!(verdict, Verdict::DeadLetter { reason: *reason });
                self.answered(hold_epoch);
                self.pending.get_mut(&offset).unwrap().place = Place::Dead;
                if *disable && self.state == State::Running {
                    self.state = State::Disabled;
                }
            }
            Ending::Retry { class: RetryClass::Throttled, after_ms, .. } => {
                self.forget_probe(token);
                self.throttle(now, hold_epoch, *after_ms, effects);
                assert_eq!(verdict, self.fail(now, offset, 0, effects));
            }
            Ending::Retry { class, .. } => {
                let unreachable = *class == RetryClass::Unreachable;
                let burnt = self.open.is_none() && !unreachable;
                let mut back = Vec::new();
                if let Some((_, open_ms)) = self.open {
                    if self.probe == Some(token) {
                        let open_ms = (open_ms * 2).min(self.policy.breaker_open_max_ms);
                        self.open = Some((now + open_ms, open_ms));
                    }
                } else {
                    self.failures.push(Failure { offset, counts: true, burnt, unreachable });
                    back = self.opens(now);
                }
                self.forget_probe(token);
                assert_eq!(verdict, self.fail(now, offset, u32::from(burnt), effects));
                self.give_back(&back, effects);
            }
        }
    }

    pub(super) fn give_back(&mut self, failures: &[Failure], effects: &[Effect]) {
        for failure in failures {
            let Some(event) = self.pending.get_mut(&failure.offset) else { continue };
            event.burnt = event.burnt.saturating_sub(u32::from(failure.burnt));
            let back = effects.iter().find_map(|effect| match effect {
                Effect::Journal(Entry::Breaker { given_back, .. }) => {
                    given_back.iter().find(|back| back.offset.0 == failure.offset)
                }
                _ => None,
            });
            let due = back.expect("each event of the run is given back").due.0;
            let (until, _) = self.open.expect("attempts are given back when the breaker opens");
            assert!(due >= until);
            event.due = Some(due);
            if let Place::Waiting(waits_until) = &mut event.place {
                *waits_until = due;
            }
        }
    }

    pub(super) fn answered(&mut self, hold_epoch: u64) {
        self.failures.clear();
        self.open = None;
        self.probe = None;
        if hold_epoch == self.hold_epoch {
            self.throttles = 0;
        }
    }

    pub(super) fn forget_probe(&mut self, token: u64) {
        self.probe = self.probe.filter(|probe| *probe != token);
    }

    /// Opens the breaker if the failures make an outage; answers those whose attempts are given back.
    pub(super) fn opens(&mut self, now: u64) -> Vec<Failure> {
        let limit = self.policy.breaker_failures as usize;
        let counted = self.failures.iter().filter(|failure| failure.counts);
        let distinct: BTreeSet<u64> = counted.clone().map(|failure| failure.offset).collect();
        let unreachable = counted.filter(|failure| failure.unreachable).count();
        if distinct.len() < limit && unreachable < limit {
            return Vec::new();
        }
        self.open = Some((now + self.policy.breaker_open_ms, self.policy.breaker_open_ms));
        std::mem::take(&mut self.failures)
    }

    pub(super) fn throttle(&mut self, now: u64, hold_epoch: u64, after_ms: Option<u64>, effects: &[Effect]) {
        let until = effects.iter().find_map(|effect| match effect {
            Effect::Journal(Entry::Held { until, .. }) => Some(until.unwrap().0),
            _ => None,
        });
        let first_of_burst = hold_epoch == self.hold_epoch;
        if first_of_burst {
            self.throttles += 1;
            self.hold_epoch += 1;
        }
        if let Some(after_ms) = after_ms.filter(|after_ms| *after_ms > 0) {
            let asked = now + after_ms.min(self.policy.retry_after_max_ms);
            self.held_until = self.held_until.max(asked);
        } else if first_of_burst {
            let until = until.expect("a new burst of throttles holds");
            let doubled = self.policy.backoff_initial_ms << (self.throttles - 1).min(20);
            let ceiling = doubled.min(self.policy.backoff_max_ms);
            assert!(until == self.held_until || (ceiling / 2..=ceiling).contains(&(until - now)));
            self.held_until = self.held_until.max(until);
        }
        assert!(until.is_none_or(|until| until == self.held_until));
    }

    pub(super) fn fail(&mut self, now: u64, offset: u64, burnt: u32, effects: &[Effect]) -> Verdict {
        let due = effects.iter().find_map(|effect| match effect {
            Effect::Journal(
                Entry::Retried { offset: of, tries } | Entry::RetriedWithin { offset: of, tries, .. },
            ) if of.0 == offset => Some(tries.due.0),
            _ => None,
        });
        let due = due.expect("each failure is journaled");
        let gate = self.open.map_or(0, |(until, _)| until).max(self.held_until);
        let next_at = due.max(gate).max(now);
        let is_out = self.open.is_some();
        let event = self.pending.get_mut(&offset).unwrap();
        event.made += 1;
        event.due = Some(due);
        let verdict = if next_at.saturating_sub(event.appended_at) > self.policy.max_age_ms {
            Verdict::DeadLetter { reason: RejectReason::MaxAge }
        } else if burnt == 1 && !is_out && event.burnt + 1 >= self.policy.max_attempts {
            Verdict::DeadLetter { reason: RejectReason::MaxAttempts }
        } else {
            Verdict::Retry { at: Timestamp(next_at) }
        };
        if let Verdict::Retry { .. } = verdict {
            event.burnt += burnt;
            event.place = Place::Waiting(due);
        } else {
            event.place = Place::Dead;
        }
        verdict
    }

    /// The offsets of the leases that have run out, in the order in which they end.
    pub(super) fn overdue(&self, now: u64) -> Vec<u64> {
        let deadline = |(offset, event): (&u64, &Pending)| match event.place {
            Place::Leased { token, deadline, .. } if deadline <= now => Some((deadline, token, *offset)),
            _ => None,
        };
        let mut overdue: Vec<_> = self.pending.iter().filter_map(deadline).collect();
        overdue.sort_unstable();
        overdue.into_iter().map(|(.., offset)| offset).collect()
    }

    pub(super) fn extend(&mut self, offset: u64, until: u64) {
        if let Place::Leased { deadline, .. } = &mut self.pending.get_mut(&offset).unwrap().place {
            *deadline = until;
        }
    }

    pub(super) fn dead_letter_written(&mut self, offset: u64) {
        self.pending.remove(&offset);
        self.settled.insert(offset);
        self.dead_lettered += 1;
    }

    pub(super) fn expire_before(&mut self, limit: u64) -> u64 {
        let kept = self.pending.split_off(&limit);
        let gone = std::mem::replace(&mut self.pending, kept);
        for (offset, event) in &gone {
            self.settled.insert(*offset);
            if let Place::Leased { token, .. } = event.place {
                self.forget_probe(token);
            }
        }
        self.expired += gone.len() as u64;
        self.scanned = self.scanned.max(limit);
        self.forget_halves();
        gone.len() as u64
    }

    /// Leases and dead-letter orders are forgotten, and nothing else.
    pub(super) fn crash(&mut self, now: u64) {
        self.probe = None;
        self.hold_epoch += 1;
        self.halves.clear();
        for event in self.pending.values_mut() {
            event.ready_at = now;
            event.alone = false;
            event.place = event.due.map_or(Place::Fresh, Place::Waiting);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let deadlines = self.pending.values().filter_map(|event| match event.place {
            Place::Leased { deadline, .. } => Some(deadline),
            _ => None,
        });
        let can_lease = self.state == State::Running
            && self.calls().len() < self.policy.concurrency
            && self.probe.is_none();
        let gate = self.open.map(|(until, _)| until).max(Some(self.held_until).filter(|until| *until > 0));
        // A probe waits for nobody.
        let batch = self.policy.batch.as_ref().filter(|_| self.open.is_none());
        let window_ms = batch.map_or(0, |batch| batch.window_ms);
        let waits = |offset: &u64| self.halves.iter().any(|half| half[1..].contains(offset));
        let heads = self.pending.iter().filter(|(offset, _)| self.is_head(**offset) && !waits(offset));
        let first_fresh = heads.clone().find(|(_, event)| event.place == Place::Fresh);
        let fresh = first_fresh.and_then(|(_, event)| match window_ms {
            0 => gate,
            _ => Some((event.ready_at + window_ms).max(gate.unwrap_or(0))),
        });
        let due = |(offset, event): (&u64, &Pending)| match event.place {
            Place::Waiting(due) => Some((due, *offset)),
            _ => None,
        };
        let retry = heads.filter_map(due).min().map(|(due, offset)| {
            let goes_at_once = due == 0 || self.is_solitary(offset);
            (due + if goes_at_once { 0 } else { window_ms }).max(gate.unwrap_or(0))
        });
        let starts = fresh.into_iter().chain(retry).filter(|_| can_lease);
        deadlines.chain(starts).chain(self.next_expiry()).min().map(Timestamp)
    }

    pub(super) fn is_pending(&self, offset: Offset) -> bool {
        self.pending.contains_key(&offset.0)
    }

    /// What a time-out must come to when it is due again at `due`: found by trying, as the rules are in `settle`.
    pub(super) fn timeout_verdict(&self, now: u64, offset: u64, due: u64, later: &[Effect]) -> Verdict {
        let ordered = later.first().and_then(|effect| match effect {
            Effect::DeadLetter(order) if order.offset.0 == offset => Some(order.reason),
            _ => None,
        });
        if let Some(reason) = ordered {
            return Verdict::DeadLetter { reason };
        }
        let opened = later.first().and_then(|effect| match effect {
            Effect::Journal(Entry::Breaker { open, .. }) => *open,
            _ => None,
        });
        let until = opened.map(|open| open.until.0).or(self.open.map(|(until, _)| until)).unwrap_or(0);
        Verdict::Retry { at: Timestamp(due.max(until).max(self.held_until).max(now)) }
    }
}
