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
//! A rate limit is a gate as well: a trigger's own, and one for all triggers that call a host. A call then needs a permit of each of
//! its gates at once. Who waits for a token has the line's first place and is told when it comes; the others are woken as they move up.
//! A token is spent when its call is made and does not come back with the permit.
//!
//! A target that is asked for its leave has a gate too, which lets one call through until the leave is given, and keeps to the rate that
//! comes with it from then on.
//!
//! It must not know lanes or leases, and no lock of it is held while anything else is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use eventail_triggers::limiter::{Limiter, LimiterOptions, LimiterState, Sample, SampleEnd};
use eventail_triggers::policy::{DeliveryPolicy, RateLimit};
use eventail_triggers::rate::Bucket;
use eventail_triggers::target::{Leave, Target};
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

    /// What keeps to a rate limit all calls of those that have this key. Whoever asks later shares it, under the latest limit.
    pub(crate) fn pace(&self, key: &str, limit: RateLimit) -> Arc<Gate> {
        let gate = self.shared(key);
        let now = self.clock.now();
        let mut state = gate.lock();
        match &mut state.rate {
            Some((bucket, _)) if bucket.limit() == limit => {}
            Some((bucket, _)) => bucket.set_limit(limit, now),
            rate @ None => *rate = Some((Bucket::new(limit, now), key.into())),
        }
        state.wake_next();
        drop(state);
        gate
    }

    /// What keeps to a target's leave all calls of those that have this key; nothing where it is not asked for it.
    pub(crate) fn heed(&self, key: &str, target: &Arc<dyn Target>) -> Option<Arc<Gate>> {
        target.leave()?;
        let gate = self.shared(key);
        let mut state = gate.lock();
        state.heeded = Some((Arc::downgrade(target), key.into()));
        state.heed(self.clock.now());
        state.wake_next();
        drop(state);
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

/// Tells seats apart.
static SEATS: AtomicU64 = AtomicU64::new(0);

/// Stands before one target, or keeps a rate limit.
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cap: Option<usize>,
    /// Calls under way, of all triggers.
    in_use: usize,
    limiter: Option<Limiter>,
    /// The rate limit, and what people know it by.
    rate: Option<(Bucket, Arc<str>)>,
    /// The target whose leave it keeps to, and what people know that by.
    heeded: Option<(Weak<dyn Target>, Arc<str>)>,
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

    /// Takes over what is known of the target's leave by now.
    fn heed(&mut self, now: Timestamp) {
        let Some((target, name)) = &self.heeded else { return };
        // One that left with its trigger calls nobody any more.
        let Some(target) = target.upgrade() else { return };
        let (cap, limit) = match target.leave() {
            Some(Leave::Unasked) => (Some(1), None),
            Some(Leave::Given(limit)) => (None, limit),
            None => (None, None),
        };
        self.cap = cap;
        match (limit, &mut self.rate) {
            (None, rate) => *rate = None,
            (Some(limit), Some((bucket, _))) if bucket.limit() == limit => {}
            (Some(limit), Some((bucket, _))) => bucket.set_limit(limit, now),
            (Some(limit), rate @ None) => {
                let mut bucket = Bucket::new(limit, now);
                // The call that asked for the leave is the first under it, and the bucket is full.
                let _ = bucket.take(now);
                *rate = Some((bucket, Arc::clone(name)));
            }
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

    /// Tokens that there are.
    fn tokens(&mut self, now: Timestamp) -> usize {
        self.rate.as_mut().map_or(usize::MAX, |(rate, _)| rate.free(now))
    }

    /// Wakes the first that could have a permit: one that waits for its limit keeps no one from what it could not have. Where there is
    /// no token it is woken all the same, to learn when there will be one.
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
        Self { clock, state: Mutex::default() }
    }

    /// The limit as it is now, where it adapts: never beyond the cap, since no call gets past that.
    pub(crate) fn limiter(&self) -> Option<LimiterState> {
        let state = self.lock();
        let cap = state.cap.unwrap_or(usize::MAX);
        let limiter = state.limiter.as_ref()?.state();
        Some(LimiterState { limit: limiter.limit.min(cap), ..limiter })
    }

    /// A permit for the lane with this seat, which stands in line where there is none.
    fn take(&self, seat: &SeatId) -> Result<(), Refusal> {
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.heed(now);
        let place = state.line.iter().position(|waiter| waiter.number == seat.number);
        let ahead = state.ahead(place.unwrap_or(state.line.len()));
        let tokens = state.tokens(now);
        let free = state.free(seat.adapts).min(tokens);
        // A limiter is asked even where it has none, so that it knows that it is what holds calls back.
        let is_first = free > ahead || ahead == 0;
        let has_room = tokens > 0 && state.cap.is_none_or(|cap| state.in_use < cap);
        let limiter = state.limiter.as_mut().filter(|_| seat.adapts);
        let taken = is_first && has_room && limiter.is_none_or(|limiter| limiter.take(now, 1) == 1);
        if !taken {
            if place.is_none() {
                let SeatId { number, adapts, wake } = seat.clone();
                state.line.push_back(Waiter { number, adapts, wake });
            }
            // Only the first waits for the token itself; the next is woken when that one has gone.
            let waits_for_token = tokens == 0 && ahead == 0 && state.free(seat.adapts) > 0;
            let rate = state.rate.as_mut().filter(|_| tokens == 0);
            let limit = rate.as_ref().map(|(_, name)| Arc::clone(name));
            let wait_ms = rate.filter(|_| waits_for_token).and_then(|(bucket, _)| bucket.take(now).err());
            return Err(Refusal { until: wait_ms.map(|ms| now.plus_ms(ms)), limit });
        }
        if let Some((bucket, _)) = &mut state.rate {
            // There is one: it was counted above.
            let _ = bucket.take(now);
        }
        state.in_use += 1;
        if let Some(place) = place {
            state.line.remove(place);
        }
        state.wake_next();
        Ok(())
    }

    /// Leaves the line.
    fn leave(&self, seat: &SeatId) {
        let mut state = self.lock();
        let before = state.line.len();
        state.line.retain(|waiter| waiter.number != seat.number);
        if state.line.len() < before {
            state.wake_next();
        }
    }

    fn release(&self, adapts: bool, sample: Sample) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.in_use -= 1;
        if let Some(limiter) = state.limiter.as_mut().filter(|_| adapts) {
            limiter.release(now, sample);
        }
        // Where there is a rate alone nobody waits for this.
        if state.rate.is_none() {
            state.wake_next();
        }
    }

    /// Takes a permit back with which no call was made.
    fn hand_back(&self, adapts: bool) {
        if let Some((bucket, _)) = &mut self.lock().rate {
            bucket.give_back();
        }
        self.release(adapts, Sample { took_ms: 0.0, end: SampleEnd::Dropped });
        self.lock().wake_next();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// When there may be one; `None` where the lane is woken when its turn comes.
    pub(crate) until: Option<Timestamp>,
    /// The rate limit that has none, if it is one.
    pub(crate) limit: Option<Arc<str>>,
}

/// One lane, as gates know it.
#[derive(Clone)]
struct SeatId {
    number: u64,
    adapts: bool,
    wake: Arc<Notify>,
}

/// The place of one lane at its gates.
pub(crate) struct Seat {
    /// Those that are asked first come first.
    gates: Arc<[Arc<Gate>]>,
    id: SeatId,
    /// Whether it may stand in a line.
    waits: AtomicBool,
}

impl Seat {
    /// A place at the gates for one lane, which `wake` wakes when its turn has come. There must be one gate at least.
    pub(crate) fn new(gates: &Arc<[Arc<Gate>]>, policy: &DeliveryPolicy, wake: Arc<Notify>) -> Self {
        let id = SeatId {
            number: SEATS.fetch_add(1, Ordering::Relaxed),
            adapts: policy.concurrency_min.is_some(),
            wake,
        };
        Self { gates: Arc::clone(gates), id, waits: AtomicBool::new(false) }
    }

    /// A permit for one call that is ready to be made. Where there is none the seat waits for its turn.
    pub(crate) fn take(&self) -> Result<Permit, Refusal> {
        for (at, gate) in self.gates.iter().enumerate() {
            let Err(refusal) = gate.take(&self.id) else { continue };
            self.waits.store(true, Ordering::Relaxed);
            let (taken, others) = self.gates.split_at(at);
            taken.iter().for_each(|gate| gate.hand_back(self.id.adapts));
            // Whoever waits there could go, and this one cannot yet.
            others.iter().skip(1).for_each(|gate| gate.leave(&self.id));
            return Err(refusal);
        }
        let (gates, adapts) = (Arc::clone(&self.gates), self.id.adapts);
        Ok(Permit { gates, adapts, begun: Instant::now(), end: SampleEnd::Dropped, is_used: true })
    }

    /// To be said when nothing is ready to be called: whoever waits behind gets the turn.
    pub(crate) fn pass(&self) {
        if self.waits.swap(false, Ordering::Relaxed) {
            self.gates.iter().for_each(|gate| gate.leave(&self.id));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pass();
    }
}

/// The right to have one call under way. It goes back when it is dropped.
pub(crate) struct Permit {
    gates: Arc<[Arc<Gate>]>,
    adapts: bool,
    begun: Instant,
    end: SampleEnd,
    is_used: bool,
}

impl Permit {
    /// Gives it back, and says how its call ended.
    pub(crate) fn end(mut self, end: SampleEnd) {
        self.end = end;
    }

    /// Gives it back with which no call was made.
    pub(crate) fn unused(mut self) {
        self.is_used = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_used {
            return self.gates.iter().for_each(|gate| gate.hand_back(self.adapts));
        }
        let sample = Sample { took_ms: self.begun.elapsed().as_secs_f64() * 1_000.0, end: self.end };
        self.gates.iter().for_each(|gate| gate.release(self.adapts, sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(AtomicU64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    fn clocked() -> (Permits, Arc<At>) {
        let clock = Arc::new(At(AtomicU64::new(1_000)));
        (Permits::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn permits() -> Permits {
        clocked().0
    }

    /// Until when it is told to wait, and by which limit.
    fn refused(seat: &Seat) -> (Option<u64>, Option<String>) {
        let Err(Refusal { until, limit }) = seat.take() else { panic!("there was a permit") };
        (until.map(|at| at.0), limit.map(|limit| limit.to_string()))
    }

    fn fixed() -> DeliveryPolicy {
        DeliveryPolicy { concurrency: 8, ..DeliveryPolicy::default() }
    }

    fn adaptive(min: usize, max: usize) -> DeliveryPolicy {
        DeliveryPolicy { concurrency: max, concurrency_min: Some(min), ..DeliveryPolicy::default() }
    }

    fn seat(gate: &Arc<Gate>, policy: &DeliveryPolicy) -> (Seat, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        (Seat::new(&Arc::from([Arc::clone(gate)]), policy, Arc::clone(&wake)), wake)
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
        assert!(first.take().is_err() && second.take().is_err());
        assert_eq!(gate.limiter().unwrap().in_use, 2);
        drop(held);
        assert_eq!(gate.limiter().unwrap().in_use, 0);
    }

    #[test]
    fn a_throttled_call_shrinks_the_limit() {
        let gate = permits().gate(None, &adaptive(1, 64)).unwrap();
        let (seat, _) = seat(&gate, &adaptive(1, 64));
        for _ in 0..20 {
            let calls: Vec<Permit> = std::iter::from_fn(|| seat.take().ok()).collect();
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
        let calls: Vec<Permit> = std::iter::from_fn(|| seat.take().ok()).collect();
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
        assert!(b.take().is_err() && c.take().is_err());
        held.end(SampleEnd::Ok);
        assert!(is_woken(&b_wake).await && !is_woken(&c_wake).await);
        assert!(a.take().is_err(), "it waits for its turn like the others");
        let held = b.take().unwrap();
        assert!(b.take().is_err(), "it wants more, and goes to the end of the line");
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
        assert!(b.take().is_err() && c.take().is_err() && d.take().is_err());
        drop(held);
        b.pass();
        assert!(is_woken(&c_wake).await);
        drop(c);
        assert!(is_woken(&d_wake).await);
        assert!(d.take().is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_its_limit_keeps_no_one_from_a_permit_that_it_cannot_have() {
        let permits = permits();
        permits.cap("function resize", 2);
        let gate = permits.gate(Some("function resize"), &adaptive(1, 4)).unwrap();
        let (adapts, adapts_wake) = seat(&gate, &adaptive(1, 4));
        let (other, other_wake) = seat(&gate, &fixed());
        let held = adapts.take().unwrap();
        assert!(adapts.take().is_err(), "its limit is 1 at first");
        let others = other.take().expect("the cap has room for one more");
        assert!(other.take().is_err());
        drop(others);
        assert!(is_woken(&other_wake).await && !is_woken(&adapts_wake).await);
        let others = other.take().unwrap();
        drop(held);
        assert!(is_woken(&adapts_wake).await);
        drop((adapts.take().unwrap(), others));
    }

    #[tokio::test]
    async fn who_waits_for_a_token_is_told_when_and_the_next_one_when_it_moves_up() {
        let (permits, clock) = clocked();
        let gate = permits.pace("host shop", RateLimit { per_second: 1.0, burst: 2 });
        let [(a, _), (b, b_wake)] = std::array::from_fn(|_| seat(&gate, &fixed()));
        let held = (a.take().unwrap(), a.take().unwrap());
        assert_eq!(refused(&a), (Some(2_000), Some("host shop".to_owned())));
        assert_eq!(refused(&b), (None, Some("host shop".to_owned())), "it stands behind the other one");
        drop(held);
        assert_eq!(refused(&a).0, Some(2_000), "what is spent does not come back with the permit");
        clock.0.store(2_000, Ordering::Relaxed);
        assert_eq!(refused(&b).0, None, "the token is for the one that came first");
        let held = a.take().unwrap();
        assert!(is_woken(&b_wake).await);
        assert_eq!(refused(&b).0, Some(3_000));
        assert_eq!(refused(&a).0, None);
        drop((held, b));
        assert_eq!(refused(&a).0, Some(3_000));
    }

    #[test]
    fn both_limits_hold_at_once_and_a_token_of_the_one_is_not_lost_to_the_other() {
        let (permits, clock) = clocked();
        let own = permits.pace("trigger ship", RateLimit { per_second: 1.0, burst: 2 });
        let host = permits.pace("host shop", RateLimit { per_second: 0.5, burst: 1 });
        let gates: Arc<[Arc<Gate>]> = Arc::from([own, Arc::clone(&host)]);
        let ship = Seat::new(&gates, &fixed(), Arc::default());
        let (other, _) = seat(&host, &fixed());
        ship.take().unwrap().end(SampleEnd::Ok);
        assert_eq!(refused(&ship), (Some(3_000), Some("host shop".to_owned())));
        assert_eq!(refused(&other).0, None);
        clock.0.store(3_000, Ordering::Relaxed);
        ship.take().unwrap().end(SampleEnd::Ok);
        assert_eq!(refused(&ship).1.as_deref(), Some("host shop"), "its own limit has tokens left");
        ship.pass();
        assert_eq!(refused(&other).0, Some(5_000));
    }

    #[test]
    fn a_permit_that_was_not_used_gives_its_token_back() {
        let gate = permits().pace("trigger ship", RateLimit { per_second: 1.0, burst: 1 });
        let (seat, _) = seat(&gate, &fixed());
        seat.take().unwrap().unused();
        drop(seat.take().unwrap());
        assert!(seat.take().is_err());
    }

    #[tokio::test]
    async fn another_limit_holds_for_those_who_wait() {
        let permits = permits();
        let gate = permits.pace("host shop", RateLimit { per_second: 0.001, burst: 1 });
        let (seat, wake) = seat(&gate, &fixed());
        drop(seat.take().unwrap());
        assert_eq!(refused(&seat).0, Some(1_001_000));
        permits.pace("host shop", RateLimit { per_second: 1.0, burst: 1 });
        assert!(is_woken(&wake).await);
        assert_eq!(refused(&seat).0, Some(2_000));
    }
}
