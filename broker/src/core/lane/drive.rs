//! Driving a lane: leases become attempts on a target, and what they end in is settled.

use std::sync::Arc;
use std::time::Duration;

use eventail_storage::log::ReadError;
use eventail_triggers::outcome::{Outcome, Response, RetryClass};
use eventail_triggers::subscription::{Ending, Lease, Settled, Verdict};
use eventail_triggers::target::{Invocation, Target};
use eventail_wire::{Clock, Event, Offset, TopicName, TriggerName};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::intake::Filled;
use super::{Consignment, Lane};
use crate::core::feed::Feed;
use crate::core::graveyard::Graveyard;
use crate::core::replies::Replies;
use crate::metrics::AttemptEnd;
use crate::status::{Observation, Observer};

/// How long a driver waits after the log or the journal refused.
const RETRY: Duration = Duration::from_secs(1);
/// How long after its deadline an attempt is dropped. Targets end by themselves at the deadline; this is for those that do not.
const GRACE: Duration = Duration::from_secs(1);
/// Outcomes that are settled in one turn.
const SETTLE_MAX: usize = 512;

/// Everything that the attempts of one lane share.
pub(crate) struct Driver {
    pub(crate) lane: Arc<Lane>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) feed: Option<(Arc<Feed>, usize)>,
    pub(crate) replies: Option<Replies>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// How one attempt ended.
struct Done {
    lease: Lease,
    /// Where the event was first; a redriven one lies elsewhere now.
    origin: Offset,
    ending: Ending,
    took: Duration,
}

impl Driver {
    /// Delivers until `stop` is set, and then until no attempt is under way.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut durable_end = self.lane.log.durable_end();
        let mut done = Vec::new();
        loop {
            let stopping = *stop.borrow_and_update();
            if stopping && self.lane.is_at_rest() {
                return;
            }
            let mut due = None;
            let mut watches_end = false;
            if !stopping {
                durable_end.borrow_and_update();
                let filled = self
                    .lane
                    .fill(self.clock.now(), self.feed.as_ref().map(|(feed, seat)| (feed, *seat)))
                    .await;
                self.start_attempts(&sender);
                // A member of a feed is woken by it; watching the end too would wake every trigger for every event.
                watches_end = filled == Filled::AtEnd;
                due = self.due(filled == Filled::Failed);
            }
            tokio::select! {
                biased;
                _ = receiver.recv_many(&mut done, SETTLE_MAX) => self.settle(&mut done),
                () = self.lane.wake.notified() => {}
                changed = durable_end.changed(), if watches_end => if changed.is_err() { return },
                () = sleep_until(due), if due.is_some() => {}
                _ = stop.changed(), if !stopping => {}
            }
        }
    }

    /// When the lane has to look again even if nothing happens.
    fn due(&self, failed: bool) -> Option<Instant> {
        let now = Instant::now();
        let retry = (failed || self.lane.refusal().is_some()).then(|| now + RETRY);
        let wakeup =
            self.lane.next_lease_at().map(|at| now + Duration::from_millis(at.since_ms(self.clock.now())));
        match (retry, wakeup) {
            (Some(retry), _) => Some(retry),
            (None, wakeup) => wakeup,
        }
    }

    fn start_attempts(self: &Arc<Self>, sender: &mpsc::UnboundedSender<Done>) {
        let mut consignments = Vec::new();
        self.lane.lease(self.clock.now(), usize::MAX, &mut consignments);
        for consignment in consignments {
            let driver = Arc::clone(self);
            let attempt = Attempt::new(sender.clone(), consignment.lease);
            tokio::spawn(async move {
                let (origin, ending) = driver.attempt(consignment).await;
                attempt.end(origin, ending);
            });
        }
    }

    async fn attempt(&self, consignment: Consignment) -> (Offset, Ending) {
        let Consignment { lease, event } = consignment;
        if let Err(error) = self.lane.attempts_are_journaled([&lease]).await {
            return (lease.offset, unreachable_because(error.to_string()));
        }
        let stored = match event {
            Some(event) => event,
            None => match self.lane.read_again(lease.offset).await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    self.lane.lose_before(self.lane.log.status().range.start);
                    return (lease.offset, unreachable_because("retention took the event".to_owned()));
                }
                Err(error) => {
                    if matches!(error, ReadError::Corrupt { .. }) {
                        self.lane.stop(&error.to_string());
                    }
                    return (lease.offset, unreachable_because(error.to_string()));
                }
            },
        };
        let (event, topic, offset) = self.lane.unpack(lease.offset, stored);
        let delivery_id = delivery_id(&self.lane.trigger, &topic, offset);
        let now = self.clock.now();
        let invocation = Invocation {
            event: event.clone(),
            topic,
            offset,
            appended_at: lease.appended_at,
            trigger: self.lane.trigger.clone(),
            attempt: lease.attempt,
            delivery_id,
            now,
            deadline: lease.deadline,
            wants_reply: self.replies.is_some(),
            callback: None,
        };
        let most = Duration::from_millis(lease.deadline.since_ms(now)) + GRACE;
        let outcome = match tokio::time::timeout(most, self.target.invoke(invocation)).await {
            Ok(answer) => answer.outcome.cut(),
            Err(_) => Outcome::Retry { class: RetryClass::Timeout, after_ms: None, response: overdue() },
        };
        let ending = match (outcome, &self.replies) {
            (Outcome::Ack { reply: Some(reply) }, Some(replies)) => {
                let ending = replies.publish(&event, reply).await;
                self.lane.metrics.replies.increment(u64::from(ending == Ending::Ack));
                ending
            }
            (outcome, _) => outcome.into(),
        };
        self.log(&event, &lease, &ending);
        (offset, ending)
    }

    fn settle(&self, done: &mut Vec<Done>) {
        let mut told = Vec::with_capacity(done.len());
        let mut endings = Vec::with_capacity(done.len());
        for Done { lease, origin, ending, took } in done.drain(..) {
            let (end, response) = describe(&ending);
            self.lane.metrics.attempted(end, took.as_secs_f64());
            if let AttemptEnd::Failed(class) = end {
                self.lane.metrics.retried(class);
            }
            if self.observer.is_some() {
                told.push((origin, end.as_str(), response.cloned(), took));
            }
            endings.push((lease.token, ending));
        }
        let (settled, burials) = self.lane.settle(self.clock.now(), endings);
        if let Some(observer) = &self.observer {
            for ((origin, word, response, took), settled) in told.into_iter().zip(&settled) {
                if let Some(settled) = settled {
                    observer.observe(&self.observation(origin, word, response, took, *settled));
                }
            }
        }
        for burial in burials {
            let (lane, graveyard) = (Arc::clone(&self.lane), Arc::clone(&self.graveyard));
            tokio::spawn(async move { graveyard.bury(&lane, burial).await });
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
        }
    }

    /// The lines about an attempt: everything by which it can be found again.
    fn log(&self, event: &Event, lease: &Lease, ending: &Ending) {
        let (end, response) = describe(ending);
        let outcome = end.as_str();
        match response {
            Some(response) => tracing::debug!(
                id = event.id(), topic = %self.lane.topic, offset = %lease.offset, correlation_id = event.correlation_id(),
                trigger = %self.lane.trigger, attempt = lease.attempt, outcome, status = response.status,
                error = %response.error, "attempt failed"
            ),
            None => tracing::trace!(
                id = event.id(), topic = %self.lane.topic, offset = %lease.offset, correlation_id = event.correlation_id(),
                trigger = %self.lane.trigger, attempt = lease.attempt, outcome, "event delivered"
            ),
        }
    }
}

/// Sends how an attempt ended when it goes, even if the target panicked: a lease that nobody gives back would block its key for ever.
struct Attempt {
    sender: mpsc::UnboundedSender<Done>,
    lease: Lease,
    origin: Offset,
    started: Instant,
    ending: Ending,
}

impl Attempt {
    fn new(sender: mpsc::UnboundedSender<Done>, lease: Lease) -> Self {
        let ending = Ending::Retry {
            class: RetryClass::Failed,
            after_ms: None,
            response: Response { error: "the target panicked".to_owned(), ..Response::default() },
        };
        Self { sender, lease, origin: lease.offset, started: Instant::now(), ending }
    }

    fn end(mut self, origin: Offset, ending: Ending) {
        self.origin = origin;
        self.ending = ending;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let ending = std::mem::replace(&mut self.ending, Ending::Ack);
        let done = Done { lease: self.lease, origin: self.origin, ending, took: self.started.elapsed() };
        // The driver may have gone at the end of the drain time; the event is then delivered again after the restart.
        drop(self.sender.send(done));
    }
}

/// What every attempt of a delivery carries, before and after any restart: it says which event, for which trigger.
pub(crate) fn delivery_id(trigger: &TriggerName, topic: &TopicName, offset: Offset) -> Arc<str> {
    // A `.` would break the signed content of Standard Webhooks; names may have one, so the text is hashed.
    let text = format!("{trigger}/{topic}");
    let hash = rapidhash::v3::rapidhash_v3(text.as_bytes());
    format!("evt_{hash:016x}_{offset}").into()
}

fn unreachable_because(error: String) -> Ending {
    Ending::Retry {
        class: RetryClass::Unreachable,
        after_ms: None,
        response: Response { error, ..Response::default() },
    }
}

fn overdue() -> Response {
    Response { error: "the target did not answer before its deadline".to_owned(), ..Response::default() }
}

fn describe(ending: &Ending) -> (AttemptEnd, Option<&Response>) {
    match ending {
        Ending::Ack => (AttemptEnd::Delivered, None),
        Ending::Retry { class, response, .. } => (AttemptEnd::Failed(*class), Some(response)),
        Ending::Reject { response, .. } => (AttemptEnd::Rejected, Some(response)),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
