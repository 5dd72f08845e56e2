//! What a function's answer says about the events that it got: partial failures as Lambda's event source mapping reads
//! them (`ReportBatchItemFailures`), and a reply where one is wanted.
//!
//! | answer | meaning |
//! | --- | --- |
//! | empty, `null`, `{}`, any JSON without `batchItemFailures`, that member `null` or empty | all were taken |
//! | `{"batchItemFailures":[{"itemIdentifier":"…"}]}` | the named ones failed, the others were taken |
//! | no JSON, an item without, with an empty or `null`, or with an unknown identifier | all failed |
//!
//! An identifier is the delivery's id (`messageId`) with the shape `sqs`, and the event's id with the others, where all
//! events of that id are meant. Nothing else of the answer is kept, however large it is.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use eventail_wire::cloudevents::decode_structured;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::PayloadShape;
use crate::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use crate::target::Invocation;

const LISTED: &str = "the function listed it in batchItemFailures";
/// What is shown of an identifier that nobody knows.
const IDENTIFIER_CHARS_MAX: usize = 128;

/// Why an answer fails its whole batch.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the function's answer to a batch is not the JSON that it must be")]
    Json(#[from] serde_json::Error),
    #[error("item {index} of batchItemFailures has no itemIdentifier, so the whole batch counts as failed")]
    NoIdentifier { index: usize },
    #[error(
        "batchItemFailures names `{identifier}`, which was not in the batch, so all of it counts as failed"
    )]
    Unknown { identifier: String },
}

/// What the answer to `batch` means for its events.
#[must_use]
pub fn partial(shape: PayloadShape, answer: &[u8], batch: &[Invocation]) -> BatchOutcome {
    match outcomes(shape, answer, batch) {
        Ok(None) => BatchOutcome::Whole(Outcome::Ack { reply: None }),
        Ok(Some(outcomes)) => BatchOutcome::Each(outcomes),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            BatchOutcome::Whole(failed(format!("{error}{}", cause.unwrap_or_default())))
        }
    }
}

/// What the answer to one event means. With the shape `sqs` it went as a batch of one, so partial failures are read; with
/// the others every answer takes the event. Where a reply is wanted, a CloudEvent in the answer is one.
#[must_use]
pub fn settle_one(shape: PayloadShape, answer: &Bytes, invocation: &Invocation) -> Outcome {
    if shape == PayloadShape::Sqs {
        return match partial(shape, answer, std::slice::from_ref(invocation)) {
            BatchOutcome::Whole(outcome) => outcome,
            BatchOutcome::Each(outcomes) => {
                outcomes.into_iter().next().unwrap_or(Outcome::Ack { reply: None })
            }
        };
    }
    if !invocation.wants_reply || !is_cloud_event(answer) {
        return Outcome::Ack { reply: None };
    }
    match decode_structured(answer) {
        Ok(reply) => Outcome::Ack { reply: Some(reply) },
        Err(error) => Outcome::Reject {
            reason: RejectReason::InvalidReply,
            response: Response {
                error: format!("the reply is no event that can be published: {error}"),
                ..Response::default()
            },
            disable: false,
        },
    }
}

/// `None` where all were taken.
fn outcomes(
    shape: PayloadShape,
    answer: &[u8],
    batch: &[Invocation],
) -> Result<Option<Vec<Outcome>>, AnswerError> {
    let listed = listed(answer)?;
    if listed.is_empty() {
        return Ok(None);
    }
    let identifier = |invocation: &'_ Invocation| match shape {
        PayloadShape::Sqs => invocation.delivery_id.to_string(),
        _ => invocation.event.id().to_owned(),
    };
    let known: Vec<String> = batch.iter().map(identifier).collect();
    let all: HashSet<&str> = known.iter().map(String::as_str).collect();
    if let Some(unknown) = listed.iter().find(|&listed| !all.contains(listed.as_str())) {
        let identifier = unknown.chars().take(IDENTIFIER_CHARS_MAX).collect();
        return Err(AnswerError::Unknown { identifier });
    }
    let outcome = |identifier: &String| {
        if listed.contains(identifier) { failed(LISTED.to_owned()) } else { Outcome::Ack { reply: None } }
    };
    Ok(Some(known.iter().map(outcome).collect()))
}

fn failed(error: String) -> Outcome {
    let response = Response { error, ..Response::default() };
    Outcome::Retry { class: RetryClass::Failed, after_ms: None, response }
}

/// The identifiers that an answer lists.
fn listed(answer: &[u8]) -> Result<HashSet<String>, AnswerError> {
    match answer.trim_ascii_start().first() {
        None => return Ok(HashSet::new()),
        Some(b'{') => {}
        Some(_) => {
            serde_json::from_slice::<IgnoredAny>(answer)?;
            return Ok(HashSet::new());
        }
    }
    let answer: Answer = serde_json::from_slice(answer)?;
    let items = answer.items.unwrap_or_default().into_iter().enumerate();
    items.map(|(index, item)| item.0.ok_or(AnswerError::NoIdentifier { index })).collect()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "batchItemFailures")]
    items: Option<Vec<Item>>,
}

/// The identifier of one failed item, where it has one that is a text and not empty.
struct Item(Option<String>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an itemIdentifier")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut identifier = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "itemIdentifier" {
                identifier = map.next_value::<Option<String>>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Item(identifier.filter(|identifier| !identifier.is_empty())))
    }
}

/// Whether an answer says that it is a CloudEvent.
fn is_cloud_event(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Claim {
        specversion: Option<IgnoredAny>,
    }
    answer.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<Claim>(answer).is_ok_and(|claim| claim.specversion.is_some())
}
