//! Paths into an event: `$.data.order.lines[0].sku`, `$['odd key']`, or an attribute's name.
//!
//! `$` is the event as [`super::document`] has it. A path is checked whole when it is parsed, and it names one place: there
//! are no wildcards, filters or slices. Looking a value up runs over the data's text once and builds nothing.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use eventail_wire::Event;
use eventail_wire::event::rules;

use super::document;
use crate::pattern::cursor::{Cursor, Mistake, RawText, unescape};
use crate::payload::json;

/// Steps of one path: more than any honest event is deep.
pub const PATH_STEPS_MAX: usize = 64;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// A place in events, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct ValuePath {
    text: String,
    steps: Vec<Step>,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no path: {why}, at character {}", text.get(..*at).map_or(0, |before| before.chars().count()) + 1)]
pub struct ValuePathError {
    text: String,
    /// Where it goes wrong, in bytes from its beginning.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathValue<'a>(Repr<'a>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr<'a> {
    /// A string, as it is meant.
    Text(Cow<'a, str>),
    /// JSON text of one value.
    Json(Cow<'a, str>),
}

impl<'a> PathValue<'a> {
    pub(super) fn from_text(text: impl Into<Cow<'a, str>>) -> Self {
        Self(Repr::Text(text.into()))
    }

    pub(super) fn from_json(text: impl Into<Cow<'a, str>>) -> Self {
        Self(Repr::Json(text.into()))
    }

    /// Whether it is JSON's `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.0, Repr::Json(text) if text == "null")
    }

    /// Its text: what a string means, the JSON text of everything else.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Text(text) => text.as_ref().into(),
            Repr::Json(text) => match inside_quotes(text) {
                Some(raw) if !raw.contains('\\') => raw.into(),
                Some(raw) => {
                    let mut plain = Vec::with_capacity(raw.len());
                    unescape(raw.as_bytes(), &mut plain);
                    String::from_utf8_lossy(&plain).into_owned().into()
                }
                None => text.as_ref().into(),
            },
        }
    }

    /// Its text, if it is no object and no list.
    #[must_use]
    pub fn scalar(&self) -> Option<Cow<'_, str>> {
        let is_container = matches!(&self.0, Repr::Json(text) if text.starts_with(['{', '[']));
        (!is_container).then(|| self.text())
    }

    /// Appends it as a JSON value.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Text(text) => json::string(text, out),
            Repr::Json(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// Appends its text as it stands inside of a JSON string.
    pub(super) fn write_escaped(&self, out: &mut Vec<u8>) {
        match &self.0 {
            // It is escaped already, and stays as its publisher spelt it.
            Repr::Json(text) if inside_quotes(text).is_some_and(|raw| !has_lone_surrogate(raw)) => {
                out.extend_from_slice(inside_quotes(text).unwrap_or_default().as_bytes());
            }
            _ => super::escape(&self.text(), out),
        }
    }
}

fn inside_quotes(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// Half of a surrogate pair: legal in JSON's grammar, and no text.
fn has_lone_surrogate(raw: &str) -> bool {
    raw.contains("\\ud") || raw.contains("\\uD")
}

impl ValuePath {
    /// The value there, if the event has one. Where the data repeats a name, the last one counts.
    #[must_use]
    pub fn value_of<'a>(&self, event: &'a Event) -> Option<PathValue<'a>> {
        document::value_at(event, &self.steps)
    }

    /// It as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ValuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValuePath").field(&self.text).finish()
    }
}

impl fmt::Display for ValuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ValuePath {
    type Err = ValuePathError;

    fn from_str(text: &str) -> Result<Self, ValuePathError> {
        let refuse = |(at, why)| ValuePathError { text: text.to_owned(), at, why };
        let steps = match text.strip_prefix('$') {
            Some(_) => Parser { text, at: 1 }.steps().map_err(refuse)?,
            None if rules::check_name(text).is_ok() => vec![Step::Name(text.to_owned())],
            None => {
                let why =
                    "it must be an attribute's name such as `subject`, or begin with `$` as `$.data.id` does";
                return Err(refuse((0, why)));
            }
        };
        check_first(&steps).map_err(|why| refuse((text.len().min(1), why)))?;
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// What the top of an event can have at all.
fn check_first(steps: &[Step]) -> Result<(), &'static str> {
    let Some(first) = steps.first() else { return Ok(()) };
    let Step::Name(name) = first else { return Err("an event is an object and has no elements") };
    let rest = &steps[1..];
    match name.as_str() {
        "data" | "detail" => Ok(()),
        "resources" if matches!(rest, [] | [Step::Index(_)]) => Ok(()),
        "resources" => Err("`resources` is a list of strings"),
        "detail-type" | "data_base64" if rest.is_empty() => Ok(()),
        name if rules::check_name(name).is_err() && !matches!(name, "detail-type" | "data_base64") => {
            Err("an event has attributes, named by a-z and 0-9, and `data`")
        }
        _ if rest.is_empty() => Ok(()),
        _ => Err("an attribute has nothing inside of it"),
    }
}

type Refusal = (usize, &'static str);

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn steps(mut self) -> Result<Vec<Step>, Refusal> {
        let mut steps = Vec::new();
        while self.at < self.text.len() {
            if steps.len() == PATH_STEPS_MAX {
                return Err((self.at, "it has more than 64 steps"));
            }
            steps.push(match self.text.as_bytes()[self.at] {
                b'.' => self.name()?,
                b'[' => self.bracket()?,
                _ => return Err((self.at, "`.name`, `[0]` or `['name']` must come here")),
            });
        }
        Ok(steps)
    }

    fn name(&mut self) -> Result<Step, Refusal> {
        let start = self.at + 1;
        let rest = &self.text[start..];
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if end == 0 {
            let why = match rest.chars().next() {
                None => "a name must follow the dot",
                Some('.') => "`..` is not supported: a path names one place",
                Some('*') => "`*` is not supported: a path names one place",
                Some('[') => "brackets follow without a dot",
                Some(_) => {
                    "a name must follow the dot; others than letters, digits, `_` and `-` go as `['odd name']`"
                }
            };
            return Err((start, why));
        }
        self.at = start + end;
        Ok(Step::Name(rest[..end].to_owned()))
    }

    fn bracket(&mut self) -> Result<Step, Refusal> {
        let start = self.at + 1;
        let step = match self.text[start..].chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(start + 1, quote)?,
            Some('0'..='9') => {
                let digits = self.text[start..].bytes().take_while(u8::is_ascii_digit).count();
                self.at = start + digits;
                let index = self.text[start..self.at].parse();
                Step::Index(index.map_err(|_| (start, "no list has so many elements"))?)
            }
            Some('-') => {
                return Err((start, "elements are counted from the beginning: `-` is not supported"));
            }
            Some('*') => return Err((start, "`*` is not supported: a path names one place")),
            Some('?') => return Err((start, "filters are not supported: a path names one place")),
            _ => return Err((start, "an element's number or a name in quotes must follow the bracket")),
        };
        if self.text.as_bytes().get(self.at) != Some(&b']') {
            return Err((self.at, "`]` must come here"));
        }
        self.at += 1;
        Ok(step)
    }

    fn quoted(&mut self, start: usize, quote: char) -> Result<Step, Refusal> {
        let mut name = String::new();
        let mut characters = self.text[start..].char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, escaped)) if escaped == quote || escaped == '\\' => name.push(escaped),
                    _ => return Err((start + offset, "only the quote and `\\` can be escaped")),
                },
                _ if character == quote => {
                    self.at = start + offset + 1;
                    return Ok(Step::Name(name));
                }
                _ => name.push(character),
            }
        }
        Err((self.text.len(), "the quote is not closed"))
    }
}

/// The text of the value at `steps` within JSON text, without white space around it. `Err` where the text is no JSON.
pub(super) fn find<'a>(text: &'a str, steps: &[Step]) -> Result<Option<&'a str>, Mistake> {
    let mut cursor = Cursor::new(text.as_bytes(), 0);
    let found = descend(&mut cursor, steps, 0)?;
    cursor.end()?;
    Ok(found.and_then(|(start, end)| text.get(start..end)))
}

fn descend(cursor: &mut Cursor<'_>, steps: &[Step], depth: usize) -> Result<Option<(usize, usize)>, Mistake> {
    let opening = cursor.peek();
    match (steps.split_first(), opening) {
        (None, _) => {
            let start = cursor.at;
            cursor.skip_value(depth)?;
            Ok(Some((start, cursor.at)))
        }
        (Some((Step::Name(name), rest)), Some(b'{')) => {
            let mut found = None;
            cursor.at += 1;
            if cursor.take(b'}') {
                return Ok(None);
            }
            loop {
                let key = cursor.key()?;
                if is_named(cursor.bytes, key, name) {
                    found = descend(cursor, rest, depth + 1)?;
                } else {
                    cursor.skip_value(depth + 1)?;
                }
                if !goes_on(cursor, b'}')? {
                    return Ok(found);
                }
            }
        }
        (Some((Step::Index(wanted), rest)), Some(b'[')) => {
            let mut found = None;
            cursor.at += 1;
            if cursor.take(b']') {
                return Ok(None);
            }
            let mut index = 0;
            loop {
                if index == *wanted {
                    found = descend(cursor, rest, depth + 1)?;
                } else {
                    cursor.skip_value(depth + 1)?;
                }
                index += 1;
                if !goes_on(cursor, b']')? {
                    return Ok(found);
                }
            }
        }
        (Some(_), _) => cursor.skip_value(depth).map(|()| None),
    }
}

fn goes_on(cursor: &mut Cursor<'_>, closing: u8) -> Result<bool, Mistake> {
    if cursor.take(b',') {
        return Ok(true);
    }
    if cursor.take(closing) { Ok(false) } else { Err("a comma or the closing bracket must come here") }
}

fn is_named(bytes: &[u8], key: RawText, name: &str) -> bool {
    let raw = bytes.get(key.start..key.end).unwrap_or_default();
    if !key.escaped {
        return raw == name.as_bytes();
    }
    let mut plain = Vec::with_capacity(raw.len());
    unescape(raw, &mut plain);
    plain == name.as_bytes()
}
