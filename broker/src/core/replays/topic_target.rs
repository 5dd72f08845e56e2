//! A target that is a topic: what is replayed into it keeps its data and attributes, and has an id of its own.

use eventail_triggers::outcome::{Outcome, RejectReason, Response};
use eventail_triggers::subscription::Ending;
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::{Event, EventError};

use crate::core::replies::Replies;

/// Publishes each event into a topic. Its id is that of the delivery: a repeat after a crash is the same event, and is there once; what
/// caused it says `causationid`.
pub(super) struct TopicTarget(pub(super) Replies);

impl Target for TopicTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let Invocation { event, offset, delivery_id, .. } = invocation;
            let ending = match with_id(&event, &delivery_id) {
                Ok(moved) => self.0.publish(&event, offset, moved).await,
                Err(error) => Ending::Reject {
                    reason: RejectReason::InvalidReply,
                    response: Response { error: error.to_string(), ..Response::default() },
                    disable: false,
                },
            };
            match ending {
                Ending::Ack => Outcome::Ack { reply: None },
                Ending::Retry { class, after_ms, response } => Outcome::Retry { class, after_ms, response },
                Ending::Reject { reason, response, disable } => Outcome::Reject { reason, response, disable },
            }
            .into()
        })
    }
}

/// The event under another id.
fn with_id(event: &Event, id: &str) -> Result<Event, EventError> {
    let mut builder = Event::builder(id, event.source(), event.event_type());
    for attribute in event.optional_attributes() {
        builder = builder.attribute(attribute.name, attribute.value, attribute.kind);
    }
    if let Some(data) = event.data() {
        builder = builder.data(data);
    }
    builder.build()
}
