//! A time zone: what its clocks show at a moment, and which moment a reading of its clocks is.

use eventail_wire::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// How many changes of a zone's clocks are looked at to find the one that skipped a reading: it is the first, unless a zone
/// changed its name on the same day.
const CHANGES_LOOKED_AT: usize = 4;

/// A time zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A name that no time zone has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}")]
pub struct UnknownZone {
    /// What was written.
    pub name: String,
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of this name: as the system knows it, or else as it was when this program was built.
    ///
    /// # Errors
    /// Where neither knows it.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone { name: name.to_owned() };
        // A place on the disk is no name.
        if name.is_empty() || name.starts_with(['/', '.']) {
            return Err(unknown());
        }
        TimeZone::get(name).map(Self).map_err(|_| unknown())
    }

    /// The names that there are.
    #[must_use]
    pub fn names() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// A moment as the zone's clocks show it, with their distance from UTC: `2026-11-23T10:00:00+01:00`.
    #[must_use]
    pub fn show(&self, moment: Timestamp) -> String {
        match timestamp(moment) {
            Some(timestamp) => {
                let zoned = timestamp.to_zoned(self.0.clone());
                zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            None => moment.to_string(),
        }
    }

    /// What the clocks show.
    pub(super) fn reading(&self, moment: Timestamp) -> Option<DateTime> {
        timestamp(moment).map(|moment| self.0.to_datetime(moment))
    }

    /// The moment when the clocks show this; the first where they show it twice, and the end of the gap where they never do.
    /// Later readings are never earlier moments. `None` before 1970.
    pub(super) fn moment(&self, reading: DateTime) -> Option<Timestamp> {
        let moment = match self.0.to_ambiguous_timestamp(reading).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(reading).ok()?
            }
            AmbiguousOffset::Gap { after, .. } => {
                // Read with the offset after the change, a skipped reading lies before the change.
                let before_change = after.to_timestamp(reading).ok()?;
                let mut changes = self.0.following(before_change).take(CHANGES_LOOKED_AT);
                changes.find(|change| change.offset() == after)?.timestamp()
            }
        };
        u64::try_from(moment.as_millisecond()).ok().map(Timestamp)
    }
}

fn timestamp(moment: Timestamp) -> Option<jiff::Timestamp> {
    i64::try_from(moment.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
}
