//! Binary mode: every attribute is a header, the body is the data, `Content-Type` is `datacontenttype`.

use std::borrow::Cow;

use bytes::Bytes;

use super::error::CloudEventError;
use super::{SPEC_VERSION, percent};
use crate::event::{Event, EventBuilder, EventError, ValueKind, rules};
use crate::limits;

const PREFIX: &str = "ce-";

/// Reads an event from a message's headers (in any case and order, others among them) and its body.
///
/// All values come as strings: headers tell no kinds. An empty body is no data, unless a `Content-Type` that is not JSON
/// says that there is some.
///
/// # Errors
/// The first attribute that is missing, given twice, not decodable or against the rules.
pub fn decode_binary<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: Bytes,
) -> Result<Event, CloudEventError> {
    let mut found = Found::default();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("content-type") {
            found.take_content_type(value)?;
        } else if let Some((prefix, attribute)) = name.split_at_checked(PREFIX.len())
            && prefix.eq_ignore_ascii_case(PREFIX)
        {
            found.take(attribute, value)?;
        }
    }
    found.finish(body)
}

#[derive(Default)]
struct Found {
    version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    content_type: Option<String>,
    /// `ce-datacontenttype`, which senders must not send; some do, beside the same `Content-Type`.
    repeated_content_type: Option<String>,
    others: Vec<(String, String)>,
}

impl Found {
    fn take_content_type(&mut self, value: &[u8]) -> Result<(), CloudEventError> {
        let text = std::str::from_utf8(value)
            .map_err(|_| CloudEventError::member("content-type", "the value is not UTF-8"))?;
        set(&mut self.content_type, "content-type", text.trim().to_owned())
    }

    fn take(&mut self, attribute: &str, value: &[u8]) -> Result<(), CloudEventError> {
        let name = attribute.to_ascii_lowercase();
        let value = percent::decode(value).map_err(|why| CloudEventError::member(&name, why))?;
        match name.as_str() {
            "specversion" => set(&mut self.version, "specversion", value),
            "id" => set(&mut self.id, "id", value),
            "source" => set(&mut self.source, "source", value),
            "type" => set(&mut self.event_type, "type", value),
            "datacontenttype" => set(&mut self.repeated_content_type, "datacontenttype", value),
            _ => {
                rules::check_name(&name)?;
                if self.others.iter().any(|(there, _)| *there == name) {
                    return Err(EventError::Twice { name }.into());
                }
                // Checked here too, so that looking through the names stays cheap whatever comes.
                check_count(self.others.len() + 5)?;
                self.others.push((name, value));
                Ok(())
            }
        }
    }

    fn finish(self, body: Bytes) -> Result<Event, CloudEventError> {
        if self.version.as_deref() != Some(SPEC_VERSION) {
            return Err(CloudEventError::spec_version(self.version.as_deref()));
        }
        if self.repeated_content_type.is_some() && self.repeated_content_type != self.content_type {
            let why = "the data's media type is sent as Content-Type alone";
            return Err(CloudEventError::member("ce-datacontenttype", why));
        }
        let mut builder = builder(self.id, self.source, self.event_type)?;
        for (name, value) in self.others {
            builder = builder.attribute(name, value, ValueKind::String);
        }
        let has_data = !body.is_empty()
            || self.content_type.as_deref().is_some_and(|media_type| !rules::is_json_media_type(media_type));
        if let Some(media_type) = self.content_type {
            builder = builder.data_content_type(media_type);
        }
        Ok(if has_data { builder.data(body) } else { builder }.build()?)
    }
}

fn set(slot: &mut Option<String>, name: &str, value: String) -> Result<(), CloudEventError> {
    if slot.replace(value).is_some() {
        return Err(EventError::Twice { name: name.to_owned() }.into());
    }
    Ok(())
}

pub(super) fn check_count(value: usize) -> Result<(), EventError> {
    if value > limits::ATTRIBUTES_MAX {
        let limit = limits::ATTRIBUTES_MAX;
        return Err(EventError::Limit { what: "attributes of an event", value, limit });
    }
    Ok(())
}

/// Begins an event with its required attributes, all of which must be there.
pub(super) fn builder(
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
) -> Result<EventBuilder, EventError> {
    let id = id.ok_or(EventError::Missing { name: "id" })?;
    let source = source.ok_or(EventError::Missing { name: "source" })?;
    let event_type = event_type.ok_or(EventError::Missing { name: "type" })?;
    Ok(Event::builder(id, source, event_type))
}

/// One header of an event in binary mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryHeader<'a> {
    /// The attribute's name; [`BinaryHeader::name`] is the header's.
    pub attribute: &'a str,
    /// The header's value: encoded, but for `datacontenttype`, which is sent as it is. It may hold bytes from 0x80 on only there.
    pub value: Cow<'a, str>,
}

impl<'a> BinaryHeader<'a> {
    /// The header's name in lower case: `content-type` for `datacontenttype`, else `ce-` and the attribute's name.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self.attribute {
            "specversion" => "ce-specversion".into(),
            "id" => "ce-id".into(),
            "source" => "ce-source".into(),
            "type" => "ce-type".into(),
            "subject" => "ce-subject".into(),
            "time" => "ce-time".into(),
            "datacontenttype" => "content-type".into(),
            "correlationid" => "ce-correlationid".into(),
            "traceparent" => "ce-traceparent".into(),
            "partitionkey" => "ce-partitionkey".into(),
            other => format!("{PREFIX}{other}").into(),
        }
    }

    fn new(attribute: &'a str, value: &'a str) -> Self {
        let is_content_type = attribute == "datacontenttype";
        let value = if is_content_type { Cow::Borrowed(value) } else { percent::encode(value) };
        Self { attribute, value }
    }
}

/// The headers that carry the event's attributes; the body that goes with them is [`Event::data`], or empty.
pub fn binary_headers(event: &Event) -> impl Iterator<Item = BinaryHeader<'_>> {
    let required = [
        ("specversion", SPEC_VERSION),
        ("id", event.id()),
        ("source", event.source()),
        ("type", event.event_type()),
    ];
    let others = event.optional_attributes().map(|attribute| (attribute.name, attribute.value));
    required.into_iter().chain(others).map(|(name, value)| BinaryHeader::new(name, value))
}
