//! Wall-clock time as a value, and the one way to ask for it.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in milliseconds since the Unix epoch, UTC. It prints as RFC 3339, and so it stands in formats that people read
/// (JSON); in others (MessagePack) it is the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last moment that can be told: later than every other one.
    pub const MAX: Self = Self(u64::MAX);

    /// This moment and `milliseconds` more, or [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this moment; 0 where `earlier` is the later one, as after a clock was set back.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Parses RFC 3339, for instance `2026-11-23T10:00:00Z`; fractions finer than a millisecond are cut off.
    ///
    /// `None` where the text is no RFC 3339 timestamp or lies before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        if !is_rfc3339(text) {
            return None;
        }
        // A leap second (`:60`) is legal in RFC 3339 and unknown to Unix time: it counts as the second before it.
        let millisecond = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        u64::try_from(millisecond).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match moment {
            Some(moment) => write!(f, "{moment:.3}"),
            None => f.write_str(FOR_EVER),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// Takes either form from a format that people read: serde's buffers (`flatten`) always say that they are one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(EitherForm)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

struct EitherForm;

impl Visitor<'_> for EitherForm {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 timestamp such as \"2026-11-23T10:00:00Z\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        match text {
            FOR_EVER => Ok(Timestamp::MAX),
            _ => Timestamp::parse_rfc3339(text)
                .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, milliseconds: u64) -> Result<Timestamp, E> {
        Ok(Timestamp(milliseconds))
    }
}

/// How a moment prints that no calendar has.
const FOR_EVER: &str = "+infinity";

/// Whether `text` has the shape that RFC 3339 section 5.6 demands; jiff alone would accept more than that.
#[must_use]
pub fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    if bytes.len() < shape.len() + 1 {
        return false;
    }
    let date_time = bytes.iter().zip(shape).all(|(&byte, &wanted)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'T' => byte.eq_ignore_ascii_case(&b'T'),
        other => byte == other,
    });
    let mut rest = &bytes[shape.len()..];
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    let zone = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    date_time && zone && text.parse::<jiff::Timestamp>().is_ok()
}

/// The one source of wall-clock time: the system's in production, a moved one in tests.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The present moment. It may go backwards when the system's clock is set.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_it_parses() {
        let moment = Timestamp::parse_rfc3339("2026-11-23T10:00:00.250Z").unwrap();
        assert_eq!(moment.to_string(), "2026-11-23T10:00:00.250Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-23T11:00:00.25+01:00"), Some(moment));
    }

    #[test]
    fn people_read_a_text_and_machines_a_number() {
        for moment in [Timestamp(1_763_892_000_250), Timestamp(0), Timestamp::MAX] {
            let text = serde_json::to_string(&moment).unwrap();
            assert_eq!(text, format!("\"{moment}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
            let bytes = rmp_serde::to_vec(&moment).unwrap();
            assert_eq!(bytes, rmp_serde::to_vec(&moment.0).unwrap());
            assert_eq!(rmp_serde::from_slice::<Timestamp>(&bytes).unwrap(), moment);
        }
        let refused = serde_json::from_str::<Timestamp>("\"yesterday\"").unwrap_err().to_string();
        assert!(refused.contains("RFC 3339"), "{refused}");
    }

    #[test]
    fn both_forms_are_read_through_a_flattened_struct() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Inner {
            at: Timestamp,
        }
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Outer {
            #[serde(flatten)]
            inner: Inner,
        }
        let outer = Outer { inner: Inner { at: Timestamp(1_763_892_000_250) } };
        let bytes = rmp_serde::to_vec_named(&outer).unwrap();
        assert_eq!(rmp_serde::from_slice::<Outer>(&bytes).unwrap(), outer);
        let text = serde_json::to_string(&outer).unwrap();
        assert_eq!(serde_json::from_str::<Outer>(&text).unwrap(), outer);
    }

    #[test]
    fn refuses_what_is_not_rfc3339() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23 10:00:00Z",
            "2026-11-23T10:00:00",
            "2026-13-23T10:00:00Z",
            "2026-11-23T10:00:00.Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
