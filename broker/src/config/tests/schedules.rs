//! `[schedules.NAME]`: what is taken, and what is refused where.

use eventail_triggers::schedule::MissedRuns;
use eventail_wire::{ScheduleName, Timestamp};

use super::super::*;
use super::{errors, parse, readable_examples};

fn schedule(config: &Config, name: &str) -> Schedule {
    config.schedules[&ScheduleName::new(name).unwrap()].clone()
}

/// The errors of one schedule that is right but for `keys`, which begin in line 2.
fn schedule_errors(keys: &str) -> Vec<String> {
    errors(&format!("[schedules.s]\n{keys}\n[triggers.ship.target.http]\nurl = \"http://a/\"\n"))
}

#[test]
fn a_schedule_has_its_defaults() {
    let config = parse("[schedules.s]\nexpression = \"rate(1 hour)\"\ntopic = \"jobs\"\n").unwrap();
    let timetable = eventail_triggers::schedule::Timetable::new("rate(1 hour)".parse().unwrap());
    let expected = Schedule::new(timetable, ScheduleTo::Topic("jobs".parse().unwrap()));
    assert_eq!(schedule(&config, "s"), expected);
}

#[test]
fn the_examples_show_every_key_with_its_default() {
    let config = parse(&readable_examples()).unwrap();
    let nightly = schedule(&config, "nightly");
    let plain = Schedule::new(nightly.runs.timetable.clone(), ScheduleTo::Topic("default".parse().unwrap()));
    assert_eq!(
        nightly,
        Schedule {
            source: Some("/eventail/schedules/nightly".to_owned()),
            data: Some(r#"{"job":"report"}"#.to_owned()),
            ..plain
        }
    );
    let cleanup = schedule(&config, "cleanup");
    assert_eq!(cleanup.runs.missed, MissedRuns::All { most: 100 });
    assert_eq!(cleanup.to, ScheduleTo::Trigger("ship".parse().unwrap()));
}

#[test]
fn an_event_has_the_same_id_whenever_it_is_made() {
    let text = "[schedules.s]\nexpression = \"rate(1 hour)\"\ntrigger = \"ship\"\ndata = '[1]'\n\
                [triggers.ship.target.http]\nurl = \"http://a/\"\n";
    let schedule = schedule(&parse(text).unwrap(), "s");
    let at = Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
    let event = schedule.event(&"s".parse().unwrap(), at).unwrap();
    assert_eq!(event.id(), "s/2026-11-23T10:00:00.000Z");
    assert_eq!((event.source(), event.event_type()), ("/eventail/schedules/s", SCHEDULED_TYPE));
    assert_eq!(event.attribute(SCHEDULE_ATTRIBUTE), Some("s"));
    assert_eq!(event.attribute(SCHEDULED_TIME_ATTRIBUTE), Some("2026-11-23T10:00:00.000Z"));
    assert_eq!(event.attribute(SCHEDULED_FOR_ATTRIBUTE), Some("ship"));
    assert_eq!(event.data_slice(), b"[1]");
    assert_eq!(event.as_bytes(), schedule.event(&"s".parse().unwrap(), at).unwrap().as_bytes());
}

#[test]
fn a_wrong_expression_is_told_with_its_place_in_the_file() {
    let found = schedule_errors("expression = \"cron(0 25 * * ? *)\"\ntopic = \"a\"");
    // The 25 stands at column 8 of the expression, which begins at column 15.
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = "2:22 `expression` is no schedule: column 8: hours cannot be 25: hours are 0 to 23";
    assert!(found[0].starts_with(expected), "{found:?}");
    assert!(found[0].contains("rate(5 minutes)"), "{found:?}");
    let found = schedule_errors("expression = \"every day\"\ntopic = \"a\"");
    assert!(found[0].starts_with("2:14 `expression` is no schedule"), "{found:?}");
}

#[test]
fn what_a_schedule_needs_is_told() {
    let found = schedule_errors("enabled = true");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|error| error.contains("needs `expression`")), "{found:?}");
    assert!(found.iter().any(|error| error.contains("needs one of `topic` and `trigger`")), "{found:?}");
}

#[test]
fn a_zone_that_is_none_is_told_with_what_was_meant() {
    let found = schedule_errors("expression = \"rate(1 hour)\"\ntopic = \"a\"\ntimezone = \"Europe/Pariss\"");
    assert_eq!(
        found,
        ["4:12 `timezone`: there is no time zone \"Europe/Pariss\" (did you mean \"Europe/Paris\"?)"]
    );
}

#[test]
fn a_trigger_that_is_none_is_told_with_what_was_meant() {
    let found = schedule_errors("expression = \"rate(1 hour)\"\ntrigger = \"shipp\"");
    assert_eq!(found, ["3:11 there is no trigger `shipp` (did you mean \"ship\"?)"]);
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let hourly = "expression = \"rate(1 hour)\"\n";
    for (keys, place, words) in [
        (format!("{hourly}topic = \"a\"\ntrigger = \"ship\""), "3:1 ", "`topic` does not go with `trigger`"),
        (format!("{hourly}topic = \"a\"\nmissed_max = 3"), "4:1 ", "without `missed = \"all\"`"),
        (
            format!("{hourly}topic = \"a\"\nstart = 2026-01-02T00:00:00Z\nend = 2026-01-02T00:00:00Z"),
            "5:1 ",
            "`end` is not after `start`",
        ),
        (
            "expression = \"at(2027-01-01T00:00:00)\"\ntopic = \"a\"\nend = 2026-01-02T00:00:00Z".to_owned(),
            "4:1 ",
            "`end` does nothing with `at(...)`",
        ),
        (
            format!("{hourly}topic = \"a\"\nstart = \"tomorrow\""),
            "4:9 ",
            "`start` is no moment: \"tomorrow\"",
        ),
        (format!("{hourly}topic = \"a\"\njitter = \"25h\""), "4:10 ", "`jitter` is 25h"),
        (format!("{hourly}topic = \"a\"\nmissed = \"al\""), "4:10 ", "`missed` cannot be \"al\""),
        (format!("{hourly}topic = \"a\"\ndata = \"{{\""), "4:8 ", "`data` is not JSON"),
        (format!("{hourly}topic = \"a\"\ndata = [nan]"), "4:8 ", "`data` has a float that is not finite"),
        (format!("{hourly}topic = \"a\"\ntype = \"\""), "1:12 ", "cannot send its event"),
        (format!("{hourly}topic = \"a\"\nzone = \"UTC\""), "4:1 ", "unknown key `zone`"),
    ] {
        let found = schedule_errors(&keys);
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
        assert!(found[0].starts_with(place) && found[0].contains(words), "{keys}: {found:?}");
    }
}

#[test]
fn a_trigger_that_reads_the_topic_of_schedules_cannot_be_called_by_one() {
    let text = "[schedules.s]\nexpression = \"rate(1 hour)\"\ntrigger = \"ship\"\n\
                [triggers.ship]\ntopic = \"schedules\"\ntarget.http = { url = \"http://a/\" }\n";
    let found = errors(text);
    assert!(found.len() == 1 && found[0].contains("would get each run twice"), "{found:?}");
}
