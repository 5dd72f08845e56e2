//! Amounts in a file, each in its notation: plain numbers, durations and sizes.

use std::fmt::Display;

use super::problem::Problem;
use super::reader::Found;
use super::units::{ByteSize, Duration};

/// An amount that has limits: a number, a duration or a size.
pub(super) trait Amount: Copy + Ord + Display {
    /// Reads one.
    fn read(found: &Found<'_>) -> Result<Self, Problem>;
    /// In its smallest unit.
    fn get(self) -> u64;
}

/// A plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count(pub(super) u64);

impl Amount for Count {
    fn read(found: &Found<'_>) -> Result<Self, Problem> {
        found.integer().unwrap_or_else(|| Err(found.wrong_type("an integer"))).map(Self)
    }

    fn get(self) -> u64 {
        self.0
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Amount for Duration {
    fn read(found: &Found<'_>) -> Result<Self, Problem> {
        let text = match (found.value.as_str(), found.value.as_integer()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(integer)) => integer.to_string(),
            (None, None) => return Err(found.wrong_type("a duration such as \"10s\"")),
        };
        let key = || found.key.clone();
        text.parse().map_err(|source| Problem::Unit { key: key(), source, form: Self::FORM })
    }

    fn get(self) -> u64 {
        self.as_ms()
    }
}

impl Amount for ByteSize {
    fn read(found: &Found<'_>) -> Result<Self, Problem> {
        if let Some(bytes) = found.integer() {
            return bytes.map(Self::from_bytes);
        }
        let Some(text) = found.value.as_str() else {
            return Err(found.wrong_type("a size such as \"64KiB\""));
        };
        let key = || found.key.clone();
        text.parse().map_err(|source| Problem::Unit { key: key(), source, form: Self::FORM })
    }

    fn get(self) -> u64 {
        self.as_bytes()
    }
}

/// Takes what was found in place of a default.
pub(super) fn set<T>(slot: &mut T, found: Option<T>) {
    if let Some(found) = found {
        *slot = found;
    }
}

/// A number of the file as a count in memory. Every limit is far below what a count can be.
pub(super) fn count(found: Option<u64>) -> Option<usize> {
    found.and_then(|found| usize::try_from(found).ok())
}
