//! What is no schedule, with its place and what would be valid.

use crate::schedule::Expression;

fn refused(text: &str, column: usize, words: &str) {
    let error = text.parse::<Expression>().unwrap_err();
    assert!(error.column == column && error.to_string().contains(words), "{text}: {error}");
}

#[test]
fn a_form_that_is_none_is_refused() {
    for text in [
        "",
        "0 10 * * ? *",
        "cron(0 10 * * ? *",
        "cron 0 10",
        "every(5 minutes)",
        "CRON(0 10 * * ? *)",
        "(5 minutes)",
    ] {
        refused(text, 1, "`cron(...)`, `rate(...)` or `at(...)`");
    }
    refused(
        "cron(0 10 * * ?)",
        6,
        "has six fields (minutes, hours, day of month, month, day of week, year), and this has 5",
    );
    refused("cron()", 6, "this has 0");
    refused("cron(0 10 * * ? * *)", 6, "this has 7");
}

#[test]
fn a_number_outside_of_its_field_is_refused() {
    refused("cron(60 10 * * ? *)", 6, "minutes cannot be 60: minutes are 0 to 59");
    refused("cron(0 24 * * ? *)", 8, "hours are 0 to 23");
    refused("cron(0 0 0 * ? *)", 10, "days of a month are 1 to 31");
    refused("cron(0 0 1-32 * ? *)", 12, "day of month cannot be 32");
    refused("cron(0 0 1 13 ? *)", 12, "1 to 12 or JAN to DEC");
    refused("cron(0 0 ? * 8 *)", 14, "1 to 7 or SUN to SAT");
    refused("cron(0 0 ? * 0 *)", 14, "1 to 7 or SUN to SAT");
    refused("cron(0 0 1 1 ? 2200)", 16, "1970 to 2199");
    refused("cron(0 0 1 1 ? 1969)", 16, "1970 to 2199");
    refused("cron(99999999999999999999 0 1 1 ? *)", 6, "0 to 59");
}

#[test]
fn what_a_field_does_not_take_is_refused() {
    refused("cron(x 0 * * ? *)", 6, "minutes cannot be \"x\"");
    refused("cron(+5 0 * * ? *)", 6, "minutes cannot be");
    refused("cron(-5 0 * * ? *)", 6, "minutes cannot be");
    refused("cron(1,,2 0 * * ? *)", 8, "minutes cannot be");
    refused("cron(? 0 * * ? *)", 6, "minutes cannot be");
    refused("cron(0 L * * ? *)", 8, "hours cannot be");
    refused("cron(0 0 MON * ? *)", 10, "day of month cannot be");
    refused("cron(0 0 W * ? *)", 10, "\"W\"");
    refused("cron(0 0 1-5W * ? *)", 10, "\"1-5W\"");
    refused("cron(0 0 32W * ? *)", 10, "day of month cannot be 32");
    refused("cron(0 0 1 * ? MON)", 16, "year cannot be");
    refused("cron(0 0 ? * 2W *)", 14, "day of week cannot be");
    refused("cron(0 0 ? * 3#6 *)", 14, "\"3#6\"");
    refused("cron(0 0 ? * 3#0 *)", 14, "\"3#0\"");
    refused("cron(0 0 ? * 3# *)", 14, "\"3#\"");
    refused("cron(0 0 ? * JUNE *)", 14, "\"JUNE\"");
    refused("cron(0 0 ? * é#1 *)", 14, "\"é\"");
}

#[test]
fn what_must_stand_alone_does() {
    refused("cron(0 0 ? * 3#2,5 *)", 14, "must stand alone");
    refused("cron(0 0 ? * 3#2,5#1 *)", 14, "must stand alone");
    refused("cron(0 0 1,? * ? *)", 12, "must stand alone");
    refused("cron(0 0 ? * ?,2 *)", 14, "must stand alone");
}

#[test]
fn one_field_of_days_says_which_and_the_other_does_not() {
    refused("cron(0 0 * * * *)", 14, "cannot both be given");
    refused("cron(0 0 1 * MON *)", 14, "cannot both be given");
    refused("cron(0 0 ? * ? *)", 14, "cannot both be `?`");
}

#[test]
fn steps_and_ranges_make_sense() {
    refused("cron(0/0 0 * * ? *)", 8, "it may be 1 to 60");
    refused("cron(0/61 0 * * ? *)", 8, "it may be 1 to 60");
    refused("cron(0/ 0 * * ? *)", 8, "it may be 1 to 60");
    refused("cron(0/5/5 0 * * ? *)", 8, "it may be 1 to 60");
    refused("cron(0 0 5-1 * ? *)", 10, "ends before it begins");
    refused("cron(0 0 1 1 ? 2030-2028)", 16, "ends before it begins");
    refused("cron(0 0 1- * ? *)", 12, "day of month cannot be");
}

#[test]
fn a_cron_that_never_comes_is_refused() {
    refused("cron(0 0 30 2 ? *)", 6, "never comes");
    refused("cron(0 0 31 4,6,9,11 ? *)", 6, "never comes");
    refused("cron(0 0 29 2 ? 2026)", 6, "never comes");
    refused("cron(0 0 30W 2 ? *)", 6, "never comes");
    refused("cron(0 0 ? 2 1#5 2026)", 6, "never comes");
}

#[test]
fn a_rate_is_a_number_and_its_unit() {
    refused("rate(5)", 6, "`rate(5 minutes)`");
    refused("rate()", 6, "`rate(5 minutes)`");
    refused("rate(5 seconds)", 8, "`rate(5 minutes)`");
    refused("rate(1 hours)", 8, "write `rate(1 hour)`");
    refused("rate(2 day)", 8, "write `rate(2 days)`");
    refused("rate(0 minutes)", 6, "1 to 52560000 for minutes");
    refused("rate(-1 minutes)", 6, "1 to 52560000");
    refused("rate(+1 minutes)", 6, "1 to 52560000");
    refused("rate(1.5 hours)", 6, "1 to 876000 for hours");
    refused("rate(36501 days)", 6, "1 to 36500 for days");
}

#[test]
fn a_moment_is_one_of_the_calendar() {
    refused("at(2026-11-23)", 4, "at(2027-01-31T08:30:00)");
    refused("at(2026-11-23T10:00:00Z)", 4, "at(2027-01-31T08:30:00)");
    refused("at(2026-11-23 10:00:00)", 4, "at(2027-01-31T08:30:00)");
    refused("at(2026-02-29T10:00:00)", 4, "no such moment");
    refused("at(2026-02-28T24:00:00)", 4, "no such moment");
    refused("at(2026-02-28T23:59:60)", 4, "no such moment");
    refused("at(1969-12-31T23:59:59)", 4, "no such moment");
    refused("at(2200-01-01T00:00:00)", 4, "no such moment");
}

#[test]
fn an_expression_prints_as_it_was_written() {
    for text in ["cron(0/5 8-17 ? * MON-FRI *)", "rate(1 hour)", "at(2026-11-23T10:00:00)"] {
        assert_eq!(text.parse::<Expression>().unwrap().to_string(), text);
    }
}
