//! The deliveries of one stream's subscription, as far as its credit goes, and their outcomes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use eventail_triggers::outcome::{Outcome, RejectReason, Response, RetryClass};
use eventail_wire::frame::{DeliveryHeader, Frame, FrameBuffer, FrameError, Start, Subscribe};
use eventail_wire::{Code, TopicName, TriggerName, limits};

use super::answers::Refusal;
use crate::config::StartPosition;
use crate::{Broker, BrokerError, Delivery, SubscribeOptions, Subscriber};

/// Deliveries that are asked of the broker first, when it is not known how large they are.
const FIRST_BATCH: usize = 16;
/// Deliveries that are asked of the broker at once at most.
const BATCH_MAX: usize = 1_024;
/// Bytes of events in one deliver frame, unless its first alone has more; and what is asked for at once should have.
const FRAME_BYTES: usize = 1 << 20;

type Next = Pin<Box<dyn Future<Output = Option<Vec<Delivery>>> + Send>>;

/// A subscription on a stream. Dropping it hands its leases back.
pub(super) struct Deliveries {
    subscriber: Arc<Subscriber>,
    /// Kept from one look to the next: a delivery that is being made ready must not be lost.
    next: Option<Next>,
    /// How many to ask for next, so that what a stream holds beyond what it could write is about one frame.
    batch: usize,
    credit: u32,
    credit_at_first: u32,
    /// Deliveries whose outcome did not come yet.
    unsettled: usize,
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliveries")
            .field("credit", &self.credit)
            .field("unsettled", &self.unsettled)
            .finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Begins the subscription; with its topic.
    pub(super) async fn open(broker: &Broker, request: Subscribe) -> Result<(TopicName, Self), Refusal> {
        let name = |error: eventail_wire::NameError| Refusal::new(Code::InvalidName, error.to_string());
        if request.credit > limits::CREDIT_MAX {
            return Err(too_much_credit(u64::from(request.credit)));
        }
        if request.lease_ms == 0 {
            return Err(Refusal::new(Code::InvalidParameter, "a lease lasts at least 1 ms".to_owned()));
        }
        let options = SubscribeOptions {
            name: TriggerName::new(&request.name).map_err(name)?,
            topic: TopicName::new(&request.topic).map_err(name)?,
            pattern: request.pattern,
            start: match request.start {
                Start::Latest => StartPosition::Latest,
                Start::Earliest => StartPosition::Earliest,
                Start::At(time) => StartPosition::At(time),
            },
            lease_ms: request.lease_ms,
            max_attempts: request.max_attempts,
        };
        let topic = options.topic.clone();
        let subscriber = broker.subscribe(options).await.map_err(|error| refusal(&error))?;
        let deliveries = Self {
            subscriber: Arc::new(subscriber),
            next: None,
            batch: FIRST_BATCH,
            credit: request.credit,
            credit_at_first: request.credit,
            unsettled: 0,
        };
        Ok((topic, deliveries))
    }

    /// Whether more may be sent.
    pub(super) const fn has_credit(&self) -> bool {
        self.credit > 0
    }

    /// Whether the client has nothing more to say about what it got.
    pub(super) const fn is_settled(&self) -> bool {
        self.unsettled == 0 || self.credit >= self.credit_at_first
    }

    /// Allows more.
    pub(super) fn add_credit(&mut self, deliveries: u32) -> Result<(), Refusal> {
        let credit = u64::from(self.credit) + u64::from(deliveries);
        self.credit = u32::try_from(credit)
            .ok()
            .filter(|&credit| credit <= limits::CREDIT_MAX)
            .ok_or_else(|| too_much_credit(credit))?;
        Ok(())
    }

    /// The next deliveries, no more than there is credit for; `None` when the broker stops. Safe to drop.
    pub(super) async fn next(&mut self) -> Option<Vec<Delivery>> {
        let max = self.batch.min(self.credit as usize).max(1);
        let subscriber = &self.subscriber;
        let next = self.next.get_or_insert_with(|| {
            let subscriber = subscriber.clone();
            Box::pin(async move { subscriber.next(max).await })
        });
        let deliveries = next.as_mut().await;
        self.next = None;
        deliveries
    }

    /// Asks for nothing more.
    pub(super) fn stop(&mut self) {
        self.next = None;
    }

    /// Writes deliveries, in frames that are not too long.
    pub(super) fn write(
        &mut self,
        mut deliveries: &[Delivery],
        out: &mut FrameBuffer,
    ) -> Result<(), FrameError> {
        let count = deliveries.len();
        self.credit = self.credit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        self.unsettled += count;
        let bytes: usize = deliveries.iter().map(|delivery| delivery.event.as_bytes().len()).sum();
        self.batch = (FRAME_BYTES.saturating_mul(count) / bytes.max(1)).clamp(1, BATCH_MAX);
        while !deliveries.is_empty() {
            let mut bytes = 0;
            let fits = deliveries.iter().take_while(|delivery| {
                bytes += delivery.event.as_bytes().len();
                bytes <= FRAME_BYTES
            });
            let (now, later) = deliveries.split_at(fits.count().max(1));
            let headers: Vec<_> = now.iter().map(header).collect();
            out.push_deliver(&headers, now.iter().map(|delivery| delivery.event.as_bytes()))?;
            deliveries = later;
        }
        Ok(())
    }

    /// Takes a frame about deliveries; the tokens whose leases were no longer held.
    pub(super) async fn settle(&mut self, frame: Frame) -> Result<Vec<u64>, BrokerError> {
        let (tokens, outcome) = match frame {
            Frame::Extend(extend) => return self.subscriber.extend(extend.tokens).await,
            Frame::Ack(ack) => (ack.tokens, Outcome::Ack { reply: None }),
            Frame::Nack(nack) => {
                let outcome = Outcome::Retry {
                    class: RetryClass::Failed,
                    after_ms: nack.delay_ms,
                    response: response(nack.reason),
                };
                (nack.tokens, outcome)
            }
            Frame::Reject(reject) => {
                let outcome = Outcome::Reject {
                    reason: RejectReason::Refused,
                    response: response(reject.reason),
                    disable: false,
                };
                (reject.tokens, outcome)
            }
            _ => return Ok(Vec::new()),
        };
        self.unsettled = self.unsettled.saturating_sub(tokens.len());
        let outcomes = tokens.into_iter().map(|token| (token, outcome.clone())).collect();
        self.subscriber.settle(outcomes).await
    }
}

/// What the broker's error says to a client.
pub(super) fn refusal(error: &BrokerError) -> Refusal {
    Refusal { code: error.code(), message: error.to_string(), retry_after_ms: error.retry_after_ms() }
}

fn too_much_credit(credit: u64) -> Refusal {
    let message = format!("a credit of {credit} deliveries is over the limit of {}", limits::CREDIT_MAX);
    Refusal::new(Code::InvalidParameter, message)
}

/// Keeps of a subscriber's words what is kept of any target's.
fn response(mut reason: String) -> Response {
    let mut end = reason.len().min(limits::RESPONSE_SNIPPET_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    Response { error: reason, ..Response::default() }
}

const fn header(delivery: &Delivery) -> DeliveryHeader {
    DeliveryHeader {
        token: delivery.token,
        offset: delivery.offset,
        appended_at: delivery.appended_at,
        attempt: delivery.attempt,
        deadline: delivery.deadline,
    }
}
