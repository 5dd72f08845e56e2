//! What a function gets to see of events, and what its answer to a batch means: pure functions between events and bytes.
//!
//! | shape | one event | a batch |
//! | --- | --- | --- |
//! | `cloudevent` | the event as structured CloudEvents JSON, `correlationid` and `traceparent` derived where it has none | an array of them |
//! | `eventbridge` | the envelope of an EventBridge bus | an array of them |
//! | `sqs` | `{"Records":[…]}` with one record | the same with all of them |
//! | `raw` | the data | an array of data |
//!
//! Where a trigger has an `input`, that stands in place of the event: it is the payload, or the `body` of an SQS record.
//!
//! It promises that a payload is always JSON, because every runtime parses it, and that JSON data keeps its spelling. Other
//! data becomes a JSON string where it is text; what is not even text is Base64, and each shape says how that is told. It
//! writes straight into one buffer and must not build a tree of the event.

mod answer;
mod eventbridge;
pub(crate) mod json;
mod sqs;
#[cfg(test)]
mod tests;
mod trace;

use bytes::Bytes;
use eventail_wire::cloudevents::write_structured_correlated;

pub use answer::{partial, settle_one};
pub use trace::trace_header;

use crate::input::Rendered;
use crate::target::Invocation;

/// What an envelope adds to its event, roughly: room for it is made at once.
const ENVELOPE_BYTES: usize = 320;
/// As much for a record of SQS, which names everything twice and carries checksums.
const RECORD_BYTES: usize = 1536;

/// The shape of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadShape {
    /// The event as structured CloudEvents JSON; a batch is an array of them.
    #[default]
    CloudEvent,
    /// The envelope of an EventBridge bus; a batch is an array of them.
    EventBridge,
    /// What Lambda's event source mapping for SQS sends: `Records`, also for one event.
    Sqs,
    /// The data alone; a batch is an array of them.
    Raw,
}

/// Where AWS's envelopes say that an event comes from. Events know neither, so it is taken from the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The region, such as `eu-central-1`.
    pub region: &'a str,
    /// The account's twelve digits.
    pub account: &'a str,
}

impl Default for Place<'_> {
    fn default() -> Self {
        Self { region: "us-east-1", account: "000000000000" }
    }
}

/// The payload for one event, at the place that functions outside of AWS are at.
#[must_use]
pub fn encode_one(shape: PayloadShape, invocation: &Invocation) -> Bytes {
    encode_one_at(Place::default(), shape, invocation)
}

/// The payload for several events, at the place that functions outside of AWS are at.
#[must_use]
pub fn encode_batch(shape: PayloadShape, batch: &[Invocation]) -> Bytes {
    encode_batch_at(Place::default(), shape, batch)
}

/// [`encode_one`] at another place.
#[must_use]
pub fn encode_one_at(place: Place<'_>, shape: PayloadShape, invocation: &Invocation) -> Bytes {
    if shape == PayloadShape::Sqs {
        return encode_batch_at(place, shape, std::slice::from_ref(invocation));
    }
    let mut out = Vec::with_capacity(room(shape, invocation));
    write(place, shape, invocation, &mut out);
    out.into()
}

/// [`encode_batch`] at another place.
#[must_use]
pub fn encode_batch_at(place: Place<'_>, shape: PayloadShape, batch: &[Invocation]) -> Bytes {
    let bytes: usize = batch.iter().map(|invocation| room(shape, invocation)).sum();
    let (open, close): (&[u8], &[u8]) =
        if shape == PayloadShape::Sqs { (br#"{"Records":["#, b"]}") } else { (b"[", b"]") };
    let mut out = Vec::with_capacity(open.len() + bytes + batch.len() + close.len());
    out.extend_from_slice(open);
    for (index, invocation) in batch.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(place, shape, invocation, &mut out);
    }
    out.extend_from_slice(close);
    out.into()
}

fn room(shape: PayloadShape, invocation: &Invocation) -> usize {
    let event_bytes = invocation.event.as_bytes().len();
    match shape {
        PayloadShape::CloudEvent | PayloadShape::EventBridge => event_bytes + ENVELOPE_BYTES,
        // A quarter more for what a string escapes.
        PayloadShape::Sqs => event_bytes + event_bytes / 4 + RECORD_BYTES,
        PayloadShape::Raw => event_bytes,
    }
}

fn write(place: Place<'_>, shape: PayloadShape, invocation: &Invocation, out: &mut Vec<u8>) {
    if let Some(input) = invocation.input.as_ref().filter(|_| shape != PayloadShape::Sqs) {
        return write_input(input, out);
    }
    match shape {
        PayloadShape::CloudEvent => write_structured_correlated(&invocation.event, out),
        PayloadShape::EventBridge => eventbridge::write(place, invocation, out),
        PayloadShape::Sqs => sqs::write(place, invocation, out),
        PayloadShape::Raw => write_raw(invocation, out),
    }
}

/// An input is the payload: JSON as it is, text as a string.
fn write_input(input: &Rendered, out: &mut Vec<u8>) {
    match std::str::from_utf8(&input.bytes) {
        Ok(text) if !input.is_json => json::string(text, out),
        _ => out.extend_from_slice(&input.bytes),
    }
}

/// JSON data as it is, text as a string, other bytes as a string of Base64; an event without data is `null`.
fn write_raw(invocation: &Invocation, out: &mut Vec<u8>) {
    match json::data(&invocation.event) {
        json::Data::None => out.extend_from_slice(b"null"),
        json::Data::Json(text) => out.extend_from_slice(text.as_bytes()),
        json::Data::Text(text) => json::string(text, out),
        json::Data::Binary(bytes) => json::base64(bytes, out),
    }
}
