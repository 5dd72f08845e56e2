//! Driving a lane: leases become calls on a target, and what they end in is settled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eventail_triggers::input::Input;
use eventail_triggers::outcome::Response;
use eventail_triggers::subscription::{CallEnding, Ending, Lease, Settled, Verdict};
use eventail_triggers::target::Target;
use eventail_wire::{Clock, Offset, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::calling::{Call, Done, Ended};
use super::intake::Filled;
use super::{Consignment, Lane};
use crate::core::callbacks::{Callbacks, Reply};
use crate::core::feed::Feed;
use crate::core::graveyard::{Burial, Graveyard};
use crate::core::ledger::Ledger;
use crate::core::permits::{Permit, Refusal, Seat};
use crate::core::replies::Replies;
use crate::core::timeline::AttemptEnded;
use crate::metrics::AttemptEnd;
use crate::panics::{REST, contained};
use crate::status::{Observation, Observer, RateWait};

/// How long a driver waits after the log or the journal refused.
const RETRY: Duration = Duration::from_secs(1);
/// Calls that are settled in one turn.
const SETTLE_MAX: usize = 512;

/// Everything that the calls of one lane share.
pub(crate) struct Driver {
    pub(crate) lane: Arc<Lane>,
    pub(crate) target: Arc<dyn Target>,
    /// What the target gets in place of events, if anything.
    pub(crate) input: Option<Arc<Input>>,
    pub(crate) feed: Option<(Arc<Feed>, usize)>,
    pub(crate) replies: Option<Replies>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Where permits come from, for a target that needs them.
    pub(crate) seat: Option<Seat>,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) ledger: Arc<Ledger>,
}

/// What holds calls back that are ready.
enum Held {
    /// Nothing: time alone lets more go.
    No,
    /// Others have the permits; the lane is woken when its turn comes.
    ByOthers,
    /// There is no token before.
    Until(Timestamp),
}

/// Why a driver delivers no more.
enum Left {
    /// There is nothing more to do.
    Over,
    /// Another one delivers, or nobody does.
    Retired,
}

/// What is told of an attempt when it is settled.
struct Told {
    origin: Offset,
    end: AttemptEnd,
    response: Option<Response>,
    took: Duration,
    is_probe: bool,
}

impl Driver {
    /// Delivers until `stop` is set, and then until no attempt is under way; or until the lane is over, if it ever is. Where that panics the
    /// lane stops with a reason, and goes on when it is resumed.
    pub(crate) async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        // Calls that are under way end here, whatever becomes of the task that began them.
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut has_panicked = false;
        loop {
            let delivering = self.deliver(&sender, &mut receiver, stop.clone(), has_panicked);
            let error = match contained(delivering).await {
                Ok(Left::Over) => return,
                Ok(Left::Retired) => break,
                Err(error) => error,
            };
            has_panicked = true;
            self.lane.stop(&format!(
                "the broker made a mistake ({error}); its log says where, and resuming tries again"
            ));
            tokio::time::sleep(REST).await;
        }
        // The last call that ends lets this end.
        drop(sender);
        while contained(self.finish(&mut receiver)).await.is_err() {}
    }

    async fn deliver(
        self: &Arc<Self>,
        sender: &mpsc::UnboundedSender<Done>,
        receiver: &mut mpsc::UnboundedReceiver<Done>,
        mut stop: watch::Receiver<bool>,
        has_panicked: bool,
    ) -> Left {
        let mut durable_end = self.lane.log.durable_end();
        let mut done = Vec::new();
        loop {
            let stopping = *stop.borrow_and_update();
            if (stopping && self.lane.is_at_rest()) || self.lane.is_over() {
                return Left::Over;
            }
            if self.lane.is_retired() {
                return Left::Retired;
            }
            if has_panicked {
                // What was being settled or begun then is not known: its leases run out.
                self.bury(self.lane.expire_leases(self.clock.now()));
            }
            let mut due = has_panicked.then(|| self.instant_of(self.lane.next_wakeup())).flatten();
            let mut watches_end = false;
            if stopping {
                self.seat.iter().for_each(Seat::pass);
            } else {
                durable_end.borrow_and_update();
                let filled = self
                    .lane
                    .fill(self.clock.now(), self.feed.as_ref().map(|(feed, seat)| (feed, *seat)))
                    .await;
                let held = self.start_calls(sender);
                // What was read last may hold nothing that is wanted: no settlement comes that would wake this.
                if self.lane.is_over() {
                    return Left::Over;
                }
                // A member of a feed is woken by it; watching the end too would wake every trigger for every event.
                watches_end = filled == Filled::AtEnd;
                due = [due, self.due(filled, &held)].into_iter().flatten().min();
            }
            tokio::select! {
                biased;
                _ = receiver.recv_many(&mut done, SETTLE_MAX) => self.settle(&mut done),
                () = self.lane.wake().notified() => {}
                changed = durable_end.changed(), if watches_end => if changed.is_err() { return Left::Over },
                () = sleep_until(due), if due.is_some() => {}
                _ = stop.changed(), if !stopping => {}
            }
        }
    }

    /// Settles what is under way; another driver leases now, or nobody does.
    async fn finish(&self, receiver: &mut mpsc::UnboundedReceiver<Done>) {
        self.seat.iter().for_each(Seat::pass);
        let mut done = Vec::new();
        loop {
            // Whatever rang here was meant for the other one, as is the room that a settlement makes.
            self.lane.ring();
            if receiver.recv_many(&mut done, SETTLE_MAX).await == 0 {
                return;
            }
            self.settle(&mut done);
        }
    }

    /// When the lane has to look again even if nothing happens.
    fn due(&self, filled: Filled, held: &Held) -> Option<Instant> {
        let now = Instant::now();
        if filled == Filled::Failed || self.lane.refusal().is_some() {
            return Some(now + RETRY);
        }
        let lease = match held {
            Held::No => self.lane.next_lease_at(),
            Held::Until(at) => Some(*at),
            Held::ByOthers => None,
        };
        let next = self.instant_of([lease, self.lane.next_expiry()].into_iter().flatten().min());
        let paced = match filled {
            Filled::Paced { wait_ms } => Some(now + Duration::from_millis(wait_ms)),
            Filled::Waiting | Filled::AtEnd | Filled::Failed => None,
        };
        [next, paced].into_iter().flatten().min()
    }

    fn instant_of(&self, at: Option<Timestamp>) -> Option<Instant> {
        at.map(|at| Instant::now() + Duration::from_millis(at.since_ms(self.clock.now())))
    }

    /// Starts as many calls as may go; answers what holds back the others that are ready.
    fn start_calls(self: &Arc<Self>, sender: &mpsc::UnboundedSender<Done>) -> Held {
        let mut consignments = Vec::new();
        let now = self.clock.now();
        let Some(seat) = &self.seat else {
            self.lane.lease(now, usize::MAX, &mut consignments);
            self.start(consignments, sender, || None);
            return Held::No;
        };
        let mut permits = VecDeque::new();
        let mut refusal = None;
        while refusal.is_none() && self.lane.may_lease(now) {
            let leased = consignments.len();
            match seat.take() {
                Ok(permit) => {
                    self.lane.lease(now, 1, &mut consignments);
                    if consignments.len() == leased {
                        permit.unused();
                        break;
                    }
                    permits.push_back(permit);
                }
                Err(refused) => refusal = Some(refused),
            }
        }
        if refusal.is_none() {
            seat.pass();
        }
        self.start(consignments, sender, || permits.pop_front());
        let Some(Refusal { until, limit }) = refusal else {
            self.lane.note_rate_wait(None);
            return Held::No;
        };
        self.lane.note_rate_wait(limit.map(|limit| RateWait { limit: limit.to_string(), until }));
        until.map_or(Held::ByOthers, Held::Until)
    }

    fn start(
        self: &Arc<Self>,
        consignments: Vec<Consignment>,
        sender: &mpsc::UnboundedSender<Done>,
        mut permit: impl FnMut() -> Option<Permit>,
    ) {
        let mut consignments = consignments.into_iter().peekable();
        while let Some(first) = consignments.next() {
            let driver = Arc::clone(self);
            let lease = first.lease;
            let call = Call::new(sender.clone(), lease, self.lane.batches, permit());
            if self.lane.batches {
                let mut members = vec![first];
                members.extend(std::iter::from_fn(|| {
                    consignments.next_if(|next| next.lease.call == lease.call)
                }));
                tokio::spawn(async move { driver.call_batch(members, call).await });
            } else {
                tokio::spawn(async move { driver.call_one(first, call).await });
            }
        }
    }

    fn settle(&self, done: &mut Vec<Done>) {
        let mut told = Vec::with_capacity(done.len());
        let mut replies = Vec::new();
        let mut endings = Vec::with_capacity(done.len());
        let mut burials = Vec::new();
        for Done { lease, ended, reply, took } in done.drain(..) {
            match ended {
                Some(Ended::One(origin, ending)) => {
                    replies.extend(reply.map(|reply| (endings.len(), reply)));
                    told.push(self.told(origin, &ending, took, lease.is_probe));
                    endings.push((lease.token, ending));
                }
                Some(Ended::Batch(origins, ending)) => {
                    burials.extend(self.settle_batch(&lease, origins, ending, reply, took));
                }
                None => self.lane.release([lease.token]),
            }
        }
        if !endings.is_empty() {
            self.lane.metrics.called(endings.len());
            let (settled, single) = self.lane.settle(self.clock.now(), endings);
            for (at, reply) in replies {
                answer(reply, settled[at]);
            }
            self.tell(told, &settled);
            burials.extend(single);
        }
        self.bury(burials);
    }

    fn bury(&self, burials: Vec<Burial>) {
        for burial in burials {
            let (lane, graveyard) = (Arc::clone(&self.lane), Arc::clone(&self.graveyard));
            tokio::spawn(async move { graveyard.bury(&lane, burial).await });
        }
    }

    fn settle_batch(
        &self,
        lease: &Lease,
        origins: Vec<Offset>,
        ending: CallEnding,
        reply: Option<Reply>,
        took: Duration,
    ) -> Vec<Burial> {
        let told: Vec<Told> = match &ending {
            CallEnding::Whole(ending) => {
                origins.into_iter().map(|origin| self.told(origin, ending, took, lease.is_probe)).collect()
            }
            CallEnding::Each(endings) => {
                let each = origins.into_iter().zip(endings);
                each.map(|(origin, ending)| self.told(origin, ending, took, lease.is_probe)).collect()
            }
        };
        let (settled, burials) = self.lane.settle_call(self.clock.now(), lease.call, ending);
        self.lane.metrics.called_with(settled.len());
        if let Some(reply) = reply {
            answer(reply, settled.iter().flatten().next().copied());
        }
        self.tell(told, &settled);
        burials
    }

    fn told(&self, origin: Offset, ending: &Ending, took: Duration, is_probe: bool) -> Told {
        let (end, response) = describe(ending);
        // Only an observer and the timeline want the response, and a success has none.
        let is_wanted = self.observer.is_some() || self.lane.track.is_some();
        Told { origin, end, response: response.filter(|_| is_wanted).cloned(), took, is_probe }
    }

    /// Counts attempts that were settled, and tells whoever watches.
    fn tell(&self, told: Vec<Told>, settled: &[Option<Settled>]) {
        if let Some(track) = &self.lane.track {
            track.attempts(self.clock.now(), ended(&told, settled));
        }
        for (Told { origin, end, response, took, .. }, settled) in told.into_iter().zip(settled) {
            if settled.is_some_and(|settled| settled.verdict == Verdict::HandedBack) {
                continue;
            }
            self.lane.metrics.attempted(end, took.as_secs_f64());
            if let AttemptEnd::Failed(class) = end {
                self.lane.metrics.retried(class);
            }
            if let (Some(observer), Some(settled)) = (&self.observer, settled) {
                observer.observe(&self.observation(origin, end.as_str(), response, took, *settled));
            }
        }
    }

    fn observation(
        &self,
        offset: Offset,
        outcome: &'static str,
        response: Option<Response>,
        took: Duration,
        settled: Settled,
    ) -> Observation {
        Observation::Attempted {
            trigger: self.lane.trigger.clone(),
            offset,
            attempt: settled.attempt,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            outcome,
            response,
            next_at: match settled.verdict {
                Verdict::Retry { at } => Some(at),
                Verdict::Delivered | Verdict::HandedBack | Verdict::DeadLetter { .. } => None,
            },
            replay: self.lane.replay.clone(),
        }
    }
}

/// What is told of attempts that were settled, as the timeline takes it.
fn ended<'a>(
    told: &'a [Told],
    settled: &'a [Option<Settled>],
) -> impl Iterator<Item = AttemptEnded<'a>> + Clone {
    told.iter().zip(settled).filter_map(|(told, settled)| {
        let settled = settled.filter(|settled| settled.verdict != Verdict::HandedBack)?;
        let Told { origin, end, response, took, is_probe } = told;
        let response = response.as_ref();
        Some(AttemptEnded { origin: *origin, end: *end, response, took: *took, settled, is_probe: *is_probe })
    })
}

pub(super) fn describe(ending: &Ending) -> (AttemptEnd, Option<&Response>) {
    match ending {
        Ending::Ack => (AttemptEnd::Delivered, None),
        Ending::Retry { class, response, .. } => (AttemptEnd::Failed(*class), Some(response)),
        Ending::Reject { response, .. } => (AttemptEnd::Rejected, Some(response)),
    }
}

/// Tells whoever called back what came of it. One that came too late is refused.
fn answer(reply: Reply, settled: Option<Settled>) {
    if let Some(settled) = settled {
        reply.settled(settled.verdict);
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
