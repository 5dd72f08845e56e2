//! Templates: a text with places for values of the event, by the rules of EventBridge's input transformer.
//!
//! - `<name>` is the value of the path of that name, `<$.data.id>` that of a path given right there, and `<eventail.…>` or
//!   `<aws.events.…>` what is known of the delivery. `\<` is the character itself, and so is a `<` that no name follows.
//! - A template that begins with `{`, `[` or `"` must be JSON when its places are filled, and is refused if it is not; any
//!   other is JSON if it can be read as that (as `<order>` alone can), and else plain text.
//! - In JSON, a place outside of quotes is a JSON value: a string gets its quotes. A place inside of quotes is text: what a
//!   string says, the JSON text of anything else, escaped so that the string stays one. EventBridge does not escape there.
//! - In plain text a place is text, and nothing is escaped.
//! - Where the event has nothing at the path, a place is empty; a JSON value, which cannot be empty, is `null`.
//! - `<aws.events.event>`, `<aws.events.event.json>` and their like are objects and may not stand inside of quotes.

use std::collections::BTreeMap;

use eventail_wire::limits;

use super::document::{self, Extent};
use super::error::{InputError, TextPlace, TransformError};
use super::path::{PathValue, ValuePath};
use super::{InputContext, Rendered};
use crate::payload::Place;

/// Named paths of one template, as EventBridge has it.
pub const TEMPLATE_PATHS_MAX: usize = 100;

/// A template, taken apart.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    is_json: bool,
}

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    Value(Source, Form),
}

#[derive(Clone, Debug)]
enum Source {
    Path(ValuePath),
    Trigger,
    RuleArn,
    Topic,
    Offset,
    AppendedAt,
    Event(&'static str, Extent),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a JSON value.
    Json,
    /// Inside of a JSON string.
    Escaped,
    /// As it is.
    Text,
}

/// What a template may name without saying so.
const PREDEFINED: &[(&str, Source)] = &[
    ("aws.events.rule-name", Source::Trigger),
    ("aws.events.rule-arn", Source::RuleArn),
    ("aws.events.event.ingestion-time", Source::AppendedAt),
    ("aws.events.event", Source::Event("aws.events.event", Extent::WithoutData)),
    ("aws.events.event.json", Source::Event("aws.events.event.json", Extent::Whole)),
    ("eventail.trigger", Source::Trigger),
    ("eventail.topic", Source::Topic),
    ("eventail.offset", Source::Offset),
    ("eventail.appended_at", Source::AppendedAt),
    ("eventail.event", Source::Event("eventail.event", Extent::WithoutData)),
    ("eventail.event.json", Source::Event("eventail.event.json", Extent::Whole)),
];

impl Template {
    pub(super) fn compile(text: &str, paths: &BTreeMap<String, String>) -> Result<Self, InputError> {
        let paths = compile_paths(paths)?;
        let pieces = split(text, &paths)?;
        let begins_as_json = text.trim_ascii_start().starts_with(['{', '[', '"']);
        let is_json = match check_json(text, &pieces) {
            Ok(()) => true,
            Err(error) if begins_as_json => return Err(error),
            Err(_) => false,
        };
        let part = |piece| match piece {
            Piece::Literal { text, .. } => Ok(Part::Literal(text.into())),
            Piece::Value { source: Source::Event(name, _), is_quoted: true, at } if is_json => {
                Err(InputError::EventInString { name, place: TextPlace::of(text, at) })
            }
            Piece::Value { source, is_quoted, .. } => {
                let form = match (is_json, is_quoted) {
                    (true, false) => Form::Json,
                    (true, true) => Form::Escaped,
                    (false, _) => Form::Text,
                };
                Ok(Part::Value(source, form))
            }
        };
        Ok(Self { parts: pieces.into_iter().map(part).collect::<Result<_, _>>()?, is_json })
    }

    pub(super) fn render(&self, context: &InputContext<'_>) -> Result<Rendered, TransformError> {
        let mut out = Vec::with_capacity(256);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Value(source, form) => source.write(*form, context, &mut out),
            }
            if out.len() > limits::INPUT_BYTES_MAX {
                return Err(TransformError::TooLarge { most: limits::INPUT_BYTES_MAX });
            }
        }
        Ok(Rendered { bytes: out.into(), is_json: self.is_json })
    }
}

impl Source {
    fn write(&self, form: Form, context: &InputContext<'_>, out: &mut Vec<u8>) {
        let value = match self {
            Self::Path(path) => path.value_of(context.event),
            Self::Trigger => Some(PathValue::from_text(context.trigger.as_str())),
            Self::RuleArn => Some(PathValue::from_text(rule_arn(context))),
            Self::Topic => Some(PathValue::from_text(context.topic.as_str())),
            Self::Offset => Some(PathValue::from_json(context.offset.to_string())),
            Self::AppendedAt => Some(PathValue::from_text(context.appended_at.to_string())),
            Self::Event(_, extent) => {
                document::write(context.event, *extent, out);
                return;
            }
        };
        match (form, value) {
            (Form::Json, Some(value)) => value.write_json(out),
            (Form::Json, None) => out.extend_from_slice(b"null"),
            (Form::Escaped, Some(value)) => value.write_escaped(out),
            (Form::Text, Some(value)) => out.extend_from_slice(value.text().as_bytes()),
            (Form::Escaped | Form::Text, None) => {}
        }
    }
}

fn rule_arn(context: &InputContext<'_>) -> String {
    let Place { region, account } = Place::default();
    format!("arn:aws:events:{region}:{account}:rule/{}/{}", context.topic, context.trigger)
}

fn compile_paths(paths: &BTreeMap<String, String>) -> Result<BTreeMap<&str, ValuePath>, InputError> {
    if paths.len() > TEMPLATE_PATHS_MAX {
        return Err(InputError::TooManyPaths { count: paths.len(), most: TEMPLATE_PATHS_MAX });
    }
    let mut compiled = BTreeMap::new();
    for (name, path) in paths {
        check_name(name).map_err(|why| InputError::Name { name: name.clone(), why })?;
        let named = |source| InputError::NamedPath { name: name.clone(), source };
        compiled.insert(name.as_str(), path.parse().map_err(named)?);
    }
    Ok(compiled)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty()
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err("it must be made of letters, digits, `_` and `-`");
    }
    let begins_with =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    if begins_with("aws") || begins_with("eventail") {
        return Err("names that begin with `aws` or `eventail` are predefined");
    }
    Ok(())
}

/// A stretch of a template. `at` is where it begins in it.
enum Piece {
    Literal { text: String, at: usize },
    Value { source: Source, is_quoted: bool, at: usize },
}

fn split(text: &str, paths: &BTreeMap<&str, ValuePath>) -> Result<Vec<Piece>, InputError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let (mut literal_at, mut at, mut is_quoted) = (0, 0, false);
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        if let Some(name) = place_name(rest) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal { text: std::mem::take(&mut literal), at: literal_at });
            }
            pieces.push(Piece::Value { source: source(name, text, at, paths)?, is_quoted, at });
            at += name.len() + "<>".len();
            literal_at = at;
            continue;
        }
        let taken = match character {
            '\\' if rest[1..].starts_with('<') => {
                literal.push('<');
                2
            }
            // What is escaped cannot end the string.
            '\\' if is_quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => character.len_utf8(),
        };
        is_quoted ^= character == '"';
        if !rest.starts_with("\\<") {
            literal.push_str(&rest[..taken]);
        }
        at += taken;
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal { text: literal, at: literal_at });
    }
    Ok(pieces)
}

/// The name between `<` and `>`, if that is what `rest` begins with.
fn place_name(rest: &str) -> Option<&str> {
    let (name, _) = rest.strip_prefix('<')?.split_once('>')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (name.starts_with('$') || (!name.is_empty() && name.bytes().all(is_name))).then_some(name)
}

fn source(
    name: &str,
    text: &str,
    at: usize,
    paths: &BTreeMap<&str, ValuePath>,
) -> Result<Source, InputError> {
    if let Some(path) = paths.get(name) {
        return Ok(Source::Path(path.clone()));
    }
    if name.starts_with('$') {
        let path = name.parse();
        return path
            .map(Source::Path)
            .map_err(|source| InputError::InlinePath { place: TextPlace::of(text, at), source });
    }
    let predefined = PREDEFINED.iter().find(|(known, _)| *known == name);
    predefined.map(|(_, source)| source.clone()).ok_or_else(|| InputError::UnknownName {
        name: name.to_owned(),
        place: TextPlace::of(text, at),
        names: paths.keys().map(|&name| name.to_owned()).collect(),
    })
}

/// Whether the template is JSON, whatever its places are filled with: a value inside of a string cannot change that, and
/// outside one value is as good as another.
fn check_json(text: &str, pieces: &[Piece]) -> Result<(), InputError> {
    let mut sample = String::with_capacity(text.len());
    // Where stretches of the sample come from.
    let mut origins = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Literal { text, at } => {
                origins.push((sample.len(), *at));
                sample.push_str(text);
            }
            Piece::Value { is_quoted, at, .. } => {
                origins.push((sample.len(), *at));
                if !is_quoted {
                    sample.push_str("null");
                }
            }
        }
    }
    serde_json::from_str::<serde::de::IgnoredAny>(&sample).map(|_| ()).map_err(|error| {
        let line_start = sample.split_inclusive('\n').take(error.line() - 1).map(str::len).sum::<usize>();
        let wrong = (line_start + error.column()).saturating_sub(1);
        let origin = origins.iter().rev().find(|(start, _)| *start <= wrong);
        let at = origin.map_or(wrong, |(start, at)| at + (wrong - start));
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        InputError::Template { place: TextPlace::of(text, at.min(text.len())), why }
    })
}
