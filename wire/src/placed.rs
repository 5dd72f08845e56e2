//! What became of one event of a publish: it is in its topic, or it is held until its time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Offset, Timestamp};

/// The handle of a held event: with it the event is shown and cancelled. No two events of a broker ever have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeldId(pub u64);

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for HeldId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where one event of a publish is. Either way it is durable, as its topic promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Placed {
    /// In its topic.
    Appended {
        /// Its offset, or the first one's where it is a duplicate.
        offset: Offset,
        /// Whether an event with the same source and id was there already; it was not stored again.
        duplicate: bool,
    },
    /// Held: it will be appended to its topic at its time.
    Held {
        /// Its handle, or the first one's where it is a duplicate.
        #[serde(rename = "held")]
        id: HeldId,
        /// Its time; the first one's where it is a duplicate.
        deliver_at: Timestamp,
        /// Whether an event with the same source and id was held already, or was and is remembered; it was not stored again.
        duplicate: bool,
    },
}

impl Placed {
    /// The offset in its topic; `None` where it is held.
    #[must_use]
    pub const fn offset(&self) -> Option<Offset> {
        match self {
            Self::Appended { offset, .. } => Some(*offset),
            Self::Held { .. } => None,
        }
    }

    /// The handle of an event that is held.
    #[must_use]
    pub const fn held(&self) -> Option<HeldId> {
        match self {
            Self::Appended { .. } => None,
            Self::Held { id, .. } => Some(*id),
        }
    }

    /// Whether the event had been published before.
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        match self {
            Self::Appended { duplicate, .. } | Self::Held { duplicate, .. } => *duplicate,
        }
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { offset, .. } => write!(f, "at offset {offset}")?,
            Self::Held { id, deliver_at, .. } => write!(f, "held as {id} until {deliver_at}")?,
        }
        f.write_str(if self.is_duplicate() { " (was there already)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_are_told_apart_in_json() {
        let appended = Placed::Appended { offset: Offset(3), duplicate: false };
        let held = Placed::Held { id: HeldId(7), deliver_at: Timestamp(1_763_892_000_250), duplicate: true };
        for (placed, text) in [
            (appended, r#"{"offset":3,"duplicate":false}"#),
            (held, r#"{"held":7,"deliver_at":"2025-11-23T10:00:00.250Z","duplicate":true}"#),
        ] {
            assert_eq!(serde_json::to_string(&placed).unwrap(), text);
            assert_eq!(serde_json::from_str::<Placed>(text).unwrap(), placed);
        }
        assert_eq!(
            (appended.offset(), appended.held(), appended.is_duplicate()),
            (Some(Offset(3)), None, false)
        );
        assert_eq!((held.offset(), held.held(), held.is_duplicate()), (None, Some(HeldId(7)), true));
        assert_eq!(appended.to_string(), "at offset 3");
        assert_eq!(held.to_string(), "held as 7 until 2025-11-23T10:00:00.250Z (was there already)");
    }
}
