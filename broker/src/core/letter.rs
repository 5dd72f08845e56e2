//! A dead letter as a record of an ordinary topic: the event, unchanged, with attributes that tell where it came from, why it was
//! given up and how often it was tried. Taking these attributes away gives the event back, byte for byte.

use std::sync::Arc;

use eventail_triggers::outcome::{RejectReason, Response, RetryClass};
use eventail_triggers::subscription::DeadLetterOrder;
use eventail_wire::{Event, EventError, Offset, Timestamp, TopicName, TriggerName, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::replays::ONE_OFF_LANE_PREFIX;
use super::topic::DELIVERY_ATTRIBUTE;
use crate::status::{DeadLetter, DeadLetterSummary};

/// Counts replies to replies. It belongs to the event itself, so it stays when the others are taken away.
pub(crate) const HOPS_ATTRIBUTE: &str = "eventailhops";

/// How all names of ours begin.
const PREFIX: &str = "eventail";
const TRIGGER: &str = "eventailtrigger";
const TOPIC: &str = "eventailtopic";
const OFFSET: &str = "eventailoffset";
const REASON: &str = "eventailreason";
const CLASS: &str = "eventailclass";
const ATTEMPTS: &str = "eventailattempts";
const FIRST_ATTEMPT: &str = "eventailfirstattempt";
const LAST_ATTEMPT: &str = "eventaillastattempt";
const STATUS: &str = "eventailstatus";
const BODY: &str = "eventailresponse";
const ERROR: &str = "eventailerror";
const LOG: &str = "eventaillog";
const REPLAY: &str = "eventailreplay";

/// What a letter has beyond its event. Other attributes of ours, such as a schedule's, belong to the event.
const OURS: &[&str] = &[
    DELIVERY_ATTRIBUTE,
    TRIGGER,
    TOPIC,
    OFFSET,
    REASON,
    CLASS,
    ATTEMPTS,
    FIRST_ATTEMPT,
    LAST_ATTEMPT,
    STATUS,
    BODY,
    ERROR,
    LOG,
    REPLAY,
];

/// Where an event was before it was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) trigger: TriggerName,
    pub(crate) topic: TopicName,
    pub(crate) offset: Offset,
    /// The replay that delivered it, if it was not the live event.
    pub(crate) replay: Option<Arc<str>>,
}

/// Makes the record. `delivery` is unique per giving up: a repeat after a crash is the same dead letter, a second failure after a
/// redrive is another one.
pub(crate) fn write(
    event: &Event,
    origin: &Origin,
    delivery: &str,
    order: &DeadLetterOrder,
) -> Result<Event, EventError> {
    let mut letter = event
        .to_builder()
        .extension(DELIVERY_ATTRIBUTE, delivery)
        .extension(TRIGGER, origin.trigger.as_str())
        .extension(TOPIC, origin.topic.as_str())
        .extension(OFFSET, origin.offset.to_string())
        .extension(REASON, word(&order.reason))
        .attribute(ATTEMPTS, order.attempts.to_string(), ValueKind::Integer)
        .extension(FIRST_ATTEMPT, order.first_attempt_at.to_string())
        .extension(LAST_ATTEMPT, order.last_attempt_at.to_string());
    if let Some(class) = &order.class {
        letter = letter.extension(CLASS, word(class));
    }
    if let Some(replay) = &origin.replay {
        letter = letter.extension(REPLAY, &**replay);
    }
    if let Some(status) = order.response.status {
        letter = letter.attribute(STATUS, status.to_string(), ValueKind::Integer);
    }
    for (name, text) in
        [(BODY, &order.response.body), (ERROR, &order.response.error), (LOG, &order.response.log)]
    {
        if !text.is_empty() {
            letter = letter.extension(name, escape(text));
        }
    }
    letter.build_annotated()
}

/// Reads the record; `None` where it is no dead letter, for instance an event that was published into the topic.
pub(crate) fn read(topic: &TopicName, offset: Offset, at: Timestamp, letter: &Event) -> Option<DeadLetter> {
    let attribute = |name| letter.attribute(name);
    let time = |name| attribute(name).and_then(Timestamp::parse_rfc3339);
    let event = event_of(letter)?;
    let summary = DeadLetterSummary {
        topic: topic.clone(),
        offset,
        at,
        event_id: event.id().to_owned(),
        event_source: event.source().to_owned(),
        event_type: event.event_type().to_owned(),
        correlation_id: event.correlation_id().to_owned(),
        trigger: TriggerName::new(attribute(TRIGGER)?).ok()?,
        origin_topic: TopicName::new(attribute(TOPIC)?).ok()?,
        origin_offset: Offset(attribute(OFFSET)?.parse().ok()?),
        reason: unword::<RejectReason>(attribute(REASON)?)?,
        class: attribute(CLASS).and_then(unword::<RetryClass>),
        attempts: attribute(ATTEMPTS)?.parse().ok()?,
        first_attempt_at: time(FIRST_ATTEMPT)?,
        last_attempt_at: time(LAST_ATTEMPT)?,
        response: Response {
            status: attribute(STATUS).and_then(|status| status.parse().ok()),
            body: attribute(BODY).map(unescape).unwrap_or_default(),
            error: attribute(ERROR).map(unescape).unwrap_or_default(),
            log: attribute(LOG).map(unescape).unwrap_or_default(),
        },
        redriven: 0,
        purged: false,
        replay: attribute(REPLAY).map(str::to_owned),
    };
    Some(DeadLetter { summary, event })
}

/// What an event from outside may not have: it would pass for a dead letter, or lose it when it becomes one.
pub(crate) fn reserved(event: &Event) -> Option<&'static str> {
    let of_ours = event.optional_attributes().filter(|attribute| attribute.name.starts_with(PREFIX));
    of_ours.filter_map(|attribute| OURS.iter().copied().find(|&name| attribute.name == name)).next()
}

/// Where a dead letter's event came from.
pub(crate) fn origin_of(letter: &Event) -> Option<Origin> {
    letter.attribute(DELIVERY_ATTRIBUTE)?;
    Some(Origin {
        trigger: TriggerName::new(letter.attribute(TRIGGER)?).ok()?,
        topic: TopicName::new(letter.attribute(TOPIC)?).ok()?,
        offset: Offset(letter.attribute(OFFSET)?.parse().ok()?),
        replay: letter.attribute(REPLAY).map(Into::into),
    })
}

/// Whether it was no trigger that gave up, but a subscriber, or a replay to a target of its own.
pub(crate) fn is_of_no_trigger(letter: &Event) -> bool {
    let is_other = |delivery: &str| {
        ["subscriber/", ONE_OFF_LANE_PREFIX].iter().any(|prefix| delivery.starts_with(prefix))
    };
    letter.attribute(DELIVERY_ATTRIBUTE).is_some_and(is_other)
}

/// The event of a dead letter, as it was published.
pub(crate) fn event_of(letter: &Event) -> Option<Event> {
    letter.attribute(DELIVERY_ATTRIBUTE)?;
    OURS.iter().fold(letter.to_builder(), |builder, name| builder.without(name)).build_annotated().ok()
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn unword<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// Attributes hold no control characters, and responses do: they are written as in JSON strings.
fn escape(text: &str) -> String {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    let mut escaped = String::with_capacity(json.len());
    for c in json[1..json.len() - 1].chars() {
        match u32::from(c) {
            // JSON leaves these as they are, CloudEvents does not take them.
            0x7f..=0x9f => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => escaped.push(c),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> DeadLetterOrder {
        DeadLetterOrder {
            offset: Offset(7),
            appended_at: Timestamp(1),
            reason: RejectReason::MaxAttempts,
            class: Some(RetryClass::Failed),
            attempts: 3,
            first_attempt_at: Timestamp(1_000),
            last_attempt_at: Timestamp(2_000),
            response: Response {
                status: Some(500),
                body: "no\r\n\"ü\u{85}".into(),
                error: "HTTP 500".into(),
                log: "start\npanicked\n".into(),
            },
        }
    }

    #[test]
    fn a_dead_letter_gives_its_event_back_byte_for_byte() {
        let event = Event::builder("1", "/s", "t")
            .subject("x")
            .attribute(HOPS_ATTRIBUTE, "2", ValueKind::Integer)
            .extension(crate::config::SCHEDULE_ATTRIBUTE, "nightly")
            .json_data("{}")
            .build()
            .unwrap();
        let origin = Origin {
            trigger: "ship".parse().unwrap(),
            topic: "orders".parse().unwrap(),
            offset: Offset(7),
            replay: Some("mi0zy1k2".into()),
        };
        let letter = write(&event, &origin, "trigger/ship/7", &order()).unwrap();
        let topic: TopicName = "dead-letters".parse().unwrap();
        let read = read(&topic, Offset(0), Timestamp(5), &letter).unwrap();
        assert_eq!(read.event.as_bytes(), event.as_bytes());
        assert_eq!(origin_of(&letter), Some(origin));
        assert_eq!(read.summary.response, order().response);
        assert_eq!(
            (read.summary.reason, read.summary.class),
            (RejectReason::MaxAttempts, Some(RetryClass::Failed))
        );
        assert_eq!(read.summary.replay.as_deref(), Some("mi0zy1k2"));
        assert_eq!((read.summary.attempts, read.summary.first_attempt_at), (3, Timestamp(1_000)));
    }

    #[test]
    fn an_event_at_its_limits_still_becomes_a_dead_letter() {
        let mut builder = Event::builder("1", "/s", "t");
        for number in 0..eventail_wire::limits::ATTRIBUTES_MAX - 4 {
            builder = builder.extension(format!("a{number}"), "x".repeat(500));
        }
        let event = builder.build().unwrap();
        let origin = Origin {
            trigger: "a".parse().unwrap(),
            topic: "b".parse().unwrap(),
            offset: Offset(0),
            replay: None,
        };
        let letter = write(&event, &origin, "d", &order()).unwrap();
        assert_eq!(event_of(&letter).unwrap().as_bytes(), event.as_bytes());
    }

    #[test]
    fn an_ordinary_event_is_no_dead_letter() {
        let event = Event::builder("1", "/s", "t").build().unwrap();
        assert!(read(&"t".parse().unwrap(), Offset(0), Timestamp(0), &event).is_none());
    }
}
