//! Calls with several events: which leases belong together, and what becomes of each when the call ends.
//!
//! A call ends as a whole or for each event by itself. Where order is kept per key, an event that failed keeps those of its key
//! behind it: the later ones of the same call go back as if they had never been leased, even if the target says that it took
//! them, and are delivered again after it.

use std::collections::{HashMap, HashSet};

use eventail_wire::{Offset, Timestamp};
use rapidhash::fast::RandomState;

use super::Subscription;
use super::backoff;
use super::entry::{CallPart, Effect, Entry};
use super::lease::{CallEnding, Ending, Lease, Settled, StaleLease, Verdict};
use super::settling::{Failure, Terms};
use super::slots::{Held, Place, index_of};
use crate::outcome::{RejectReason, Response, RetryClass};

/// A call with several events.
#[derive(Debug)]
struct Call {
    /// Its leases, in order. Some may have ended by themselves.
    tokens: Vec<u64>,
    /// Those that stand.
    left: usize,
    /// Whether it is half of a batch that failed.
    is_half: bool,
}

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    under_way: usize,
    /// Those with several events, by their id. A single event costs nothing here.
    shared: HashMap<u64, Call, RandomState>,
}

impl Calls {
    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) const fn begin_single(&mut self) {
        self.under_way += 1;
    }

    /// A call with these leases, at least one, begins.
    pub(super) fn begin(&mut self, leases: &[Lease], is_half: bool) {
        self.under_way += 1;
        if let [first, _, ..] = leases {
            let tokens = leases.iter().map(|lease| lease.token).collect();
            self.shared.insert(first.call, Call { tokens, left: leases.len(), is_half });
        }
    }

    /// A lease ended; with the last one its call.
    pub(super) fn leave(&mut self, call: u64) {
        if !self.shared.is_empty()
            && let Some(shared) = self.shared.get_mut(&call)
        {
            shared.left -= 1;
            if shared.left > 0 {
                return;
            }
            self.shared.remove(&call);
        }
        self.under_way -= 1;
    }

    pub(super) fn is_shared(&self, call: u64) -> bool {
        !self.shared.is_empty() && self.shared.contains_key(&call)
    }

    /// The leases of a call that ends now, and whether it is half of a batch.
    fn end(&mut self, call: u64) -> Option<(Vec<u64>, bool)> {
        let shared = self.shared.get_mut(&call)?;
        Some((std::mem::take(&mut shared.tokens), shared.is_half))
    }

    /// The leases of a call that goes on.
    fn tokens(&self, call: u64) -> Vec<u64> {
        self.shared.get(&call).map(|shared| shared.tokens.clone()).unwrap_or_default()
    }
}

/// The lease of a call's event that still stands.
#[derive(Clone, Copy)]
struct Member {
    /// Which of the call's leases it is.
    at: usize,
    offset: Offset,
    index: u32,
    held: Held,
}

/// The keys of a call's events that were not settled: what comes behind them must wait.
#[derive(Default)]
struct Blocked(HashSet<u64>);

impl Blocked {
    fn has(&self, key: Option<u64>) -> bool {
        !self.0.is_empty() && key.is_some_and(|key| self.0.contains(&key))
    }
}

impl Subscription {
    /// Ends a call. What must be done about it is appended to `effects`; answers what came of each of its leases, in their order,
    /// `None` where the lease no longer stood.
    ///
    /// # Errors
    /// Where none of its leases stands; nothing is changed then.
    pub fn settle_call(
        &mut self,
        now: Timestamp,
        call: u64,
        ending: CallEnding,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<Option<Settled>>, StaleLease> {
        let Some((tokens, is_half)) = self.calls.end(call) else {
            return self.settle_single(now, call, ending, effects).map(|settled| vec![settled]);
        };
        let mut settled = vec![None; tokens.len()];
        let members = self.members(&tokens);
        match ending {
            CallEnding::Whole(Ending::Retry { class, after_ms, response }) => {
                self.last_failure = Some(response.clone());
                let failure = Failure::new(class, after_ms, response);
                self.fail_whole(now, &members, is_half, failure, effects, &mut settled);
            }
            CallEnding::Whole(Ending::Reject { reason, response, disable })
                if members.len() > 1 && self.is_halved_by(reason) =>
            {
                self.last_failure = Some(response.clone());
                self.refuse_whole(now, &members, response, disable, effects, &mut settled);
            }
            CallEnding::Whole(ending) => {
                let endings = std::iter::repeat_n(ending, tokens.len()).collect();
                self.settle_each(now, &members, endings, effects, &mut settled);
            }
            CallEnding::Each(endings) => self.settle_each(now, &members, endings, effects, &mut settled),
        }
        Ok(settled)
    }

    fn settle_single(
        &mut self,
        now: Timestamp,
        token: u64,
        ending: CallEnding,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Settled>, StaleLease> {
        let ending = match ending {
            CallEnding::Whole(ending) => Some(ending),
            CallEnding::Each(endings) => endings.into_iter().next(),
        };
        match ending {
            Some(ending) => self.settle(now, token, ending, effects).map(Some),
            None => {
                let attempt = self.slots.get(index_of(token)).attempt();
                let offset = self.release(token)?;
                Ok(Some(Settled { offset, attempt, verdict: Verdict::HandedBack }))
            }
        }
    }

    fn members(&self, tokens: &[u64]) -> Vec<Member> {
        let member = |(at, token): (usize, &u64)| {
            let (index, held) = self.slots.lease(*token)?;
            Some(Member { at, offset: self.slots.get(index).offset, index, held })
        };
        tokens.iter().enumerate().filter_map(member).collect()
    }

    /// Whether a batch that is refused for this reason is halved. One that is too large may have events that are not, so it
    /// always is.
    fn is_halved_by(&self, reason: RejectReason) -> bool {
        reason == RejectReason::TooLarge || self.bisects()
    }

    fn bisects(&self) -> bool {
        self.policy.batch.as_ref().is_some_and(|batch| batch.bisect)
    }

    /// Each event ends by itself. One that was taken or refused says that the target is alive, whatever became of the others.
    fn settle_each(
        &mut self,
        now: Timestamp,
        members: &[Member],
        endings: Vec<Ending>,
        effects: &mut Vec<Effect>,
        settled: &mut [Option<Settled>],
    ) {
        let mut endings: Vec<Option<Ending>> = endings.into_iter().map(Some).collect();
        endings.resize(settled.len().max(endings.len()), None);
        let answers =
            |member: &&Member| matches!(endings[member.at], Some(Ending::Ack | Ending::Reject { .. }));
        let answer = members.iter().find(answers).copied();
        let mut part = CallPart::Counts;
        if let Some(answer) = answer {
            self.note_answer(answer.held, effects);
            part = CallPart::Apart;
        }
        let mut blocked = Blocked::default();
        for member in members {
            let slot = self.slots.get(member.index);
            let (key, attempt) = (slot.key, slot.attempt());
            let verdict = match endings[member.at].take().filter(|_| !blocked.has(key)) {
                None => self.go_back(member, &mut blocked),
                Some(Ending::Ack) => self.deliver(member.index, member.held, effects),
                Some(Ending::Reject { reason, response, disable }) => {
                    blocked.0.extend(key);
                    self.last_failure = Some(response.clone());
                    self.reject((member.index, member.held), reason, response, disable, effects)
                }
                Some(Ending::Retry { class, after_ms, response }) => {
                    blocked.0.extend(key);
                    self.last_failure = Some(response.clone());
                    let terms = Terms { part, burns: true, due: None };
                    if part == CallPart::Counts && class != RetryClass::Throttled {
                        part = CallPart::Along;
                    }
                    let failure = Failure::new(class, after_ms, response);
                    self.fail(now, (member.index, member.held), failure, terms, effects)
                }
            };
            settled[member.at] = Some(Settled { offset: member.offset, attempt, verdict });
        }
    }

    /// All events failed alike: none, or each, or their common target may be why. They are due at the same time, so that they
    /// find each other again.
    fn fail_whole(
        &mut self,
        now: Timestamp,
        members: &[Member],
        is_half: bool,
        failure: Failure,
        effects: &mut Vec<Effect>,
        settled: &mut [Option<Settled>],
    ) {
        let class = failure.class;
        let was_open = self.breaker.open().is_some();
        let halves = class.burns() && !was_open && members.len() > 1 && self.bisects();
        let due = halves.then(|| now.plus_ms(backoff::asked_ms(&self.policy, failure.after_ms)));
        let terms = Terms { part: CallPart::Counts, burns: !halves, due };
        self.fail_all(now, members, terms, failure, effects, settled);
        if members.len() > 1 {
            let events: Vec<_> = members.iter().map(|member| (member.offset, member.index)).collect();
            if halves {
                // Even where it was the one that made it an outage: see `halves`.
                self.halve(&events);
            } else if is_half && (was_open || !class.burns()) {
                self.group(&events);
            }
        }
    }

    /// The target refuses the batch; that says nothing of each event.
    fn refuse_whole(
        &mut self,
        now: Timestamp,
        members: &[Member],
        response: Response,
        disable: bool,
        effects: &mut Vec<Effect>,
        settled: &mut [Option<Settled>],
    ) {
        if let Some(first) = members.first() {
            self.note_answer(first.held, effects);
        }
        self.disable_if(disable, &response, effects);
        let failure = Failure::new(RetryClass::Failed, None, response);
        let terms = Terms { part: CallPart::Apart, burns: false, due: Some(now) };
        self.fail_all(now, members, terms, failure, effects, settled);
        let events: Vec<_> = members.iter().map(|member| (member.offset, member.index)).collect();
        self.halve(&events);
    }

    /// The first event stands for the call; the others share its due time.
    fn fail_all(
        &mut self,
        now: Timestamp,
        members: &[Member],
        mut terms: Terms,
        mut failure: Failure,
        effects: &mut Vec<Effect>,
        settled: &mut [Option<Settled>],
    ) {
        let mut blocked = Blocked::default();
        for (nth, member) in members.iter().enumerate() {
            let slot = self.slots.get(member.index);
            let (key, attempt) = (slot.key, slot.attempt());
            let verdict = if blocked.has(key) {
                self.go_back(member, &mut blocked)
            } else {
                blocked.0.extend(key);
                self.fail(now, (member.index, member.held), failure.clone(), terms, effects)
            };
            settled[member.at] = Some(Settled { offset: member.offset, attempt, verdict });
            if nth == 0 {
                let tries = self.slots.get(member.index).tries.as_ref();
                let along = terms.burns && terms.part == CallPart::Counts;
                terms.part = if along { CallPart::Along } else { CallPart::Apart };
                terms.due = tries.map(|tries| tries.due);
                // Once is enough for what may be long.
                failure.is_told = true;
            }
        }
    }

    /// Takes an event back as if it had never been leased.
    fn go_back(&mut self, member: &Member, blocked: &mut Blocked) -> Verdict {
        self.detach(member.index);
        let slot = self.slots.get_mut(member.index);
        if slot.key.is_some_and(|key| !blocked.0.insert(key)) {
            slot.place = Place::Behind;
            self.behind += 1;
        } else {
            let due = slot.tries.as_ref().map_or(Timestamp(0), |tries| tries.due);
            self.park(member.index, due);
        }
        Verdict::HandedBack
    }

    /// The target answered, though perhaps with a failure.
    pub(super) fn note_answer(&mut self, held: Held, effects: &mut Vec<Effect>) {
        if !self.breaker.is_quiet() {
            effects.push(Effect::Journal(Entry::Answered));
        }
        self.answered(held, effects);
    }

    /// Gives a lease, with all of its call, `lease_ms` from now. Answers the new deadline. The name of a call will do as well, even
    /// where its first event was passed over.
    ///
    /// # Errors
    /// Where the lease no longer stands, or nothing of the call.
    pub fn extend(&mut self, now: Timestamp, token: u64, lease_ms: u64) -> Result<Timestamp, StaleLease> {
        let deadline = now.plus_ms(lease_ms);
        match (self.shared_call_of(token), self.slots.lease(token)) {
            (Some(call), _) => {
                for Member { index, held, .. } in self.members(&self.calls.tokens(call)) {
                    self.prolong(index, held, deadline);
                }
            }
            (None, Some((index, held))) => self.prolong(index, held, deadline),
            (None, None) => return Err(StaleLease { token }),
        }
        Ok(deadline)
    }

    /// The call with several events that a lease is part of, or that has this name.
    fn shared_call_of(&self, token: u64) -> Option<u64> {
        let call = self.slots.lease(token).map_or(token, |(_, held)| held.call);
        self.calls.is_shared(call).then_some(call)
    }

    fn prolong(&mut self, index: u32, held: Held, deadline: Timestamp) {
        if deadline != held.deadline {
            self.slots.get_mut(index).place = Place::Leased(Held { deadline, ..held });
            self.deadlines.push(deadline, held.token);
            self.deadlines.settle(&self.slots, self.in_flight);
        }
    }

    /// Takes a lease, with all of its call, back as if it had never been handed out: nothing is burnt or journaled, and the
    /// events are first again. Answers the offset of the lease's event. The name of a call will do as well, even where its first
    /// event was passed over: then it is the offset of the first that was not.
    ///
    /// # Errors
    /// Where the lease no longer stands, or nothing of the call.
    pub fn release(&mut self, token: u64) -> Result<Offset, StaleLease> {
        let shared = self.shared_call_of(token).and_then(|call| self.calls.end(call));
        let members = self.members(&shared.map_or_else(|| vec![token], |(tokens, _)| tokens));
        let own = self.slots.lease(token).map(|(index, _)| self.slots.get(index).offset);
        let offset = own.or(members.first().map(|first| first.offset)).ok_or(StaleLease { token })?;
        let mut blocked = Blocked::default();
        for member in members {
            self.go_back(&member, &mut blocked);
        }
        Ok(offset)
    }
}
