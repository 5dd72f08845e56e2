//! A record as Lambda's event source mapping for SQS sends it, so that functions written for a queue run unchanged.
//!
//! | member | from |
//! | --- | --- |
//! | `messageId` | the delivery's id, the same on every attempt: partial failures name it |
//! | `receiptHandle` | the delivery's id and the attempt |
//! | `body` | the trigger's input; without one the data as it is where it is text, else as Base64 (and `content-transfer-encoding` says so); none is `""` |
//! | `attributes` | the attempt, when the event was appended, `partitionkey` as the group, the trace |
//! | `messageAttributes` | the event's attributes, named as in HTTP's binary mode (`ce-id` …, `content-type`) |
//! | `eventSourceARN` | the topic |
//!
//! SQS lets senders set ten message attributes; no reader counts them, so none is left out here. When a message was first
//! received is not known later, so that is said to be when it was appended.

use std::borrow::Cow;

use eventail_wire::event::ValueKind;
use md5::{Digest as _, Md5};

use super::{Place, json, trace_header};
use crate::target::Invocation;

pub(super) fn write(place: Place<'_>, invocation: &Invocation, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"messageId":"#);
    json::string(&invocation.delivery_id, out);
    out.extend_from_slice(br#","receiptHandle":"#);
    json::string(&invocation.delivery_id, out);
    // Into the string that was just closed.
    out.pop();
    out.push(b'.');
    json::number(invocation.attempt.into(), out);
    out.extend_from_slice(br#"","body":"#);
    let (body, is_base64) = body(invocation);
    json::string(&body, out);
    write_attributes(invocation, out);
    write_message_attributes(invocation, is_base64, out);
    out.extend_from_slice(br#","md5OfBody":""#);
    write_hex(&Md5::digest(body.as_bytes()), out);
    out.extend_from_slice(br#"","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:"#);
    // Regions, accounts and topics hold nothing that JSON would escape; a region that the configuration made up might.
    let topic = invocation.topic.as_str();
    let mut arn = Vec::with_capacity(128);
    json::string(place.region, &mut arn);
    out.extend_from_slice(&arn[1..arn.len() - 1]);
    out.push(b':');
    out.extend_from_slice(place.account.as_bytes());
    out.push(b':');
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","awsRegion":"#);
    out.extend_from_slice(&arn);
    out.push(b'}');
}

/// The body, and whether it is Base64.
fn body(invocation: &Invocation) -> (Cow<'_, str>, bool) {
    let data = match &invocation.input {
        Some(input) => &input.bytes,
        None => invocation.event.data_slice(),
    };
    match std::str::from_utf8(data) {
        Ok(text) => (text.into(), false),
        Err(_) => {
            let mut text = Vec::new();
            json::base64_text(data, &mut text);
            (String::from_utf8(text).unwrap_or_default().into(), true)
        }
    }
}

fn write_attributes(invocation: &Invocation, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","attributes":{"ApproximateReceiveCount":""#);
    json::number(invocation.attempt.into(), out);
    out.extend_from_slice(br#"","SentTimestamp":""#);
    json::number(invocation.appended_at.0, out);
    out.extend_from_slice(br#"","SenderId":"eventail","ApproximateFirstReceiveTimestamp":""#);
    json::number(invocation.appended_at.0, out);
    out.push(b'"');
    if let Some(key) = invocation.event.attribute("partitionkey") {
        out.extend_from_slice(br#","MessageGroupId":"#);
        json::string(key, out);
    }
    if let Some(trace) = trace_header(&invocation.event) {
        out.extend_from_slice(br#","AWSTraceHeader":"#);
        json::string(&trace, out);
    }
    out.push(b'}');
}

fn write_message_attributes(invocation: &Invocation, is_base64: bool, out: &mut Vec<u8>) {
    let event = &invocation.event;
    out.extend_from_slice(br#","messageAttributes":{"ce-specversion":"#);
    write_value("1.0", "String", out);
    for (name, value) in [("id", event.id()), ("source", event.source()), ("type", event.event_type())] {
        write_message_attribute("ce-", name, value, "String", out);
    }
    for attribute in event.optional_attributes() {
        let data_type = if attribute.kind == ValueKind::Integer { "Number" } else { "String" };
        match attribute.name {
            "datacontenttype" => {
                write_message_attribute("", "content-type", attribute.value, data_type, out);
            }
            name => write_message_attribute("ce-", name, attribute.value, data_type, out),
        }
    }
    if is_base64 {
        write_message_attribute("", "content-transfer-encoding", "base64", "String", out);
    }
    out.push(b'}');
}

fn write_message_attribute(prefix: &str, name: &str, value: &str, data_type: &str, out: &mut Vec<u8>) {
    // Names are made of a-z, 0-9 and nothing that JSON would escape.
    for part in [",\"", prefix, name, "\":"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_value(value, data_type, out);
}

fn write_value(value: &str, data_type: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"stringValue":"#);
    json::string(value, out);
    out.extend_from_slice(br#","stringListValues":[],"binaryListValues":[],"dataType":""#);
    out.extend_from_slice(data_type.as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 0xf)]);
    }
}
