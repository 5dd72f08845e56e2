//! How attempts end: which budget pays, when the event is tried again, and when it is given up.

use eventail_wire::{Offset, Timestamp};

use super::Subscription;
use super::backoff;
use super::entry::{CallPart, DeadLetterOrder, Effect, Entry, GivenBack, Tries};
use super::lease::{CallEnding, Ending, Settled, StaleLease, Verdict};
use super::slots::{Held, Place, Slot};
use super::state::State;
use crate::outcome::{RejectReason, Response, RetryClass};

impl Slot {
    /// Which try the next or present one is, counted from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.tries.as_ref().map_or(0, |tries| tries.burnt).saturating_add(1)
    }
}

impl RetryClass {
    /// Whether it costs the event an attempt, unless it was an outage.
    pub(super) const fn burns(self) -> bool {
        matches!(self, Self::Timeout | Self::Failed)
    }
}

/// A failure that may pass.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) class: RetryClass,
    pub(super) after_ms: Option<u64>,
    pub(super) response: Response,
    /// Whether another event of the call keeps the response: the others then keep no more than a line of it.
    pub(super) is_told: bool,
}

impl Failure {
    pub(super) const fn new(class: RetryClass, after_ms: Option<u64>, response: Response) -> Self {
        Self { class, after_ms, response, is_told: false }
    }

    /// What is kept of the response while the event waits.
    fn kept(&self) -> Response {
        if !self.is_told {
            return self.response.clone();
        }
        let Response { status, error, .. } = &self.response;
        Response { status: *status, error: error.clone(), ..Response::default() }
    }
}

/// What a failure costs the event, and what it says of the target.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) part: CallPart,
    /// Whether it may burn an attempt.
    pub(super) burns: bool,
    /// When the event is due again, where that is not its own affair. An outage says later.
    pub(super) due: Option<Timestamp>,
}

impl Terms {
    /// Those of an event that was a call of its own.
    const SINGLE: Self = Self { part: CallPart::Counts, burns: true, due: None };
}

impl Subscription {
    /// Ends an attempt. What must be done about it is appended to `effects`. Where the call has other events, it ends for all of
    /// them alike.
    ///
    /// # Errors
    /// Where the lease no longer stands; nothing is changed then.
    pub fn settle(
        &mut self,
        now: Timestamp,
        token: u64,
        ending: Ending,
        effects: &mut Vec<Effect>,
    ) -> Result<Settled, StaleLease> {
        let (index, held) = self.slots.lease(token).ok_or(StaleLease { token })?;
        let slot = self.slots.get(index);
        let (offset, attempt) = (slot.offset, slot.attempt());
        if self.calls.is_shared(held.call) {
            let settled = self.settle_call(now, held.call, CallEnding::Whole(ending), effects)?;
            return settled
                .into_iter()
                .flatten()
                .find(|one| one.offset == offset)
                .ok_or(StaleLease { token });
        }
        let verdict = match ending {
            Ending::Ack => self.deliver(index, held, effects),
            Ending::Retry { class, after_ms, response } => {
                self.last_failure = Some(response.clone());
                let failure = Failure::new(class, after_ms, response);
                self.fail(now, (index, held), failure, Terms::SINGLE, effects)
            }
            Ending::Reject { reason, response, disable } => {
                self.last_failure = Some(response.clone());
                self.reject((index, held), reason, response, disable, effects)
            }
        };
        Ok(Settled { offset, attempt, verdict })
    }

    /// Ends every lease that ran out as a time-out.
    pub fn expire_leases(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((deadline, token)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let response = Response { error: "the lease ran out".to_owned(), ..Response::default() };
            let ending = Ending::Retry { class: RetryClass::Timeout, after_ms: None, response };
            self.settle(now, token, ending, effects)
                .expect("the first deadline is one of a lease that stands");
        }
    }

    /// The dead letter of the event at `offset` is durable: the event is settled now. `None` where no dead letter of it
    /// was ordered, or the event expired since.
    pub fn dead_letter_written(&mut self, offset: Offset) -> Option<Entry> {
        self.orders.get(&offset)?;
        let index = self.window.find(offset, &self.slots)?;
        self.dead_lettered += 1;
        self.repeats.forget(offset);
        self.remove(index);
        Some(Entry::DeadLettered { offset })
    }

    /// The target is alive: ends the run of failures, closes the breaker, makes the next hold a first one.
    pub(super) fn answered(&mut self, held: Held, effects: &mut Vec<Effect>) {
        if self.breaker.answered() {
            effects.push(Effect::Journal(Entry::Breaker { open: None, given_back: Vec::new() }));
        }
        if self.hold.answered(held.hold_epoch) {
            effects.push(Effect::Journal(self.hold_entry()));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of the key is what is meant")]
    pub(super) fn deliver(&mut self, index: u32, held: Held, effects: &mut Vec<Effect>) -> Verdict {
        let offset = self.slots.get(index).offset;
        self.answered(held, effects);
        self.delivered += 1;
        self.remove(index);
        let entry = match self.repeats.delivered(offset) {
            None => Entry::Delivered { first: offset, count: 1 },
            Some((key, at)) => Entry::DeliveredOnce { offset, at, key: ((key >> 64) as u64, key as u64) },
        };
        effects.push(Effect::Journal(entry));
        Verdict::Delivered
    }

    fn hold_entry(&self) -> Entry {
        Entry::Held { until: self.hold.until(), throttles: self.hold.throttles() }
    }

    pub(super) fn reject(
        &mut self,
        (index, held): (u32, Held),
        reason: RejectReason,
        response: Response,
        disable: bool,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.note_answer(held, effects);
        self.disable_if(disable, &response, effects);
        self.give_up(index, held, reason, None, response, effects)
    }

    pub(super) fn disable_if(&mut self, disable: bool, response: &Response, effects: &mut Vec<Effect>) {
        if disable && self.state == State::Running {
            let said =
                if response.error.is_empty() { "the target wants no more events" } else { &response.error };
            self.state = State::Disabled;
            self.reason = Some(said.to_owned());
            effects.push(Effect::Journal(self.state_entry()));
        }
    }

    /// Orders a dead letter. The event stays pending until it is written.
    fn give_up(
        &mut self,
        index: u32,
        held: Held,
        reason: RejectReason,
        class: Option<RetryClass>,
        response: Response,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.detach(index);
        let slot = self.slots.get_mut(index);
        slot.place = Place::Dead;
        let order = Box::new(DeadLetterOrder {
            offset: slot.offset,
            appended_at: slot.appended_at,
            reason,
            class: class.or_else(|| slot.tries.as_ref().map(|tries| tries.class)),
            attempts: slot.attempt(),
            first_attempt_at: slot.tries.as_ref().map_or(held.leased_at, |tries| tries.first_at),
            last_attempt_at: held.leased_at,
            response,
        });
        self.orders.insert(order.offset, order.clone());
        effects.push(Effect::DeadLetter(order));
        Verdict::DeadLetter { reason }
    }

    /// An attempt failed in a way that may pass.
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        (index, held): (u32, Held),
        failure: Failure,
        terms: Terms,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        let Failure { class, after_ms, .. } = failure;
        let slot = self.slots.get(index);
        let (offset, appended_at, attempt) = (slot.offset, slot.appended_at, slot.attempt());
        let throttled = class == RetryClass::Throttled;
        let was_open = self.breaker.open().is_some();
        let reopened = !throttled && self.breaker.failed_while_open(now, &self.policy, held.token);
        let burns = terms.burns && !was_open && class.burns();
        let given_back = match terms.part {
            _ if was_open || throttled => None,
            CallPart::Counts => {
                let unreachable = class == RetryClass::Unreachable;
                self.breaker.failed(now, &self.policy, (offset, burns, unreachable))
            }
            CallPart::Along if burns => {
                self.breaker.failed_along(offset);
                None
            }
            CallPart::Along | CallPart::Apart => None,
        };
        if throttled && self.hold.throttled(now, &self.policy, held.hold_epoch, after_ms, &mut self.rng) {
            effects.push(Effect::Journal(self.hold_entry()));
        }
        self.detach(index);

        let is_out = self.breaker.open().is_some();
        let due = match terms.due {
            Some(due) if !is_out || terms.part != CallPart::Counts => due,
            _ => self.due(now, class, after_ms, attempt, is_out),
        };
        let next_at = due.max(self.gate().unwrap_or_default()).max(now);
        let reason = if next_at.since_ms(appended_at) > self.policy.max_age_ms {
            Some(RejectReason::MaxAge)
        } else if burns && !is_out && attempt >= self.policy.max_attempts {
            Some(RejectReason::MaxAttempts)
        } else {
            None
        };
        // An event that is given up keeps the attempt until its dead letter is durable: a crash before makes it again.
        let burnt = attempt - u32::from(!burns || reason.is_some());
        let (first_at, last_at) = (held.leased_at, held.leased_at);
        let latest = Tries { burnt, made: 1, first_at, last_at, due, class, response: failure.kept() };
        let tries = Box::new(self.note_try(index, latest));
        // A failure that is charged as one of a single event is journaled as one.
        let entry = match terms.part {
            CallPart::Counts if terms.burns => Entry::Retried { offset, tries },
            part => Entry::RetriedWithin { offset, tries, part },
        };
        effects.push(Effect::Journal(entry));
        let verdict = if let Some(reason) = reason {
            self.give_up(index, held, reason, Some(class), failure.response, effects)
        } else {
            self.park(index, due);
            Verdict::Retry { at: next_at }
        };
        if reopened || given_back.is_some() {
            let given_back = self.give_back(&given_back.unwrap_or_default());
            effects.push(Effect::Journal(Entry::Breaker { open: self.breaker.open(), given_back }));
        }
        verdict
    }

    /// When a failed event may be tried again, as far as it alone is concerned; a hold or the breaker may say later.
    fn due(
        &mut self,
        now: Timestamp,
        class: RetryClass,
        after_ms: Option<u64>,
        attempt: u32,
        is_out: bool,
    ) -> Timestamp {
        let nth = match class {
            RetryClass::Throttled => return Timestamp(0),
            _ if is_out => {
                let asked = now.plus_ms(backoff::asked_ms(&self.policy, after_ms));
                return self.after_outage().max(asked);
            }
            RetryClass::Unreachable => self.breaker.unreachable_in_a_row(),
            RetryClass::Timeout | RetryClass::Failed => attempt,
        };
        now.plus_ms(backoff::retry_ms(&self.policy, nth, after_ms, &mut self.rng))
    }

    /// Remembers an attempt with those before it; answers them all.
    fn note_try(&mut self, index: u32, mut latest: Tries) -> Tries {
        let slot = self.slots.get_mut(index);
        if let Some(earlier) = &slot.tries {
            latest.made = earlier.made.saturating_add(1);
            latest.first_at = earlier.first_at;
        }
        slot.tries = Some(Box::new(latest.clone()));
        latest
    }

    /// When an event that failed in an outage is due.
    fn after_outage(&mut self) -> Timestamp {
        let until = self.breaker.open().map_or(Timestamp(0), |open| open.until);
        until.plus_ms(backoff::spread_ms(&self.policy, &mut self.rng))
    }

    /// Gives attempts back that an outage burnt. Where events go in batches they are due together, to find each other again.
    fn give_back(&mut self, failed: &[(Offset, u32)]) -> Vec<GivenBack> {
        let until = self.breaker.open().map_or(Timestamp(0), |open| open.until);
        let mut given_back = Vec::with_capacity(failed.len());
        let together = self.policy.batch.is_some().then(|| self.after_outage());
        for &(offset, attempts) in failed {
            let spread = together.unwrap_or_else(|| self.after_outage());
            let found = self.window.find(offset, &self.slots);
            let tries = match found {
                Some(index) => self.slots.get_mut(index).tries.as_deref_mut(),
                None => self.retries_ahead.get_mut(&offset),
            };
            let Some(tries) = tries else { continue };
            tries.burnt = tries.burnt.saturating_sub(attempts);
            if tries.due < until {
                tries.due = spread;
            }
            let due = tries.due;
            given_back.push(GivenBack { offset, attempts, due });
            // One that begins a half goes on doing so.
            if let Some(index) = found
                && let Place::Waiting(before) = self.slots.get(index).place
            {
                self.waiting.remove(&(before, offset, index));
                self.park(index, due);
            }
        }
        given_back
    }

    /// Before when nothing may go out, because of a hold or the breaker.
    pub(super) fn gate(&self) -> Option<Timestamp> {
        self.breaker.open().map(|open| open.until).max(self.hold.until())
    }
}
