//! When an event asks to be delivered: the extension attributes `deliverat` and `deliverafter`.
//!
//! A broker that takes an event with `deliverafter` stores it with `deliverat`, so that the moment is told once and stays.

use super::{ATTRIBUTE_HEADER_BYTES, Event, EventBuilder, EventError};
use crate::clock::Timestamp;

/// The attribute that says at which moment an event is to be delivered, as RFC 3339.
pub const DELIVER_AT: &str = "deliverat";
/// The attribute that says how long after its publish an event is to be delivered: a number and `ms`, `s`, `m`, `h` or `d`.
pub const DELIVER_AFTER: &str = "deliverafter";

/// Units of a duration: name and milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// When an event asks to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// At this moment.
    At(Timestamp),
    /// So many milliseconds after it was published.
    AfterMs(u64),
}

impl Delay {
    /// The moment, for an event that is published `now`.
    #[must_use]
    pub const fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::AfterMs(milliseconds) => now.plus_ms(milliseconds),
        }
    }
}

/// Reads a duration such as `250ms`, `15m` or `7d`, in milliseconds. `None` where the text is none, or is more than can be counted.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*milliseconds)
}

impl Event {
    /// Whether it says when it is to be delivered. Every publish asks this of every event, so it reads no more than names.
    #[must_use]
    pub fn has_delay(&self) -> bool {
        let mut rest = self.bytes.get(self.type_end()..self.data_start()).unwrap_or_default();
        while let Some((header, behind)) = rest.split_at_checked(ATTRIBUTE_HEADER_BYTES) {
            let name_bytes = usize::from(header[1]);
            let value_bytes = usize::from(u16::from_le_bytes([header[2], header[3]]));
            let name = behind.get(..name_bytes).unwrap_or_default();
            if name == DELIVER_AT.as_bytes() || name == DELIVER_AFTER.as_bytes() {
                return true;
            }
            rest = behind.get(name_bytes + value_bytes..).unwrap_or_default();
        }
        false
    }

    /// When it asks to be delivered, if it says so.
    ///
    /// # Errors
    /// Where it says both a moment and a duration.
    pub fn delay(&self) -> Result<Option<Delay>, EventError> {
        match (self.attribute(DELIVER_AT), self.attribute(DELIVER_AFTER)) {
            (None, None) => Ok(None),
            // Both were checked when the event was made; a moment before 1970 has long passed.
            (Some(at), None) => Ok(Some(Delay::At(Timestamp::parse_rfc3339(at).unwrap_or_default()))),
            (None, Some(after)) => Ok(Some(Delay::AfterMs(parse_duration_ms(after).unwrap_or_default()))),
            (Some(_), Some(_)) => Err(EventError::Value {
                name: DELIVER_AFTER.to_owned(),
                why: "the event has `deliverat` as well: it can have one of them",
            }),
        }
    }
}

impl EventBuilder {
    /// Lets the event be delivered at this moment: the broker holds it until then. One that has passed is delivered at once.
    pub fn deliver_at(self, at: Timestamp) -> Self {
        self.extension(DELIVER_AT, at.to_string())
    }

    /// Lets the event be delivered so long after it was published, in whole milliseconds: the broker holds it until then.
    pub fn deliver_after(self, delay: std::time::Duration) -> Self {
        self.extension(DELIVER_AFTER, format!("{}ms", delay.as_millis()))
    }
}

/// Checks the value of either attribute; `None` where the name is neither's.
pub(super) fn check_value(name: &str, value: &str) -> Option<&'static str> {
    match name {
        DELIVER_AT if !crate::clock::is_rfc3339(value) => Some("it must be an RFC 3339 timestamp"),
        DELIVER_AFTER if parse_duration_ms(value).is_none() => {
            Some("it must be a number and a unit (ms, s, m, h or d), such as 15m")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(attributes: &[(&str, &str)]) -> Result<Event, EventError> {
        let builder = Event::builder("1", "/s", "t").subject("x");
        attributes.iter().fold(builder, |builder, (name, value)| builder.extension(*name, *value)).build()
    }

    #[test]
    fn a_moment_and_a_duration_are_read_back() {
        let now = Timestamp(1_000);
        let plain = event(&[("deliverance", "x")]).unwrap();
        assert!(!plain.has_delay() && plain.delay() == Ok(None));
        let at = event(&[(DELIVER_AT, "2026-11-23T10:00:00Z")]).unwrap();
        let moment = Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
        assert!(at.has_delay());
        assert_eq!(at.delay().unwrap().unwrap().due(now), moment);
        let after = event(&[("zone", "b"), (DELIVER_AFTER, "15m")]).unwrap();
        assert!(after.has_delay());
        assert_eq!(after.delay().unwrap().unwrap().due(now), Timestamp(901_000));
        let built = Event::builder("1", "/s", "t").deliver_at(moment).build().unwrap();
        assert_eq!(built.delay(), at.delay());
        let built = Event::builder("1", "/s", "t").deliver_after(std::time::Duration::from_mins(15)).build();
        assert_eq!(built.unwrap().delay(), after.delay());
    }

    #[test]
    fn what_is_no_moment_or_duration_is_refused() {
        for (name, value) in [(DELIVER_AT, "tomorrow"), (DELIVER_AFTER, "15"), (DELIVER_AFTER, "1.5h")] {
            assert!(matches!(event(&[(name, value)]), Err(EventError::Value { .. })), "{value}");
        }
        let both = event(&[(DELIVER_AT, "2026-11-23T10:00:00Z"), (DELIVER_AFTER, "1s")]).unwrap();
        assert!(both.delay().is_err());
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, ms) in
            [("250ms", Some(250)), ("2s", Some(2_000)), ("1d", Some(86_400_000)), ("0s", Some(0))]
        {
            assert_eq!(parse_duration_ms(text), ms);
        }
        for text in ["", "s", "-1s", "1 s", "1w", "99999999999999999999s", "999999999999999d"] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }
}
