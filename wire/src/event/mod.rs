//! A CloudEvents 1.0 event as one run of bytes: encoded once by its publisher, and from then on only looked into.
//!
//! The same bytes cross the wire, lie in the log and stand in memory, so an event is cloned by counting a reference and
//! no attribute is ever allocated on the way. Layout, integers little-endian:
//!
//! ```text
//!  0  u8   version, 1
//!  1  u8   flags: bit 0 = has data
//!  2  u16  bytes of id        4  u16  bytes of source     6  u16  bytes of type
//!  8  u16  number of the other attributes
//! 10  u16  bytes of the other attributes
//! 12  id, source, type: UTF-8
//!     the other attributes, each: u8 kind, u8 bytes of the name, u16 bytes of the value, name, value
//!     data: all the rest; its media type is the attribute `datacontenttype`
//! ```
//!
//! [`Event::decode`] checks all of it, so whoever holds an [`Event`] holds one that keeps the rules of CloudEvents and the
//! limits of [`crate::limits`]. A value is kept as its canonical text, whatever its kind.

mod builder;
pub mod delay;
pub mod rules;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::code::Code;
use crate::limits;

pub use builder::EventBuilder;

const VERSION: u8 = 1;
const FLAG_DATA: u8 = 1;
const HEADER_BYTES: usize = 12;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// The CloudEvents type of an attribute's value. The value itself is kept as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueKind {
    /// A string; URIs, timestamps and base64 text are kept as this too, since JSON tells no difference.
    String = 0,
    /// `true` or `false`.
    Boolean = 1,
    /// A 32-bit signed integer.
    Integer = 2,
}

/// Why bytes or attributes are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The bytes end early, carry a lying length, or are of an unknown version.
    #[error("the encoded event is damaged: {what}")]
    Encoding {
        /// What did not fit.
        what: &'static str,
    },
    /// A required attribute is missing or empty.
    #[error("the attribute `{name}` is required and must not be empty")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// An attribute's name breaks the rules.
    #[error("`{name}` cannot be an attribute's name: {why}")]
    Name {
        /// The name, cut to a readable length.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// An attribute's value breaks the rules.
    #[error("the attribute `{name}` has a value that it cannot have: {why}")]
    Value {
        /// Whose value.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// An attribute is there twice.
    #[error("the attribute `{name}` is given twice")]
    Twice {
        /// Which.
        name: String,
    },
    /// Something is more than its limit.
    #[error("{what}: {value} is more than the limit of {limit}")]
    Limit {
        /// What was counted, with its unit.
        what: &'static str,
        /// How many there were.
        value: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl EventError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Limit { .. } => Code::EventTooLarge,
            _ => Code::InvalidEvent,
        }
    }
}

/// One attribute of an event, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value as canonical text.
    pub value: &'a str,
    /// The type that the text stands for.
    pub kind: ValueKind,
}

/// An event. Cheap to clone; see the module for its bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event {
    bytes: Bytes,
}

impl Event {
    /// Begins an event with its three required attributes.
    pub fn builder(
        id: impl Into<String>,
        source: impl Into<String>,
        event_type: impl Into<String>,
    ) -> EventBuilder {
        EventBuilder::new(id.into(), source.into(), event_type.into())
    }

    /// Takes encoded bytes after checking every rule and limit.
    ///
    /// # Errors
    /// The first rule that is broken. No input panics.
    pub fn decode(bytes: Bytes) -> Result<Self, EventError> {
        builder::check_encoded(&bytes)?;
        Ok(Self { bytes })
    }

    /// Takes bytes that were checked when they were stored and carry a checksum of their own since.
    ///
    /// # Errors
    /// Only where the header's lengths do not fit the bytes, so that no accessor can run over their end.
    pub fn from_stored(bytes: Bytes) -> Result<Self, EventError> {
        let damaged = || EventError::Encoding { what: "its lengths do not fit its bytes" };
        if bytes.len() < HEADER_BYTES || bytes[0] != VERSION {
            return Err(damaged());
        }
        let event = Self { bytes };
        if event.data_start() > event.bytes.len() {
            return Err(damaged());
        }
        Ok(event)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `id`: unique together with the source.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(HEADER_BYTES..self.id_end())
    }

    /// `source`: a URI reference.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(self.id_end()..self.source_end())
    }

    /// `type`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.text(self.source_end()..self.type_end())
    }

    /// The value of any attribute by its name, `specversion` included.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match name {
            "id" => Some(self.id()),
            "source" => Some(self.source()),
            "type" => Some(self.event_type()),
            "specversion" => Some("1.0"),
            _ => self.optional_attributes().find(|attribute| attribute.name == name).map(|found| found.value),
        }
    }

    /// All attributes but `specversion`, `id`, `source` and `type`, as they were given.
    pub fn optional_attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        OptionalAttributes { rest: self.bytes.get(self.type_end()..self.data_start()).unwrap_or_default() }
    }

    /// `datacontenttype`.
    #[must_use]
    pub fn data_content_type(&self) -> Option<&str> {
        self.attribute("datacontenttype")
    }

    /// The data, shared with the event; `None` where it has none, which is not the same as empty data.
    #[must_use]
    pub fn data(&self) -> Option<Bytes> {
        self.has_data().then(|| self.bytes.slice(self.data_start()..))
    }

    /// The data, borrowed; empty where there is none.
    #[must_use]
    pub fn data_slice(&self) -> &[u8] {
        self.bytes.get(self.data_start()..).unwrap_or_default()
    }

    /// Whether the event has data, be it empty.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.bytes[1] & FLAG_DATA != 0
    }

    /// Whether the data's media type is JSON: `*/json` or `*/*+json`, or none given.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.data_content_type().is_none_or(rules::is_json_media_type)
    }

    /// What ties all events of one story together: the attribute `correlationid`, or the event's own id.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.attribute("correlationid").unwrap_or_else(|| self.id())
    }

    /// When nobody is to act on the event any more: the extension `expirytime`.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        // It was checked to be a time; one before 1970 is over as well.
        self.attribute("expirytime").map(|time| Timestamp::parse_rfc3339(time).unwrap_or_default())
    }

    /// 128 bits that stand for `source` and `id`, the identity of an event. Stable across versions and machines.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
        const LOW: RapidSecrets = RapidSecrets::seed(0x9e37_79b9_7f4a_7c15);
        const HIGH: RapidSecrets = RapidSecrets::seed(0xd1b5_4a32_d192_ed03);
        // Id and source lie side by side; the length mixed in keeps ("ab", "c") apart from ("a", "bc").
        let identity = self.bytes.get(HEADER_BYTES..self.source_end()).unwrap_or_default();
        let length = (self.number(2) as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let low = rapidhash_v3_seeded(identity, &LOW).wrapping_add(length);
        let high = rapidhash_v3_seeded(identity, &HIGH) ^ length.rotate_left(32);
        (u128::from(high) << 64) | u128::from(low)
    }

    /// The W3C trace context: the attribute `traceparent`, or one that is derived from the event's identity, so that it
    /// is the same on every attempt and after every restart without being stored.
    #[must_use]
    pub fn traceparent(&self) -> String {
        if let Some(given) = self.attribute("traceparent") {
            return given.to_owned();
        }
        let fingerprint = self.fingerprint().max(1);
        let span = (fingerprint >> 64).max(1);
        let mut text = String::with_capacity("00-".len() + 32 + 1 + 16 + "-01".len());
        text.push_str("00-");
        push_hex(&mut text, fingerprint, 32);
        text.push('-');
        push_hex(&mut text, span, 16);
        text.push_str("-01");
        text
    }

    /// A builder that holds all of this event, to make another from it.
    pub fn to_builder(&self) -> EventBuilder {
        let mut builder = Self::builder(self.id(), self.source(), self.event_type());
        for attribute in self.optional_attributes() {
            builder = builder.attribute(attribute.name, attribute.value, attribute.kind);
        }
        match self.data() {
            Some(data) => builder.data(data),
            None => builder,
        }
    }

    fn number(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    fn id_end(&self) -> usize {
        HEADER_BYTES + self.number(2)
    }

    fn source_end(&self) -> usize {
        self.id_end() + self.number(4)
    }

    fn type_end(&self) -> usize {
        self.source_end() + self.number(6)
    }

    fn data_start(&self) -> usize {
        self.type_end() + self.number(10)
    }

    fn text(&self, range: Range<usize>) -> &str {
        self.bytes.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Event {
    /// Names the event, without its data: data may be large or private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("source", &self.source())
            .field("type", &self.event_type())
            .field("data_bytes", &self.data_slice().len())
            .finish_non_exhaustive()
    }
}

/// The last `digits` hexadecimal digits of a number. Made for every delivery, where `format!` would cost several times as much.
fn push_hex(text: &mut String, number: u128, digits: u32) {
    for place in (0..digits).rev() {
        let digit = u32::try_from((number >> (place * 4)) & 0xf).unwrap_or(0);
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

struct OptionalAttributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for OptionalAttributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, rest) = self.rest.split_at_checked(ATTRIBUTE_HEADER_BYTES)?;
        let kind = match header[0] {
            0 => ValueKind::String,
            1 => ValueKind::Boolean,
            2 => ValueKind::Integer,
            _ => return None,
        };
        let (name, rest) = rest.split_at_checked(usize::from(header[1]))?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([header[2], header[3]])))?;
        self.rest = rest;
        Some(Attribute {
            name: std::str::from_utf8(name).ok()?,
            value: std::str::from_utf8(value).ok()?,
            kind,
        })
    }
}

/// The limit that concerns the whole: checked by the builder and the decoder alike.
fn check_size(bytes: usize) -> Result<(), EventError> {
    if bytes > limits::EVENT_BYTES_CEILING {
        return Err(EventError::Limit {
            what: "bytes of an event",
            value: bytes,
            limit: limits::EVENT_BYTES_CEILING,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Event {
        Event::builder("1", "/orders", "order.created")
            .subject("o-7")
            .extension("partitionkey", "k")
            .attribute("count", "3", ValueKind::Integer)
            .json_data(r#"{"a":1}"#)
            .build()
            .unwrap()
    }

    #[test]
    fn an_event_reads_back_what_was_put_in() {
        let event = Event::decode(sample().as_bytes().clone()).unwrap();
        assert_eq!((event.id(), event.source(), event.event_type()), ("1", "/orders", "order.created"));
        assert_eq!(event.attribute("subject"), Some("o-7"));
        assert_eq!(event.attribute("partitionkey"), Some("k"));
        assert_eq!(event.attribute("specversion"), Some("1.0"));
        assert_eq!(event.attribute("absent"), None);
        assert_eq!(event.data_slice(), br#"{"a":1}"#);
        assert_eq!(event.to_builder().build().unwrap(), event);
        assert!(event.is_json());
    }

    #[test]
    fn an_integer_is_one_that_json_has_too() {
        let with = |value: &str| {
            Event::builder("1", "/s", "t").attribute("count", value, ValueKind::Integer).build()
        };
        for value in ["0", "7", "-2147483648", "2147483647"] {
            assert!(with(value).is_ok(), "{value}");
        }
        for value in ["+3", "007", "-0", "", "1.0", "2147483648"] {
            assert!(with(value).is_err(), "{value}");
        }
    }

    #[test]
    fn data_that_is_empty_is_not_the_same_as_none() {
        let none = Event::builder("1", "/s", "t").build().unwrap();
        let empty = Event::builder("1", "/s", "t").data(Bytes::new()).build().unwrap();
        assert_eq!(none.data(), None);
        assert_eq!(empty.data(), Some(Bytes::new()));
    }

    #[test]
    fn the_fingerprint_stands_for_source_and_id_and_nothing_else() {
        let event = |id: &str, source: &str, kind: &str| {
            Event::builder(id, source, kind).build().unwrap().fingerprint()
        };
        assert_eq!(event("ab", "c", "t"), event("ab", "c", "other"));
        assert_ne!(event("ab", "c", "t"), event("a", "bc", "t"));
        assert_ne!(event("1", "/s", "t"), event("2", "/s", "t"));
        // Stored in snapshots and derived ids: it must never change.
        assert_eq!(event("1", "/s", "t"), 320_507_499_205_712_152_197_318_224_969_264_842_228);
    }

    #[test]
    fn correlation_and_trace_are_kept_or_derived() {
        let plain = sample();
        assert_eq!(plain.correlation_id(), "1");
        assert_eq!(plain.traceparent(), sample().traceparent());
        assert!(rules::is_traceparent(&plain.traceparent()));
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let tied = plain
            .to_builder()
            .extension("correlationid", "c-1")
            .extension("traceparent", given)
            .build()
            .unwrap();
        assert_eq!((tied.correlation_id(), tied.traceparent().as_str()), ("c-1", given));
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(event) = Event::decode(Bytes::from(bytes)) {
                prop_assert!(event.to_builder().build().is_ok());
            }
        }

        #[test]
        fn a_damaged_event_never_panics(at in 0usize..60, value in any::<u8>()) {
            let mut bytes = sample().as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            for event in [Event::decode(Bytes::from(bytes.clone())), Event::from_stored(Bytes::from(bytes))].into_iter().flatten() {
                let seen = event.optional_attributes().count() + event.id().len() + event.data_slice().len();
                prop_assert!(seen < 200);
            }
        }
    }
}
