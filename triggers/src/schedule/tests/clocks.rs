//! Clocks that are put forward and back: skipped and repeated time in zones that do it in different ways.

use super::{shown, timetable, utc};

fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let found = shown(&timetable(expression, zone), utc(after), expected.len());
    assert_eq!(found, expected, "{expression} in {zone} after {after}");
}

#[test]
fn a_run_in_a_skipped_hour_goes_at_the_end_of_the_gap() {
    // Paris, 2026-03-29: 02:00 becomes 03:00.
    check(
        "cron(30 2 * * ? *)",
        "Europe/Paris",
        "2026-03-27T12:00:00",
        &["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
    );
    // New York, 2026-03-08: 02:00 becomes 03:00.
    check(
        "cron(0 2 * * ? *)",
        "America/New_York",
        "2026-03-07T12:00:00",
        &["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"],
    );
    check("at(2026-03-29T02:15:30)", "Europe/Paris", "2026-01-01T00:00:00", &["2026-03-29T03:00:00+02:00"]);
}

#[test]
fn several_runs_in_a_skipped_hour_go_as_one() {
    check(
        "cron(0/20 * * * ? *)",
        "Europe/Paris",
        "2026-03-29T00:30:00",
        &["2026-03-29T01:40:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:20:00+02:00"],
    );
    check(
        "cron(10/20 2 * * ? *)",
        "Europe/Paris",
        "2026-03-29T00:30:00",
        &["2026-03-29T03:00:00+02:00", "2026-03-30T02:10:00+02:00"],
    );
}

#[test]
fn a_run_in_a_repeated_hour_goes_once_at_the_first() {
    // Paris, 2026-10-25: 03:00 becomes 02:00.
    check(
        "cron(30 2 * * ? *)",
        "Europe/Paris",
        "2026-10-24T12:00:00",
        &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
    );
    check(
        "cron(0/30 * * * ? *)",
        "Europe/Paris",
        "2026-10-25T00:00:00",
        &["2026-10-25T02:30:00+02:00", "2026-10-25T03:00:00+01:00"],
    );
    // Asked for in the middle of the second of the two hours.
    check("cron(50 2 * * ? *)", "Europe/Paris", "2026-10-25T01:20:00", &["2026-10-26T02:50:00+01:00"]);
    check("at(2026-10-25T02:15:00)", "Europe/Paris", "2026-01-01T00:00:00", &["2026-10-25T02:15:00+02:00"]);
}

#[test]
fn half_an_hour_is_skipped_and_repeated_on_lord_howe() {
    // 2026-10-04: 02:00 becomes 02:30. 2026-04-05: 02:00 becomes 01:30.
    check(
        "cron(15,45 1,2 * * ? *)",
        "Australia/Lord_Howe",
        "2026-10-03T14:50:00",
        &["2026-10-04T01:45:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00"],
    );
    check(
        "cron(15,45 1,2 * * ? *)",
        "Australia/Lord_Howe",
        "2026-04-04T14:00:00",
        &["2026-04-05T01:15:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-05T02:15:00+10:30"],
    );
}

#[test]
fn midnight_itself_can_be_skipped_and_repeated() {
    // Santiago, 2026-09-06: 00:00 becomes 01:00. 2026-04-05: 00:00 becomes 23:00 of the day before.
    check(
        "cron(0 0 * * ? *)",
        "America/Santiago",
        "2026-09-05T12:00:00",
        &["2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"],
    );
    check(
        "cron(30 23 * * ? *)",
        "America/Santiago",
        "2026-04-04T12:00:00",
        &["2026-04-04T23:30:00-03:00", "2026-04-05T23:30:00-04:00"],
    );
    check(
        "cron(0 0 * * ? *)",
        "America/Santiago",
        "2026-04-04T12:00:00",
        &["2026-04-05T00:00:00-04:00", "2026-04-06T00:00:00-04:00"],
    );
    // Cairo, 2024-04-26: 00:00 becomes 01:00. 2024-11-01: 00:00 becomes 23:00 of the day before.
    check("cron(15 0 * * ? *)", "Africa/Cairo", "2024-04-25T12:00:00", &["2024-04-26T01:00:00+03:00"]);
    check(
        "cron(59 23 L * ? *)",
        "Africa/Cairo",
        "2024-10-30T12:00:00",
        &["2024-10-31T23:59:00+03:00", "2024-11-30T23:59:00+02:00"],
    );
}

#[test]
fn a_whole_day_can_be_skipped() {
    // Samoa had no 30th of December in 2011.
    check(
        "cron(0 12 * * ? *)",
        "Pacific/Apia",
        "2011-12-29T23:00:00",
        &["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"],
    );
    check(
        "cron(0 12 30 12 ? *)",
        "Pacific/Apia",
        "2011-01-01T00:00:00",
        &["2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"],
    );
}

#[test]
fn the_rules_hold_beyond_the_years_that_are_written_out() {
    check("cron(30 2 ? 3 1L *)", "Europe/Paris", "2150-01-01T00:00:00", &["2150-03-29T03:00:00+02:00"]);
}
