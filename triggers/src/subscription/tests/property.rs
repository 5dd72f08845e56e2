//! Random days in the life of a subscription, held against the model at every step.

use eventail_wire::{Offset, Timestamp};
use proptest::prelude::*;

use super::model::Model;
use crate::outcome::{RejectReason, Response, RetryClass};
use crate::policy::{DeliveryPolicy, Ordering};
use crate::subscription::{Effect, Ending, Entry, Lease, Snapshot, State, Subscription};

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
    let reject = prop::bool::weighted(0.1).prop_map(|disable| Ending::Reject {
        reason: RejectReason::Permanent,
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

fn policies() -> impl Strategy<Value = DeliveryPolicy> {
    let ordering = prop_oneof![Just(Ordering::None), Just(Ordering::Key)];
    (1..6_usize, 1..5_u32, 1..5_u32, ordering, 2..40_usize, prop_oneof![Just(1_500), Just(1_000_000)])
        .prop_map(|(concurrency, max_attempts, breaker_failures, ordering, parked_max, max_age_ms)| {
            DeliveryPolicy {
                concurrency,
                concurrency_min: None,
                batch: None,
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
            }
        })
}

const fn matches(offset: u64) -> bool {
    !offset.is_multiple_of(3)
}

const fn key(offset: u64) -> Option<u64> {
    if offset.is_multiple_of(5) { None } else { Some(offset % 4) }
}

const fn bytes(offset: u64) -> usize {
    100 + (offset % 7) as usize * 50
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
                self.log.extend(std::iter::repeat_n(self.now, count.into()));
                self.scan();
            }
            Step::Wait(ms) => self.now += u64::from(ms),
            Step::SetBack(ms) => self.now -= u64::from(ms),
            Step::Lease(max) => self.lease(max.into()),
            Step::Settle(nth, ending) => self.settle(nth, ending),
            Step::Release(nth) => {
                let Some((token, offset)) = self.pick(nth) else { return };
                assert_eq!(self.machine.release(token), Ok(Offset(offset)));
                self.model.release(offset);
                self.stale.push(token);
            }
            Step::Extend(nth, ms) => {
                let Some((token, offset)) = self.pick(nth) else { return };
                let until = self.machine.extend(Timestamp(self.now), token, ms.into()).unwrap();
                assert_eq!(until.0, self.now + u64::from(ms));
                self.model.extend(offset, until.0);
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

    fn offer(&mut self, offset: u64, appended_at: u64) -> bool {
        let (now, appended_at) = (Timestamp(self.now), Timestamp(appended_at));
        self.machine.offer(now, Offset(offset), appended_at, key(offset), bytes(offset))
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
            assert!(self.offer(offset, appended_at));
            assert!(!self.offer(offset, appended_at));
            self.model.offer(offset, appended_at, key(offset));
            self.seen.insert(offset);
        }
    }

    fn lease(&mut self, max: usize) {
        let mut leases: Vec<Lease> = Vec::new();
        self.machine.lease(Timestamp(self.now), max, &mut leases);
        self.model.leases(self.now, max, &leases);
        assert!(leases.iter().all(|lease| !self.stale.contains(&lease.token)), "tokens are not used again");
    }

    fn settle(&mut self, nth: u8, ending: Ending) {
        let Some((token, offset)) = self.pick(nth) else { return };
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
        assert!(self.machine.extend(now, token, 1).is_err());
        assert!(self.machine.release(token).is_err());
        assert!(effects.is_empty());
        assert_eq!(self.machine.snapshot(), before);
    }

    fn expire_leases(&mut self) {
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
        let live = self.machine.snapshot();
        let mut merged = self.journal.clone();
        Entry::merge(&mut merged);
        let mut replayed = self.base.clone();
        merged.iter().for_each(|entry| replayed.apply(entry));
        let mut whole = replayed.clone();
        whole.apply(&self.machine.checkpoint());
        assert_eq!(whole, live, "what is replayed is what was");

        let bytes = rmp_serde::to_vec(&replayed).unwrap();
        let replayed: Snapshot = rmp_serde::from_slice(&bytes).unwrap();
        self.forget_leases_before(u64::MAX);
        let policy = self.machine.policy().clone();
        self.lives += 1;
        self.machine = Subscription::restore(policy, replayed, self.lives);
        self.model.crash();
        self.read_again();
        let goes_on = self.machine.snapshot();
        assert_eq!(goes_on, live, "and what goes on is what was");
    }

    /// Matches and offers everything up to where it had been before the crash.
    fn read_again(&mut self) {
        for offset in self.machine.scanned().0..self.model.scanned {
            let at = usize::try_from(offset).unwrap();
            let appended_at = self.log.get(at).copied().unwrap_or_default();
            if matches(offset) {
                let taken = self.offer(offset, appended_at);
                assert_eq!(taken, self.model.is_pending(Offset(offset)), "offset {offset}");
            }
            self.machine.advance(Offset(offset + 1));
        }
    }

    fn check(&self) {
        let account = self.machine.account();
        assert_eq!(account, self.model.account());
        assert_eq!(
            account.matched,
            account.delivered + account.dead_lettered + account.expired + account.pending
        );
        assert_eq!(account.matched, self.seen.len() as u64, "no event is forgotten or counted twice");
        assert_eq!(self.machine.cursor().0, self.model.cursor());
        assert_eq!(self.machine.breaker(), self.model.breaker());
        assert_eq!(self.machine.state(), self.model.state);
        assert_eq!(self.machine.in_flight(), self.model.leased().len());
        assert_eq!(self.machine.next_wakeup(), self.model.next_wakeup());
        let unsettled = self.seen.iter().filter(|offset| !self.model.settled.contains(offset));
        assert!(unsettled.eq(self.model.pending.keys()));
    }
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
