//! The envelope of an EventBridge bus (user guide, "AWS service event metadata"), so that functions written for a rule's
//! target run unchanged.
//!
//! | member | from |
//! | --- | --- |
//! | `id`, `source`, `detail-type` | `id`, `source`, `type` |
//! | `time` | `time`, or when the event was appended; whole seconds, UTC |
//! | `account`, `region` | the function's |
//! | `resources` | `subject`, where there is one: what the event is about |
//! | `detail` | the data: JSON as it is, text as a string, other bytes as `{"data_base64":"…"}`, none as `{}` |
//!
//! Other attributes have no place in it: a function that needs them takes `cloudevent`.

use eventail_wire::Timestamp;

use super::{Place, json};
use crate::target::Invocation;

/// `2026-11-23T10:00:00`: what a timestamp begins with, without its fraction and zone.
const SECONDS_BYTES: usize = 19;

pub(super) fn write(place: Place<'_>, invocation: &Invocation, out: &mut Vec<u8>) {
    let event = &invocation.event;
    out.extend_from_slice(br#"{"version":"0","id":"#);
    json::string(event.id(), out);
    out.extend_from_slice(br#","detail-type":"#);
    json::string(event.event_type(), out);
    out.extend_from_slice(br#","source":"#);
    json::string(event.source(), out);
    out.extend_from_slice(br#","account":"#);
    json::string(place.account, out);
    out.extend_from_slice(br#","time":""#);
    write_time(invocation, out);
    out.extend_from_slice(br#"","region":"#);
    json::string(place.region, out);
    out.extend_from_slice(br#","resources":["#);
    if let Some(subject) = event.attribute("subject") {
        json::string(subject, out);
    }
    out.extend_from_slice(br#"],"detail":"#);
    match json::data(event) {
        json::Data::None => out.extend_from_slice(b"{}"),
        json::Data::Json(text) => out.extend_from_slice(text.as_bytes()),
        json::Data::Text(text) => json::string(text, out),
        json::Data::Binary(bytes) => {
            out.extend_from_slice(br#"{"data_base64":"#);
            json::base64(bytes, out);
            out.push(b'}');
        }
    }
    out.push(b'}');
}

fn write_time(invocation: &Invocation, out: &mut Vec<u8>) {
    // A moment before 1970 is none that we can tell.
    let given = invocation.event.attribute("time").and_then(Timestamp::parse_rfc3339);
    let text = given.unwrap_or(invocation.appended_at).to_string();
    out.extend_from_slice(text.get(..SECONDS_BYTES).unwrap_or("1970-01-01T00:00:00").as_bytes());
    out.push(b'Z');
}
