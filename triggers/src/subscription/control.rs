//! What operators and the broker tell a subscription: pause, resume, disable, stop, skip, another policy.

use eventail_wire::Offset;

use super::Subscription;
use super::entry::{DeadLetterOrder, Entry};
use super::slots::Place;
use super::state::State;
use crate::policy::{DeliveryPolicy, Ordering};

impl Subscription {
    /// Hands out no more leases until it is resumed. Those that are under way may finish.
    pub fn pause(&mut self, reason: String) -> Entry {
        self.set_state(State::Paused, Some(reason))
    }

    /// Delivers again, whatever had stopped it. Holds and the breaker stay as they are; dead letters that could not be
    /// written are in [`Subscription::dead_letter_orders`].
    pub fn resume(&mut self) -> Entry {
        self.set_state(State::Running, None)
    }

    /// The target wants no more events.
    pub fn disable(&mut self, reason: String) -> Entry {
        self.set_state(State::Disabled, Some(reason))
    }

    /// The dead-letter topic cannot be written: the subscription must not go on.
    pub fn stop(&mut self, reason: String) -> Entry {
        self.set_state(State::Stopped, Some(reason))
    }

    fn set_state(&mut self, state: State, reason: Option<String>) -> Entry {
        self.state = state;
        self.reason = reason;
        self.state_entry()
    }

    pub(super) fn state_entry(&self) -> Entry {
        Entry::State { state: self.state, reason: self.reason.clone() }
    }

    /// Passes over everything before `to`. What was pending counts as expired, and its leases no longer stand. An offset
    /// before the cursor changes nothing.
    pub fn skip_to(&mut self, to: Offset) -> Entry {
        let to = to.max(self.cursor());
        let expired = self.expire_before(to);
        Entry::Skipped { to, expired }
    }

    /// Goes on under another policy. Leases keep their deadlines, retries their due times. An order that is asked for
    /// only now holds among the events that are offered from now on. An event that has burnt as many attempts as are
    /// allowed now gets one more. Halves of batches that failed are put together anew.
    pub fn set_policy(&mut self, policy: DeliveryPolicy) {
        let was_keyed = self.policy.ordering == Ordering::Key;
        self.policy = policy;
        self.repeats.set_policy(&self.policy);
        self.disband_all();
        if was_keyed && self.policy.ordering == Ordering::None {
            self.forget_keys();
        }
    }

    fn forget_keys(&mut self) {
        let pending: Vec<u32> = self.window.iter(&self.slots).map(|(_, index)| index).collect();
        self.lanes.clear();
        self.behind = 0;
        for &index in pending.iter().rev() {
            let slot = self.slots.get_mut(index);
            slot.key = None;
            slot.next = None;
            if slot.place == Place::Behind {
                self.let_go(index);
            }
        }
        let slots = &self.slots;
        self.fresh.make_contiguous().sort_unstable_by_key(|&index| slots.get(index).offset);
    }

    /// The dead letters that were ordered and not yet written, in offset order: to be tried again after a resume.
    pub fn dead_letter_orders(&self) -> impl Iterator<Item = &DeadLetterOrder> {
        self.orders.values().map(AsRef::as_ref)
    }
}
