//! Random days in the life of a subscription, held against the model at every step.

use eventail_wire::{Offset, Timestamp};
use proptest::prelude::*;

use super::model::Model;
use crate::outcome::{RejectReason, Response, RetryClass};
use crate::policy::{BatchPolicy, DeliveryPolicy, Ordering};
use crate::subscription::{
    CallEnding, Effect, Ending, Entry, Lease, Offer, Offered, Snapshot, State, Subscription,
};

#[derive(Clone, Debug)]
enum Step {
    /// Appends and scans.
    Append(u8),
    Wait(u16),
    /// The clock is set back.
    SetBack(u16),
    /// The policy is read again: concurrency and time-out.
    Reload(u8, u16),
    Lease(u8),
    /// The nth lease that stands ends.
    Settle(u8, Ending),
    /// The events of the nth call end each by itself; those that are left out go back.
    SettleEach(u8, Vec<Ending>),
    Release(u8),
    Extend(u8, u16),
    /// Shows a token that no longer stands.
    Stale(u8),
    ExpireLeases,
    DeadLetterWritten(u8),
    Pause,
    Resume,
    SkipBy(u8),
    LoseBy(u8),
    Checkpoint,
    /// A snapshot takes the place of the journal so far.
    Roll,
    /// Only what was journaled survives.
    Crash,
}

fn endings() -> impl Strategy<Value = Ending> {
    let class = prop_oneof![
        Just(RetryClass::Throttled),
        Just(RetryClass::Unreachable),
        Just(RetryClass::Timeout),
        Just(RetryClass::Failed),
        Just(RetryClass::Failed),
    ];
    let retry = (class, proptest::option::weighted(0.2, 0_u64..900)).prop_map(|(class, after_ms)| {
        Ending::Retry { class, after_ms, response: Response { status: Some(503), ..Response::default() } }
    });
    let reasons = prop_oneof![3 => Just(RejectReason::Permanent), 1 => Just(RejectReason::TooLarge)];
    let reject = (prop::bool::weighted(0.1), reasons).prop_map(|(disable, reason)| Ending::Reject {
        reason,
        response: Response::default(),
        disable,
    });
    prop_oneof![4 => Just(Ending::Ack), 6 => retry, 1 => reject]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..8_u8).prop_map(Step::Append),
        6 => (0..400_u16).prop_map(Step::Wait),
        1 => (0..400_u16).prop_map(Step::SetBack),
        1 => (1..6_u8, 1..600_u16).prop_map(|(wide, ms)| Step::Reload(wide, ms)),
        12 => (1..6_u8).prop_map(Step::Lease),
        20 => (any::<u8>(), endings()).prop_map(|(nth, ending)| Step::Settle(nth, ending)),
        8 => (any::<u8>(), prop::collection::vec(endings(), 0..6))
            .prop_map(|(nth, endings)| Step::SettleEach(nth, endings)),
        1 => any::<u8>().prop_map(Step::Release),
        1 => (any::<u8>(), 1..900_u16).prop_map(|(nth, ms)| Step::Extend(nth, ms)),
        2 => any::<u8>().prop_map(Step::Stale),
        3 => Just(Step::ExpireLeases),
        4 => any::<u8>().prop_map(Step::DeadLetterWritten),
        1 => Just(Step::Pause),
        3 => Just(Step::Resume),
        1 => (0..6_u8).prop_map(Step::SkipBy),
        1 => (0..6_u8).prop_map(Step::LoseBy),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Roll),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..250)
}

fn batches() -> impl Strategy<Value = BatchPolicy> {
    let windows = prop_oneof![Just(0), 1..300_u64];
    (1..9_usize, 100..2_500_usize, windows, any::<bool>()).prop_map(
        |(max_events, max_bytes, window_ms, bisect)| BatchPolicy { max_events, max_bytes, window_ms, bisect },
    )
}

fn policies() -> impl Strategy<Value = DeliveryPolicy> {
    let ordering = prop_oneof![Just(Ordering::None), Just(Ordering::Key)];
    let ages = prop_oneof![Just(1_500), Just(1_000_000)];
    let windows = prop_oneof![Just(0), 1..2_000_u64];
    let limits = (1..6_usize, 1..5_u32, 1..5_u32, 2..40_usize);
    (limits, ordering, ages, proptest::option::of(batches()), windows).prop_map(
        |(limits, ordering, max_age_ms, batch, dedup_window_ms)| {
            let (concurrency, max_attempts, breaker_failures, parked_max) = limits;
            DeliveryPolicy {
                concurrency,
                concurrency_min: None,
                batch,
                timeout_ms: 300,
                max_attempts,
                max_age_ms,
                backoff_initial_ms: 50,
                backoff_max_ms: 400,
                retry_after_max_ms: 600,
                ordering,
                breaker_failures,
                breaker_open_ms: 100,
                breaker_open_max_ms: 800,
                parked_max,
                dedup_window_ms,
                dedup_keys_max: 10_000,
            }
        },
    )
}

const fn matches(offset: u64) -> bool {
    !offset.is_multiple_of(3)
}

pub(super) const fn key(offset: u64) -> Option<u64> {
    if offset.is_multiple_of(5) { None } else { Some(offset % 4) }
}

const fn bytes(offset: u64) -> usize {
    100 + (offset % 7) as usize * 50
}

/// Some expire soon after they were appended, some at once.
const fn expires_at(offset: u64, appended_at: u64) -> Option<u64> {
    match offset % 7 {
        2 => Some(appended_at + 20 * (offset % 50)),
        4 => Some(appended_at),
        _ => None,
    }
}

const fn dedup_key(offset: u64) -> Option<u128> {
    if offset.is_multiple_of(4) { None } else { Some(offset as u128 * offset as u128 % 11) }
}

struct Day {
    now: u64,
    lives: u64,
    /// When each record was appended.
    log: Vec<u64>,
    machine: Subscription,
    model: Model,
    base: Snapshot,
    journal: Vec<Entry>,
    stale: Vec<u64>,
    seen: std::collections::BTreeSet<u64>,
}

impl Day {
    fn new(policy: DeliveryPolicy) -> Self {
        Self {
            now: 1_000_000,
            lives: 1,
            log: Vec::new(),
            machine: Subscription::new(policy.clone(), Offset(0), 1),
            model: Model::new(policy),
            base: Snapshot::new(Offset(0)),
            journal: Vec::new(),
            stale: Vec::new(),
            seen: std::collections::BTreeSet::new(),
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        self.journal.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Journal(entry) => Some(entry),
            Effect::DeadLetter(_) => None,
        }));
    }

    fn pick(&self, nth: u8) -> Option<(u64, u64)> {
        let leased = self.model.leased();
        (!leased.is_empty()).then(|| leased[nth as usize % leased.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(count) => {
                // As logs have it, whatever the clock does.
                let at = self.now.max(self.log.last().copied().unwrap_or_default());
                self.log.extend(std::iter::repeat_n(at, count.into()));
                self.scan();
            }
            Step::Wait(ms) => self.now += u64::from(ms),
            Step::SetBack(ms) => self.now -= u64::from(ms),
            Step::Lease(max) => self.lease(max.into()),
            Step::Settle(nth, ending) => self.settle(nth, ending),
            Step::SettleEach(nth, endings) => self.settle_call(nth, CallEnding::Each(endings)),
            Step::Release(nth) => {
                let Some((token, offset)) = self.pick(nth) else { return };
                let tokens = self.tokens_beside(offset);
                assert_eq!(self.machine.release(token), Ok(Offset(offset)));
                let members: Vec<u64> = tokens.iter().map(|(_, offset)| *offset).collect();
                self.model.release_call(&members);
                self.stale.extend(tokens.iter().map(|(token, _)| *token));
            }
            Step::Extend(nth, ms) => {
                let Some((token, offset)) = self.pick(nth) else { return };
                let until = self.machine.extend(Timestamp(self.now), token, ms.into()).unwrap();
                assert_eq!(until.0, self.now + u64::from(ms));
                for (_, offset) in self.tokens_beside(offset) {
                    self.model.extend(offset, until.0);
                }
            }
            Step::Stale(nth) => self.show_stale(nth),
            Step::ExpireLeases => self.expire_leases(),
            Step::DeadLetterWritten(nth) => {
                let dead = self.model.dead();
                let orders = self.machine.dead_letter_orders().map(|order| order.offset.0);
                assert_eq!(orders.collect::<Vec<_>>(), dead);
                if let Some(offset) = dead.get(nth as usize % dead.len().max(1)) {
                    self.journal.extend(self.machine.dead_letter_written(Offset(*offset)));
                    self.model.dead_letter_written(*offset);
                }
            }
            other => self.control(other),
        }
    }

    /// What operators, the broker and fate do.
    fn control(&mut self, step: Step) {
        match step {
            Step::Reload(concurrency, timeout_ms) => {
                let policy = DeliveryPolicy {
                    concurrency: concurrency.into(),
                    timeout_ms: timeout_ms.into(),
                    ..self.model.policy.clone()
                };
                self.model.policy = policy.clone();
                self.machine.set_policy(policy);
                self.model.disband_all();
            }
            Step::Pause => {
                self.journal.push(self.machine.pause("lunch".to_owned()));
                self.model.state = State::Paused;
            }
            Step::Resume => {
                self.journal.push(self.machine.resume());
                self.model.state = State::Running;
            }
            Step::SkipBy(by) => {
                let to = self.model.cursor() + u64::from(by);
                self.forget_leases_before(to);
                let expired = self.model.expire_before(to);
                let entry = self.machine.skip_to(Offset(to));
                assert_eq!(entry, Entry::Skipped { to: Offset(to), expired });
                self.journal.push(entry);
            }
            Step::LoseBy(by) => self.lose_by(by.into()),
            Step::Checkpoint => self.journal.push(self.machine.checkpoint()),
            Step::Roll => {
                self.base = self.machine.snapshot();
                self.journal.clear();
            }
            Step::Crash => self.crash(),
            _ => unreachable!("the others are in `step`"),
        }
    }

    fn offer(&mut self, offset: u64, appended_at: u64) -> (Offer, Offered) {
        let offer = Offer {
            offset: Offset(offset),
            appended_at: Timestamp(appended_at),
            key: key(offset),
            bytes: bytes(offset),
            expires_at: expires_at(offset, appended_at).map(Timestamp),
            dedup_key: dedup_key(offset),
        };
        let mut effects = Vec::new();
        let offered = self.machine.take_in(Timestamp(self.now), &offer, &mut effects);
        assert_eq!(effects.len(), usize::from(matches!(offered, Offered::Expired | Offered::Repeat)));
        self.take(effects);
        (offer, offered)
    }

    /// What waits and is past its time goes before leases are taken.
    fn expire(&mut self) {
        let mut effects = Vec::new();
        self.machine.expire(Timestamp(self.now), &mut effects);
        let expired = effects.iter().map(|effect| match effect {
            Effect::Journal(Entry::Expired { offset }) => offset.0,
            other => panic!("{other:?}"),
        });
        assert_eq!(expired.collect::<std::collections::BTreeSet<_>>(), self.model.expire(self.now));
        self.take(effects);
    }

    /// Keys whose window is over tell nothing, and are forgotten sooner or later.
    fn without_old_keys(&self, mut snapshot: Snapshot) -> Snapshot {
        let newest = self.log.iter().copied().max().unwrap_or_default();
        let window_ms = self.model.policy.dedup_window_ms;
        let rows: Vec<_> = snapshot.keys.rows().collect();
        for (key, seen) in rows.into_iter().filter(|(_, seen)| newest - seen.at.0 >= window_ms) {
            snapshot.keys.remove(key, seen.offset);
        }
        snapshot
    }

    fn scan(&mut self) {
        loop {
            let offset = self.machine.scanned().0;
            let Some(&appended_at) = self.log.get(usize::try_from(offset).unwrap()) else { break };
            if !matches(offset) {
                self.machine.advance(Offset(offset + 1));
                self.model.scanned = offset + 1;
                continue;
            }
            if self.machine.room() == 0 {
                break;
            }
            let (offer, offered) = self.offer(offset, appended_at);
            assert_eq!(self.offer(offset, appended_at).1, Offered::Known);
            assert_eq!(offered, self.model.offer(self.now, &offer), "offset {offset}");
            self.seen.insert(offset);
        }
    }

    fn lease(&mut self, max: usize) {
        self.expire();
        let mut leases: Vec<Lease> = Vec::new();
        let may_lease = self.machine.may_lease(Timestamp(self.now));
        self.machine.lease(Timestamp(self.now), max, &mut leases);
        assert_eq!(may_lease, !leases.is_empty());
        self.model.leases(self.now, max, self.machine.room(), &leases);
        assert!(leases.iter().all(|lease| !self.stale.contains(&lease.token)), "tokens are not used again");
    }

    /// The leases of the call that an event is part of, in their order.
    fn tokens_beside(&self, offset: u64) -> Vec<(u64, u64)> {
        let calls = self.model.calls();
        let members = calls.values().find(|members| members.contains(&offset)).cloned().unwrap_or_default();
        let mut tokens: Vec<(u64, u64)> = self.model.leased();
        tokens.retain(|(_, offset)| members.contains(offset));
        tokens.sort_unstable();
        tokens
    }

    /// Ends the call of the nth lease that stands.
    fn settle_call(&mut self, nth: u8, ending: CallEnding) {
        let Some((_, offset)) = self.pick(nth) else { return };
        let tokens = self.tokens_beside(offset);
        let calls = self.model.calls();
        let (call, _) = calls.iter().find(|(_, members)| members.contains(&offset)).unwrap();
        if let ([_], CallEnding::Each(endings)) = (tokens.as_slice(), &ending) {
            match endings.first() {
                Some(ending) => self.settle(nth, ending.clone()),
                None => self.step(Step::Release(nth)),
            }
            return;
        }
        // Some of its leases may not stand any more, and what is said of them is said to nobody.
        let mut effects = Vec::new();
        let now = Timestamp(self.now);
        let settled = self.machine.settle_call(now, *call, ending.clone(), &mut effects).unwrap();
        let ending = match ending {
            CallEnding::Each(endings) => {
                let stood = settled.iter().zip(endings).filter(|(settled, _)| settled.is_some());
                CallEnding::Each(stood.map(|(_, ending)| ending).collect())
            }
            whole @ CallEnding::Whole(_) => whole,
        };
        let settled: Vec<_> = settled.iter().flatten().map(|one| (one.offset.0, one.verdict)).collect();
        assert_eq!(settled, self.model.settle_call(self.now, *call, &ending, &effects));
        self.stale.extend(tokens.iter().map(|(token, _)| *token));
        self.take(effects);
        self.scan();
    }

    fn settle(&mut self, nth: u8, ending: Ending) {
        let Some((token, offset)) = self.pick(nth) else { return };
        if self.tokens_beside(offset).len() > 1 {
            return self.settle_call(nth, CallEnding::Whole(ending));
        }
        let mut effects = Vec::new();
        let settled = self.machine.settle(Timestamp(self.now), token, ending.clone(), &mut effects).unwrap();
        assert_eq!(settled.offset.0, offset);
        self.model.settle(self.now, offset, &ending, settled.verdict, &effects);
        self.take(effects);
        self.stale.push(token);
        self.scan();
    }

    fn show_stale(&mut self, nth: u8) {
        let Some(&token) = self.stale.get(nth as usize % self.stale.len().max(1)) else { return };
        let before = self.machine.snapshot();
        let mut effects = Vec::new();
        let now = Timestamp(self.now);
        assert!(self.machine.settle(now, token, Ending::Ack, &mut effects).is_err());
        // The first lease names its call, and goes on doing so when its own event went with retention or a skip.
        if !self.model.calls().contains_key(&token) {
            assert!(self.machine.extend(now, token, 1).is_err());
            assert!(self.machine.release(token).is_err());
        }
        assert!(effects.is_empty());
        assert_eq!(self.machine.snapshot(), before);
    }

    fn expire_leases(&mut self) {
        if self.model.policy.batch.is_some() {
            return self.expire_calls();
        }
        let overdue = self.model.overdue(self.now);
        let tokens: Vec<u64> = self.model.leased().into_iter().map(|(token, _)| token).collect();
        let mut effects = Vec::new();
        self.machine.expire_leases(Timestamp(self.now), &mut effects);
        // The machine's choice of jitter is in the effects; the model must only agree on what ended, and in which order.
        let mut rest = effects.as_slice();
        for offset in overdue {
            let is_of = |effect: &Effect| match effect {
                Effect::Journal(Entry::Retried { offset: of, .. }) => of.0 == offset,
                _ => false,
            };
            let at = rest.iter().position(is_of).expect("a lease that ran out is journaled");
            let Effect::Journal(Entry::Retried { tries, .. }) = &rest[at] else { unreachable!() };
            let (due, response) = (tries.due, tries.response.clone());
            let ending = Ending::Retry { class: RetryClass::Timeout, after_ms: None, response };
            let verdict = self.model.timeout_verdict(self.now, offset, due.0, &rest[at + 1..]);
            self.model.settle(self.now, offset, &ending, verdict, &rest[at..]);
            rest = &rest[at + 1..];
        }
        let standing: Vec<u64> = self.model.leased().into_iter().map(|(token, _)| token).collect();
        self.stale.extend(tokens.into_iter().filter(|token| !standing.contains(token)));
        self.take(effects);
    }

    /// Each call that ran out ends as a whole, in the order in which they do.
    fn expire_calls(&mut self) {
        let mut effects = Vec::new();
        self.machine.expire_leases(Timestamp(self.now), &mut effects);
        let mut rest = effects.as_slice();
        while let Some(&offset) = self.model.overdue(self.now).first() {
            let tokens = self.tokens_beside(offset);
            self.stale.extend(tokens.iter().map(|(token, _)| *token));
            let calls = self.model.calls();
            let (call, _) = calls.iter().find(|(_, members)| members.contains(&offset)).unwrap();
            let ending =
                Ending::Retry { class: RetryClass::Timeout, after_ms: None, response: Response::default() };
            if let [(_, offset)] = tokens.as_slice() {
                let at =
                    rest.iter().position(|effect| is_retry_of(effect, *offset)).expect("it is journaled");
                let Effect::Journal(Entry::Retried { tries, .. }) = &rest[at] else { unreachable!() };
                let verdict = self.model.timeout_verdict(self.now, *offset, tries.due.0, &rest[at + 1..]);
                self.model.settle(self.now, *offset, &ending, verdict, &rest[at..]);
                rest = &rest[at + 1..];
            } else {
                self.model.settle_call(self.now, *call, &CallEnding::Whole(ending), rest);
            }
        }
        self.take(effects);
    }

    fn forget_leases_before(&mut self, limit: u64) {
        let gone = self.model.leased().into_iter().filter(|(_, offset)| *offset < limit);
        self.stale.extend(gone.map(|(token, _)| token));
    }

    fn lose_by(&mut self, by: u64) {
        let start = self.model.cursor() + by;
        let unread = start.saturating_sub(self.model.scanned);
        self.forget_leases_before(start);
        let entry = self.machine.lost(Offset(start));
        if by == 0 {
            assert_eq!(entry, None);
            return;
        }
        let expired = self.model.expire_before(start);
        assert_eq!(entry, Some(Entry::Lost { start: Offset(start), lost: unread, expired }));
        self.journal.extend(entry);
    }

    fn crash(&mut self) {
        let mut live = self.without_old_keys(self.machine.snapshot());
        let mut merged = self.journal.clone();
        Entry::merge(&mut merged);
        let mut replayed = self.base.clone();
        merged.iter().for_each(|entry| replayed.apply(entry));
        let mut whole = replayed.clone();
        whole.apply(&self.machine.checkpoint());
        assert_eq!(self.without_old_keys(whole), live, "what is replayed is what was");

        let bytes = rmp_serde::to_vec(&replayed).unwrap();
        let replayed: Snapshot = rmp_serde::from_slice(&bytes).unwrap();
        self.forget_leases_before(u64::MAX);
        let policy = self.machine.policy().clone();
        self.lives += 1;
        self.machine = Subscription::restore(policy, replayed, self.lives);
        self.model.crash(self.now);
        let journaled = self.journal.len();
        self.read_again();
        self.journal[journaled..].iter().for_each(|expired| live.apply(expired));
        let goes_on = self.without_old_keys(self.machine.snapshot());
        assert_eq!(goes_on, live, "and what goes on is what was");
    }

    /// Matches and offers everything up to where it had been before the crash.
    fn read_again(&mut self) {
        for offset in self.machine.scanned().0..self.model.scanned {
            let at = usize::try_from(offset).unwrap();
            let appended_at = self.log.get(at).copied().unwrap_or_default();
            if matches(offset) {
                let (_, offered) = self.offer(offset, appended_at);
                let is_known = !self.model.is_pending(Offset(offset));
                // One that was not tried yet may have expired meanwhile.
                let is_past = expires_at(offset, appended_at).is_some_and(|at| at <= self.now);
                match offered {
                    Offered::Known => assert!(is_known, "offset {offset}"),
                    Offered::Pending => assert!(!is_known && !is_past, "offset {offset}"),
                    Offered::Expired => {
                        assert!(!is_known && is_past, "offset {offset}");
                        self.model.expire_one(offset);
                    }
                    Offered::Repeat => panic!("offset {offset} was no repeat before"),
                }
            }
            self.machine.advance(Offset(offset + 1));
        }
    }

    fn check(&self) {
        let account = self.machine.account();
        assert_eq!(account, self.model.account());
        assert_eq!(
            account.matched,
            account.delivered
                + account.dead_lettered
                + account.expired
                + account.deduplicated
                + account.pending
        );
        assert_eq!(account.matched, self.seen.len() as u64, "no event is forgotten or counted twice");
        assert_eq!(self.machine.cursor().0, self.model.cursor());
        assert_eq!(self.machine.breaker(), self.model.breaker());
        assert_eq!(self.machine.state(), self.model.state);
        assert_eq!(self.machine.in_flight(), self.model.leased().len());
        assert_eq!(self.machine.calls_in_flight(), self.model.calls().len());
        let batch = self.model.policy.batch.as_ref();
        let window_ms = batch.map_or(0, |batch| batch.window_ms);
        // Which of the keys' first events came first is not the model's business.
        if window_ms == 0 || self.model.policy.ordering == Ordering::None {
            assert_eq!(self.machine.next_wakeup(), self.model.next_wakeup());
        }
        let unsettled = self.seen.iter().filter(|offset| !self.model.settled.contains(offset));
        assert!(unsettled.eq(self.model.pending.keys()));
    }
}

fn is_retry_of(effect: &Effect, offset: u64) -> bool {
    matches!(effect, Effect::Journal(Entry::Retried { offset: of, .. }) if of.0 == offset)
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_does(policy in policies(), steps in steps()) {
        let mut day = Day::new(policy);
        for step in steps {
            day.step(step);
            day.check();
        }
    }
}
