//! How events are put together into calls: in which order, how many, and how long the first ones wait for others.
//!
//! A call is closed when it is full by events or bytes, or when the window of its first event is over: `window_ms` after
//! the event was offered, or its retry came due. What was throttled or handed back has waited already, and where there is
//! no [`room`](Subscription::room) for more, waiting brings none: both go at once.
//!
//! Where order is kept per key, a call takes a key's first event and those right behind it, so that a key is under way in
//! one call at most. Halves of a failed batch, and what is left alone of one, are calls of their own and wait for nobody.

use eventail_wire::Timestamp;

use super::Subscription;
use super::lease::Lease;
use super::slots::{Place, token_of};
use crate::policy::BatchPolicy;

/// A call that is being put together.
struct Filling<'a> {
    batch: &'a BatchPolicy,
    events: usize,
    bytes: usize,
}

impl<'a> Filling<'a> {
    const fn new(batch: &'a BatchPolicy) -> Self {
        Self { batch, events: 0, bytes: 0 }
    }

    /// Whether nothing more fits, however small.
    const fn is_full(&self) -> bool {
        self.events >= self.batch.max_events || self.bytes >= self.batch.max_bytes
    }

    /// Adds an event whether it fits or not.
    const fn add(&mut self, bytes: u32) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes as usize);
    }

    /// Adds an event if it fits. The first one always does.
    const fn takes(&mut self, bytes: u32) -> bool {
        let fits = self.events == 0
            || (!self.is_full() && self.bytes.saturating_add(bytes as usize) <= self.batch.max_bytes);
        if fits {
            self.add(bytes);
        }
        fits
    }
}

impl Subscription {
    /// Hands out the leases of up to `calls` calls.
    pub(super) fn lease_batches(&mut self, now: Timestamp, calls: usize, out: &mut Vec<Lease>) {
        let Some(batch) = self.policy.batch.clone() else { return };
        let mut members = Vec::new();
        for _ in 0..calls {
            let is_half = self.gather(now, &batch, &mut members);
            let Some(&first) = members.first() else { break };
            let begun = out.len();
            let call = token_of(self.leases + 1, first);
            for index in members.drain(..) {
                let lease = self.begin(now, index, Some(call));
                out.push(lease);
            }
            self.calls.begin(&out[begun..], is_half);
        }
    }

    /// Takes the events of the next call out of what they wait in. None where nothing may go yet. `true` where they are half of a
    /// batch that failed.
    fn gather(&mut self, now: Timestamp, batch: &BatchPolicy, members: &mut Vec<u32>) -> bool {
        let due = self.waiting.first().filter(|(due, ..)| *due <= now).copied();
        // By turns, as single events: bad ones that are all due must not keep the good ones waiting.
        let retry_leads =
            due.is_some_and(|(due, ..)| due == Timestamp(0) || !self.retried_last || self.fresh.is_empty());
        let is_timed = due.is_some_and(|(due, ..)| due != Timestamp(0));
        let closes = self.closes(now, batch);
        if let Some((_, _, index)) = due
            && (retry_leads || !closes)
            && self.is_solitary(index)
        {
            self.retried_last = is_timed;
            self.waiting.pop_first();
            members.push(index);
            return self.join_half(now, index, members);
        }
        if closes {
            let mut filling = Filling::new(batch);
            if retry_leads {
                self.take_retries(now, &mut filling, members);
                self.take_fresh(now, &mut filling, members);
            } else {
                self.take_fresh(now, &mut filling, members);
                self.take_retries(now, &mut filling, members);
            }
            self.retried_last = retry_leads && is_timed;
        }
        false
    }

    fn take_retries(&mut self, now: Timestamp, filling: &mut Filling<'_>, members: &mut Vec<u32>) {
        while let Some(&(due, _, index)) = self.waiting.first()
            && due <= now
            && !self.is_solitary(index)
            && filling.takes(self.slots.get(index).bytes)
        {
            self.waiting.pop_first();
            members.push(index);
            self.take_behind(now, index, filling, members);
        }
    }

    fn take_fresh(&mut self, now: Timestamp, filling: &mut Filling<'_>, members: &mut Vec<u32>) {
        while let Some(&index) = self.fresh.front()
            && filling.takes(self.slots.get(index).bytes)
        {
            self.fresh.pop_front();
            members.push(index);
            self.take_behind(now, index, filling, members);
        }
    }

    /// Takes what is right behind an event of a key.
    fn take_behind(&self, now: Timestamp, mut index: u32, filling: &mut Filling<'_>, members: &mut Vec<u32>) {
        while let Some(next) = self.next_behind(now, index)
            && filling.takes(self.slots.get(next).bytes)
        {
            members.push(next);
            index = next;
        }
    }

    /// The event right behind another one of its key, if it may go with it.
    fn next_behind(&self, now: Timestamp, index: u32) -> Option<u32> {
        let next = self.slots.get(index).next?;
        let slot = self.slots.get(next);
        let is_parked = slot.tries.as_ref().is_some_and(|tries| tries.due > now);
        (slot.place == Place::Behind && !is_parked && !self.is_past(now, next)).then_some(next)
    }

    /// Whether a call may be put together of what is ready now, rather than wait for more.
    pub(super) fn closes(&self, now: Timestamp, batch: &BatchPolicy) -> bool {
        // What seems to come from the future was offered before the clock was set back.
        let is_over = |since: Timestamp| since > now || now.since_ms(since) >= batch.window_ms;
        let retry = self.waiting.first().filter(|(due, ..)| *due <= now);
        batch.window_ms == 0
            || retry.is_some_and(|(due, ..)| is_over(*due))
            || self.fresh.front().is_some_and(|&first| is_over(self.slots.get(first).ready_at))
            || self.room() == 0
            || self.fills_a_call(now, batch)
    }

    /// Whether what is ready fills a call.
    fn fills_a_call(&self, now: Timestamp, batch: &BatchPolicy) -> bool {
        let due = self.waiting.iter().take_while(|(due, ..)| *due <= now).map(|(.., index)| *index);
        let retries = due.take_while(|index| !self.is_solitary(*index));
        let mut filling = Filling::new(batch);
        for first in retries.chain(self.fresh.iter().copied()) {
            for index in std::iter::successors(Some(first), |index| self.next_behind(now, *index)) {
                filling.add(self.slots.get(index).bytes);
                if filling.is_full() {
                    return true;
                }
            }
        }
        false
    }
}
