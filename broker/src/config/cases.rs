//! `[[tests]]`: events, and what has to become of them under this configuration. They are read here and run by
//! [`crate::rehearsal`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eventail_wire::cloudevents::decode_structured;
use eventail_wire::{Event, TopicName, TriggerName};
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::model::{DEFAULT_TOPIC, RoutingTest, Trigger};
use super::problem::Problem;
use super::reader::{Found, Reader, Section};
use super::{files, pattern, schema, suggest, topics};

/// Tests of one configuration: they are run at each reload.
const TESTS_MAX: usize = 1_000;

/// Reads `[[tests]]`. What they name must be among the triggers.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    triggers: &BTreeMap<TriggerName, Trigger>,
) -> Vec<RoutingTest> {
    let Some(found) = root.get("tests") else { return Vec::new() };
    let items = found.items(reader);
    if items.len() > TESTS_MAX {
        reader.note(Problem::TooManyTests { limit: TESTS_MAX }, &found.key_span);
        return Vec::new();
    }
    let mut tests = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(table) = item.table(reader) else { continue };
        let section = Section::new(reader, "tests".to_owned(), item.span.clone(), table, schema::TEST);
        tests.extend(read_one(reader, &section, index + 1, triggers));
    }
    tests
}

/// `None` where there is no test without a fix; what is wrong was noted.
fn read_one(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    number: usize,
    triggers: &BTreeMap<TriggerName, Trigger>,
) -> Option<RoutingTest> {
    let name = match section.string(reader, "name") {
        Some((name, _)) => name.to_owned(),
        None => format!("number {number}"),
    };
    let topic = match section.get("topic") {
        Some(_) => section.parsed(reader, "topic", topics::name),
        None => TopicName::new(DEFAULT_TOPIC).ok(),
    };
    let event = match section.get("event") {
        Some(found) => event(reader, &found, number),
        None => {
            reader.note(Problem::MissingKey { key: "event", section: section.title() }, &section.span);
            None
        }
    };
    let Some(expected) = section.get("triggers") else {
        reader.note(Problem::MissingKey { key: "triggers", section: section.title() }, &section.span);
        return None;
    };
    let expected: BTreeSet<TriggerName> = expected
        .items(reader)
        .into_iter()
        .filter_map(|item| {
            let text = item.string(reader)?;
            known(reader, text, &item, triggers)
        })
        .collect();
    let inputs = section.get("input").map(|found| inputs(reader, &found, &expected)).unwrap_or_default();
    Some(RoutingTest { name, topic: topic?, event: event?, triggers: expected, inputs })
}

/// A trigger of this configuration.
fn known(
    reader: &mut Reader<'_>,
    text: &str,
    found: &Found<'_>,
    triggers: &BTreeMap<TriggerName, Trigger>,
) -> Option<TriggerName> {
    let name = TriggerName::new(text).ok().filter(|name| triggers.contains_key(name));
    if name.is_none() {
        let near = suggest::nearest(text, triggers.keys().map(TriggerName::as_str)).map(str::to_owned);
        reader.note(Problem::UnknownTrigger { name: text.to_owned(), suggestion: near }, &found.span);
    }
    name
}

/// A CloudEvent as a table, as a string of JSON, or in a file of JSON. `specversion`, `id` and `source` need not be said.
fn event(reader: &mut Reader<'_>, found: &Found<'_>, number: usize) -> Option<Event> {
    let refused = |reader: &mut Reader<'_>, why: String| {
        reader.note(Problem::TestEvent { key: found.key.clone(), why }, &found.span);
        None
    };
    let members = match found.value {
        DeValue::String(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
        DeValue::Table(table) => {
            match (table.len(), table.get("file").and_then(|file| file.get_ref().as_str())) {
                (1, Some(file)) => files::read_text(&reader.path(file))
                    .map_err(|error| format!("{file} cannot be read: {error}"))
                    .and_then(|text| serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))),
                _ => pattern::json(found.value).map_err(|what| format!("it has {what}, which JSON has not")),
            }
        }
        _ => {
            reader.note(found.wrong_type("a table, or a string of JSON"), &found.span);
            return None;
        }
    };
    let mut members: Map<String, Value> = match members {
        Ok(Value::Object(members)) => members,
        Ok(_) => return refused(reader, "it is no JSON object".to_owned()),
        Err(why) => return refused(reader, why),
    };
    for (name, value) in
        [("specversion", "1.0".to_owned()), ("id", format!("test-{number}")), ("source", "/tests".to_owned())]
    {
        members.entry(name).or_insert(Value::String(value));
    }
    match decode_structured(&Bytes::from(Value::Object(members).to_string())) {
        Ok(event) => Some(event),
        Err(error) => refused(reader, error.to_string()),
    }
}

/// What triggers have to send, as JSON; a string stands for text as well.
fn inputs(
    reader: &mut Reader<'_>,
    found: &Found<'_>,
    expected: &BTreeSet<TriggerName>,
) -> BTreeMap<TriggerName, Value> {
    let mut inputs = BTreeMap::new();
    for entry in found.entries(reader) {
        let name = TriggerName::new(&entry.key).ok().filter(|name| expected.contains(name));
        let Some(name) = name else {
            reader.note(Problem::InputOfNone { name: entry.key.clone() }, &entry.key_span);
            continue;
        };
        match pattern::json(entry.value) {
            Ok(value) => drop(inputs.insert(name, value)),
            Err(what) => {
                reader.note(Problem::InputValue { key: entry.key.clone(), found: what }, &entry.span);
            }
        }
    }
    inputs
}
