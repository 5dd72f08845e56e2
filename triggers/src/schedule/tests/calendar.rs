//! Which days and times an expression means, by UTC.

use super::{shown, timetable, utc};
use crate::schedule::{Timetable, Zone};

/// Holds the runs after a moment against days and times such as `2026-11-23T10:00`.
fn check(expression: &str, after: &str, expected: &[&str]) {
    let found = shown(&timetable(expression, "UTC"), utc(after), expected.len());
    let expected: Vec<_> = expected.iter().map(|run| format!("{run}:00+00:00")).collect();
    assert_eq!(found, expected, "{expression} after {after}");
}

#[test]
fn plain_times_come_every_day() {
    check("cron(0 10 * * ? *)", "2026-11-23T10:00:00", &["2026-11-24T10:00", "2026-11-25T10:00"]);
    check("cron(0 10 ? * * *)", "2026-11-23T09:59:59.999", &["2026-11-23T10:00", "2026-11-24T10:00"]);
    check("cron( 0  10 * * ?  * )", "2026-12-31T23:00:00", &["2027-01-01T10:00"]);
}

#[test]
fn lists_ranges_and_steps_are_taken_apart() {
    check("cron(0/20 8 * * ? *)", "2026-11-23T08:20:00", &["2026-11-23T08:40", "2026-11-24T08:00"]);
    check("cron(*/25 8 * * ? *)", "2026-11-23T08:20:00", &["2026-11-23T08:25", "2026-11-23T08:50"]);
    check(
        "cron(5-20/10,50 8 * * ? *)",
        "2026-11-23T00:00:00",
        &["2026-11-23T08:05", "2026-11-23T08:15", "2026-11-23T08:50"],
    );
    check(
        "cron(59 22-1 * * ? *)",
        "2026-11-23T20:00:00",
        &["2026-11-23T22:59", "2026-11-23T23:59", "2026-11-24T00:59", "2026-11-24T01:59", "2026-11-24T22:59"],
    );
    check("cron(0 0 1 nov-FEB/2 ? *)", "2026-02-01T00:00:00", &["2026-11-01T00:00", "2027-01-01T00:00"]);
    check("cron(0 0 1 1 ? 2027/3)", "2026-01-01T00:00:00", &["2027-01-01T00:00", "2030-01-01T00:00"]);
    check("cron(0 18 ? * MON-FRI *)", "2026-11-27T18:00:00", &["2026-11-30T18:00"]);
    check(
        "cron(0 18 ? * fri-mon *)",
        "2026-11-26T00:00:00",
        &["2026-11-27T18:00", "2026-11-28T18:00", "2026-11-29T18:00", "2026-11-30T18:00", "2026-12-04T18:00"],
    );
    check("cron(0 18 ? * 2,4 *)", "2026-11-23T18:00:00", &["2026-11-25T18:00", "2026-11-30T18:00"]);
}

#[test]
fn the_last_day_is_the_months_own() {
    check(
        "cron(0 0 L * ? *)",
        "2027-12-31T12:00:00",
        &["2028-01-31T00:00", "2028-02-29T00:00", "2028-03-31T00:00", "2028-04-30T00:00"],
    );
    check(
        "cron(0 0 L 2 ? *)",
        "2097-01-01T00:00:00",
        &["2097-02-28T00:00", "2098-02-28T00:00", "2099-02-28T00:00", "2100-02-28T00:00"],
    );
    check("cron(0 0 1,L 4 ? *)", "2026-01-01T00:00:00", &["2026-04-01T00:00", "2026-04-30T00:00"]);
}

#[test]
fn leap_days_come_in_leap_years_alone() {
    check("cron(0 0 29 2 ? *)", "2026-01-01T00:00:00", &["2028-02-29T00:00", "2032-02-29T00:00"]);
    // 2100 is none.
    check("cron(0 0 29 2 ? *)", "2096-02-29T00:00:00", &["2104-02-29T00:00"]);
    check("cron(0 0 31 * ? *)", "2026-03-31T00:00:00", &["2026-05-31T00:00", "2026-07-31T00:00"]);
}

#[test]
fn the_nearest_weekday_stays_within_its_month() {
    // 2026-08-01 is a Saturday, 2026-03-01 a Sunday, 2026-05-31 a Sunday, 2026-10-31 a Saturday.
    check("cron(0 0 1W 8 ? *)", "2026-01-01T00:00:00", &["2026-08-03T00:00"]);
    check("cron(0 0 1W 3 ? *)", "2026-01-01T00:00:00", &["2026-03-02T00:00"]);
    check("cron(0 0 31W 5 ? *)", "2026-01-01T00:00:00", &["2026-05-29T00:00"]);
    check("cron(0 0 31W 10 ? *)", "2026-01-01T00:00:00", &["2026-10-30T00:00"]);
    check(
        "cron(0 0 3W * ? *)",
        "2026-10-01T00:00:00",
        &["2026-10-02T00:00", "2026-11-03T00:00", "2026-12-03T00:00", "2027-01-04T00:00"],
    );
    // April has no 31st, so it has no weekday near to it.
    check("cron(0 0 31w * ? *)", "2026-04-01T00:00:00", &["2026-05-29T00:00", "2026-07-31T00:00"]);
    check("cron(0 0 1W,15W 8 ? *)", "2026-01-01T00:00:00", &["2026-08-03T00:00", "2026-08-14T00:00"]);
}

#[test]
fn the_last_weekday_is_monday_to_friday() {
    check(
        "cron(0 0 LW * ? *)",
        "2026-01-01T00:00:00",
        &["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00", "2026-04-30T00:00", "2026-05-29T00:00"],
    );
}

#[test]
fn the_nth_day_of_a_week_is_counted_in_the_month() {
    check("cron(0 0 ? * 3#2 *)", "2026-11-01T00:00:00", &["2026-11-10T00:00", "2026-12-08T00:00"]);
    check("cron(0 0 ? * FRI#2 *)", "2026-11-01T00:00:00", &["2026-11-13T00:00", "2026-12-11T00:00"]);
    check("cron(0 0 ? * 6#3 *)", "2026-11-01T00:00:00", &["2026-11-20T00:00", "2026-12-18T00:00"]);
    // Months with a fifth Sunday.
    check(
        "cron(0 0 ? * 1#5 *)",
        "2026-11-01T00:00:00",
        &["2026-11-29T00:00", "2027-01-31T00:00", "2027-05-30T00:00"],
    );
}

#[test]
fn a_last_day_of_a_week_is_the_months_last_and_a_bare_one_is_saturday() {
    check("cron(0 0 ? * 5L *)", "2026-11-01T00:00:00", &["2026-11-26T00:00", "2026-12-31T00:00"]);
    check("cron(0 0 ? * FRIL *)", "2026-11-01T00:00:00", &["2026-11-27T00:00", "2026-12-25T00:00"]);
    check("cron(0 0 ? * L *)", "2026-11-23T00:00:00", &["2026-11-28T00:00", "2026-12-05T00:00"]);
    check(
        "cron(0 0 ? 11 2,6L *)",
        "2026-11-17T00:00:00",
        &["2026-11-23T00:00", "2026-11-27T00:00", "2026-11-30T00:00", "2027-11-01T00:00"],
    );
}

#[test]
fn years_end() {
    check("cron(0 0 1 1 ? 2199)", "2026-01-01T00:00:00", &["2199-01-01T00:00"]);
    let table = timetable("cron(0 0 1 1 ? 2026-2028)", "UTC");
    assert_eq!(shown(&table, utc("2026-06-01T00:00:00"), 9).len(), 2);
    let table = timetable("cron(59 23 31 12 ? *)", "UTC");
    assert_eq!(table.next_after(utc("1970-01-01T00:00:00"), utc("2199-12-31T23:59:00")), None);
    let table = timetable("cron(0 0 1 1 ? 1970)", "Asia/Tokyo");
    assert_eq!(table.next_after(utc("1970-01-01T00:00:00"), utc("1970-01-01T00:00:00")), None);
    let far = timetable("cron(* * * * ? *)", "Asia/Tokyo");
    assert_eq!(far.next_after(utc("1970-01-01T00:00:00"), eventail_wire::Timestamp::MAX), None);
}

#[test]
fn a_rate_counts_from_its_creation_or_its_start() {
    let created = utc("2026-11-23T10:00:17");
    let rate = timetable("rate(5 minutes)", "UTC");
    let runs: Vec<_> = rate.runs_after(created, created).take(2).collect();
    assert_eq!(runs, [utc("2026-11-23T10:05:17"), utc("2026-11-23T10:10:17")]);
    assert_eq!(rate.next_after(created, utc("2026-11-23T12:00:00")), Some(utc("2026-11-23T12:00:17")));
    let with_start = Timetable { start: Some(utc("2026-11-23T12:00:30")), ..rate };
    let runs: Vec<_> = with_start.runs_after(created, created).take(2).collect();
    assert_eq!(runs, [utc("2026-11-23T12:00:30"), utc("2026-11-23T12:05:30")]);
    let day = timetable("rate(1 day)", "Europe/Paris");
    let created = utc("2026-10-24T12:00:00");
    // The clocks change in between, and a rate does not see that.
    assert_eq!(shown(&Timetable { start: Some(created), ..day }, created, 2)[0], "2026-10-25T13:00:00+01:00");
}

#[test]
fn a_moment_comes_once_by_the_clocks_of_its_zone() {
    let at = timetable("at(2026-11-23T10:00:30)", "America/New_York");
    assert_eq!(shown(&at, utc("2026-01-01T00:00:00"), 5), ["2026-11-23T10:00:30-05:00"]);
    assert_eq!(shown(&at, utc("2026-11-23T15:00:30"), 5), [""; 0]);
}

#[test]
fn the_start_is_within_and_the_end_is_not() {
    let table = Timetable {
        start: Some(utc("2026-11-23T10:00:00")),
        end: Some(utc("2026-11-23T12:00:00")),
        ..timetable("cron(0 * * * ? *)", "UTC")
    };
    let runs = shown(&table, utc("2020-01-01T00:00:00"), 9);
    assert_eq!(runs, ["2026-11-23T10:00:00+00:00", "2026-11-23T11:00:00+00:00"]);
}

#[test]
fn a_zone_is_known_by_its_name() {
    assert_eq!(Zone::named("europe/paris").unwrap().name(), "Europe/Paris");
    assert_eq!(Zone::default().name(), "UTC");
    for name in ["", "Europe/Atlantis", "../etc/passwd", "/etc/localtime"] {
        assert_eq!(Zone::named(name).unwrap_err().name, name);
    }
    assert!(Zone::names().iter().any(|name| name == "Australia/Lord_Howe"));
}
