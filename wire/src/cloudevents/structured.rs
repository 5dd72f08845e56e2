//! Reading the JSON format: one event, or an array of them.
//!
//! The text of `data` is not parsed beyond finding its end: it is sliced out of the body as it stands.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::SPEC_VERSION;
use super::binary::{builder, check_count};
use super::error::{CloudEventError, shorten};
use crate::event::{Event, EventError, ValueKind, rules};
use crate::limits;

/// What a batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events of one batch.
    pub events_max: usize,
    /// Bytes of its body.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { events_max: limits::BATCH_EVENTS_MAX, bytes_max: limits::BATCH_BYTES_MAX }
    }
}

/// Reads one event in the JSON format.
///
/// # Errors
/// [`CloudEventError::Json`] where the body is no JSON object, else the first rule that is broken.
pub fn decode_structured(body: &Bytes) -> Result<Event, CloudEventError> {
    let members: Members<'_> = serde_json::from_slice(body)
        .map_err(|source| CloudEventError::Json { expected: "object", source })?;
    if members.too_many {
        check_count(members.members.len() + 1)?;
    }
    let mut found = Found::default();
    for (at, (name, value)) in members.members.iter().enumerate() {
        if members.members[..at].iter().any(|(there, _)| there == name) {
            return Err(EventError::Twice { name: shorten(name) }.into());
        }
        found.take(name, value)?;
    }
    found.finish(body)
}

/// Reads a batch in the JSON batch format; an empty one is legal.
///
/// # Errors
/// [`CloudEventError::Element`] with the place of the first wrong event, [`CloudEventError::BatchTooLarge`], or
/// [`CloudEventError::Json`] where the body is no JSON array. One wrong event refuses the whole.
pub fn decode_batch(body: &Bytes, limits: BatchLimits) -> Result<Vec<Event>, CloudEventError> {
    if body.len() > limits.bytes_max {
        let (value, limit) = (body.len(), limits.bytes_max);
        return Err(CloudEventError::BatchTooLarge { what: "bytes of a batch", value, limit });
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let elements = (&mut reader)
        .deserialize_seq(ElementsVisitor { at_most: limits.events_max })
        .and_then(|elements| reader.end().map(|()| elements))
        .map_err(|source| CloudEventError::Json { expected: "array", source })?;
    if elements.len() > limits.events_max {
        let (value, limit) = (elements.len(), limits.events_max);
        return Err(CloudEventError::BatchTooLarge { what: "events of a batch", value, limit });
    }
    let decode = |(index, element): (usize, &RawValue)| {
        decode_structured(&body.slice_ref(element.get().as_bytes()))
            .map_err(|source| CloudEventError::Element { index, source: Box::new(source) })
    };
    elements.into_iter().enumerate().map(decode).collect()
}

/// The elements of an array; the first one too many is kept as the sign that there was one, and no more.
struct ElementsVisitor {
    at_most: usize,
}

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if elements.len() <= self.at_most {
                elements.push(element);
            }
        }
        Ok(elements)
    }
}

/// The members of an object, in their order, duplicates included.
struct Members<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Set when there were more than any event can have; the rest was read over.
    too_many: bool,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        let mut too_many = false;
        while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            // The data member is not counted among the attributes.
            if members.len() > limits::ATTRIBUTES_MAX {
                too_many = true;
            } else {
                members.push((name.0, value));
            }
        }
        Ok(Members { members, too_many })
    }
}

/// A member's name, borrowed unless it is spelt with escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[derive(Default)]
struct Found<'a> {
    version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    content_type: Option<String>,
    others: Vec<(&'a str, String, ValueKind)>,
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

impl<'a> Found<'a> {
    fn take(&mut self, name: &'a str, value: &'a RawValue) -> Result<(), CloudEventError> {
        if name == "data" {
            self.data = Some(value);
            return Ok(());
        }
        // An attribute that is not set may be written as null (JSON format, section 2.2).
        if value.get() == "null" {
            return if name == "data_base64" { Ok(()) } else { Ok(rules::check_name(name)?) };
        }
        match name {
            "specversion" => self.version = Some(string(name, value)?),
            "id" => self.id = Some(string(name, value)?),
            "source" => self.source = Some(string(name, value)?),
            "type" => self.event_type = Some(string(name, value)?),
            "datacontenttype" => self.content_type = Some(string(name, value)?),
            "data_base64" => self.data_base64 = Some(string(name, value)?),
            "subject" | "time" | "dataschema" => {
                self.others.push((name, string(name, value)?, ValueKind::String));
            }
            _ => {
                rules::check_name(name)?;
                let (text, kind) = extension(name, value)?;
                self.others.push((name, text, kind));
            }
        }
        Ok(())
    }

    fn finish(self, body: &Bytes) -> Result<Event, CloudEventError> {
        if self.version.as_deref() != Some(SPEC_VERSION) {
            return Err(CloudEventError::spec_version(self.version.as_deref()));
        }
        let mut builder = builder(self.id, self.source, self.event_type)?;
        for (name, value, kind) in self.others {
            builder = builder.attribute(name, value, kind);
        }
        let is_json = self.content_type.as_deref().is_none_or(rules::is_json_media_type);
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => {
                return Err(CloudEventError::member(
                    "data_base64",
                    "it stands beside `data`: only one may be there",
                ));
            }
            (Some(raw), None) if is_json => Some(body.slice_ref(raw.get().as_bytes())),
            (Some(raw), None) => Some(Bytes::from(text_data(raw)?)),
            (None, Some(text)) => Some(Bytes::from(binary_data(&text)?)),
            (None, None) => None,
        };
        builder = match self.content_type {
            Some(media_type) => builder.data_content_type(media_type),
            // What is written as a JSON value is JSON, and must be known as that once it has left this format.
            None if self.data.is_some() => builder.data_content_type("application/json"),
            None => builder,
        };
        Ok(match data {
            Some(data) => builder.data(data),
            None => builder,
        }
        .build()?)
    }
}

fn string(name: &str, value: &RawValue) -> Result<String, CloudEventError> {
    serde_json::from_str(value.get())
        .map_err(|_| CloudEventError::member(name, "its value must be a JSON string"))
}

fn extension(name: &str, value: &RawValue) -> Result<(String, ValueKind), CloudEventError> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => Ok((string(name, value)?, ValueKind::String)),
        Some(b't' | b'f') => Ok((text.to_owned(), ValueKind::Boolean)),
        Some(b'-' | b'0'..=b'9') => match text.parse::<i32>() {
            Ok(number) => Ok((number.to_string(), ValueKind::Integer)),
            Err(_) => {
                let why = "a number must be a whole one of 32 bits, without fraction or exponent";
                Err(CloudEventError::member(name, why))
            }
        },
        _ => Err(CloudEventError::member(name, "its value must be a string, a boolean or an integer")),
    }
}

fn text_data(raw: &RawValue) -> Result<String, CloudEventError> {
    serde_json::from_str(raw.get()).map_err(|_| {
        CloudEventError::member("data", "it must be a string where `datacontenttype` is not JSON")
    })
}

fn binary_data(text: &str) -> Result<Vec<u8>, CloudEventError> {
    STANDARD.decode(text).map_err(|_| CloudEventError::member("data_base64", "it is not Base64 with padding"))
}
