//! A trigger's pattern, written as a TOML table or as a string of JSON; the broker gets JSON either way.

use std::ops::Range;

use eventail_triggers::pattern::Pattern;
use serde_json::{Map, Number, Value};
use toml::de::DeValue;

use super::problem::Problem;
use super::reader::{Found, Reader};

/// The pattern as JSON text; `None` where it is none, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<String> {
    let text = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Table(_) => match json(found.value) {
            Ok(value) => value.to_string(),
            Err(what) => {
                let problem = Problem::PatternValue { key: found.key.clone(), found: what };
                reader.note(problem, &found.span);
                return None;
            }
        },
        _ => {
            reader.note(found.wrong_type("a table, or a string of JSON"), &found.span);
            return None;
        }
    };
    if let Err(source) = Pattern::parse(&text) {
        let span = place(found, &source.path);
        let is_json = found.value.is_str();
        reader.note(Problem::Pattern { key: found.key.clone(), source, is_json }, &span);
        return None;
    }
    Some(text)
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
