//! A target that is another topic: events are routed into it, as they are or as the trigger's input makes them.
//!
//! It promises:
//! - **At least once, and once where the topic deduplicates.** A delivery is done when the new event is as safe as the topic's durability
//!   makes it. The new event's id is the delivery id, which says which trigger, topic and offset it comes from: what a crash or a retry
//!   appends again within the topic's deduplication window is no second event.
//! - **The story stays together.** The new event has its cause's source, type and attributes, its correlation id and trace, and names
//!   its cause as `causationid`.
//! - **Loops end.** Each step is a hop, as replies are; the event that would be one too many is dead-lettered.
//! - **A batch is one append**, and each event of it that cannot be routed fails by itself.

use std::sync::{Arc, Weak};

use eventail_triggers::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{Event, EventError};

use super::replies::{hops_of, tie};
use super::topic::Topic;
use super::{BrokerError, Core};

/// The media type of an input that is no JSON.
const TEXT: &str = "text/plain; charset=utf-8";

/// Appends what it gets to a topic.
pub(crate) struct TopicTarget {
    core: Weak<Core>,
    topic: Arc<Topic>,
}

impl TopicTarget {
    pub(crate) fn new(core: &Arc<Core>, topic: Arc<Topic>) -> Self {
        Self { core: Arc::downgrade(core), topic }
    }

    /// What is invoked, for people.
    pub(crate) fn describe(&self) -> String {
        format!("topic {}", self.topic.name)
    }

    /// Routes events, at least one; each ends by itself, in their order.
    async fn route(&self, batch: &[Invocation]) -> Vec<Outcome> {
        let Some(core) = self.core.upgrade() else {
            return vec![not_stored(&BrokerError::ShuttingDown); batch.len()];
        };
        let made: Vec<Result<Event, Outcome>> =
            batch.iter().map(|invocation| event_of(&core, invocation)).collect();
        let events: Vec<Event> = made.iter().flatten().cloned().collect();
        let failure = match events.as_slice() {
            [] => None,
            events => core.append_taken(&self.topic, events).await.err().map(|error| not_stored(&error)),
        };
        let ended = |made: Result<Event, Outcome>| match made {
            Ok(_) => failure.clone().unwrap_or(Outcome::Ack { reply: None }),
            Err(refused) => refused,
        };
        made.into_iter().map(ended).collect()
    }
}

impl Target for TopicTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let outcomes = self.route(std::slice::from_ref(&invocation)).await;
            outcomes.into_iter().next().unwrap_or(Outcome::Ack { reply: None }).into()
        })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move { BatchOutcome::Each(self.route(&batch).await).into() })
    }
}

/// The event that an invocation becomes in the topic.
fn event_of(core: &Core, invocation: &Invocation) -> Result<Event, Outcome> {
    let config = core.config();
    let limits = &config.limits;
    let hops = hops_of(&invocation.event).saturating_add(1);
    if hops > limits.hops_max {
        let error = format!("the event would be hop {hops} of at most {}", limits.hops_max);
        return Err(refuse(RejectReason::HopLimit, error));
    }
    let event =
        derive(invocation, hops).map_err(|error| refuse(RejectReason::Permanent, error.to_string()))?;
    let bytes = event.as_bytes().len();
    if bytes > limits.event_bytes_max {
        let most = limits.event_bytes_max;
        let error = format!("the event has {bytes} bytes, more than `limits.event_bytes_max` of {most}");
        return Err(refuse(RejectReason::TooLarge, error));
    }
    Ok(event)
}

fn derive(invocation: &Invocation, hops: u32) -> Result<Event, EventError> {
    let cause = &invocation.event;
    let mut event = cause.to_builder().id(&*invocation.delivery_id);
    if let Some(input) = &invocation.input {
        let media_type = if input.is_json { "application/json" } else { TEXT };
        event = event.without("dataschema").data_content_type(media_type).data(input.bytes.clone());
    }
    tie(cause, event, hops).build_annotated()
}

fn refuse(reason: RejectReason, error: String) -> Outcome {
    Outcome::Reject { reason, response: Response { error, ..Response::default() }, disable: false }
}

/// Our disk's fault and not the event's: it costs no attempt.
fn not_stored(error: &BrokerError) -> Outcome {
    let error = format!("the event was not stored: {error}");
    let response = Response { error, ..Response::default() };
    Outcome::Retry { class: RetryClass::Unreachable, after_ms: None, response }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use eventail_triggers::input::Rendered;
    use eventail_wire::{Offset, Timestamp};

    use super::*;

    fn invocation(event: Event, input: Option<Rendered>) -> Invocation {
        Invocation {
            event,
            topic: "orders".parse().unwrap(),
            offset: Offset(7),
            appended_at: Timestamp(1),
            trigger: "copy".parse().unwrap(),
            attempt: 1,
            delivery_id: Arc::from("evt_1_7"),
            now: Timestamp(2),
            deadline: Timestamp(3),
            wants_reply: false,
            callback: None,
            input,
            is_replay: false,
        }
    }

    fn cause() -> Event {
        Event::builder("o-7", "/shop", "order.created")
            .subject("7")
            .extension("dataschema", "https://shop.example/order")
            .json_data(r#"{"total":7}"#)
            .build()
            .unwrap()
    }

    #[test]
    fn a_routed_event_is_its_cause_under_another_id_and_tied_to_it() {
        let event = derive(&invocation(cause(), None), 1).unwrap();
        assert_eq!((event.id(), event.source(), event.event_type()), ("evt_1_7", "/shop", "order.created"));
        assert_eq!((event.attribute("causationid"), event.correlation_id()), (Some("o-7"), "o-7"));
        assert_eq!(event.traceparent(), cause().traceparent());
        assert_eq!((event.data(), event.attribute("subject")), (cause().data(), Some("7")));
        assert_eq!(hops_of(&event), 1);
        let again = derive(&invocation(event, None), 2).unwrap();
        assert_eq!((hops_of(&again), again.correlation_id()), (2, "o-7"));
        assert_eq!(again.attribute("causationid"), Some("evt_1_7"));
    }

    #[test]
    fn an_input_takes_the_place_of_the_data_under_its_own_media_type() {
        let of = |text: &'static str, is_json| {
            let input = Rendered { bytes: Bytes::from_static(text.as_bytes()), is_json };
            derive(&invocation(cause(), Some(input)), 1).unwrap()
        };
        let json = of("[1]", true);
        assert_eq!((json.data_content_type(), json.data_slice()), (Some("application/json"), &b"[1]"[..]));
        assert_eq!(json.attribute("dataschema"), None, "it tells of the data that was there before");
        let text = of("seven", false);
        assert_eq!((text.data_content_type(), text.data_slice()), (Some(TEXT), &b"seven"[..]));
    }
}
