//! Every limit and rule that a publish must keep, checked once, before the broker sees it.

use eventail_wire::frame::{PeerLimits, PublishHeader, RawEvents};
use eventail_wire::{Code, Event, TopicName};

use super::answers::Refusal;

/// Checks the publishes of one stream.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The topic of the last publish: most streams have one.
    topic: Option<TopicName>,
}

impl Screen {
    /// The topic and events of a publish that keeps every rule. The events share the frame's bytes.
    pub(super) fn check(
        &mut self,
        limits: &PeerLimits,
        header: &PublishHeader,
        raw: &RawEvents,
    ) -> Result<(TopicName, Vec<Event>), Refusal> {
        for (what, value, limit) in [
            ("events are over limits.batch_events_max", raw.len(), limits.batch_events_max),
            ("bytes of events are over limits.batch_bytes_max", raw.events_bytes(), limits.batch_bytes_max),
        ] {
            if value as u64 > limit {
                return Err(Refusal::new(Code::BatchTooLarge, format!("{value} {what} of {limit}")));
            }
        }
        let topic = self.topic(&header.topic)?;
        let mut events = Vec::with_capacity(raw.len());
        for (index, bytes) in raw.iter().enumerate() {
            let (value, limit) = (bytes.len() as u64, limits.event_bytes_max);
            if value > limit {
                let message =
                    format!("event {index}: {value} bytes are over limits.event_bytes_max of {limit}");
                return Err(Refusal::new(Code::EventTooLarge, message));
            }
            let event = Event::decode(bytes)
                .map_err(|error| Refusal::new(error.code(), format!("event {index}: {error}")))?;
            events.push(event);
        }
        Ok((topic, events))
    }

    fn topic(&mut self, name: &str) -> Result<TopicName, Refusal> {
        if let Some(topic) = self.topic.as_ref().filter(|topic| topic.as_str() == name) {
            return Ok(topic.clone());
        }
        let topic = TopicName::new(name)
            .map_err(|error| Refusal::new(Code::InvalidName, format!("the topic: {error}")))?;
        self.topic = Some(topic.clone());
        Ok(topic)
    }
}
