//! A trigger's pattern, written as a TOML table, as a string of JSON or as a file of JSON; the broker gets JSON either way.
//!
//! A file is `{ file = "ship.json" }`, which is no pattern: a pattern's fields hold lists and tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use eventail_triggers::pattern::Pattern;
use eventail_wire::TopicName;
use eventail_wire::limits::TOPIC_COMPLEXITY_MAX;
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::files;
use super::model::Trigger;
use super::problem::Problem;
use super::reader::{Found, Reader, Section};

/// The pattern as JSON text; `None` where it is none, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<String> {
    let text = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Table(table) if file_of(table).is_some() => {
            let path = reader.path(file_of(table).unwrap_or_default());
            match files::read_text(&path) {
                Ok(text) => text,
                Err(source) => {
                    let (key, path) = (found.key.clone(), path.display().to_string());
                    let problem = Problem::PatternFile { key, path, source: Arc::new(source) };
                    reader.note(problem, &found.span);
                    return None;
                }
            }
        }
        DeValue::Table(_) => match json(found.value) {
            Ok(value) => value.to_string(),
            Err(what) => {
                let problem = Problem::PatternValue { key: found.key.clone(), found: what };
                reader.note(problem, &found.span);
                return None;
            }
        },
        _ => {
            let expected = "a table, a string of JSON, or { file = \"…\" }";
            reader.note(found.wrong_type(expected), &found.span);
            return None;
        }
    };
    if let Err(source) = Pattern::parse(&text) {
        let span = place(found, &source.path);
        let is_json =
            found.value.is_str() || found.value.as_table().is_some_and(|table| file_of(table).is_some());
        reader.note(Problem::Pattern { key: found.key.clone(), source, is_json }, &span);
        return None;
    }
    Some(text)
}

/// The file that a table names instead of being a pattern.
fn file_of<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    let mut members = table.iter();
    let (key, value) = members.next()?;
    let is_file = key.get_ref() == "file" && members.next().is_none();
    if is_file { value.get_ref().as_str() } else { None }
}

/// What the wildcards of each topic's triggers add up to.
#[derive(Default)]
pub(super) struct Budget(BTreeMap<TopicName, usize>);

impl Budget {
    /// Adds a trigger, and notes where it is too much for its topic.
    pub(super) fn add(&mut self, reader: &mut Reader<'_>, section: &Section<'_>, trigger: &Trigger) {
        let (Some(text), Some(found)) = (&trigger.pattern, section.get("pattern")) else { return };
        let Ok(pattern) = Pattern::parse(text) else { return };
        let complexity = self.0.entry(trigger.topic.clone()).or_default();
        *complexity += pattern.complexity();
        if *complexity > TOPIC_COMPLEXITY_MAX {
            let (key, topic, complexity) = (found.key, trigger.topic.clone(), *complexity);
            reader.note(Problem::TooManyWildcards { key, topic, complexity }, &found.span);
        }
    }
}

/// Where in the file a path of the pattern such as `.data.total[0]` is; the whole pattern where that cannot be told, as in
/// a string of JSON or behind keys that have dots themselves.
fn place(found: &Found<'_>, path: &str) -> Range<usize> {
    let (mut value, mut span) = (found.value, found.span.clone());
    let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
    for step in steps {
        let next = match step.strip_suffix(']') {
            Some(index) => index.parse::<usize>().ok().and_then(|index| value.get(index)),
            None => value.get(step),
        };
        let Some(next) = next else { break };
        (value, span) = (next.get_ref(), next.span());
    }
    span
}

/// A TOML value as JSON, or what it has that JSON has not.
pub(super) fn json(value: &DeValue<'_>) -> Result<Value, &'static str> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Number(Number::from(number.map_err(|_| "an integer beyond 64 bits")?))
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or("a float that is not finite")?)
        }
        DeValue::Datetime(_) => return Err("a date or time without quotes"),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)))
                .collect::<Result<Map<_, _>, &'static str>>()?,
        ),
    })
}
