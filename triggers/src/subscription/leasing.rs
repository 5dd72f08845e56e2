//! How attempts are handed out: in which order, and within concurrency, state, hold and breaker.

use eventail_wire::{Offset, Timestamp};
use rand::Rng;

use super::Subscription;
use super::lease::Lease;
use super::slots::{Held, Place, token_of};
use super::state::{BreakerState, State};

impl Subscription {
    /// Hands out the leases of up to `max` calls, what was throttled or handed back first. They are appended to `out`, those of
    /// one call side by side.
    pub fn lease(&mut self, now: Timestamp, max: usize, out: &mut Vec<Lease>) {
        if self.state != State::Running || self.hold.until().is_some_and(|until| now < until) {
            return;
        }
        let free = self.policy.concurrency.saturating_sub(self.calls.under_way()).min(max);
        match self.breaker.state() {
            BreakerState::Closed if self.policy.batch.is_some() => self.lease_batches(now, free, out),
            BreakerState::Closed => {
                for _ in 0..free {
                    let Some(index) = self.take_next(now) else { break };
                    out.push(self.begin(now, index, None));
                    self.calls.begin_single();
                }
            }
            BreakerState::Open { until } if now >= until && free > 0 => {
                if let Some(index) = self.take_probe(now) {
                    let lease = self.begin(now, index, None);
                    self.calls.begin_single();
                    self.breaker.probe_leased(lease.token);
                    out.push(Lease { is_probe: true, ..lease });
                }
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen => {}
        }
    }

    /// Whether [`Subscription::lease`] would hand out a call now.
    #[must_use]
    pub fn may_lease(&self, now: Timestamp) -> bool {
        let is_held = self.state != State::Running
            || self.hold.until().is_some_and(|until| now < until)
            || self.calls.under_way() >= self.policy.concurrency;
        let due = self.waiting.first().filter(|(due, ..)| *due <= now);
        if is_held || (due.is_none() && self.fresh.is_empty()) {
            return false;
        }
        match (self.breaker.state(), &self.policy.batch) {
            (BreakerState::HalfOpen, _) => false,
            (BreakerState::Open { until }, _) => now >= until,
            (BreakerState::Closed, None) => true,
            (BreakerState::Closed, Some(batch)) => {
                due.is_some_and(|(.., index)| self.is_solitary(*index)) || self.closes(now, batch)
            }
        }
    }

    /// The next event that may go: what was throttled or handed back at once, then retries and fresh events by turns.
    /// Bad events that are all due must not keep the good ones waiting, nor look like an outage because none passes.
    fn take_next(&mut self, now: Timestamp) -> Option<u32> {
        if let Some(&(due, _, index)) = self.waiting.first()
            && due <= now
            && (due == Timestamp(0) || !self.retried_last || self.fresh.is_empty())
        {
            self.retried_last = due != Timestamp(0);
            self.waiting.pop_first();
            return Some(index);
        }
        self.retried_last = false;
        self.fresh.pop_front()
    }

    /// The event to probe with: one of those that were tried least, so that no bad event is the probe again and again
    /// while others would pass. Bad events often come in a row: after a failed probe it is any of the fresh ones, not the
    /// next.
    fn take_probe(&mut self, now: Timestamp) -> Option<u32> {
        let made = |index: u32| self.slots.get(index).tries.as_ref().map_or(0, |tries| tries.made);
        let due = self.waiting.range(..=(now, Offset(u64::MAX), u32::MAX));
        let least = due.map(|&(due, offset, index)| (made(index), offset, due, index)).min();
        match least {
            Some((tried, offset, due, index)) if tried == 0 || self.fresh.is_empty() => {
                self.waiting.remove(&(due, offset, index));
                self.behead(index);
                Some(index)
            }
            _ if self.breaker.has_failed_probe(&self.policy) && !self.fresh.is_empty() => {
                let any = self.rng.random_range(0..self.fresh.len());
                self.fresh.remove(any)
            }
            _ => self.fresh.pop_front(),
        }
    }

    /// Leases an event, for a call of its own where no other is given.
    pub(super) fn begin(&mut self, now: Timestamp, index: u32, call: Option<u64>) -> Lease {
        self.unwatch_expiry(index);
        self.leases += 1;
        let token = token_of(self.leases, index);
        let deadline = now.plus_ms(self.policy.timeout_ms);
        let call = call.unwrap_or(token);
        let slot = self.slots.get_mut(index);
        let held = Held { token, call, leased_at: now, deadline, hold_epoch: self.hold.epoch() };
        let before = std::mem::replace(&mut slot.place, Place::Leased(held));
        let lease = Lease {
            token,
            call,
            offset: slot.offset,
            appended_at: slot.appended_at,
            attempt: slot.attempt(),
            deadline,
            is_probe: false,
        };
        match before {
            Place::Behind => self.behind -= 1,
            Place::Grouped => self.grouped -= 1,
            _ => {}
        }
        self.in_flight += 1;
        self.deadlines.push(deadline, token);
        lease
    }

    /// When to come back, whatever else happens: the earliest of due retries, the end of a hold, the next probe and the
    /// deadlines of leases, and the next expiry. It may lie in the past: then come back at once. `None` where nothing is timed; events that
    /// wait for nothing but a call of [`Subscription::lease`] are not.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let deadline = self.deadlines.first().map(|(deadline, _)| deadline);
        [deadline, self.next_lease_at(), self.next_expiry()].into_iter().flatten().min()
    }

    /// When time alone lets something go out: [`Subscription::next_wakeup`] without the deadlines of leases, for callers whose
    /// attempts always end by themselves.
    #[must_use]
    pub fn next_lease_at(&self) -> Option<Timestamp> {
        if self.state != State::Running || self.calls.under_way() >= self.policy.concurrency {
            return None;
        }
        let probe_at = match self.breaker.state() {
            BreakerState::HalfOpen => return None,
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed => None,
        };
        let gate = probe_at.max(self.hold.until());
        // A probe waits for nobody.
        let windows = self.policy.batch.as_ref().filter(|_| probe_at.is_none());
        let window_ms = windows.map_or(0, |batch| batch.window_ms);
        let fresh = match self.fresh.front() {
            Some(&first) if window_ms > 0 => {
                Some(self.slots.get(first).ready_at.plus_ms(window_ms).max(gate.unwrap_or_default()))
            }
            Some(_) => gate,
            None => None,
        };
        let retry = self.waiting.first().map(|&(due, _, index)| {
            let waits = due != Timestamp(0) && !self.is_solitary(index);
            let due = if waits { due.plus_ms(window_ms) } else { due };
            due.max(gate.unwrap_or_default())
        });
        match (fresh, retry) {
            (Some(fresh), Some(retry)) => Some(fresh.min(retry)),
            (fresh, retry) => fresh.or(retry),
        }
    }
}
