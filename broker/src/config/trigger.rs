//! `[triggers.NAME]`: what a trigger reads, matches and invokes, and how it delivers.

use std::collections::BTreeMap;

use eventail_triggers::key::KeyPath;
use eventail_triggers::policy::Ordering;
use eventail_wire::{Timestamp, TopicName, TriggerName};
use toml::de::DeValue;

use super::function::Functions;
use super::model::{
    DEFAULT_DEAD_LETTER_TOPIC, DEFAULT_KEY, DEFAULT_TOPIC, StartPosition, TargetOptions, Trigger,
};
use super::problem::{Conflict, Problem};
use super::reader::{Found, Reader, Section};
use super::rename::{self, Renames};
use super::{input, ledger, pattern, policy, schema, target, topics, traffic};

/// Reads `[triggers]`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    functions: &mut Functions,
) -> BTreeMap<TriggerName, Trigger> {
    let mut triggers = BTreeMap::new();
    let mut renames = Renames::default();
    let mut wildcards = pattern::Budget::default();
    let Some(found) = root.get("triggers") else { return triggers };
    for entry in found.entries(reader) {
        let name = TriggerName::new(&entry.key)
            .map_err(|source| {
                let problem = Problem::Name { name: entry.key.clone(), source };
                reader.note(problem, &entry.key_span);
            })
            .ok();
        let Some(table) = entry.table(reader) else { continue };
        let path = format!("triggers.{}", entry.key);
        let section = Section::new(reader, path, entry.key_span.clone(), table, schema::TRIGGER);
        let trigger = read_trigger(reader, &section, name.as_ref(), functions);
        if let (Some(name), Some(trigger)) = (name, trigger) {
            renames.note(&section, &name, &trigger);
            wildcards.add(reader, &section, &trigger);
            triggers.insert(name, trigger);
        }
    }
    renames.check(reader, &triggers);
    triggers
}

/// `None` where there is no trigger without a fix; what is wrong was noted.
fn read_trigger(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    name: Option<&TriggerName>,
    functions: &mut Functions,
) -> Option<Trigger> {
    let topic = topic_of(reader, section, "topic", DEFAULT_TOPIC);
    let dead_letter_topic = topic_of(reader, section, "dead_letter_topic", DEFAULT_DEAD_LETTER_TOPIC);
    let reply_topic = section.parsed(reader, "reply_topic", topics::name);
    let mut policy = policy::read(reader, section);
    let key = section.parsed(reader, "key", key);
    check_topics(reader, section, topic.as_ref(), dead_letter_topic.as_ref(), reply_topic.as_ref());
    if policy.ordering == Ordering::None
        && let Some(found) = section.get("key")
    {
        let conflict = Conflict::KeyWithoutOrdering;
        reader.note(Problem::Conflict { key: "key".to_owned(), conflict }, &found.key_span);
    }
    let pattern = section.get("pattern").and_then(|found| pattern::read(reader, &found));
    let input = input::read(reader, section);
    let start = section.get("start").and_then(|found| start(reader, &found)).unwrap_or_default();
    let budget = ledger::read_budget(reader, section);
    let rate_limit = traffic::read_rate_limit(reader, section);
    let dedup = traffic::read_dedup(reader, section);
    let renamed_from = section.parsed(reader, "renamed_from", rename::name);
    let target = target::read(reader, (section, name), &policy, functions);
    if let Some(target) = &target {
        policy::fit(reader, section, &mut policy, target);
        check_topic_target(reader, section, target, dead_letter_topic.as_ref());
    }
    Some(Trigger {
        topic: topic?,
        pattern,
        target: target?,
        policy,
        key: key.unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        start,
        dead_letter_topic: dead_letter_topic?,
        reply_topic,
        budget,
        input,
        dedup,
        rate_limit,
        renamed_from,
    })
}

fn topic_of(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &'static str,
    default: &str,
) -> Option<TopicName> {
    if section.get(key).is_none() {
        return TopicName::new(default).ok();
    }
    section.parsed(reader, key, topics::name)
}

fn check_topics(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    topic: Option<&TopicName>,
    dead_letter_topic: Option<&TopicName>,
    reply_topic: Option<&TopicName>,
) {
    let Some(dead_letter_topic) = dead_letter_topic else { return };
    if topic == Some(dead_letter_topic) {
        let found = section.get("dead_letter_topic").or_else(|| section.get("topic"));
        let span = found.map_or(section.span.clone(), |found| found.span);
        let conflict = Conflict::DeadLettersReturn;
        reader.note(Problem::Conflict { key: "dead_letter_topic".to_owned(), conflict }, &span);
    }
    if reply_topic == Some(dead_letter_topic)
        && let Some(found) = section.get("reply_topic")
    {
        let conflict = Conflict::RepliesAmongDeadLetters;
        reader.note(Problem::Conflict { key: "reply_topic".to_owned(), conflict }, &found.span);
    }
}

/// What goes with a topic as a target.
fn check_topic_target(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    target: &TargetOptions,
    dead_letter_topic: Option<&TopicName>,
) {
    let TargetOptions::Topic(routed) = target else { return };
    if let Some(found) = section.get("reply_topic") {
        let conflict = Conflict::RepliesOfTopic;
        reader.note(Problem::Conflict { key: found.key, conflict }, &found.key_span);
    }
    if dead_letter_topic == Some(&routed.name)
        && let Some(found) = section.get("target")
    {
        let conflict = Conflict::RoutedAmongDeadLetters;
        reader.note(Problem::Conflict { key: found.key, conflict }, &found.span);
    }
}

/// An attribute's name or a path into JSON data, checked and kept as text.
fn key(text: &str) -> Result<String, Problem> {
    let checked: Result<KeyPath, _> = text.parse();
    checked.map(|_| text.to_owned()).map_err(|source| Problem::KeyPath { source })
}

fn start(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<StartPosition> {
    let text = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        _ => {
            reader.note(found.wrong_type("\"latest\", \"earliest\" or a time"), &found.span);
            return None;
        }
    };
    let position = match text.as_str() {
        "latest" => Some(StartPosition::Latest),
        "earliest" => Some(StartPosition::Earliest),
        time => Timestamp::parse_rfc3339(time).map(StartPosition::At),
    };
    if position.is_none() {
        reader.note(Problem::Start { key: found.key.clone(), value: text }, &found.span);
    }
    position
}
