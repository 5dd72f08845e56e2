//! Schedules against tables of dates that were looked up, against a slow model, and through days that go wrong.

mod calendar;
mod clocks;
mod model;
mod refusals;
mod runner;

use eventail_wire::Timestamp;

use super::{Timetable, Zone};

/// A timetable by the clocks of a zone.
fn timetable(expression: &str, zone: &str) -> Timetable {
    Timetable { zone: Zone::named(zone).unwrap(), ..Timetable::new(expression.parse().unwrap()) }
}

/// A moment: RFC 3339 without its `Z`.
fn utc(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("{text}Z")).unwrap()
}

/// The next runs as the zone's clocks show them.
fn shown(timetable: &Timetable, after: Timestamp, count: usize) -> Vec<String> {
    timetable.runs_after(Timestamp(0), after).take(count).map(|run| timetable.zone.show(run)).collect()
}
