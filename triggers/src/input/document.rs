//! What `$` is: the event as one JSON object, as the JSON format of CloudEvents has it.
//!
//! | member | value |
//! | --- | --- |
//! | `specversion`, `id`, `source`, `type`, every other attribute | a string; integers and booleans as such |
//! | `correlationid`, `traceparent` | derived where the event has none of its own |
//! | `data` | JSON data as it is spelt, other text as a string |
//! | `data_base64` | in place of `data`, where that is no text |
//!
//! Where the event came in through EventBridge's API (its media type is `application/eventbridge+json`), what a rule would
//! see is there as well: `detail` (the data, `{}` where there is none), `detail-type` (the type), `resources` (the list
//! that stands as JSON in the extension `resources`, or else one of the subject), `account` and `region`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventail_wire::Event;
use eventail_wire::event::ValueKind;

use super::path::{PathValue, Step, find};
use crate::pattern::is_eventbridge;
use crate::payload::{Place, json};

/// What of the event is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    WithoutData,
}

/// The value at `steps`, counted from the top of the event.
pub(super) fn value_at<'a>(event: &'a Event, steps: &[Step]) -> Option<PathValue<'a>> {
    let Some((first, rest)) = steps.split_first() else {
        let mut out = Vec::with_capacity(event.as_bytes().len() + 256);
        write(event, Extent::Whole, &mut out);
        return String::from_utf8(out).ok().map(PathValue::from_json);
    };
    let Step::Name(name) = first else { return None };
    match name.as_str() {
        "data" => data_at(event, rest),
        "data_base64" => match json::data(event) {
            json::Data::Binary(bytes) => Some(PathValue::from_text(STANDARD.encode(bytes))),
            _ => None,
        },
        "detail" if is_eventbridge(event) => {
            if event.has_data() {
                data_at(event, rest)
            } else {
                rest.is_empty().then(|| PathValue::from_json("{}"))
            }
        }
        "detail-type" if is_eventbridge(event) => Some(PathValue::from_text(event.event_type())),
        "resources" if is_eventbridge(event) => resources_at(event, rest),
        name => attribute(event, name),
    }
}

fn attribute<'a>(event: &'a Event, name: &str) -> Option<PathValue<'a>> {
    if let Some(attribute) = event.optional_attributes().find(|attribute| attribute.name == name) {
        return Some(match attribute.kind {
            ValueKind::String => PathValue::from_text(attribute.value),
            ValueKind::Boolean | ValueKind::Integer => PathValue::from_json(attribute.value),
        });
    }
    match name {
        "correlationid" => Some(PathValue::from_text(event.correlation_id())),
        "traceparent" => Some(PathValue::from_text(event.traceparent())),
        "account" if is_eventbridge(event) => Some(PathValue::from_text(Place::default().account)),
        "region" if is_eventbridge(event) => Some(PathValue::from_text(Place::default().region)),
        name => event.attribute(name).map(PathValue::from_text),
    }
}

fn resources_at<'a>(event: &'a Event, rest: &[Step]) -> Option<PathValue<'a>> {
    let list = resources(event);
    match rest {
        [] => {
            let mut out = Vec::new();
            write_list(&list, &mut out);
            String::from_utf8(out).ok().map(PathValue::from_json)
        }
        [Step::Index(at)] => list.into_iter().nth(*at).map(PathValue::from_text),
        _ => None,
    }
}

/// What the event is about. An extension that is no list of strings is none.
fn resources(event: &Event) -> Vec<String> {
    let listed = event.attribute("resources").and_then(|text| serde_json::from_str(text).ok());
    listed.unwrap_or_else(|| event.attribute("subject").map(str::to_owned).into_iter().collect())
}

/// The value at `steps` within the data.
fn data_at<'a>(event: &'a Event, steps: &[Step]) -> Option<PathValue<'a>> {
    if !event.has_data() {
        return None;
    }
    let text = std::str::from_utf8(event.data_slice()).ok()?;
    if event.is_json()
        && let Ok(found) = find(text, steps)
    {
        return found.map(PathValue::from_json);
    }
    steps.is_empty().then(|| PathValue::from_text(text))
}

/// Appends the event as JSON text.
pub(super) fn write(event: &Event, extent: Extent, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    write_text("id", event.id(), out);
    write_text("source", event.source(), out);
    write_text("type", event.event_type(), out);
    let (mut is_correlated, mut is_traced, mut has_account, mut has_region) = (false, false, false, false);
    for attribute in event.optional_attributes() {
        match attribute.name {
            // It stands below, as a list.
            "resources" if is_eventbridge(event) => continue,
            "correlationid" => is_correlated = true,
            "traceparent" => is_traced = true,
            "account" => has_account = true,
            "region" => has_region = true,
            _ => {}
        }
        match attribute.kind {
            ValueKind::String => write_text(attribute.name, attribute.value, out),
            ValueKind::Boolean | ValueKind::Integer => {
                write_name(attribute.name, out);
                out.extend_from_slice(attribute.value.as_bytes());
            }
        }
    }
    if !is_correlated {
        write_text("correlationid", event.correlation_id(), out);
    }
    if !is_traced {
        write_text("traceparent", &event.traceparent(), out);
    }
    if is_eventbridge(event) {
        write_text("detail-type", event.event_type(), out);
        write_name("resources", out);
        write_list(&resources(event), out);
        let place = Place::default();
        if !has_account {
            write_text("account", place.account, out);
        }
        if !has_region {
            write_text("region", place.region, out);
        }
        if extent == Extent::Whole {
            write_name("detail", out);
            match data_at(event, &[]) {
                Some(value) => value.write_json(out),
                None => out.extend_from_slice(b"{}"),
            }
        }
    }
    if extent == Extent::Whole {
        write_data(event, out);
    }
    out.push(b'}');
}

fn write_data(event: &Event, out: &mut Vec<u8>) {
    if let Some(value) = data_at(event, &[]) {
        write_name("data", out);
        value.write_json(out);
    } else if let json::Data::Binary(bytes) = json::data(event) {
        write_name("data_base64", out);
        json::base64(bytes, out);
    }
}

fn write_list(list: &[String], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, text) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::string(text, out);
    }
    out.push(b']');
}

fn write_text(name: &str, value: &str, out: &mut Vec<u8>) {
    write_name(name, out);
    json::string(value, out);
}

/// Names are made of a-z, 0-9, `-` and `_`: nothing that JSON would escape.
fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
