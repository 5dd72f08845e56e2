//! `[triggers.NAME]`: what a trigger reads, matches and invokes, and how it delivers.

use std::collections::BTreeMap;

use eventail_triggers::key::KeyPath;
use eventail_triggers::policy::{DeliveryPolicy, Ordering};
use eventail_wire::{Timestamp, TopicName, TriggerName};
use toml::de::DeValue;

use super::amount::{Count, count, set};
use super::model::{DEFAULT_DEAD_LETTER_TOPIC, DEFAULT_KEY, DEFAULT_TOPIC, StartPosition, Trigger};
use super::problem::{Conflict, Problem};
use super::reader::{Found, Reader, Section};
use super::units::Duration;
use super::{http_target, pattern, schema, topics};

/// Each attempt under way has a connection.
const CONCURRENCY_MOST: u64 = 10_000;
/// An attempt holds a lease and a connection for so long.
const TIMEOUT_MOST: Duration = Duration::from_ms(eventail_wire::limits::LEASE_MS_MAX);
/// More than this is not a retry policy but a loop.
const ATTEMPTS_MOST: u64 = 10_000;
/// Nothing is retried longer.
const AGE_MOST: Duration = Duration::from_secs(366 * 86_400);
/// No single wait is longer.
const WAIT_MOST: Duration = Duration::from_secs(7 * 86_400);
/// Each parked event has its state in memory.
const PARKED_MOST: u64 = 1_000_000;
/// The shortest wait.
const MILLISECOND: Duration = Duration::from_ms(1);

/// Reads `[triggers]`.
pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> BTreeMap<TriggerName, Trigger> {
    let mut triggers = BTreeMap::new();
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
        let trigger = read_trigger(reader, &section);
        if let (Some(name), Some(trigger)) = (name, trigger) {
            triggers.insert(name, trigger);
        }
    }
    triggers
}

/// `None` where there is no trigger without a fix; what is wrong was noted.
fn read_trigger(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Trigger> {
    let topic = topic_of(reader, section, "topic", DEFAULT_TOPIC);
    let dead_letter_topic = topic_of(reader, section, "dead_letter_topic", DEFAULT_DEAD_LETTER_TOPIC);
    let reply_topic = section.parsed(reader, "reply_topic", topics::name);
    let policy = read_policy(reader, section);
    let key = section.parsed(reader, "key", key);
    check_topics(reader, section, topic.as_ref(), dead_letter_topic.as_ref(), reply_topic.as_ref());
    if policy.ordering == Ordering::None
        && let Some(found) = section.get("key")
    {
        let conflict = Conflict::KeyWithoutOrdering;
        reader.note(Problem::Conflict { key: "key".to_owned(), conflict }, &found.key_span);
    }
    let pattern = section.get("pattern").and_then(|found| pattern::read(reader, &found));
    let start = section.get("start").and_then(|found| start(reader, &found)).unwrap_or_default();
    let target = http_target::read(reader, section);
    Some(Trigger {
        topic: topic?,
        pattern,
        target: target?,
        policy,
        key: key.unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        start,
        dead_letter_topic: dead_letter_topic?,
        reply_topic,
        budget: None,
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

fn read_policy(reader: &mut Reader<'_>, section: &Section<'_>) -> DeliveryPolicy {
    let mut policy = DeliveryPolicy::default();
    let concurrency = section.amount(reader, "concurrency", Count(1)..=Count(CONCURRENCY_MOST));
    set(&mut policy.concurrency, count(concurrency));
    set(&mut policy.timeout_ms, section.amount(reader, "timeout", MILLISECOND..=TIMEOUT_MOST));
    let ordering = section.choice(reader, "ordering", &["none", "key"], &[Ordering::None, Ordering::Key]);
    set(&mut policy.ordering, ordering);
    let parked = section.amount(reader, "parked_max", Count(1)..=Count(PARKED_MOST));
    set(&mut policy.parked_max, count(parked));
    if let Some(retry) = section.section(reader, "retry", schema::RETRY) {
        read_retry(reader, &retry, &mut policy);
    }
    if let Some(breaker) = section.section(reader, "breaker", schema::BREAKER) {
        read_breaker(reader, &breaker, &mut policy);
    }
    policy
}

fn read_retry(reader: &mut Reader<'_>, retry: &Section<'_>, policy: &mut DeliveryPolicy) {
    let attempts = retry.amount(reader, "max_attempts", Count(1)..=Count(ATTEMPTS_MOST));
    set(&mut policy.max_attempts, attempts.and_then(|attempts| u32::try_from(attempts).ok()));
    set(&mut policy.max_age_ms, retry.amount(reader, "max_age", MILLISECOND..=AGE_MOST));
    set(&mut policy.backoff_initial_ms, retry.amount(reader, "backoff_initial", MILLISECOND..=WAIT_MOST));
    set(&mut policy.backoff_max_ms, retry.amount(reader, "backoff_max", MILLISECOND..=WAIT_MOST));
    let most = retry.amount(reader, "retry_after_max", Duration::default()..=WAIT_MOST);
    set(&mut policy.retry_after_max_ms, most);
    let (initial, max) = (policy.backoff_initial_ms, policy.backoff_max_ms);
    check_order(reader, retry, ("backoff_initial", initial), ("backoff_max", max));
}

fn read_breaker(reader: &mut Reader<'_>, breaker: &Section<'_>, policy: &mut DeliveryPolicy) {
    let failures = breaker.amount(reader, "failures", Count(1)..=Count(ATTEMPTS_MOST));
    set(&mut policy.breaker_failures, failures.and_then(|failures| u32::try_from(failures).ok()));
    set(&mut policy.breaker_open_ms, breaker.amount(reader, "open", MILLISECOND..=WAIT_MOST));
    set(&mut policy.breaker_open_max_ms, breaker.amount(reader, "open_max", MILLISECOND..=WAIT_MOST));
    let (open, max) = (policy.breaker_open_ms, policy.breaker_open_max_ms);
    check_order(reader, breaker, ("open", open), ("open_max", max));
}

/// What begins a doubling must not be more than what ends it.
fn check_order(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    (key, value): (&'static str, u64),
    (other, other_value): (&'static str, u64),
) {
    if value <= other_value {
        return;
    }
    let shown = |ms: u64| Duration::from_ms(ms).to_string();
    let span =
        section.get(key).or_else(|| section.get(other)).map_or(section.span.clone(), |found| found.span);
    let conflict = Conflict::MoreThan { value: shown(value), other, other_value: shown(other_value) };
    reader.note(Problem::Conflict { key: key.to_owned(), conflict }, &span);
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
