//! Durations and sizes as people write them: `10s`, `24h`, `1MiB`. They print as they parse, so that what a message or a
//! default file shows can be pasted back.

use std::fmt;
use std::str::FromStr;

/// Units of a duration, largest first: name and milliseconds.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of a size, largest first: name and bytes.
const SIZE_UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A span of time in whole milliseconds, written as a number and one unit: `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

/// A number of bytes, written as a number and `KiB`, `MiB`, `GiB` or `TiB`, or as a plain number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a whole number.
    #[error("{text:?} does not begin with a whole number")]
    Number {
        /// What was written.
        text: String,
    },
    /// The number is followed by no unit, where one is needed.
    #[error("{text:?} has no unit")]
    NoUnit {
        /// What was written.
        text: String,
    },
    /// The number is followed by something that is no unit.
    #[error("{unit:?} is no unit")]
    Unit {
        /// What was written as the unit.
        unit: String,
    },
    /// It is more than 64 bits can hold.
    #[error("{text:?} is more than can be counted")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

impl Duration {
    /// What a message says that a duration looks like.
    pub const FORM: &'static str =
        "a number and a unit (ms, s, m, h or d), such as \"250ms\", \"10s\" or \"7d\"";

    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }
}

impl ByteSize {
    /// What a message says that a size looks like.
    pub const FORM: &'static str = "a number and a unit (KiB, MiB, GiB or TiB), such as \"64KiB\" or \"10GiB\", or a plain number of bytes";

    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

/// The number that a text begins with, and what follows it.
fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number { text: text.to_owned() });
    }
    let number = number.parse().map_err(|_| UnitError::TooLarge { text: text.to_owned() })?;
    Ok((number, unit))
}

fn scale(text: &str, number: u64, unit: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let (_, size) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| UnitError::Unit { unit: unit.to_owned() })?;
    number.checked_mul(*size).ok_or_else(|| UnitError::TooLarge { text: text.to_owned() })
}

/// The largest unit that divides the amount, and how many of it there are.
fn unscale<'u>(amount: u64, units: &[(&'u str, u64)]) -> Option<(u64, &'u str)> {
    units
        .iter()
        .find(|(_, size)| amount > 0 && amount.is_multiple_of(*size))
        .map(|(name, size)| (amount / size, *name))
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        if unit.is_empty() {
            return Err(UnitError::NoUnit { text: text.to_owned() });
        }
        scale(text, number, unit, &DURATION_UNITS).map(Self)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        if unit.is_empty() {
            return Ok(Self(number));
        }
        scale(text, number, unit, &SIZE_UNITS).map(Self)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = unscale(self.0, &DURATION_UNITS).unwrap_or((0, "s"));
        f.pad(&format!("{number}{unit}"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match unscale(self.0, &SIZE_UNITS) {
            Some((number, unit)) => f.pad(&format!("{number}{unit}")),
            None => f.pad(&self.0.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Duration::from_ms(ms)));
        }
        for (text, bytes) in [("64KiB", 65_536), ("1MiB", 1 << 20), ("10GiB", 10 << 30), ("17", 17)] {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)));
        }
        assert_eq!(Duration::from_secs(86_400).to_string(), "1d");
        assert_eq!(Duration::default().to_string(), "0s");
        assert_eq!(ByteSize::from_bytes(1 << 20).to_string(), "1MiB");
        assert_eq!(ByteSize::default().to_string(), "0");
    }

    #[test]
    fn what_is_none_is_refused_with_the_part_that_is_wrong() {
        let duration = |text: &str| text.parse::<Duration>().unwrap_err();
        assert_eq!(duration("10"), UnitError::NoUnit { text: "10".into() });
        assert_eq!(duration("ten"), UnitError::Number { text: "ten".into() });
        assert_eq!(duration("10sec"), UnitError::Unit { unit: "sec".into() });
        assert_eq!(duration("-1s"), UnitError::Number { text: "-1s".into() });
        assert_eq!(duration("1.5s"), UnitError::Unit { unit: ".5s".into() });
        assert!(matches!(duration("99999999999999999d"), UnitError::TooLarge { .. }));
        assert_eq!("1MB".parse::<ByteSize>(), Err(UnitError::Unit { unit: "MB".into() }));
    }

    proptest! {
        #[test]
        fn every_duration_prints_as_it_parses(ms in any::<u64>()) {
            prop_assert_eq!(Duration::from_ms(ms).to_string().parse(), Ok(Duration::from_ms(ms)));
        }

        #[test]
        fn every_size_prints_as_it_parses(number in 0u64..2000, shift in 0u32..50) {
            let size = ByteSize::from_bytes(number << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn parsing_is_total(text in ".{0,12}") {
            if let Ok(duration) = text.parse::<Duration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
