//! The days of `cron`: which days of a month it means, by day of month or by day of week.

use jiff::civil::Date;

use super::error::{Field, ScheduleError, ScheduleProblem};
use super::field::{Numbers, Piece, add_item, value};

/// Which days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Days {
    OfMonth(OfMonth),
    OfWeek(OfWeek),
}

/// By day of month. Bit n stands for day n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfMonth {
    days: u32,
    /// The weekday (Monday to Friday) nearest to day n.
    nearest: u32,
    last: bool,
    last_weekday: bool,
}

/// By day of week. Bit 0 stands for Sunday.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfWeek {
    every: u8,
    /// The last ones of the month.
    last: u8,
    /// The nth one of the month, and which day of the week that is.
    nth: Option<(u8, u8)>,
}

impl Days {
    /// Reads both fields, of which exactly one is `?`.
    pub(super) fn read(of_month: Piece<'_>, of_week: Piece<'_>) -> Result<Self, ScheduleError> {
        match (of_month.text == "?", of_week.text == "?") {
            (true, true) => Err(of_week.refuse(ScheduleProblem::NoDays)),
            (false, true) => OfMonth::read(of_month).map(Self::OfMonth),
            (true, false) => OfWeek::read(of_week).map(Self::OfWeek),
            (false, false) => {
                // Something that neither field takes is the nearer cause.
                OfMonth::read(of_month)?;
                OfWeek::read(of_week)?;
                Err(of_week.refuse(ScheduleProblem::TwoDays))
            }
        }
    }

    /// The days of a month that are meant; bit n stands for day n.
    pub(super) fn of(&self, year: i16, month: i8) -> u32 {
        let Ok(first) = Date::new(year, month, 1) else { return 0 };
        let calendar = Calendar {
            length: first.days_in_month().unsigned_abs(),
            first_weekday: first.weekday().to_sunday_zero_offset().unsigned_abs(),
        };
        match self {
            Self::OfMonth(days) => days.of(calendar),
            Self::OfWeek(days) => days.of(calendar),
        }
    }
}

/// What of a month matters.
#[derive(Clone, Copy)]
struct Calendar {
    length: u8,
    /// 0 is Sunday.
    first_weekday: u8,
}

impl Calendar {
    const fn weekday(self, day: u8) -> u8 {
        (self.first_weekday + day - 1) % 7
    }

    /// The weekday nearest to this day, without leaving the month.
    const fn nearest_weekday(self, day: u8) -> u8 {
        match self.weekday(day) {
            0 if day == self.length => day - 2,
            0 => day + 1,
            6 if day == 1 => 3,
            6 => day - 1,
            _ => day,
        }
    }
}

impl OfMonth {
    fn read(whole: Piece<'_>) -> Result<Self, ScheduleError> {
        let mut days = Self::default();
        let mut numbers = Numbers::default();
        for item in whole.split(',') {
            let upper = item.text.to_ascii_uppercase();
            match upper.as_str() {
                "L" => days.last = true,
                "LW" => days.last_weekday = true,
                "?" => return Err(not_alone(Field::DayOfMonth, item)),
                _ => match upper.strip_suffix('W') {
                    Some(_) => {
                        let day = Piece { text: &item.text[..item.text.len() - 1], ..item };
                        let day = value(Field::DayOfMonth, day).map_err(|error| match error.problem {
                            // `1-5W` and `W`: the whole of it is what is wrong.
                            ScheduleProblem::Item { .. } => item.no_item(Field::DayOfMonth),
                            _ => error,
                        })?;
                        days.nearest |= 1 << day;
                    }
                    None => add_item(Field::DayOfMonth, item, &mut numbers)?,
                },
            }
        }
        days.days = numbers.low_bits();
        Ok(days)
    }

    fn of(self, calendar: Calendar) -> u32 {
        let length = calendar.length;
        // A day that a month does not have is none, and it has no nearest weekday either.
        let exist = u32::MAX >> (31 - length) & !1;
        let mut days = self.days & exist;
        for day in (1..=length).filter(|day| self.nearest & (1 << day) != 0) {
            days |= 1 << calendar.nearest_weekday(day);
        }
        if self.last {
            days |= 1 << length;
        }
        if self.last_weekday {
            days |= 1 << calendar.nearest_weekday(length);
        }
        days
    }
}

impl OfWeek {
    fn read(whole: Piece<'_>) -> Result<Self, ScheduleError> {
        let mut days = Self::default();
        let mut numbers = Numbers::default();
        for item in whole.split(',') {
            let field = Field::DayOfWeek;
            if item.text == "?" {
                return Err(not_alone(field, item));
            }
            if let Some((day, nth)) = item.split_once('#') {
                if item.text.len() != whole.text.len() {
                    return Err(not_alone(field, item));
                }
                let day = value(field, day)? - 1;
                let nth = match nth.text.as_bytes() {
                    [nth @ b'1'..=b'5'] => nth - b'0',
                    _ => return Err(item.no_item(field)),
                };
                days.nth = Some((nth, day as u8));
            } else if item.text.eq_ignore_ascii_case("L") {
                days.every |= 1 << 6;
            } else if let Some(day) = item.text.strip_suffix(['L', 'l']) {
                let day = value(field, Piece { text: day, ..item }).map_err(|_| item.no_item(field))?;
                days.last |= 1 << (day - 1);
            } else {
                add_item(field, item, &mut numbers)?;
            }
        }
        days.every |= (numbers.low_bits() >> 1) as u8;
        Ok(days)
    }

    fn of(self, calendar: Calendar) -> u32 {
        let length = calendar.length;
        let is_meant = |day: u8| {
            let weekday = calendar.weekday(day);
            let is_last = day + 7 > length && self.last & (1 << weekday) != 0;
            let is_nth = self.nth == Some(((day - 1) / 7 + 1, weekday));
            is_last || is_nth || self.every & (1 << weekday) != 0
        };
        (1..=length).filter(|&day| is_meant(day)).fold(0, |days, day| days | 1 << day)
    }
}

fn not_alone(field: Field, item: Piece<'_>) -> ScheduleError {
    item.refuse(ScheduleProblem::NotAlone { field, found: item.text.to_owned() })
}
