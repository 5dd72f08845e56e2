//! `[schedules.NAME]`: when something runs, and what it sends where.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use eventail_triggers::schedule::{Expression, MissedRuns, RunnerOptions, ScheduleError, Timetable, Zone};
use eventail_wire::{Event, EventError, ScheduleName, Timestamp, TriggerName, limits};
use toml::de::DeValue;

use super::amount::Count;
use super::model::{SCHEDULED_TYPE, SCHEDULES_TOPIC, Schedule, ScheduleTo};
use super::problem::{Conflict, Problem};
use super::reader::{Found, Reader, Section};
use super::units::Duration;
use super::{pattern, schema, suggest, topics};

/// As long as the flexible window of an EventBridge schedule.
const JITTER_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// A day of runs every quarter of an hour.
const MISSED_MAX_DEFAULT: u32 = 100;

/// Reads `[schedules]`.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> BTreeMap<ScheduleName, Schedule> {
    let mut schedules = BTreeMap::new();
    let Some(found) = root.get("schedules") else { return schedules };
    for entry in found.entries(reader) {
        let name = ScheduleName::new(&entry.key)
            .map_err(|source| {
                let problem = Problem::Name { name: entry.key.clone(), source };
                reader.note(problem, &entry.key_span);
            })
            .ok();
        let Some(table) = entry.table(reader) else { continue };
        let path = format!("schedules.{}", entry.key);
        let section = Section::new(reader, path, entry.key_span.clone(), table, schema::SCHEDULE);
        let schedule = read_schedule(reader, root, &section);
        if let (Some(name), Some(schedule)) = (name, schedule) {
            check_event(reader, &section, &name, &schedule);
            schedules.insert(name, schedule);
        }
    }
    schedules
}

/// `None` where there is no schedule without a fix; what is wrong was noted.
fn read_schedule(reader: &mut Reader<'_>, root: &Section<'_>, section: &Section<'_>) -> Option<Schedule> {
    let timetable = read_timetable(reader, section);
    let jitter_ms = section.amount(reader, "jitter", Duration::from_ms(0)..=JITTER_MOST).unwrap_or(0);
    let missed = read_missed(reader, section);
    let enabled = section.boolean(reader, "enabled").unwrap_or(true);
    let to = read_to(reader, root, section);
    let text = |reader: &mut Reader<'_>, key| section.string(reader, key).map(|(text, _)| text.to_owned());
    let source = text(reader, "source");
    let event_type = text(reader, "type").unwrap_or_else(|| SCHEDULED_TYPE.to_owned());
    let data = section.get("data").and_then(|found| read_data(reader, &found));
    let runs = RunnerOptions { timetable: timetable?, jitter_ms, missed, enabled };
    Some(Schedule { runs, to: to?, source, event_type, data })
}

fn read_timetable(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Timetable> {
    if section.get("expression").is_none() {
        let problem = Problem::MissingKey { key: "expression", section: section.title() };
        reader.note(problem, &section.span);
    }
    let expression = section.string(reader, "expression").and_then(|(text, found)| {
        let refuse = |source: ScheduleError| {
            let place = place(&found, text, source.column);
            reader.note(Problem::Schedule { key: found.key.clone(), source }, &place);
        };
        text.parse::<Expression>().map_err(refuse).ok()
    });
    let zone = section.parsed(reader, "timezone", zone).unwrap_or_default();
    let start = section.get("start").and_then(|found| moment(reader, &found));
    let end = section.get("end").and_then(|found| moment(reader, &found));
    let conflict = |reader: &mut Reader<'_>, key: &'static str, conflict| {
        if let Some(found) = section.get(key) {
            reader.note(Problem::Conflict { key: key.to_owned(), conflict }, &found.key_span);
        }
    };
    if expression.as_ref().is_some_and(Expression::is_once) {
        conflict(reader, "start", Conflict::BoundOfMoment);
        conflict(reader, "end", Conflict::BoundOfMoment);
    } else if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        conflict(reader, "end", Conflict::EndsBeforeStart);
    }
    Some(Timetable { expression: expression?, zone, start, end })
}

fn read_missed(reader: &mut Reader<'_>, section: &Section<'_>) -> MissedRuns {
    let most = section.amount(reader, "missed_max", Count(1)..=Count(u64::from(limits::SCHEDULE_MISSED_MAX)));
    let most = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(MISSED_MAX_DEFAULT);
    let words = &["skip", "once", "all"];
    let policies = [MissedRuns::Skip, MissedRuns::Once, MissedRuns::All { most }];
    let missed = section.choice(reader, "missed", words, &policies).unwrap_or_default();
    if let Some(found) = section.get("missed_max")
        && !matches!(missed, MissedRuns::All { .. })
    {
        let problem = Problem::Conflict { key: found.key.clone(), conflict: Conflict::CapWithoutAll };
        reader.note(problem, &found.key_span);
    }
    missed
}

fn read_to(reader: &mut Reader<'_>, root: &Section<'_>, section: &Section<'_>) -> Option<ScheduleTo> {
    let topic = section.get("topic");
    if let (Some(topic), Some(_)) = (&topic, section.get("trigger")) {
        let problem = Problem::Conflict { key: topic.key.clone(), conflict: Conflict::TopicAndTrigger };
        reader.note(problem, &topic.key_span);
        return None;
    }
    if topic.is_some() {
        return section.parsed(reader, "topic", topics::name).map(ScheduleTo::Topic);
    }
    let Some((text, found)) = section.string(reader, "trigger") else {
        if section.get("trigger").is_none() {
            let problem = Problem::MissingOneOf { keys: &["topic", "trigger"], section: section.title() };
            reader.note(problem, &section.span);
        }
        return None;
    };
    // As they stand in the file: one with a mistake of its own is there all the same.
    let declared = root.get("triggers");
    let declared = declared.as_ref().and_then(|triggers| triggers.value.as_table());
    let Some(trigger) = declared.and_then(|triggers| triggers.get(text)) else {
        let names =
            declared.into_iter().flat_map(|triggers| triggers.keys().map(|key| key.get_ref().as_ref()));
        let suggestion = suggest::nearest(text, names).map(str::to_owned);
        reader.note(Problem::UnknownTrigger { name: text.to_owned(), suggestion }, &found.span);
        return None;
    };
    if trigger.get_ref().get("topic").and_then(|topic| topic.get_ref().as_str()) == Some(SCHEDULES_TOPIC) {
        let problem =
            Problem::Conflict { key: format!("triggers.{text}"), conflict: Conflict::ReadsSchedules };
        reader.note(problem, &found.span);
    }
    TriggerName::new(text).ok().map(ScheduleTo::Trigger)
}

/// JSON text, from a string of it or from what TOML has.
fn read_data(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<String> {
    let problem = match found.value.as_str() {
        Some(text) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => return Some(text.to_owned()),
            Err(source) => Problem::Json { key: found.key.clone(), source: Arc::new(source) },
        },
        None => match pattern::json(found.value) {
            Ok(json) => return Some(json.to_string()),
            Err(what) => Problem::NotJson { key: found.key.clone(), found: what },
        },
    };
    reader.note(problem, &found.span);
    None
}

/// What cannot be sent is told now and not at the first run.
fn check_event(reader: &mut Reader<'_>, section: &Section<'_>, name: &ScheduleName, schedule: &Schedule) {
    if let Err(source) = schedule.event(name, Timestamp(0)) {
        reader.note(Problem::ScheduledEvent { section: section.title(), source }, &section.span);
    }
}

fn zone(text: &str) -> Result<Zone, Problem> {
    Zone::named(text).map_err(|source| {
        let names = Zone::names();
        let near = suggest::nearest(text, names.iter().map(String::as_str)).map(str::to_owned);
        Problem::TimeZone { key: "timezone".to_owned(), source, suggestion: near }
    })
}

fn moment(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Timestamp> {
    let text = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        _ => {
            reader.note(found.wrong_type("a time"), &found.span);
            return None;
        }
    };
    let moment = Timestamp::parse_rfc3339(&text);
    if moment.is_none() {
        reader.note(Problem::Moment { key: found.key.clone(), value: text }, &found.span);
    }
    moment
}

/// Where in the file a column of the expression is; the whole value where that cannot be told, as with escapes.
fn place(found: &Found<'_>, text: &str, column: usize) -> Range<usize> {
    let begin = text.char_indices().nth(column - 1).map_or(text.len(), |(at, _)| at);
    if column == 1 || found.span.len() != text.len() + 2 {
        return found.span.clone();
    }
    // Behind the quote, up to the one at the end.
    found.span.start + 1 + begin..(found.span.end - 1).max(found.span.start + 2 + begin)
}

/// The attribute of a scheduled event that names its schedule.
pub const SCHEDULE_ATTRIBUTE: &str = "eventailschedule";
/// The attribute that has the time for which it was scheduled, RFC 3339 in UTC: when it was made may be later.
pub const SCHEDULED_TIME_ATTRIBUTE: &str = "eventailscheduledtime";
/// The attribute that names the trigger which it is for, where it is for one alone.
pub const SCHEDULED_FOR_ATTRIBUTE: &str = "eventailscheduletrigger";

impl Schedule {
    /// The event of one run. Whenever it is made, it has the same id: a repeat after a crash is deduplicated.
    ///
    /// # Errors
    /// Where the source, type or data of the schedule are none that an event can have.
    pub fn event(&self, name: &ScheduleName, scheduled: Timestamp) -> Result<Event, EventError> {
        let source = self.source.clone().unwrap_or_else(|| format!("/eventail/schedules/{name}"));
        let time = scheduled.to_string();
        let mut event = Event::builder(format!("{name}/{time}"), source, self.event_type.clone())
            .time(time.clone())
            .extension(SCHEDULE_ATTRIBUTE, name.as_str())
            .extension(SCHEDULED_TIME_ATTRIBUTE, time);
        if let ScheduleTo::Trigger(trigger) = &self.to {
            event = event.extension(SCHEDULED_FOR_ATTRIBUTE, trigger.as_str());
        }
        if let Some(data) = &self.data {
            event = event.json_data(data.clone());
        }
        event.build()
    }
}
