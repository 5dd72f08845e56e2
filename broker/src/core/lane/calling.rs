//! One call on a target: what it is made of, how long it may take, and what it ends in.

use std::sync::Arc;
use std::time::Duration;

use eventail_storage::log::ReadError;
use eventail_triggers::limiter::SampleEnd;
use eventail_triggers::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use eventail_triggers::report::Report;
use eventail_triggers::subscription::{CallEnding, Ending, Lease};
use eventail_triggers::target::Invocation;
use eventail_wire::{Event, Offset, TopicName, TriggerName};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::drive::{Driver, describe};
use super::inputs::with_refused;
use super::{Consignment, Unpacked};
use crate::core::callbacks::{Reply, Signal, Waiting};
use crate::core::permits::Permit;

/// How long after its deadline an attempt is dropped. Targets end by themselves at the deadline; this is for those that do not.
const GRACE: Duration = Duration::from_secs(1);

/// How a call ended.
pub(super) struct Done {
    /// The lease by which the call is named: its only one, or the first.
    pub(super) lease: Lease,
    /// `None` where its events go back.
    pub(super) ended: Option<Ended>,
    /// Whoever called back about it.
    pub(super) reply: Option<Reply>,
    pub(super) took: Duration,
}

/// What a call ended in, and where its events were first: redriven ones lie elsewhere now.
pub(super) enum Ended {
    One(Offset, Ending),
    /// In the order of the leases.
    Batch(Vec<Offset>, CallEnding),
}

impl Ended {
    /// What it tells of the target's load.
    fn sample(&self) -> SampleEnd {
        match self {
            Self::One(_, ending) | Self::Batch(_, CallEnding::Whole(ending)) => sample_of(ending),
            Self::Batch(_, CallEnding::Each(endings)) => {
                let mut ends = endings.iter().map(sample_of);
                if endings.iter().any(|ending| sample_of(ending) == SampleEnd::Throttled) {
                    SampleEnd::Throttled
                } else if ends.any(|end| end == SampleEnd::Ok) {
                    SampleEnd::Ok
                } else {
                    endings.first().map_or(SampleEnd::Dropped, sample_of)
                }
            }
        }
    }
}

const fn sample_of(ending: &Ending) -> SampleEnd {
    match ending {
        Ending::Ack => SampleEnd::Ok,
        Ending::Retry { class: RetryClass::Throttled, .. } => SampleEnd::Throttled,
        Ending::Retry { class: RetryClass::Timeout, .. } => SampleEnd::Timeout,
        Ending::Retry { .. } | Ending::Reject { .. } => SampleEnd::Failed,
    }
}

/// Sends how a call ended when it goes, even if the target panicked: a lease that nobody gives back would block its key for ever.
pub(super) struct Call {
    sender: mpsc::UnboundedSender<Done>,
    done: Option<Done>,
    started: Instant,
    permit: Option<Permit>,
}

impl Call {
    pub(super) fn new(
        sender: mpsc::UnboundedSender<Done>,
        lease: Lease,
        is_batch: bool,
        permit: Option<Permit>,
    ) -> Self {
        let panicked = Ending::Retry {
            class: RetryClass::Failed,
            after_ms: None,
            response: Response { error: "the target panicked".to_owned(), ..Response::default() },
        };
        let ended = if is_batch {
            Ended::Batch(vec![lease.offset], CallEnding::Whole(panicked))
        } else {
            Ended::One(lease.offset, panicked)
        };
        let done = Done { lease, ended: Some(ended), reply: None, took: Duration::ZERO };
        Self { sender, done: Some(done), started: Instant::now(), permit }
    }

    fn end(mut self, ended: Option<Ended>, reply: Option<Reply>) {
        if let Some(done) = &mut self.done {
            (done.ended, done.reply) = (ended, reply);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(mut done) = self.done.take() else { return };
        done.took = self.started.elapsed();
        if let Some(permit) = self.permit.take() {
            permit.end(done.ended.as_ref().map_or(SampleEnd::Dropped, Ended::sample));
        }
        // The driver may have gone at the end of the drain time; the event is then delivered again after the restart.
        drop(self.sender.send(done));
    }
}

/// What a call came to, and whoever called back about it. Nothing where it waited for that when the broker stopped.
type Answered<T> = Option<(T, Option<Reply>)>;

impl Driver {
    /// Delivers one event by itself.
    pub(super) async fn call_one(&self, consignment: Consignment, call: Call) {
        let (origin, answered) = self.attempt(consignment).await;
        let (ending, reply) = answered.unzip();
        call.end(ending.map(|ending| Ended::One(origin, ending)), reply.flatten());
    }

    async fn attempt(&self, consignment: Consignment) -> (Offset, Answered<Ending>) {
        let Consignment { lease, event } = consignment;
        if let Err(error) = self.lane.attempts_are_journaled([&lease]).await {
            return (lease.offset, Some((unreachable_because(error.to_string()), None)));
        }
        let stored = match self.stored(&lease, event).await {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                let ending = unreachable_because("the event is not stored any more".to_owned());
                return (lease.offset, Some((ending, None)));
            }
            Err(error) => return (lease.offset, Some((unreachable_because(error.to_string()), None))),
        };
        let (event, invocation) = self.invocation(&lease, stored);
        let offset = invocation.offset;
        let mut invocation = match self.with_input(invocation) {
            Ok(invocation) => invocation,
            Err(ending) => {
                self.log(&event, &lease, &ending);
                return (offset, Some((ending, None)));
            }
        };
        let waiting = self.open_callback(&mut invocation);
        let most = self.time_of(&lease);
        let outcome = match tokio::time::timeout(most, self.target.invoke(invocation)).await {
            Ok(answer) => {
                self.report(answer.report, usize::from(is_taken(&answer.outcome)));
                answer.outcome.cut()
            }
            Err(_) => overdue(),
        };
        let answered = match (outcome, &self.replies, waiting) {
            (Outcome::Accepted, _, Some(waiting)) => self.called_back(&lease, waiting).await,
            (Outcome::Ack { reply: Some(reply) }, Some(replies), _) => {
                let ending = replies.publish(&event, offset, reply).await;
                self.lane.metrics.replies.increment(u64::from(ending == Ending::Ack));
                Some((ending, None))
            }
            (Outcome::Withheld { reason }, ..) => {
                self.lane.pause_for_target(&reason);
                None
            }
            (outcome, ..) => Some((outcome.into(), None)),
        };
        if let Some((ending, _)) = &answered {
            self.log(&event, &lease, ending);
        }
        (offset, answered)
    }

    /// Delivers several events with one call.
    pub(super) async fn call_batch(&self, consignments: Vec<Consignment>, call: Call) {
        let mut origins: Vec<Offset> = consignments.iter().map(|one| one.lease.offset).collect();
        let (ending, reply) = self.attempt_batch(consignments, &mut origins).await.unzip();
        call.end(ending.map(|ending| Ended::Batch(origins, ending)), reply.flatten());
    }

    async fn attempt_batch(
        &self,
        consignments: Vec<Consignment>,
        origins: &mut [Offset],
    ) -> Answered<CallEnding> {
        let first = consignments.first().map(|first| first.lease)?;
        let lost = |why: String| Some((CallEnding::Whole(unreachable_because(why)), None));
        let leases = consignments.iter().map(|one| &one.lease);
        if let Err(error) = self.lane.attempts_are_journaled(leases).await {
            return lost(error.to_string());
        }
        let count = consignments.len();
        let mut sent = Vec::with_capacity(count);
        let mut batch = Vec::with_capacity(count);
        let mut refused = Vec::new();
        for (at, Consignment { lease, event }) in consignments.into_iter().enumerate() {
            match self.stored(&lease, event).await {
                Ok(Some(stored)) => {
                    let (event, invocation) = self.invocation(&lease, stored);
                    origins[at] = invocation.offset;
                    match self.with_input(invocation) {
                        Ok(invocation) => {
                            sent.push((at, lease, event));
                            batch.push(invocation);
                        }
                        Err(ending) => {
                            self.log(&event, &lease, &ending);
                            refused.push((at, ending));
                        }
                    }
                }
                // The others go without it.
                Ok(None) => {}
                Err(error) => return lost(error.to_string()),
            }
        }
        let waiting = batch.first_mut().and_then(|first| self.open_callback(first));
        if batch.is_empty() {
            let (none, _) = lost("the events are not stored any more".to_owned())?;
            return Some((with_refused(none, count, refused), None));
        }
        let most = self.time_of(&first);
        let outcome = match tokio::time::timeout(most, self.target.invoke_batch(batch)).await {
            Ok(answer) => {
                let taken = match &answer.outcome {
                    BatchOutcome::Whole(outcome) if is_taken(outcome) => sent.len(),
                    BatchOutcome::Whole(_) => 0,
                    BatchOutcome::Each(outcomes) => outcomes.iter().filter(|one| is_taken(one)).count(),
                };
                self.report(answer.report, taken);
                answer.outcome
            }
            Err(_) => BatchOutcome::Whole(overdue()),
        };
        let (ending, reply) = match (outcome, waiting) {
            (BatchOutcome::Whole(Outcome::Accepted), Some(waiting)) => {
                let (ending, reply) = self.called_back(&first, waiting).await?;
                (CallEnding::Whole(ending), reply)
            }
            (BatchOutcome::Whole(Outcome::Withheld { reason }), _) => {
                self.lane.pause_for_target(&reason);
                return None;
            }
            (BatchOutcome::Whole(outcome), _) => (CallEnding::Whole(outcome.cut().into()), None),
            (BatchOutcome::Each(outcomes), _) => (CallEnding::Each(spread(count, &sent, outcomes)), None),
        };
        for (at, lease, event) in &sent {
            match &ending {
                CallEnding::Whole(ending) => self.log(event, lease, ending),
                CallEnding::Each(endings) => self.log(event, lease, &endings[*at]),
            }
        }
        Some((with_refused(ending, count, refused), reply))
    }

    /// The event of a lease, from memory or from the log. `None` where retention took it, or damage.
    async fn stored(&self, lease: &Lease, event: Option<Event>) -> Result<Option<Event>, ReadError> {
        if event.is_some() {
            return Ok(event);
        }
        let read = self.lane.read_again(lease.offset).await;
        if matches!(read, Ok(None)) {
            self.lane.lose_before(self.lane.log.status().range.start);
        }
        read
    }

    /// What the target gets to see of an event, and the event itself.
    fn invocation(&self, lease: &Lease, stored: Event) -> (Event, Invocation) {
        let Unpacked { event, topic, offset, replay } = self.lane.unpack(lease.offset, stored);
        let delivery_id = delivery_id(&self.lane.trigger, &topic, offset, replay.as_deref());
        let invocation = Invocation {
            event: event.clone(),
            topic,
            offset,
            appended_at: lease.appended_at,
            trigger: self.lane.trigger.clone(),
            attempt: lease.attempt,
            delivery_id,
            now: self.clock.now(),
            deadline: lease.deadline,
            // The answer to a batch is about its events and is none itself.
            wants_reply: self.replies.is_some() && !self.lane.batches,
            callback: None,
            input: None,
            is_replay: replay.is_some(),
        };
        (event, invocation)
    }

    /// Lets the target settle the call later, where it may.
    fn open_callback(&self, invocation: &mut Invocation) -> Option<Waiting> {
        if !self.target.allows_callback() {
            return None;
        }
        let extension_ms = self.lane.look(|subscription| subscription.policy().timeout_ms);
        let (token, waiting) = self.callbacks.open(extension_ms);
        invocation.callback = Some(token);
        Some(waiting)
    }

    /// Lets the ledger know of a run, and how many events the target took of it.
    fn report(&self, report: Option<Box<Report>>, taken: usize) {
        if let Some(report) = report {
            let events = u32::try_from(taken).unwrap_or(u32::MAX);
            self.ledger.record(self.clock.now(), Some(&self.lane.trigger), &report, events);
        }
    }

    fn time_of(&self, lease: &Lease) -> Duration {
        Duration::from_millis(lease.deadline.since_ms(self.clock.now())) + GRACE
    }

    /// Waits until the target calls back about a call that it took over, or the lease runs out. `None` where the broker stops: what
    /// waits for others must not hold it up.
    async fn called_back(&self, lease: &Lease, mut waiting: Waiting) -> Answered<Ending> {
        let mut stop = self.graveyard.stop.clone();
        let mut ends = Instant::now() + Duration::from_millis(lease.deadline.since_ms(self.clock.now()));
        loop {
            let (signal, reply) = tokio::select! {
                biased;
                called = waiting.next() => called,
                () = tokio::time::sleep_until(ends) => {
                    let response = failed_with("the target accepted the event and did not call back in time");
                    return Some((Ending::Retry { class: RetryClass::Timeout, after_ms: None, response }, None));
                }
                _ = stop.wait_for(|stopped| *stopped) => return None,
            };
            let ending = match signal {
                Signal::Extend { ms } => {
                    let now = self.clock.now();
                    if self.lane.extend(now, &[lease.token], ms).is_empty() {
                        ends = Instant::now() + Duration::from_millis(ms);
                        reply.extended(now.plus_ms(ms));
                    }
                    continue;
                }
                Signal::Ack => Ending::Ack,
                Signal::Nack { after_ms, reason } => Ending::Retry {
                    class: RetryClass::Failed,
                    after_ms,
                    response: failed_with(&reason).cut(),
                },
                Signal::Reject { reason } => Ending::Reject {
                    reason: RejectReason::Refused,
                    response: failed_with(&reason).cut(),
                    disable: false,
                },
            };
            return Some((ending, Some(reply)));
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

const fn is_taken(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ack { .. } | Outcome::Accepted)
}

/// The endings of what was sent, in the places of their leases. Nothing is known of those that were not sent, or that the target
/// says nothing of.
fn spread(count: usize, sent: &[(usize, Lease, Event)], outcomes: Vec<Outcome>) -> Vec<Ending> {
    let mut endings = vec![unreachable_because("the event was not sent".to_owned()); count];
    let silent = Outcome::Retry {
        class: RetryClass::Failed,
        after_ms: None,
        response: failed_with("the target said nothing of the event"),
    };
    let outcomes = outcomes.into_iter().chain(std::iter::repeat(silent));
    for ((at, ..), outcome) in sent.iter().zip(outcomes) {
        endings[*at] = outcome.cut().into();
    }
    endings
}

/// What every attempt of a delivery carries, before and after any restart: it says which event, for which trigger. What is
/// replayed has an id of its own for each replay, or a target that deduplicates would drop what it is to have again.
pub(crate) fn delivery_id(
    trigger: &TriggerName,
    topic: &TopicName,
    offset: Offset,
    replay: Option<&str>,
) -> Arc<str> {
    // A `.` would break the signed content of Standard Webhooks; names may have one, so the text is hashed.
    let text = match replay {
        Some(replay) => format!("{trigger}/{topic}/{replay}"),
        None => format!("{trigger}/{topic}"),
    };
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

fn failed_with(error: &str) -> Response {
    Response { error: error.to_owned(), ..Response::default() }
}

fn overdue() -> Outcome {
    Outcome::Retry {
        class: RetryClass::Timeout,
        after_ms: None,
        response: failed_with("the target did not answer before its deadline"),
    }
}
