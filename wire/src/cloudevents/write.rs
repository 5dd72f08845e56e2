//! Writing the JSON format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::event::{Event, ValueKind, rules};

/// One event in the JSON format.
#[must_use]
pub fn encode_structured(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.as_bytes().len() + 128);
    write_structured(event, &mut out);
    out
}

/// [`encode_structured`], with `correlationid` and `traceparent` derived where the event has none of its own.
#[must_use]
pub fn encode_structured_correlated(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.as_bytes().len() + 256);
    write_structured_correlated(event, &mut out);
    out
}

/// Events in the JSON batch format.
#[must_use]
pub fn encode_batch(events: &[Event]) -> Vec<u8> {
    let bytes: usize = events.iter().map(|event| event.as_bytes().len() + 128).sum();
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_structured(event, &mut out);
    }
    out.push(b']');
    out
}

/// Appends one event in the JSON format.
pub fn write_structured(event: &Event, out: &mut Vec<u8>) {
    write_attributes(event, out);
    write_data(event, out);
    out.push(b'}');
}

/// [`write_structured`], with `correlationid` and `traceparent` derived where the event has none of its own.
pub fn write_structured_correlated(event: &Event, out: &mut Vec<u8>) {
    write_attributes(event, out);
    if event.attribute("correlationid").is_none() {
        write_member("correlationid", event.correlation_id(), out);
    }
    if event.attribute("traceparent").is_none() {
        write_member("traceparent", &event.traceparent(), out);
    }
    write_data(event, out);
    out.push(b'}');
}

fn write_attributes(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    write_member("id", event.id(), out);
    write_member("source", event.source(), out);
    write_member("type", event.event_type(), out);
    for attribute in event.optional_attributes() {
        match attribute.kind {
            ValueKind::String => write_member(attribute.name, attribute.value, out),
            ValueKind::Boolean | ValueKind::Integer => {
                write_name(attribute.name, out);
                out.extend_from_slice(attribute.value.as_bytes());
            }
        }
    }
}

/// Writes data as a JSON value where its media type says so and it is one, as a string where it is other text, and else
/// as Base64. Without a media type nothing is assumed: a JSON value would say that it is JSON.
fn write_data(event: &Event, out: &mut Vec<u8>) {
    if !event.has_data() {
        return;
    }
    let data = event.data_slice();
    let is_json = event.data_content_type().map(rules::is_json_media_type);
    if is_json == Some(true)
        && let Ok(value) = serde_json::from_slice::<&RawValue>(data)
    {
        write_name("data", out);
        out.extend_from_slice(value.get().as_bytes());
        return;
    }
    if is_json == Some(false)
        && let Ok(text) = std::str::from_utf8(data)
    {
        write_member("data", text, out);
        return;
    }
    write_name("data_base64", out);
    out.push(b'"');
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(data, &mut out[start..]);
    out.truncate(start + written.expect("four characters for every three bytes begun is the whole of it"));
    out.push(b'"');
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    // Names are made of a-z, 0-9 and nothing that JSON would escape.
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_member(name: &str, value: &str, out: &mut Vec<u8>) {
    write_name(name, out);
    serde_json::to_writer(out, value).expect("a string is JSON, and writing to memory does not fail");
}
