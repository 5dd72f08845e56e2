//! The search held against a slow and obvious one, which walks along the minutes and reads the expression at each.

use eventail_wire::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use proptest::prelude::*;

use super::timetable;

/// How far the model walks: over the change of the clocks and some days more.
const MINUTES_WALKED: i64 = 4 * 24 * 60;

/// Zones with changes of an hour, of half an hour, at midnight, at odd minutes, twice a year around Ramadan, and none.
const ZONES: &[&str] = &[
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Gaza",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
];

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

fn number(text: &str, names: &[&str], least: i64) -> i64 {
    match names.iter().position(|name| *name == text) {
        Some(at) => at as i64 + least,
        None => text.parse().unwrap(),
    }
}

/// Whether a field of numbers has this one.
fn has(field: &str, names: &[&str], least: i64, most: i64, wanted: i64) -> bool {
    field.split(',').any(|item| {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((first, last))) => (number(first, names, least), number(last, names, least)),
            (single, None) => {
                let first = number(single, names, least);
                (first, if step.is_some() { most } else { first })
            }
        };
        let step: i64 = step.map_or(1, |step| step.parse().unwrap());
        let mut at = first;
        loop {
            if at == wanted {
                return true;
            }
            for _ in 0..step {
                if at == last {
                    return false;
                }
                at = if at == most { least } else { at + 1 };
            }
        }
    })
}

fn weekday(date: Date) -> i64 {
    i64::from(date.weekday().to_sunday_zero_offset()) + 1
}

fn is_working_day(date: Date) -> bool {
    (2..=6).contains(&weekday(date))
}

fn has_day_of_month(field: &str, date: Date) -> bool {
    let last = date.last_of_month();
    field.split(',').any(|item| match item {
        "L" => date == last,
        "LW" => {
            (0..7).map(|back| last.checked_sub(back.days()).unwrap()).find(|day| is_working_day(*day))
                == Some(date)
        }
        _ => match item.strip_suffix('W') {
            Some(day) => {
                let Ok(wanted) = Date::new(date.year(), date.month(), day.parse().unwrap()) else {
                    return false;
                };
                // The nearest in the month: the day itself, then one off, then two.
                let near = [0, -1, 1, -2, 2].map(|off: i64| wanted.checked_add(off.days()).unwrap());
                let is_ours = |day: &Date| day.month() == date.month() && is_working_day(*day);
                near.into_iter().find(is_ours) == Some(date)
            }
            None => has(item, &[], 1, 31, i64::from(date.day())),
        },
    })
}

fn has_day_of_week(field: &str, date: Date) -> bool {
    let ours = weekday(date);
    field.split(',').any(|item| {
        if let Some((day, nth)) = item.split_once('#') {
            return number(day, WEEKDAYS, 1) == ours
                && (i64::from(date.day()) - 1) / 7 + 1 == nth.parse::<i64>().unwrap();
        }
        match item.strip_suffix('L') {
            Some("") => ours == 7,
            Some(day) => {
                number(day, WEEKDAYS, 1) == ours
                    && date.checked_add(7.days()).unwrap().month() != date.month()
            }
            None => has(item, WEEKDAYS, 1, 7, ours),
        }
    })
}

fn is_meant(cron: &str, reading: DateTime) -> bool {
    let inner = cron.strip_prefix("cron(").unwrap().strip_suffix(')').unwrap();
    let [minutes, hours, of_month, months, of_week, years] = inner.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{cron}")
    };
    has(minutes, &[], 0, 59, i64::from(reading.minute()))
        && has(hours, &[], 0, 23, i64::from(reading.hour()))
        && has(months, MONTHS, 1, 12, i64::from(reading.month()))
        && has(years, &[], 1970, 2199, i64::from(reading.year()))
        && (of_month == "?" || has_day_of_month(of_month, reading.date()))
        && (of_week == "?" || has_day_of_week(of_week, reading.date()))
}

/// The first run after a whole minute, within the walk.
fn walk(cron: &str, zone: &TimeZone, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
    let reading = |minute: i64| zone.to_datetime(after + SignedDuration::from_mins(minute));
    // What the clocks have shown for a day before: a second showing is no run.
    let mut shown: std::collections::HashSet<DateTime> = (-24 * 60..=0).map(reading).collect();
    for minute in 1..MINUTES_WALKED {
        let (before, now) = (reading(minute - 1), reading(minute));
        let mut skipped = before.checked_add(1.minute()).unwrap();
        let mut runs = shown.insert(now) && is_meant(cron, now);
        while skipped < now {
            runs |= is_meant(cron, skipped);
            skipped = skipped.checked_add(1.minute()).unwrap();
        }
        if runs {
            return Some(after + SignedDuration::from_mins(minute));
        }
    }
    None
}

fn item(least: u16, most: u16, wraps: bool) -> impl Strategy<Value = String> {
    let numbers = least..=most;
    let step = 1..=(most - least + 1).min(40);
    prop_oneof![
        2 => Just("*".to_owned()),
        4 => numbers.clone().prop_map(|number| number.to_string()),
        2 => (numbers.clone(), numbers.clone()).prop_map(move |(a, b)| {
            let (a, b) = if wraps { (a, b) } else { (a.min(b), a.max(b)) };
            format!("{a}-{b}")
        }),
        2 => (numbers, step.clone()).prop_map(|(number, step)| format!("{number}/{step}")),
        1 => step.prop_map(|step| format!("*/{step}")),
    ]
}

fn list(least: u16, most: u16, wraps: bool) -> impl Strategy<Value = String> {
    proptest::collection::vec(item(least, most, wraps), 1..3).prop_map(|items| items.join(","))
}

fn days() -> impl Strategy<Value = (String, String)> {
    let of_month = prop_oneof![
        4 => list(1, 31, false),
        1 => Just("L".to_owned()),
        1 => Just("LW".to_owned()),
        2 => (1..=31_u8).prop_map(|day| format!("{day}W")),
        1 => (1..=31_u8).prop_map(|day| format!("L,{day}W,{day}")),
    ];
    let name = proptest::sample::select(WEEKDAYS);
    let of_week = prop_oneof![
        4 => list(1, 7, true),
        1 => Just("L".to_owned()),
        1 => (1..=7_u8).prop_map(|day| format!("{day}L")),
        1 => (1..=7_u8, 1..=5_u8).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => (name.clone(), name).prop_map(|(a, b)| format!("{a}-{b}")),
    ];
    prop_oneof![
        of_month.prop_map(|days| (days, "?".to_owned())),
        of_week.prop_map(|days| ("?".to_owned(), days))
    ]
}

fn crons() -> impl Strategy<Value = String> {
    // Most stay wide, so that something comes within the walk.
    let months = prop_oneof![4 => Just("*".to_owned()), 1 => list(1, 12, true)];
    let years = prop_oneof![4 => Just("*".to_owned()), 1 => list(1990, 2060, false)];
    let hours = prop_oneof![3 => list(0, 23, true), 2 => list(0, 3, true)];
    (list(0, 59, true), hours, days(), months, years).prop_map(
        |(minutes, hours, (of_month, of_week), months, years)| {
            format!("cron({minutes} {hours} {of_month} {months} {of_week} {years})")
        },
    )
}

/// A whole minute around a change of the zone's clocks, if they change.
fn around_a_change(zone: &TimeZone, year: i16, offset_minutes: i64) -> jiff::Timestamp {
    let begin = Date::new(year, 1, 1).unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    let change = zone.following(begin).next().map_or(begin, |change| change.timestamp());
    let seconds = change.as_second() - change.as_second().rem_euclid(60) + offset_minutes * 60;
    jiff::Timestamp::from_second(seconds).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_walking_finds(
        cron in crons(),
        zone in proptest::sample::select(ZONES),
        year in 1995_i16..2045,
        offset_minutes in -3_000_i64..300,
    ) {
        // Some of them never come, and are refused.
        prop_assume!(cron.parse::<super::super::Expression>().is_ok());
        let time_zone = TimeZone::get(zone).unwrap();
        let mut after = around_a_change(&time_zone, year, offset_minutes);
        let table = timetable(&cron, zone);
        for _ in 0..6 {
            let found = table.next_after(Timestamp(0), Timestamp(after.as_millisecond() as u64));
            match walk(&cron, &time_zone, after) {
                Some(walked) => {
                    prop_assert_eq!(found, Some(Timestamp(walked.as_millisecond() as u64)), "{} in {} after {}", cron, zone, after);
                    after = walked;
                }
                None => {
                    let horizon = (after.as_second() + (MINUTES_WALKED - 1) * 60) as u64 * 1000;
                    prop_assert!(found.is_none_or(|found| found.0 > horizon), "{} in {} after {}: {:?}", cron, zone, after, found);
                    break;
                }
            }
        }
    }
}
