//! The delivery machine: decides what one consumer of one topic gets, when, and how often.
//!
//! A [`Subscription`] is a pure state machine. It does no I/O and asks no clock: the caller reads the log, matches, and
//! [`offer`](Subscription::offer)s what matched; takes [`Lease`]s, makes the attempts and [`settle`](Subscription::settle)s
//! them; carries out the [`Effect`]s; and comes back at [`next_wakeup`](Subscription::next_wakeup). Payloads never enter.
//!
//! It promises:
//! - **No event is forgotten.** `matched = delivered + dead_lettered + expired + deduplicated + pending`, at every step. The
//!   cursor passes an event only when it is delivered, durably dead-lettered, expired, passed over, or the repeat of one that was
//!   delivered or is pending (`repeats`).
//! - **Order per key**, where the policy asks for it: at most one call has events of a key under way, and the next ones go only
//!   when those are settled. Other keys flow.
//! - **Calls** with several events, where the policy asks for them (`batches`), end as a whole or for each event by itself
//!   (`calls`). Behind an event that failed or was given up, the later ones of its key in the same call go back as if they had
//!   never been leased, even if the target says that it took them: they are delivered again, after it. A batch that fails whole
//!   can be halved until its culprit is alone (`halves`).
//! - **Three budgets.** Throttles hold the subscription and cost no attempt. An outage (as many distinct events failing
//!   with no success between them as the policy says) opens the breaker and costs no attempt: those that it burnt are given
//!   back. A call counts as one event, its first, and one in which any event was taken or refused counts as an answer. A probe
//!   is one event. Only an event that fails while others pass, or alone, burns its attempts.
//! - **A restart changes nothing** but leases: what [`Subscription::snapshot`] tells is what [`Snapshot::apply`] makes of
//!   the entries that were journaled. Only of what targets said it tells no more than has room in one record.
//! - **Memory is bounded** by the policy (`parked_max`, `concurrency`), however long one event is retried.
//!
//! It must not hold payloads, sleep, read a clock, or draw from any RNG but its own seeded one.

mod backoff;
mod batches;
mod breaker;
mod calls;
mod control;
mod deadlines;
mod entry;
mod expiring;
mod halves;
mod hold;
mod intake;
mod keys;
mod lanes;
mod lease;
mod leasing;
mod looking;
mod ranges;
mod repeats;
mod settling;
mod slots;
mod snapshot;
mod state;
mod whereabouts;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use eventail_wire::{Offset, Timestamp};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub use self::breaker::{OpenBreaker, Run};
pub use self::entry::{CallPart, DeadLetterOrder, Effect, Entry, GivenBack, Tries};
pub use self::intake::{Offer, Offered};
pub use self::keys::{Keys, Seen};
pub use self::lease::{CallEnding, Ending, Lease, Settled, StaleLease, Verdict};
pub use self::ranges::Ranges;
pub use self::snapshot::Snapshot;
pub use self::state::{Account, BreakerState, State};
pub use self::whereabouts::{Wait, Whereabouts};

use self::breaker::Breaker;
use self::calls::Calls;
use self::deadlines::Deadlines;
use self::halves::Halves;
use self::hold::Hold;
use self::lanes::Lanes;
use self::repeats::Repeats;
use self::slots::{Place, Slots};
use self::window::Window;
use crate::outcome::Response;
use crate::policy::DeliveryPolicy;

/// The delivery state of one consumer of one topic.
#[derive(Debug)]
pub struct Subscription {
    policy: DeliveryPolicy,
    rng: SmallRng,
    state: State,
    reason: Option<String>,
    /// The next offset to be matched.
    scanned: Offset,
    slots: Slots,
    /// The pending events in offset order.
    window: Window,
    lanes: Lanes,
    /// Those that were never tried and may go, in offset order.
    fresh: VecDeque<u32>,
    /// How many wait behind another event of their key.
    behind: usize,
    /// Those that wait for a time, `Timestamp(0)` being at once.
    waiting: BTreeSet<(Timestamp, Offset, u32)>,
    /// Halves of batches that failed whole.
    halves: Halves,
    /// How many wait for the first one of their half.
    grouped: usize,
    /// When those expire that wait and are not behind another one.
    expiries: BTreeSet<(Timestamp, Offset, u32)>,
    deadlines: Deadlines,
    in_flight: usize,
    calls: Calls,
    leases: u64,
    /// Whether the last call began with a retry, so that the next one does not.
    retried_last: bool,
    breaker: Breaker,
    hold: Hold,
    /// Given up; their dead letters are not durable yet.
    orders: BTreeMap<Offset, Box<DeadLetterOrder>>,
    /// After a restore: what was settled beyond `scanned`.
    settled_ahead: Ranges,
    /// After a restore: what was tried beyond `scanned`.
    retries_ahead: BTreeMap<Offset, Tries>,
    repeats: Repeats,
    delivered: u64,
    dead_lettered: u64,
    expired: u64,
    deduplicated: u64,
    lost: u64,
    last_failure: Option<Response>,
    /// Events settled since the last checkpoint.
    settled_since: usize,
    /// What was scanned at the last checkpoint.
    checkpointed: Offset,
}

impl Subscription {
    /// A subscription that begins at `start` and has seen nothing. `seed` is for jitter and tokens:
    /// give each life of a subscription another one.
    #[must_use]
    pub fn new(policy: DeliveryPolicy, start: Offset, seed: u64) -> Self {
        Self::restore(policy, Snapshot::new(start), seed)
    }

    /// A subscription as a snapshot (with the later journal entries applied) describes it. Reading begins at its cursor:
    /// what lies beyond and is settled already is not taken a second time.
    #[must_use]
    pub fn restore(policy: DeliveryPolicy, mut snapshot: Snapshot, seed: u64) -> Self {
        snapshot.normalise();
        let mut rng = SmallRng::seed_from_u64(seed);
        // Tokens of an earlier life, which a subscriber may still show, should not be those of this one.
        let leases = u64::from(rng.random::<u32>());
        let repeats = Repeats::restore(&policy, snapshot.keys);
        let last = snapshot.retries.values().max_by_key(|tries| tries.last_at);
        Self {
            policy,
            rng,
            state: snapshot.state,
            reason: snapshot.reason,
            scanned: snapshot.cursor,
            slots: Slots::default(),
            window: Window::default(),
            lanes: Lanes::default(),
            fresh: VecDeque::new(),
            behind: 0,
            waiting: BTreeSet::new(),
            halves: Halves::default(),
            grouped: 0,
            expiries: BTreeSet::new(),
            deadlines: Deadlines::default(),
            in_flight: 0,
            calls: Calls::default(),
            leases,
            retried_last: false,
            breaker: Breaker::restore(snapshot.open, snapshot.run),
            hold: Hold::restore(snapshot.held_until, snapshot.throttles),
            orders: BTreeMap::new(),
            last_failure: last.map(|tries| tries.response.clone()),
            settled_ahead: snapshot.settled,
            retries_ahead: snapshot.retries,
            repeats,
            delivered: snapshot.delivered,
            dead_lettered: snapshot.dead_lettered,
            expired: snapshot.expired,
            deduplicated: snapshot.deduplicated,
            lost: snapshot.lost,
            settled_since: 0,
            checkpointed: snapshot.cursor,
        }
    }

    /// The durable state as it is now. Journal the entries handed out so far before it: they are part of it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut settled = self.settled_ahead.clone();
        let mut retries = self.retries_ahead.clone();
        let mut start = self.cursor();
        for (offset, index) in self.window.iter(&self.slots) {
            settled.insert(start, offset);
            start = offset.plus(1);
            if let Some(tries) = &self.slots.get(index).tries {
                retries.insert(offset, tries.as_ref().clone());
            }
        }
        settled.insert(start, self.scanned);
        let mut snapshot = Snapshot {
            cursor: self.cursor(),
            settled,
            retries,
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            expired: self.expired,
            lost: self.lost,
            state: self.state,
            reason: self.reason.clone(),
            open: self.breaker.open(),
            run: self.breaker.run().clone(),
            held_until: self.hold.until(),
            throttles: self.hold.throttles(),
            deduplicated: self.deduplicated,
            keys: self.repeats.delivered_keys(),
        };
        snapshot.normalise();
        snapshot.cut_responses();
        snapshot
    }

    /// Replays one journal entry onto a snapshot: the same as [`Snapshot::apply`].
    pub fn apply(snapshot: &mut Snapshot, entry: &Entry) {
        snapshot.apply(entry);
    }

    /// Lets an event wait until a time.
    fn park(&mut self, index: u32, due: Timestamp) {
        let slot = self.slots.get_mut(index);
        slot.place = Place::Waiting(due);
        self.waiting.insert((due, slot.offset, index));
        self.watch_expiry(index);
    }

    /// Takes a pending event out for good and lets the next one of its key go. The caller counts it.
    fn remove(&mut self, index: u32) {
        self.detach(index);
        self.unwatch_expiry(index);
        let slot = self.slots.get(index);
        let next = slot.key.and_then(|key| self.lanes.leave(key, index, &self.slots));
        self.slots.remove(index);
        // Whatever else goes with it, the next one may be under way in the same call, or wait for that.
        match next.map(|next| (next, self.slots.get(next).place)) {
            Some((next, Place::Behind)) => {
                self.behind -= 1;
                self.let_go(next);
            }
            Some((next, Place::Grouped)) => self.watch_expiry(next),
            _ => {}
        }
        self.settled_since += 1;
        self.window.settle(&self.slots);
    }

    /// Takes an event out of whatever it waits in or is counted by, its key's chain excepted.
    fn detach(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        let (offset, place) = (slot.offset, slot.place);
        match place {
            Place::Waiting(due) => {
                self.waiting.remove(&(due, offset, index));
                self.disband(index);
            }
            Place::Grouped => self.grouped -= 1,
            Place::Leased(held) => {
                self.in_flight -= 1;
                self.calls.leave(held.call);
                slot.place = Place::Dead;
                self.breaker.forget_probe(held.token);
                self.deadlines.settle(&self.slots, self.in_flight);
            }
            Place::Dead => {
                self.orders.remove(&offset);
            }
            Place::Behind | Place::Fresh | Place::Free => {}
        }
    }

    /// Lets the head of a key's chain go, in its turn: a key with many events must not go before what came earlier.
    fn let_go(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if let Some(tries) = &slot.tries {
            let due = tries.due;
            self.park(index, due);
        } else {
            slot.place = Place::Fresh;
            let (offset, slots) = (slot.offset, &self.slots);
            let at = self.fresh.partition_point(|&other| slots.get(other).offset < offset);
            self.fresh.insert(at, index);
            self.watch_expiry(index);
        }
    }
}

#[cfg(test)]
mod tests;
