//! The three forms of an expression, and the runs that come of them.

use std::fmt;
use std::str::FromStr;

use eventail_wire::Timestamp;
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

use super::cron::Cron;
use super::error::{ScheduleError, ScheduleProblem};
use super::field::Piece;
use super::zone::Zone;
use super::{FIRST_YEAR, LAST_YEAR};

const MINUTE_MS: u64 = 60_000;
/// The longest rate: a hundred years.
const RATE_DAYS_MOST: u64 = 36_500;

/// `cron(...)`, `rate(...)` or `at(...)`, checked. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cron(Cron),
    Rate { every_ms: u64 },
    At(DateTime),
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expression {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let refuse = || ScheduleError { column: 1, problem: ScheduleProblem::Form };
        let (form, inner) =
            text.strip_suffix(')').and_then(|open| open.split_once('(')).ok_or_else(refuse)?;
        let inner = Piece { text: inner, column: form.chars().count() + 2 };
        let kind = match form {
            "cron" => Kind::Cron(Cron::read(inner)?),
            "rate" => Kind::Rate { every_ms: read_rate(inner)? },
            "at" => Kind::At(read_at(inner)?),
            _ => return Err(refuse()),
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl Expression {
    /// Whether it is `at(...)`, which comes once.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        matches!(self.kind, Kind::At(_))
    }

    /// Whether it is `rate(...)`, which counts from a start.
    #[must_use]
    pub const fn is_rate(&self) -> bool {
        matches!(self.kind, Kind::Rate { .. })
    }
}

fn read_rate(inner: Piece<'_>) -> Result<u64, ScheduleError> {
    let words: Vec<_> = inner.split(' ').filter(|piece| !piece.text.is_empty()).collect();
    let &[number, unit] = words.as_slice() else { return Err(inner.refuse(ScheduleProblem::Rate)) };
    let (singular, plural, unit_ms) = match unit.text {
        "minute" | "minutes" => ("minute", "minutes", MINUTE_MS),
        "hour" | "hours" => ("hour", "hours", 60 * MINUTE_MS),
        "day" | "days" => ("day", "days", 24 * 60 * MINUTE_MS),
        _ => return Err(unit.refuse(ScheduleProblem::Rate)),
    };
    let most = RATE_DAYS_MOST * 24 * 60 * MINUTE_MS / unit_ms;
    let is_number = number.text.bytes().all(|byte| byte.is_ascii_digit());
    let value = match number.text.parse::<u64>() {
        Ok(value) if is_number && (1..=most).contains(&value) => value,
        _ => {
            let found = number.text.to_owned();
            return Err(number.refuse(ScheduleProblem::RateValue { found, unit: plural, most }));
        }
    };
    let right = if value == 1 { singular } else { plural };
    if unit.text != right {
        return Err(unit.refuse(ScheduleProblem::RateUnit { expected: format!("rate({value} {right})") }));
    }
    Ok(value * unit_ms)
}

fn read_at(inner: Piece<'_>) -> Result<DateTime, ScheduleError> {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, wanted): (u8, &u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    if inner.text.len() != shape.len() || !inner.text.bytes().zip(shape).all(fits) {
        return Err(inner.refuse(ScheduleProblem::At));
    }
    // jiff takes a leap second for the second before it, and a schedule has no use for one.
    let moment = inner.text.parse::<DateTime>().ok().filter(|_| !inner.text.ends_with("60"));
    let years = i32::from(FIRST_YEAR)..=i32::from(LAST_YEAR);
    moment
        .filter(|moment| years.contains(&i32::from(moment.year())))
        .ok_or_else(|| inner.refuse(ScheduleProblem::AtCalendar))
}

/// An expression in its time zone, between a start and an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// When it comes.
    pub expression: Expression,
    /// By whose clocks.
    pub zone: Zone,
    /// No run goes before; `rate` counts from here, and runs here first.
    pub start: Option<Timestamp>,
    /// No run goes at or after this moment.
    pub end: Option<Timestamp>,
}

impl Timetable {
    /// An expression by UTC, without a start and an end.
    #[must_use]
    pub fn new(expression: Expression) -> Self {
        Self { expression, zone: Zone::default(), start: None, end: None }
    }

    /// What makes it the timetable that it is: two with the same runs may differ in it, two with different runs always do.
    #[must_use]
    pub fn definition(&self) -> String {
        let bound = |bound: Option<Timestamp>| bound.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!("{} {} {} {}", self.expression, self.zone.name(), bound(self.start), bound(self.end))
    }

    /// The first run after a moment; `None` where there is none any more. `created` is what a `rate` counts from that has no
    /// start: its first run comes one interval later.
    #[must_use]
    pub fn next_after(&self, created: Timestamp, after: Timestamp) -> Option<Timestamp> {
        // The start itself is still within.
        let after = match self.start {
            Some(Timestamp(0)) | None => after,
            Some(Timestamp(start)) => after.max(Timestamp(start - 1)),
        };
        let next = match &self.expression.kind {
            Kind::Cron(cron) => self.next_of_cron(cron, after)?,
            Kind::Rate { every_ms } => self.next_of_rate(*every_ms, created, after)?,
            Kind::At(reading) => self.zone.moment(*reading).filter(|moment| *moment > after)?,
        };
        self.end.is_none_or(|end| next < end).then_some(next)
    }

    /// The runs after a moment, one after the other.
    pub fn runs_after(&self, created: Timestamp, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(created, after), move |last| self.next_after(created, *last))
    }

    /// Readings up to the one at `after` are not later than it. Behind them some may still be, where the clocks repeat: as many as the
    /// clocks were put back by, so this ends soon.
    fn next_of_cron(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let mut from = self.zone.reading(after)?;
        loop {
            from = to_minute(from).checked_add(1.minute()).ok()?;
            let reading = cron.next_from(from)?;
            match self.zone.moment(reading) {
                Some(moment) if moment > after => return Some(moment),
                _ => from = reading,
            }
        }
    }

    fn next_of_rate(&self, every_ms: u64, created: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let first = match self.start {
            Some(start) => start.0,
            None => created.0.checked_add(every_ms)?,
        };
        if after.0 < first {
            return Some(Timestamp(first));
        }
        let passed = (after.0 - first) / every_ms + 1;
        first.checked_add(passed.checked_mul(every_ms)?).map(Timestamp)
    }
}

/// The minute that a reading lies in.
fn to_minute(reading: DateTime) -> DateTime {
    let date: Date = reading.date();
    date.at(reading.hour(), reading.minute(), 0, 0)
}
