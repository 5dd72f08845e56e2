//! `[triggers.NAME.input]`: what the target gets in place of the event. It is compiled here once, so that what was read can
//! be used.

use std::collections::BTreeMap;
use std::ops::Range;

use eventail_triggers::input::{Input, InputError, InputOptions};
use toml::de::DeValue;

use super::problem::{Conflict, Problem};
use super::reader::{Found, Reader, Section};
use super::{pattern, schema};

/// The keys of which there is exactly one.
const KINDS: &[&str] = &["path", "constant", "template", "jq"];

/// The input of a trigger; `None` where it has none, or none without a fix, which was noted.
pub(super) fn read(reader: &mut Reader<'_>, trigger: &Section<'_>) -> Option<InputOptions> {
    let section = trigger.section(reader, "input", schema::INPUT)?;
    let mut given = KINDS.iter().copied().filter_map(|key| Some((key, section.get(key)?)));
    let Some((kind, found)) = given.next() else {
        reader.note(Problem::MissingOneOf { keys: KINDS, section: section.title() }, &section.span);
        return None;
    };
    if let Some((second, other)) = given.next() {
        let problem = Problem::SecondInput { section: section.title(), first: kind, second };
        reader.note(problem, &other.key_span);
        return None;
    }
    let paths = section.get("paths");
    if let Some(paths) = paths.as_ref().filter(|_| kind != "template") {
        let conflict = Conflict::PathsWithoutTemplate;
        reader.note(Problem::Conflict { key: paths.key.clone(), conflict }, &paths.key_span);
    }
    let options = match kind {
        "path" => InputOptions::Path(found.string(reader)?.to_owned()),
        "constant" => InputOptions::Constant(constant(reader, &found)?),
        "jq" => InputOptions::Jq(found.string(reader)?.to_owned()),
        _ => {
            let paths = paths.as_ref().map(|paths| read_paths(reader, paths)).unwrap_or_default();
            InputOptions::Template { paths, template: found.string(reader)?.to_owned() }
        }
    };
    match Input::compile(&options) {
        Ok(_) => Some(options),
        Err(source) => {
            let span = place(reader, &found, paths.as_ref(), &source);
            reader.note(Problem::Input { key: found.key.clone(), source }, &span);
            None
        }
    }
}

/// JSON as a string, or as TOML has it.
fn constant(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<String> {
    if let DeValue::String(text) = found.value {
        return Some(text.to_string());
    }
    pattern::json(found.value)
        .map(|value| value.to_string())
        .map_err(|what| {
            reader.note(Problem::InputValue { key: found.key.clone(), found: what }, &found.span);
        })
        .ok()
}

fn read_paths(reader: &mut Reader<'_>, found: &Found<'_>) -> BTreeMap<String, String> {
    let entries = found.entries(reader);
    let paths = entries.into_iter().filter_map(|entry| {
        let path = entry.string(reader)?.to_owned();
        Some((entry.key, path))
    });
    paths.collect()
}

/// Where in the file it goes wrong: at the path that is meant, or the whole text.
fn place(
    reader: &mut Reader<'_>,
    found: &Found<'_>,
    paths: Option<&Found<'_>>,
    error: &InputError,
) -> Range<usize> {
    let (InputError::NamedPath { name, .. } | InputError::Name { name, .. }) = error else {
        return found.span.clone();
    };
    let entries = paths.map(|paths| paths.entries(reader)).unwrap_or_default();
    let meant = entries.into_iter().find(|entry| entry.key == *name);
    let is_name = matches!(error, InputError::Name { .. });
    meant.map_or(found.span.clone(), |entry| if is_name { entry.key_span } else { entry.span })
}
