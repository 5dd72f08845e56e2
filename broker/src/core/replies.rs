//! Replies: an event that a target answers with is published, tied to the one that caused it, and loops come to an end.

use std::sync::Arc;

use eventail_triggers::outcome::{RejectReason, Response, RetryClass};
use eventail_triggers::subscription::Ending;
use eventail_wire::{Event, EventBuilder, Offset, ValueKind};

use super::letter::HOPS_ATTRIBUTE;
use super::timeline::{Step, Track};
use super::topic::{DELIVERY_ATTRIBUTE, Topic};
use crate::config::SCHEDULED_FOR_ATTRIBUTE;

/// Publishes the replies of one trigger.
pub(crate) struct Replies {
    pub(crate) topic: Arc<Topic>,
    pub(crate) hops_max: u32,
    pub(crate) event_bytes_max: usize,
    /// Where it is put down what was published.
    pub(crate) track: Option<Arc<Track>>,
}

impl Replies {
    /// Publishes a reply; the delivery counts only when the reply is safe.
    pub(crate) async fn publish(&self, cause: &Event, cause_offset: Offset, reply: Event) -> Ending {
        let hops = hops_of(cause).saturating_add(1);
        if hops > self.hops_max {
            let error = format!("the reply would be hop {hops} of at most {}", self.hops_max);
            return reject(RejectReason::HopLimit, error);
        }
        let reply = match tie(cause, reply.to_builder(), hops).build() {
            Ok(reply) if reply.as_bytes().len() <= self.event_bytes_max => reply,
            Ok(reply) => {
                let error = format!(
                    "the reply has {} bytes, more than `limits.event_bytes_max` of {}",
                    reply.as_bytes().len(),
                    self.event_bytes_max
                );
                return reject(RejectReason::InvalidReply, error);
            }
            Err(error) => return reject(RejectReason::InvalidReply, error.to_string()),
        };
        match self.topic.append(std::slice::from_ref(&reply)).await {
            Ok(appended) => {
                if let (Some(track), Some(at)) = (&self.track, appended.first()) {
                    let (topic, id) = (self.topic.name.to_string(), reply.id().to_owned());
                    track.event(cause_offset, &Step::Replied { topic, offset: at.offset.0, id });
                }
                tracing::trace!(id = reply.id(), topic = %self.topic.name, correlation_id = reply.correlation_id(), "reply published");
                Ending::Ack
            }
            // Our disk's fault and not the event's: it costs no attempt.
            Err(error) => Ending::Retry {
                class: RetryClass::Unreachable,
                after_ms: None,
                response: Response {
                    error: format!("the reply was not stored: {error}"),
                    ..Response::default()
                },
            },
        }
    }
}

/// How many replies and routes led to this event.
pub(crate) fn hops_of(event: &Event) -> u32 {
    event.attribute(HOPS_ATTRIBUTE).and_then(|hops| hops.parse().ok()).unwrap_or(0)
}

/// Ties an event to the one that caused it. What makes a dead letter of an event, or calls a trigger for a schedule, is not handed on.
pub(crate) fn tie(cause: &Event, effect: EventBuilder, hops: u32) -> EventBuilder {
    let mut builder = effect
        .attribute(HOPS_ATTRIBUTE, hops.to_string(), ValueKind::Integer)
        .without(DELIVERY_ATTRIBUTE)
        .without(SCHEDULED_FOR_ATTRIBUTE);
    if builder.get("correlationid").is_none() {
        builder = builder.extension("correlationid", cause.correlation_id());
    }
    if builder.get("traceparent").is_none() {
        builder = builder.extension("traceparent", cause.traceparent());
    }
    builder.extension("causationid", cause.id())
}

fn reject(reason: RejectReason, error: String) -> Ending {
    Ending::Reject { reason, response: Response { error, ..Response::default() }, disable: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_tied_to_its_cause_and_counts_its_hops() {
        let cause = Event::builder("1", "/s", "t").extension("correlationid", "c").build().unwrap();
        let reply = Event::builder("2", "/r", "t").build().unwrap();
        let first = tie(&cause, reply.to_builder(), hops_of(&cause) + 1).build().unwrap();
        assert_eq!(first.attribute("causationid"), Some("1"));
        assert_eq!(first.correlation_id(), "c");
        assert_eq!(first.traceparent(), cause.traceparent());
        let second = tie(&first, reply.to_builder(), hops_of(&first) + 1).build().unwrap();
        assert_eq!(hops_of(&second), 2);
        assert_eq!(second.correlation_id(), "c");
    }

    #[test]
    fn a_reply_forges_neither_a_dead_letter_nor_what_a_schedule_sends() {
        let cause = Event::builder("1", "/s", "t").build().unwrap();
        let reply = Event::builder("2", "/r", "t")
            .extension(DELIVERY_ATTRIBUTE, "trigger/ship/7")
            .extension(SCHEDULED_FOR_ATTRIBUTE, "ship");
        let tied = tie(&cause, reply, 1).build().unwrap();
        assert_eq!(
            (tied.attribute(DELIVERY_ATTRIBUTE), tied.attribute(SCHEDULED_FOR_ATTRIBUTE)),
            (None, None)
        );
    }
}
