//! The rules of calls with several events, for the model: once more in the obvious way.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Failure, Model, Place};
use crate::outcome::{RejectReason, RetryClass};
use crate::policy::{BatchPolicy, Ordering};
use crate::subscription::{CallEnding, CallPart, Effect, Ending, Entry, Lease, State, Verdict};

/// A failure of one event of a call.
#[derive(Clone, Copy)]
struct Failing {
    class: RetryClass,
    after_ms: Option<u64>,
    part: CallPart,
    burns: bool,
}

impl Model {
    /// The calls under way, with the offsets of their events in the order in which they were leased.
    pub(super) fn calls(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut leased = self.leased();
        leased.sort_unstable();
        let mut calls: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (_, offset) in leased {
            if let Place::Leased { call, .. } = self.pending[&offset].place {
                calls.entry(call).or_default().push(offset);
            }
        }
        calls
    }

    pub(super) fn is_solitary(&self, offset: u64) -> bool {
        self.pending[&offset].alone || self.halves.iter().any(|half| half[0] == offset)
    }

    fn still(&self, half: &[u64]) -> Vec<u64> {
        half.iter().copied().filter(|offset| self.pending.contains_key(offset)).collect()
    }

    /// Each call is one that may be made, and none that must be made is missing.
    pub(super) fn check_calls(
        &mut self,
        now: u64,
        batch: &BatchPolicy,
        ready: &[u64],
        leases: &[Lease],
        (allowed, room): (usize, usize),
    ) {
        let calls: Vec<&[Lease]> = leases.chunk_by(|a, b| a.call == b.call).collect();
        assert!(calls.len() <= allowed, "{} calls, {allowed} allowed", calls.len());
        for call in &calls {
            assert_eq!(call[0].call, call[0].token);
            let offsets: Vec<u64> = call.iter().map(|lease| lease.offset.0).collect();
            self.check_call(now, batch, ready, &offsets);
            if self.halves.iter().any(|half| half[0] == offsets[0]) {
                self.half_calls.insert(call[0].call);
            }
        }
        if calls.len() < allowed {
            let leased: BTreeSet<u64> = leases.iter().map(|lease| lease.offset.0).collect();
            let left: Vec<u64> = ready.iter().copied().filter(|offset| !leased.contains(offset)).collect();
            self.check_left(now, batch, &left, room);
        }
    }

    fn check_call(&self, now: u64, batch: &BatchPolicy, ready: &[u64], offsets: &[u64]) {
        assert!(ready.contains(&offsets[0]));
        if let Some(half) = self.halves.iter().find(|half| half[0] == offsets[0]) {
            // What expired behind another one of its key waits for its turn to be settled.
            let is_sent = |offset: &u64| self.pending[offset].expires_at.is_none_or(|at| at > now);
            let expected: Vec<u64> = self.still(half).into_iter().filter(is_sent).collect();
            assert_eq!(offsets, expected, "a half goes as it is, without what expired");
            return;
        }
        assert!(offsets.len() == 1 || offsets.iter().all(|offset| !self.pending[offset].alone));
        assert!(!offsets.iter().any(|offset| self.halves.iter().any(|half| half.contains(offset))));
        let bytes: usize = offsets.iter().map(|offset| self.pending[offset].bytes).sum();
        assert!(offsets.len() <= batch.max_events && (bytes <= batch.max_bytes || offsets.len() == 1));
        for (at, offset) in offsets.iter().enumerate() {
            let event = &self.pending[offset];
            let before = self.pending.range(..offset).filter(|(_, other)| other.key == event.key);
            let is_behind = event.key.is_some()
                && before.clone().count() > 0
                && before.clone().all(|(other, _)| offsets[..at].contains(other))
                && event.due.is_none_or(|due| due <= now);
            assert!(ready.contains(offset) || is_behind, "{offset} may not go with {offsets:?}");
        }
    }

    /// What was left although there were calls to be had must wait for its window, and not fill a call.
    fn check_left(&self, now: u64, batch: &BatchPolicy, left: &[u64], room: usize) {
        if batch.window_ms == 0 || room == 0 {
            assert!(left.is_empty(), "nothing waits for others: {left:?}");
            return;
        }
        let is_over = |since: u64| since > now || now - since >= batch.window_ms;
        let (mut retries, fresh): (Vec<(u64, u64)>, Vec<u64>) = (
            left.iter().filter_map(|offset| Some((self.waits_until(*offset)?, *offset))).collect(),
            left.iter().copied().filter(|offset| self.waits_until(*offset).is_none()).collect(),
        );
        retries.sort_unstable();
        assert!(retries.first().is_none_or(|(due, _)| !is_over(*due)), "its window is over: {retries:?}");
        let over = |offset: &u64| is_over(self.pending[offset].ready_at);
        if self.policy.ordering == Ordering::Key {
            assert!(fresh.is_empty() || !fresh.iter().all(over), "their windows are over: {fresh:?}");
        } else {
            assert!(!fresh.first().is_some_and(over), "its window is over: {fresh:?}");
        }
        let gathered =
            retries.iter().map(|(_, offset)| offset).take_while(|offset| !self.is_solitary(**offset));
        let gathered: Vec<u64> = gathered.chain(&fresh).copied().collect();
        let bytes: usize = gathered.iter().map(|offset| self.pending[offset].bytes).sum();
        assert!(
            gathered.len() < batch.max_events && bytes < batch.max_bytes,
            "they fill a call: {gathered:?}"
        );
    }

    fn waits_until(&self, offset: u64) -> Option<u64> {
        match self.pending[&offset].place {
            Place::Waiting(due) => Some(due),
            _ => None,
        }
    }

    /// Ends a call, and answers what must come of each of its events.
    pub(super) fn settle_call(
        &mut self,
        now: u64,
        call: u64,
        ending: &CallEnding,
        effects: &[Effect],
    ) -> Vec<(u64, Verdict)> {
        let members = self.calls()[&call].clone();
        let bisects = self.policy.batch.as_ref().is_some_and(|batch| batch.bisect);
        match ending {
            CallEnding::Whole(Ending::Retry { class, after_ms, .. }) => {
                let burns = matches!(class, RetryClass::Failed | RetryClass::Timeout);
                let was_open = self.open.is_some();
                let halves = burns && !was_open && bisects && members.len() > 1;
                let failing =
                    Failing { class: *class, after_ms: *after_ms, part: CallPart::Counts, burns: !halves };
                let verdicts = self.fail_all(now, &members, failing, effects);
                if members.len() > 1 {
                    if halves {
                        self.halve(&members);
                    } else if self.half_calls.contains(&call) && (was_open || !burns) {
                        self.group(&members);
                    }
                }
                verdicts
            }
            CallEnding::Whole(Ending::Reject { reason, disable, .. })
                if members.len() > 1 && (bisects || *reason == RejectReason::TooLarge) =>
            {
                self.answer(&members);
                if *disable && self.state == State::Running {
                    self.state = State::Disabled;
                }
                let failing = Failing {
                    class: RetryClass::Failed,
                    after_ms: None,
                    part: CallPart::Apart,
                    burns: false,
                };
                let verdicts = self.fail_all(now, &members, failing, effects);
                self.halve(&members);
                verdicts
            }
            CallEnding::Whole(ending) => {
                let endings = vec![Some(ending.clone()); members.len()];
                self.settle_each(now, &members, &endings, effects)
            }
            CallEnding::Each(endings) => {
                let endings: Vec<_> = (0..members.len()).map(|at| endings.get(at).cloned()).collect();
                self.settle_each(now, &members, &endings, effects)
            }
        }
    }

    fn answer(&mut self, members: &[u64]) {
        if let Place::Leased { hold_epoch, .. } = self.pending[&members[0]].place {
            self.answered(hold_epoch);
        }
    }

    fn settle_each(
        &mut self,
        now: u64,
        members: &[u64],
        endings: &[Option<Ending>],
        effects: &[Effect],
    ) -> Vec<(u64, Verdict)> {
        let is_answer = |ending: &Option<Ending>| matches!(ending, Some(Ending::Ack | Ending::Reject { .. }));
        let is_answered = endings.iter().any(is_answer);
        let mut part = CallPart::Counts;
        if is_answered {
            self.answer(members);
            part = CallPart::Apart;
        }
        let mut blocked = BTreeSet::new();
        let mut verdicts = Vec::new();
        for (offset, ending) in members.iter().copied().zip(endings) {
            let key = self.pending[&offset].key;
            let is_blocked = key.is_some_and(|key| blocked.contains(&key));
            let verdict = match ending {
                Some(ending) if !is_blocked => match ending {
                    Ending::Ack => {
                        self.deliver(offset);
                        Verdict::Delivered
                    }
                    Ending::Reject { reason, disable, .. } => {
                        blocked.extend(key);
                        self.pending.get_mut(&offset).unwrap().place = Place::Dead;
                        if *disable && self.state == State::Running {
                            self.state = State::Disabled;
                        }
                        Verdict::DeadLetter { reason: *reason }
                    }
                    Ending::Retry { class, after_ms, .. } => {
                        blocked.extend(key);
                        let failing = Failing { class: *class, after_ms: *after_ms, part, burns: true };
                        if part == CallPart::Counts && *class != RetryClass::Throttled {
                            part = CallPart::Along;
                        }
                        self.fail_one(now, offset, failing, effects)
                    }
                },
                _ => self.go_back(offset, &mut blocked),
            };
            verdicts.push((offset, verdict));
        }
        verdicts
    }

    fn fail_all(
        &mut self,
        now: u64,
        members: &[u64],
        mut failing: Failing,
        effects: &[Effect],
    ) -> Vec<(u64, Verdict)> {
        let mut blocked = BTreeSet::new();
        let mut verdicts = Vec::new();
        for &offset in members {
            let key = self.pending[&offset].key;
            let verdict = if key.is_some_and(|key| blocked.contains(&key)) {
                self.go_back(offset, &mut blocked)
            } else {
                blocked.extend(key);
                self.fail_one(now, offset, failing, effects)
            };
            verdicts.push((offset, verdict));
            assert!(
                verdict == Verdict::HandedBack || self.pending[&offset].due == self.pending[&members[0]].due,
                "what failed together is due together"
            );
            let along = failing.burns && failing.part != CallPart::Apart;
            failing.part = if along { CallPart::Along } else { CallPart::Apart };
        }
        verdicts
    }

    fn fail_one(&mut self, now: u64, offset: u64, failing: Failing, effects: &[Effect]) -> Verdict {
        let Failing { class, after_ms, part, burns } = failing;
        let Place::Leased { hold_epoch, .. } = self.pending[&offset].place else { unreachable!() };
        let effects = effects_of(offset, effects);
        let was_open = self.open.is_some();
        if class == RetryClass::Throttled {
            self.throttle(now, hold_epoch, after_ms, effects);
            return self.fail(now, offset, 0, effects);
        }
        let unreachable = class == RetryClass::Unreachable;
        let burnt = burns && !was_open && !unreachable;
        let counts = part == CallPart::Counts;
        let mut back = Vec::new();
        if !was_open && (counts || (part == CallPart::Along && burnt)) {
            self.failures.push(Failure { offset, counts, burnt, unreachable: unreachable && counts });
            if counts {
                back = self.opens(now);
            }
        }
        let verdict = self.fail(now, offset, u32::from(burnt), effects);
        self.give_back(&back, effects);
        verdict
    }

    /// Takes the events of a call back as if they had never been leased.
    pub(super) fn release_call(&mut self, members: &[u64]) {
        let mut blocked = BTreeSet::new();
        for offset in members {
            self.go_back(*offset, &mut blocked);
        }
    }

    fn go_back(&mut self, offset: u64, blocked: &mut BTreeSet<u64>) -> Verdict {
        let event = self.pending.get_mut(&offset).unwrap();
        let Place::Leased { token, .. } = event.place else { unreachable!() };
        let is_behind = event.key.is_some_and(|key| !blocked.insert(key));
        event.place = match event.due {
            None if is_behind => Place::Fresh,
            due => Place::Waiting(due.unwrap_or(0)),
        };
        self.forget_probe(token);
        Verdict::HandedBack
    }

    fn halve(&mut self, members: &[u64]) {
        let waits = |offset: &u64| matches!(self.pending[offset].place, Place::Waiting(_) | Place::Fresh);
        let waiting: Vec<u64> = members.iter().copied().filter(waits).collect();
        let (first, second) = waiting.split_at(waiting.len() / 2);
        self.group(first);
        self.group(second);
    }

    fn group(&mut self, offsets: &[u64]) {
        let mut keys = BTreeSet::new();
        let mut half = Vec::new();
        for offset in offsets {
            let key = self.pending[offset].key;
            let waits = matches!(self.pending[offset].place, Place::Waiting(_) | Place::Fresh);
            if waits && (self.is_head(*offset) || key.is_some_and(|key| keys.contains(&key))) {
                keys.extend(key);
                half.push(*offset);
            }
        }
        match half.as_slice() {
            [] => {}
            [only] => self.pending.get_mut(only).unwrap().alone = true,
            _ => self.halves.push(half),
        }
    }

    /// A half goes with its first event, unless that is a probe: then the others stay one.
    pub(super) fn take_half(&mut self, first: u64, is_probe: bool) {
        let Some(at) = self.halves.iter().position(|half| half[0] == first) else { return };
        let half = self.halves.remove(at);
        if is_probe {
            let others = self.still(&half[1..]);
            self.disband(vec![half]);
            self.group(&others);
        }
    }

    /// Lets halves go whose first event is gone.
    pub(super) fn forget_halves(&mut self) {
        let (kept, gone) = std::mem::take(&mut self.halves)
            .into_iter()
            .partition(|half| self.pending.contains_key(&half[0]));
        self.halves = kept;
        self.disband(gone);
    }

    pub(super) fn disband_all(&mut self) {
        let halves = std::mem::take(&mut self.halves);
        self.disband(halves);
    }

    fn disband(&mut self, halves: Vec<Vec<u64>>) {
        for half in halves {
            // By the rule of the log's day: an event's key is a function of its offset.
            let mut keys: BTreeSet<u64> = super::property::key(half[0]).into_iter().collect();
            for offset in self.still(&half[1..]) {
                let event = self.pending.get_mut(&offset).unwrap();
                if event.key.is_none_or(|key| keys.insert(key)) {
                    event.place = Place::Waiting(event.due.unwrap_or(0));
                }
            }
        }
    }
}

/// What was done about the failure of one event: a hold before its entry, a dead letter or a breaker behind it.
fn effects_of(offset: u64, effects: &[Effect]) -> &[Effect] {
    let is_entry = |effect: &Effect| match effect {
        Effect::Journal(Entry::Retried { offset: of, .. } | Entry::RetriedWithin { offset: of, .. }) => {
            of.0 == offset
        }
        _ => false,
    };
    let at = effects.iter().position(is_entry).expect("each failure is journaled");
    let is_hold = |effect: &Effect| matches!(effect, Effect::Journal(Entry::Held { .. }));
    let begin = if at > 0 && is_hold(&effects[at - 1]) { at - 1 } else { at };
    let belongs = |effect: &&Effect| {
        matches!(effect, Effect::DeadLetter(_) | Effect::Journal(Entry::Breaker { open: Some(_), .. }))
    };
    let end = at + 1 + effects[at + 1..].iter().take_while(belongs).count();
    &effects[begin..end]
}
