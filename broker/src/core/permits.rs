//! Who may call a target now, where triggers share it or it adapts: a call needs a permit before its events are leased, so that
//! no attempt's time runs while it waits.
//!
//! A [`Gate`] stands before each target that has a cap of its own (a function with so many instances) or whose triggers adapt
//! their concurrency. Triggers with the same key share it: the cap counts the calls of all of them, the limiter those of the
//! ones that adapt. A trigger with a fixed concurrency before a target without a cap has no gate, and pays nothing.
//!
//! Permits are given fairly: whoever found none waits in a line, is woken when its turn comes, and goes to the line's end when it wants
//! more. One that comes while others wait gets a permit only if there are more than those need. A permit is held until the call is over,
//! also while its target has taken it over and will call back: it is work under way.
//!
//! It must not know lanes or leases, and no lock of it is held while anything else is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_triggers::limiter::{Limiter, LimiterOptions, LimiterState, Sample, SampleEnd};
use eventail_triggers::policy::DeliveryPolicy;
use eventail_wire::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Every gate that is shared, by what its triggers share.
pub(crate) struct Permits {
    clock: Arc<dyn Clock>,
    shared: Mutex<BTreeMap<String, Arc<Gate>>>,
}

impl Permits {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, shared: Mutex::default() }
    }

    /// Caps the calls of all triggers with this key.
    #[cfg(test)]
    fn cap(&self, key: &str, calls_max: usize) {
        self.shared(key).lock().cap = Some(calls_max);
    }

    /// What stands before the target of a trigger, if anything has to. To be asked behind [`Permits::tune`]: a shared limit goes from the least to the most that one of them allows.
    pub(crate) fn gate(&self, key: Option<&str>, policy: &DeliveryPolicy) -> Option<Arc<Gate>> {
        let adapts =
            policy.concurrency_min.map(|min| LimiterOptions { min, max: policy.concurrency.max(min) });
        let gate = match (key, adapts) {
            (Some(key), Some(_)) => self.shared(key),
            (None, Some(_)) => Arc::new(Gate::new(Arc::clone(&self.clock))),
            (key, None) => self.lock().get(key?).filter(|gate| gate.lock().cap.is_some()).cloned()?,
        };
        if let Some(options) = adapts {
            gate.lock().widen(options, self.clock.now());
        }
        Some(gate)
    }

    /// Sets every cap, and the bounds of every limit that is shared, to what these keys and users of targets make of them.
    pub(crate) fn tune<'p>(
        &self,
        caps: &BTreeMap<String, usize>,
        users: impl Iterator<Item = (Option<String>, &'p DeliveryPolicy)>,
    ) {
        let mut bounds: BTreeMap<String, LimiterOptions> = BTreeMap::new();
        for (key, policy) in users {
            let (Some(key), Some(min)) = (key, policy.concurrency_min) else { continue };
            let max = policy.concurrency.max(min);
            let known = bounds.entry(key).or_insert(LimiterOptions { min, max });
            *known = LimiterOptions { min: known.min.min(min), max: known.max.max(max) };
        }
        caps.keys().for_each(|key| drop(self.shared(key)));
        for (key, gate) in self.lock().iter() {
            let mut state = gate.lock();
            state.cap = caps.get(key).copied();
            if let Some(&options) = bounds.get(key) {
                state.bound(options, self.clock.now());
            }
            state.wake_next();
        }
    }

    fn shared(&self, key: &str) -> Arc<Gate> {
        let mut shared = self.lock();
        let gate = shared.entry(key.to_owned());
        Arc::clone(gate.or_insert_with(|| Arc::new(Gate::new(Arc::clone(&self.clock)))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Gate>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands before one target.
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    seats: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cap: Option<usize>,
    /// Calls under way, of all triggers.
    in_use: usize,
    limiter: Option<Limiter>,
    /// Who waits for a permit, the next one first.
    line: VecDeque<Waiter>,
}

/// A seat in the line.
struct Waiter {
    number: u64,
    adapts: bool,
    wake: Arc<Notify>,
}

impl State {
    fn widen(&mut self, options: LimiterOptions, now: Timestamp) {
        let known = self.limiter.as_ref().map(Limiter::state);
        let options = known.map_or(options, |known| LimiterOptions {
            min: options.min.min(known.min),
            max: options.max.max(known.max),
        });
        if known.is_none_or(|known| (known.min, known.max) != (options.min, options.max)) {
            self.bound(options, now);
        }
    }

    /// Sets the limit's bounds, and keeps what it has learnt.
    fn bound(&mut self, options: LimiterOptions, now: Timestamp) {
        match &mut self.limiter {
            Some(limiter) => limiter.set_bounds(options),
            None => self.limiter = Some(Limiter::new(options, now)),
        }
    }

    /// Permits that could be given.
    fn free(&self, adapts: bool) -> usize {
        let capped = self.cap.map_or(usize::MAX, |cap| cap.saturating_sub(self.in_use));
        let limiter = self.limiter.as_ref().filter(|_| adapts);
        // One that rests while nothing is under way still gives one.
        let limited = limiter.map_or(usize::MAX, |limiter| limiter.limit().saturating_sub(limiter.in_use()));
        capped.min(limited)
    }

    /// Wakes the first that could have a permit: one that waits for its limit keeps no one from what it could not have.
    fn wake_next(&self) {
        if let Some(next) = self.line.iter().find(|waiter| self.free(waiter.adapts) > 0) {
            next.wake.notify_one();
        }
    }

    /// How many could have a permit among the first so many of the line.
    fn ahead(&self, place: usize) -> usize {
        self.line.iter().take(place).filter(|waiter| self.free(waiter.adapts) > 0).count()
    }
}

impl Gate {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, seats: AtomicU64::new(0), state: Mutex::default() }
    }

    /// A place at the gate for one lane, which `wake` wakes when its turn has come.
    pub(crate) fn seat(self: &Arc<Self>, policy: &DeliveryPolicy, wake: Arc<Notify>) -> Seat {
        Seat {
            gate: Arc::clone(self),
            number: self.seats.fetch_add(1, Ordering::Relaxed),
            adapts: policy.concurrency_min.is_some(),
            waits: AtomicBool::new(false),
            wake,
        }
    }

    /// The limit as it is now, where it adapts: never beyond the cap, since no call gets past that.
    pub(crate) fn limiter(&self) -> Option<LimiterState> {
        let state = self.lock();
        let cap = state.cap.unwrap_or(usize::MAX);
        let limiter = state.limiter.as_ref()?.state();
        Some(LimiterState { limit: limiter.limit.min(cap), ..limiter })
    }

    fn release(&self, adapts: bool, sample: Sample) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.in_use -= 1;
        if let Some(limiter) = state.limiter.as_mut().filter(|_| adapts) {
            limiter.release(now, sample);
        }
        state.wake_next();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one lane at a gate.
pub(crate) struct Seat {
    gate: Arc<Gate>,
    number: u64,
    adapts: bool,
    /// Whether it stands in the line.
    waits: AtomicBool,
    wake: Arc<Notify>,
}

impl Seat {
    /// A permit for one call that is ready to be made. Where there is none the seat waits for its turn.
    pub(crate) fn take(&self) -> Option<Permit> {
        let now = self.gate.clock.now();
        let mut state = self.gate.lock();
        let place = state.line.iter().position(|waiter| waiter.number == self.number);
        let ahead = state.ahead(place.unwrap_or(state.line.len()));
        let free = state.free(self.adapts);
        // A limiter is asked even where it has none, so that it knows that it is what holds calls back.
        let is_first = free > ahead || ahead == 0;
        let has_room = state.cap.is_none_or(|cap| state.in_use < cap);
        let limiter = state.limiter.as_mut().filter(|_| self.adapts);
        let taken = is_first && has_room && limiter.is_none_or(|limiter| limiter.take(now, 1) == 1);
        if !taken {
            if place.is_none() {
                let (number, adapts, wake) = (self.number, self.adapts, Arc::clone(&self.wake));
                state.line.push_back(Waiter { number, adapts, wake });
            }
            self.waits.store(true, Ordering::Relaxed);
            return None;
        }
        state.in_use += 1;
        if let Some(place) = place {
            state.line.remove(place);
            self.waits.store(false, Ordering::Relaxed);
        }
        state.wake_next();
        drop(state);
        let (gate, adapts) = (Arc::clone(&self.gate), self.adapts);
        Some(Permit { gate, adapts, begun: Instant::now(), end: SampleEnd::Dropped })
    }

    /// To be said when nothing is ready to be called: whoever waits behind gets the turn.
    pub(crate) fn pass(&self) {
        if !self.waits.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut state = self.gate.lock();
        state.line.retain(|waiter| waiter.number != self.number);
        state.wake_next();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pass();
    }
}

/// The right to have one call under way. It goes back when it is dropped.
pub(crate) struct Permit {
    gate: Arc<Gate>,
    adapts: bool,
    begun: Instant,
    end: SampleEnd,
}

impl Permit {
    /// Gives it back, and says how its call ended.
    pub(crate) fn end(mut self, end: SampleEnd) {
        self.end = end;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let took_ms = self.begun.elapsed().as_secs_f64() * 1_000.0;
        self.gate.release(self.adapts, Sample { took_ms, end: self.end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(Timestamp);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    fn permits() -> Permits {
        Permits::new(Arc::new(At(Timestamp(1_000))))
    }

    fn fixed() -> DeliveryPolicy {
        DeliveryPolicy { concurrency: 8, ..DeliveryPolicy::default() }
    }

    fn adaptive(min: usize, max: usize) -> DeliveryPolicy {
        DeliveryPolicy { concurrency: max, concurrency_min: Some(min), ..DeliveryPolicy::default() }
    }

    fn seat(gate: &Arc<Gate>, policy: &DeliveryPolicy) -> (Seat, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        (gate.seat(policy, Arc::clone(&wake)), wake)
    }

    /// Whether it was woken since this was asked last.
    async fn is_woken(wake: &Notify) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, wake.notified()).await.is_ok()
    }

    #[test]
    fn only_what_adapts_or_is_capped_has_a_gate() {
        let permits = permits();
        permits.cap("function resize", 2);
        assert!(permits.gate(None, &fixed()).is_none());
        assert!(permits.gate(Some("http shop"), &fixed()).is_none());
        assert!(permits.gate(Some("function resize"), &fixed()).is_some());
        assert!(permits.gate(None, &adaptive(1, 4)).is_some());
        assert!(permits.gate(Some("http shop"), &adaptive(1, 4)).is_some());
        assert!(permits.gate(Some("http shop"), &fixed()).is_none(), "a fixed one goes by its own number");
    }

    #[test]
    fn triggers_of_one_target_share_the_widest_limit() {
        let permits = permits();
        let gate = permits.gate(Some("http shop"), &adaptive(3, 4)).unwrap();
        let other = permits.gate(Some("http shop"), &adaptive(2, 9)).unwrap();
        assert!(Arc::ptr_eq(&gate, &other));
        let limiter = gate.limiter().unwrap();
        assert_eq!((limiter.min, limiter.max, limiter.limit), (2, 9, 2));
        let (first, _) = seat(&gate, &adaptive(3, 4));
        let (second, _) = seat(&gate, &adaptive(2, 9));
        let held = (first.take().unwrap(), second.take().unwrap());
        assert!(first.take().is_none() && second.take().is_none());
        assert_eq!(gate.limiter().unwrap().in_use, 2);
        drop(held);
        assert_eq!(gate.limiter().unwrap().in_use, 0);
    }

    #[test]
    fn a_throttled_call_shrinks_the_limit() {
        let gate = permits().gate(None, &adaptive(1, 64)).unwrap();
        let (seat, _) = seat(&gate, &adaptive(1, 64));
        for _ in 0..20 {
            let calls: Vec<Permit> = std::iter::from_fn(|| seat.take()).collect();
            calls.into_iter().for_each(|permit| permit.end(SampleEnd::Ok));
        }
        let grown = gate.limiter().unwrap().limit;
        assert!(grown > 4, "{grown}");
        seat.take().unwrap().end(SampleEnd::Throttled);
        assert!(gate.limiter().unwrap().limit < grown);
    }

    #[test]
    fn a_limit_is_never_told_to_be_beyond_the_cap() {
        let permits = permits();
        permits.cap("function resize", 3);
        let gate = permits.gate(Some("function resize"), &adaptive(8, 64)).unwrap();
        let (seat, _) = seat(&gate, &adaptive(8, 64));
        let calls: Vec<Permit> = std::iter::from_fn(|| seat.take()).collect();
        let limiter = gate.limiter().unwrap();
        assert_eq!((calls.len(), limiter.in_use, limiter.limit), (3, 3, 3));
    }

    #[tokio::test]
    async fn a_freed_permit_wakes_the_one_that_waits_longest_and_is_kept_for_it() {
        let permits = permits();
        permits.cap("function resize", 1);
        let gate = permits.gate(Some("function resize"), &fixed()).unwrap();
        let [(a, _), (b, b_wake), (c, c_wake)] = std::array::from_fn(|_| seat(&gate, &fixed()));
        let held = a.take().unwrap();
        assert!(b.take().is_none() && c.take().is_none());
        held.end(SampleEnd::Ok);
        assert!(is_woken(&b_wake).await && !is_woken(&c_wake).await);
        assert!(a.take().is_none(), "it waits for its turn like the others");
        let held = b.take().unwrap();
        assert!(b.take().is_none(), "it wants more, and goes to the end of the line");
        drop(held);
        assert!(is_woken(&c_wake).await && !is_woken(&b_wake).await);
        drop(c.take().unwrap());
        drop(a.take().unwrap());
        drop(b.take().unwrap());
    }

    #[tokio::test]
    async fn who_has_nothing_to_call_any_more_gives_its_turn_to_the_next() {
        let permits = permits();
        permits.cap("function resize", 1);
        let gate = permits.gate(Some("function resize"), &fixed()).unwrap();
        let [(a, _), (b, _), (c, c_wake), (d, d_wake)] = std::array::from_fn(|_| seat(&gate, &fixed()));
        let held = a.take().unwrap();
        assert!(b.take().is_none() && c.take().is_none() && d.take().is_none());
        drop(held);
        b.pass();
        assert!(is_woken(&c_wake).await);
        drop(c);
        assert!(is_woken(&d_wake).await);
        assert!(d.take().is_some());
    }

    #[tokio::test]
    async fn who_waits_for_its_limit_keeps_no_one_from_a_permit_that_it_cannot_have() {
        let permits = permits();
        permits.cap("function resize", 2);
        let gate = permits.gate(Some("function resize"), &adaptive(1, 4)).unwrap();
        let (adapts, adapts_wake) = seat(&gate, &adaptive(1, 4));
        let (other, other_wake) = seat(&gate, &fixed());
        let held = adapts.take().unwrap();
        assert!(adapts.take().is_none(), "its limit is 1 at first");
        let others = other.take().expect("the cap has room for one more");
        assert!(other.take().is_none());
        drop(others);
        assert!(is_woken(&other_wake).await && !is_woken(&adapts_wake).await);
        let others = other.take().unwrap();
        drop(held);
        assert!(is_woken(&adapts_wake).await);
        drop((adapts.take().unwrap(), others));
    }
}
