//! Why an expression is no schedule: where, what, and what would be valid.

use std::fmt;

/// An expression that is refused. Prints as ``column 8: hours cannot be 25: they are 0 to 23``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct ScheduleError {
    /// The column in the expression, in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: ScheduleProblem,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleProblem {
    /// It is none of the three forms.
    #[error("a schedule is written `cron(...)`, `rate(...)` or `at(...)`")]
    Form,
    /// A cron with more or fewer fields.
    #[error(
        "`cron` has six fields (minutes, hours, day of month, month, day of week, year), and this has {found}"
    )]
    Fields {
        /// How many it has.
        found: usize,
    },
    /// Something that a field does not take.
    #[error("{field} cannot be {found:?}: {}", field.valid())]
    Item {
        /// Which field.
        field: Field,
        /// What was written.
        found: String,
    },
    /// A number that lies outside of a field.
    #[error("{field} cannot be {found}: {}", field.valid())]
    Range {
        /// Which field.
        field: Field,
        /// What was written.
        found: String,
    },
    /// A range of days or years whose end lies before its start.
    #[error("{field}: the range {found} ends before it begins; write the smaller number first")]
    Backwards {
        /// Which field.
        field: Field,
        /// What was written.
        found: String,
    },
    /// A step that is none.
    #[error("{field}: the step {found:?} is none: it may be 1 to {most}")]
    Step {
        /// Which field.
        field: Field,
        /// What was written.
        found: String,
        /// The largest one.
        most: u16,
    },
    /// Something in a list that has to be the whole field.
    #[error("{field}: {found:?} must stand alone, without a list around it")]
    NotAlone {
        /// Which field.
        field: Field,
        /// What was written.
        found: String,
    },
    /// Both fields of days say something.
    #[error("day of month and day of week cannot both be given: write `?` for the one that does not matter")]
    TwoDays,
    /// Neither of the fields of days says anything.
    #[error("day of month and day of week cannot both be `?`: write `*` for one of them to mean every day")]
    NoDays,
    /// No day of the calendar fits.
    #[error("this never comes: no day of the years 1970 to 2199 is like that")]
    Never,
    /// A rate that is not a number and a unit.
    #[error("a rate is a number and a unit, such as `rate(5 minutes)`")]
    Rate,
    /// A number of a rate that is none or too large.
    #[error("the number of a rate is 1 to {most} for {unit}, and this is {found:?}")]
    RateValue {
        /// What was written.
        found: String,
        /// The unit.
        unit: &'static str,
        /// The largest one.
        most: u64,
    },
    /// A unit in the wrong number.
    #[error("write `{expected}`: the unit is singular with 1, and plural with everything else")]
    RateUnit {
        /// How it is right.
        expected: String,
    },
    /// A moment that is none.
    #[error("a moment is written `at(yyyy-mm-ddThh:mm:ss)`, such as `at(2027-01-31T08:30:00)`")]
    At,
    /// A moment that no calendar has, or beyond the years that a schedule knows.
    #[error("there is no such moment in the years 1970 to 2199")]
    AtCalendar,
}

/// A field of `cron`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Day of month.
    DayOfMonth,
    /// Month.
    Month,
    /// Day of week.
    DayOfWeek,
    /// Year.
    Year,
}

impl Field {
    /// All of them in their order.
    pub const ALL: [Self; 6] =
        [Self::Minutes, Self::Hours, Self::DayOfMonth, Self::Month, Self::DayOfWeek, Self::Year];

    /// What the field takes.
    #[must_use]
    pub const fn valid(self) -> &'static str {
        match self {
            Self::Minutes => "minutes are 0 to 59, with `,` `-` `*` `/`",
            Self::Hours => "hours are 0 to 23, with `,` `-` `*` `/`",
            Self::DayOfMonth => {
                "days of a month are 1 to 31, with `,` `-` `*` `/` `?`, `L` (the last), `LW` (the last weekday) and `15W` (the weekday nearest to the 15th)"
            }
            Self::Month => "months are 1 to 12 or JAN to DEC, with `,` `-` `*` `/`",
            Self::DayOfWeek => {
                "days of a week are 1 to 7 or SUN to SAT, with `,` `-` `*` `/` `?`, `L` (Saturday), `5L` (the last Thursday of the month) and `3#2` (the second Tuesday)"
            }
            Self::Year => "years are 1970 to 2199, with `,` `-` `*` `/`",
        }
    }

    /// The least and the most that a number in it may be.
    pub(super) const fn bounds(self) -> (u16, u16) {
        match self {
            Self::Minutes => (0, 59),
            Self::Hours => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (1, 7),
            Self::Year => (super::FIRST_YEAR, super::LAST_YEAR),
        }
    }

    /// The names that stand for its numbers, from the least on.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => {
                &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
            }
            Self::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
            _ => &[],
        }
    }

    /// Whether a range may go over the end of the field: `22-2` are the hours of a night.
    pub(super) const fn wraps(self) -> bool {
        matches!(self, Self::Minutes | Self::Hours | Self::Month | Self::DayOfWeek)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}
