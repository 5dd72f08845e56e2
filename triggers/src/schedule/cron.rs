//! `cron(minutes hours day-of-month month day-of-week year)`: which minutes of the calendar are meant, whatever the time zone.

use jiff::civil::{Date, DateTime};

use super::days::Days;
use super::error::{Field, ScheduleError, ScheduleProblem};
use super::field::{Numbers, Piece, numbers};
use super::{FIRST_YEAR, LAST_YEAR};

/// The minutes that an expression means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Numbers,
    hours: Numbers,
    days: Days,
    months: Numbers,
    /// Counted from the first year.
    years: Numbers,
}

impl Cron {
    /// Reads what stands between the brackets.
    pub(super) fn read(inner: Piece<'_>) -> Result<Self, ScheduleError> {
        let fields: Vec<_> = inner.split(' ').filter(|piece| !piece.text.is_empty()).collect();
        let &[minutes, hours, day_of_month, month, day_of_week, year] = fields.as_slice() else {
            return Err(inner.refuse(ScheduleProblem::Fields { found: fields.len() }));
        };
        let cron = Self {
            minutes: numbers(Field::Minutes, minutes)?,
            hours: numbers(Field::Hours, hours)?,
            days: Days::read(day_of_month, day_of_week)?,
            months: numbers(Field::Month, month)?,
            years: numbers(Field::Year, year)?,
        };
        let begin = Date::constant(FIRST_YEAR as i16, 1, 1).at(0, 0, 0, 0);
        match cron.next_from(begin) {
            Some(_) => Ok(cron),
            None => Err(inner.refuse(ScheduleProblem::Never)),
        }
    }

    /// The first minute that is meant, not before the minute of `from`. It looks at each month up to the last year at most
    /// once.
    pub(super) fn next_from(&self, from: DateTime) -> Option<DateTime> {
        let (mut month_from, mut day_from) = (from.month().unsigned_abs(), from.day().unsigned_abs());
        let mut time_from = (from.hour().unsigned_abs(), from.minute().unsigned_abs());
        let mut year = u16::try_from(from.year()).ok()?;
        if year < FIRST_YEAR {
            (year, month_from, day_from, time_from) = (FIRST_YEAR, 1, 1, (0, 0));
        }
        while year <= LAST_YEAR {
            let meant = self.years.next(year - FIRST_YEAR)? + FIRST_YEAR;
            if meant != year {
                (year, month_from, day_from, time_from) = (meant, 1, 1, (0, 0));
            }
            while let Some(month) = self.months.next(u16::from(month_from)) {
                let month = u8::try_from(month).ok()?;
                if month != month_from {
                    (day_from, time_from) = (1, (0, 0));
                }
                let calendar = (i16::try_from(year).ok()?, i8::try_from(month).ok()?);
                let days = self.days.of(calendar.0, calendar.1);
                let first = days & (u32::MAX << day_from);
                if let Some((day, (hour, minute))) = self.day_and_time(first, day_from, time_from) {
                    let date = Date::new(calendar.0, calendar.1, i8::try_from(day).ok()?).ok()?;
                    return Some(date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0));
                }
                (month_from, day_from, time_from) = (month + 1, 1, (0, 0));
            }
            (year, month_from, day_from, time_from) = (year + 1, 1, 1, (0, 0));
        }
        None
    }

    /// The first of these days, and the first time on it; on the day `from` not before `time`.
    fn day_and_time(&self, days: u32, from: u8, time: (u8, u8)) -> Option<(u8, (u8, u8))> {
        let first_of = |days: u32| (days != 0).then(|| days.trailing_zeros() as u8);
        let day = first_of(days)?;
        if day > from {
            return Some((day, self.time(0, 0)?));
        }
        match self.time(time.0, time.1) {
            Some(time) => Some((day, time)),
            None => Some((first_of(days & (days - 1))?, self.time(0, 0)?)),
        }
    }

    /// The first time of a day, not before this one.
    fn time(&self, hour: u8, minute: u8) -> Option<(u8, u8)> {
        let first = self.hours.next(u16::from(hour))? as u8;
        if first == hour
            && let Some(minute) = self.minutes.next(u16::from(minute))
        {
            return Some((first, minute as u8));
        }
        let next = if first == hour { self.hours.next(u16::from(hour) + 1)? as u8 } else { first };
        Some((next, self.minutes.next(0)? as u8))
    }
}
