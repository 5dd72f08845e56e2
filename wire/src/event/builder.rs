//! Making encoded events, and checking those that others made.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    ATTRIBUTE_HEADER_BYTES, Event, EventError, FLAG_DATA, HEADER_BYTES, VERSION, ValueKind, check_size, rules,
};
use crate::limits;

/// Collects an event's attributes and data; [`EventBuilder::build`] checks them all at once.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder {
    id: String,
    source: String,
    event_type: String,
    attributes: Vec<(String, String, ValueKind)>,
    data: Option<Bytes>,
}

impl EventBuilder {
    pub(super) const fn new(id: String, source: String, event_type: String) -> Self {
        Self { id, source, event_type, attributes: Vec::new(), data: None }
    }

    /// Sets any attribute but `id`, `source`, `type` and `specversion`, in place of an earlier one of the same name.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>, kind: ValueKind) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|(there, ..)| *there == name) {
            Some(there) => *there = (name, value, kind),
            None => self.attributes.push((name, value, kind)),
        }
        self
    }

    /// Sets an extension attribute with a string value.
    pub fn extension(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attribute(name, value, ValueKind::String)
    }

    /// Sets another `id`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets `subject`.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.extension("subject", subject)
    }

    /// Sets `time`, an RFC 3339 timestamp.
    pub fn time(self, time: impl Into<String>) -> Self {
        self.extension("time", time)
    }

    /// Sets `datacontenttype`, a media type.
    pub fn data_content_type(self, media_type: impl Into<String>) -> Self {
        self.extension("datacontenttype", media_type)
    }

    /// Sets the data as it is.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Sets the data and `datacontenttype` `application/json`. The text is not parsed.
    pub fn json_data(self, json: impl Into<Bytes>) -> Self {
        self.data_content_type("application/json").data(json)
    }

    /// Takes an attribute away.
    pub fn without(mut self, name: &str) -> Self {
        self.attributes.retain(|(there, ..)| there != name);
        self
    }

    /// The value of an attribute that was set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(there, ..)| there == name).map(|(_, value, _)| value.as_str())
    }

    /// Encodes the event.
    ///
    /// # Errors
    /// The first rule of CloudEvents or limit of [`crate::limits`] that is broken.
    pub fn build(self) -> Result<Event, EventError> {
        for (name, value) in [("id", &self.id), ("source", &self.source), ("type", &self.event_type)] {
            rules::check_value(name, value)?;
        }
        check_count(self.attributes.len())?;
        for (name, value, kind) in &self.attributes {
            check_attribute(name, value, *kind)?;
        }
        let (required_bytes, attributes_bytes) = self.lengths();
        check_attributes_bytes(attributes_bytes + required_bytes)?;
        check_size(
            HEADER_BYTES + required_bytes + attributes_bytes + self.data.as_ref().map_or(0, Bytes::len),
        )?;
        self.encode()
    }

    /// Encodes an event that was checked before and to which the broker added attributes of its own: a dead letter must never
    /// be refused because its event was at a limit already.
    ///
    /// # Errors
    /// Where the attributes are more than the format can tell.
    pub fn build_annotated(self) -> Result<Event, EventError> {
        self.encode()
    }

    /// Bytes of the required and of all other attributes.
    fn lengths(&self) -> (usize, usize) {
        let others = self
            .attributes
            .iter()
            .map(|(name, value, _)| ATTRIBUTE_HEADER_BYTES + name.len() + value.len())
            .sum();
        (self.id.len() + self.source.len() + self.event_type.len(), others)
    }

    fn encode(self) -> Result<Event, EventError> {
        let (required_bytes, attributes_bytes) = self.lengths();
        let data_bytes = self.data.as_ref().map_or(0, Bytes::len);
        let bytes = HEADER_BYTES + required_bytes + attributes_bytes + data_bytes;
        let mut out = BytesMut::with_capacity(bytes);
        out.put_u8(VERSION);
        out.put_u8(if self.data.is_some() { FLAG_DATA } else { 0 });
        for length in
            [self.id.len(), self.source.len(), self.event_type.len(), self.attributes.len(), attributes_bytes]
        {
            out.put_u16_le(short(length)?);
        }
        for text in [&self.id, &self.source, &self.event_type] {
            out.put_slice(text.as_bytes());
        }
        for (name, value, kind) in &self.attributes {
            out.put_u8(*kind as u8);
            out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.put_u16_le(short(value.len())?);
            out.put_slice(name.as_bytes());
            out.put_slice(value.as_bytes());
        }
        if let Some(data) = &self.data {
            out.put_slice(data);
        }
        Ok(Event { bytes: out.freeze() })
    }
}

/// The limits checked before keep every length far below this; a mistake there becomes an error and no cut length.
fn short(length: usize) -> Result<u16, EventError> {
    u16::try_from(length).map_err(|_| EventError::Encoding { what: "a length is over 65535" })
}

fn check_count(optional: usize) -> Result<(), EventError> {
    let value = optional + 4;
    if value > limits::ATTRIBUTES_MAX {
        return Err(EventError::Limit {
            what: "attributes of an event",
            value,
            limit: limits::ATTRIBUTES_MAX,
        });
    }
    Ok(())
}

fn check_attributes_bytes(value: usize) -> Result<(), EventError> {
    if value > limits::ATTRIBUTES_BYTES_MAX {
        let limit = limits::ATTRIBUTES_BYTES_MAX;
        return Err(EventError::Limit { what: "bytes of all attributes of an event", value, limit });
    }
    Ok(())
}

fn check_attribute(name: &str, value: &str, kind: ValueKind) -> Result<(), EventError> {
    rules::check_name(name)?;
    if matches!(name, "id" | "source" | "type") {
        return Err(EventError::Twice { name: name.to_owned() });
    }
    rules::check_value(name, value)?;
    let fits = match kind {
        ValueKind::String => true,
        ValueKind::Boolean => matches!(value, "true" | "false"),
        // As JSON has it, which knows no `+3` and no `007`: it is written there as it stands.
        ValueKind::Integer => value.parse::<i32>().is_ok_and(|number| number.to_string() == value),
    };
    if fits { Ok(()) } else { Err(EventError::Value { name: name.to_owned(), why: "it is not of its type" }) }
}

pub(super) fn check_encoded(bytes: &Bytes) -> Result<(), EventError> {
    check_size(bytes.len())?;
    let event = Event::from_stored(bytes.clone())?;
    if bytes[1] & !FLAG_DATA != 0 {
        return Err(EventError::Encoding { what: "an unknown flag is set" });
    }
    if !event.has_data() && event.data_start() != bytes.len() {
        return Err(EventError::Encoding { what: "there are bytes behind an event without data" });
    }
    check_attributes_bytes(event.data_start() - HEADER_BYTES)?;
    if std::str::from_utf8(&bytes[HEADER_BYTES..event.data_start()]).is_err() {
        return check_utf8_parts(&event);
    }
    check_parts(&event)
}

/// An attribute's own header holds bytes that need not be UTF-8, so the quick check over all of them may fail in vain.
fn check_utf8_parts(event: &Event) -> Result<(), EventError> {
    let bytes = event.as_bytes();
    for (name, range) in [
        ("id", HEADER_BYTES..event.id_end()),
        ("source", event.id_end()..event.source_end()),
        ("type", event.source_end()..event.type_end()),
    ] {
        if std::str::from_utf8(&bytes[range]).is_err() {
            return Err(EventError::Value { name: name.to_owned(), why: "it is not UTF-8" });
        }
    }
    check_parts(event)
}

fn check_parts(event: &Event) -> Result<(), EventError> {
    for (name, value) in [("id", event.id()), ("source", event.source()), ("type", event.event_type())] {
        rules::check_value(name, value)?;
    }
    let count = event.number(8);
    check_count(count)?;
    let mut seen: [&str; limits::ATTRIBUTES_MAX] = [""; limits::ATTRIBUTES_MAX];
    let (mut found, mut read) = (0, 0);
    for attribute in event.optional_attributes() {
        check_attribute(attribute.name, attribute.value, attribute.kind)?;
        if found >= count {
            break;
        }
        if seen[..found].contains(&attribute.name) {
            return Err(EventError::Twice { name: attribute.name.to_owned() });
        }
        seen[found] = attribute.name;
        found += 1;
        read += ATTRIBUTE_HEADER_BYTES + attribute.name.len() + attribute.value.len();
    }
    // The iterator stops at bytes that make no attribute, so a whole count over all bytes means that none was passed over.
    if found != count || read != event.number(10) {
        return Err(EventError::Encoding {
            what: "its attributes do not fit their count, their lengths or UTF-8",
        });
    }
    Ok(())
}
