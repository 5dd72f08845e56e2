//! Several events in one request: CloudEvents' batched mode, whatever the target's mode for single events is.
//!
//! The body is a JSON array of the events. Each element carries, beside its own attributes, what a request with one event says in
//! its headers, as extension attributes that belong to this delivery and to no stored event:
//!
//! | attribute | meaning |
//! | --- | --- |
//! | `eventaildeliveryid` | the same on every attempt of this event by this trigger, alone or in any batch: deduplicate by it |
//! | `eventailattempt` | which try this is, an integer counted from 1 |
//! | `eventailoffset` | the event's place in its topic, a string of digits |
//!
//! An event that came with attributes of these names loses them here. The answer takes the whole batch, unless it is a JSON
//! object with `batchItemFailures`: that is read as a function's answer is, with the events' ids as identifiers. Any other body,
//! such as `ok`, takes it all. A list that is broken, or names what was not sent, fails the whole batch.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;
use eventail_wire::Event;
use eventail_wire::cloudevents::write_structured_correlated;
use sha2::{Digest as _, Sha256};

use super::body::Body;
use crate::outcome::{BatchOutcome, Outcome, Response, RetryClass};
use crate::payload::{self, PayloadShape};
use crate::target::Invocation;

const DELIVERY_ID: &str = "eventaildeliveryid";
const ATTEMPT: &str = "eventailattempt";
const OFFSET: &str = "eventailoffset";
/// What an element has beyond its event's bytes, roughly: room for it is made at once.
const ELEMENT_BYTES: usize = 384;
/// The member that makes an answer one about single events.
const FAILURES: &[u8] = b"\"batchItemFailures\"";
/// Of the hash of a batch, in bytes: as much as no two batches have in common.
const ID_BYTES: usize = 16;

/// The body.
pub(super) fn encode(batch: &[Invocation]) -> Bytes {
    let bytes: usize = batch.iter().map(|invocation| invocation.event.as_bytes().len() + ELEMENT_BYTES).sum();
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'[');
    for (index, invocation) in batch.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_element(invocation, &mut out);
    }
    out.push(b']');
    out.into()
}

fn write_element(invocation: &Invocation, out: &mut Vec<u8>) {
    write_structured_correlated(&plain(&invocation.event), out);
    // Into the object that was just closed.
    out.pop();
    // An integer of CloudEvents has 32 bits with its sign.
    let attempt = i32::try_from(invocation.attempt).unwrap_or(i32::MAX);
    // Delivery ids are made of letters, digits and `_`. Writing to memory does not fail.
    let _ = write!(
        out,
        r#","{DELIVERY_ID}":"{}","{ATTEMPT}":{attempt},"{OFFSET}":"{}"}}"#,
        invocation.delivery_id, invocation.offset
    );
}

/// The event without attributes that are about to be added: a name may be there once.
fn plain(event: &Event) -> Cow<'_, Event> {
    if [DELIVERY_ID, ATTEMPT, OFFSET].iter().all(|name| event.attribute(name).is_none()) {
        return Cow::Borrowed(event);
    }
    let builder = event.to_builder().without(DELIVERY_ID).without(ATTEMPT).without(OFFSET);
    Cow::Owned(builder.build().expect("an event that was taken breaks no rule with fewer attributes"))
}

/// The id of a batch: the same for the same deliveries in the same order, and for no others.
pub(super) fn id(batch: &[Invocation]) -> String {
    let mut hash = Sha256::new();
    for invocation in batch {
        hash.update(invocation.delivery_id.as_bytes());
        hash.update(b"\n");
    }
    let mut id = String::with_capacity(6 + 2 * ID_BYTES);
    id.push_str("batch_");
    for byte in &hash.finalize()[..ID_BYTES] {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// What the body of an answer that took the batch says of single events.
pub(super) fn judge(status: u16, body: &Body, batch: &[Invocation]) -> BatchOutcome {
    let is_object = body.kept.trim_ascii_start().first() == Some(&b'{');
    if !is_object {
        return BatchOutcome::Whole(Outcome::Ack { reply: None });
    }
    if !body.is_whole {
        let error = "the target's answer to a batch is longer than what is read of it, so the whole batch counts as failed";
        return BatchOutcome::Whole(failed(status, error.to_owned()));
    }
    if !body.kept.windows(FAILURES.len()).any(|window| window == FAILURES) {
        return BatchOutcome::Whole(Outcome::Ack { reply: None });
    }
    match payload::partial(PayloadShape::CloudEvent, &body.kept, batch) {
        BatchOutcome::Whole(outcome) => BatchOutcome::Whole(with_status(status, outcome)),
        BatchOutcome::Each(outcomes) => {
            BatchOutcome::Each(outcomes.into_iter().map(|outcome| with_status(status, outcome)).collect())
        }
    }
}

fn with_status(status: u16, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Retry { class, after_ms, response } => {
            Outcome::Retry { class, after_ms, response: Response { status: Some(status), ..response } }
        }
        outcome => outcome,
    }
}

fn failed(status: u16, error: String) -> Outcome {
    let response = Response { status: Some(status), error, ..Response::default() };
    Outcome::Retry { class: RetryClass::Failed, after_ms: None, response }
}
