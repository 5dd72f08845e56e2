//! Walking through a parsed file: what is asked for is converted and checked, what is wrong is noted, and the walk goes
//! on, so that all problems come at once.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::amount::Amount;
use super::problem::Problem;
use super::{schema, suggest};

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What the walk gathers, and what it may ask.
pub(super) struct Reader<'e> {
    /// Environment variables.
    pub(super) environment: Environment<'e>,
    /// The folder that paths in the file are relative to.
    pub(super) folder: &'e Path,
    /// What is wrong, with its place.
    pub(super) problems: Vec<(Problem, Option<Range<usize>>)>,
    /// Parts of the text that must not be shown.
    pub(super) masks: Vec<Range<usize>>,
}

/// A table of the file whose keys were checked.
#[derive(Clone)]
pub(super) struct Section<'t> {
    /// Its name as it stands in the file, `triggers.ship.retry`; empty at the top.
    path: String,
    /// Where it is named.
    pub(super) span: Range<usize>,
    table: &'t DeTable<'t>,
    keys: &'static [&'static str],
}

/// A value of the file and its place.
#[derive(Clone)]
pub(super) struct Found<'t> {
    /// Its key as it stands in the file, without the section.
    pub(super) key: String,
    /// The value.
    pub(super) value: &'t DeValue<'t>,
    /// Where it stands.
    pub(super) span: Range<usize>,
    /// Where its key stands.
    pub(super) key_span: Range<usize>,
}

impl Reader<'_> {
    /// Notes a problem at a place.
    pub(super) fn note(&mut self, problem: Problem, span: &Range<usize>) {
        self.problems.push((problem, Some(span.clone())));
    }

    /// A path of the file: relative ones begin at the file's folder.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

impl<'t> Section<'t> {
    /// Takes a table whose keys may be `keys` and nothing else.
    pub(super) fn new(
        reader: &mut Reader<'_>,
        path: String,
        span: Range<usize>,
        table: &'t DeTable<'t>,
        keys: &'static [&'static str],
    ) -> Self {
        let section = Self { path, span, table, keys };
        for (key, _) in table.iter().filter(|(key, _)| !keys.contains(&key.get_ref().as_ref())) {
            section.note_unknown(reader, key);
        }
        section
    }

    /// Takes a table whose other keys are names: `named` gets those.
    pub(super) fn with_names(
        reader: &mut Reader<'_>,
        path: &str,
        span: Range<usize>,
        table: &'t DeTable<'t>,
        keys: &'static [&'static str],
    ) -> (Self, Vec<Found<'t>>) {
        let section = Self { path: path.to_owned(), span, table, keys };
        let mut named = Vec::new();
        for (key, value) in table.iter().filter(|(key, _)| !keys.contains(&key.get_ref().as_ref())) {
            if value.get_ref().is_table() {
                named.push(found(key, value));
            } else {
                section.note_unknown(reader, key);
            }
        }
        (section, named)
    }

    fn note_unknown(&self, reader: &mut Reader<'_>, key: &Spanned<std::borrow::Cow<'_, str>>) {
        let written = key.get_ref();
        let problem = Problem::UnknownKey {
            key: written.to_string(),
            section: self.title(),
            suggestion: suggest::nearest(written, self.keys.iter().copied()),
            home: schema::home_of(written),
            known: self.keys,
        };
        reader.note(problem, &key.span());
    }

    /// The section's name as a message gives it.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) }
    }

    /// The name of a section in this one.
    pub(super) fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Found<'t>> {
        debug_assert!(self.keys.contains(&key), "{key} is missing in the schema");
        self.table.get_key_value(key).map(|(key, value)| found(key, value))
    }

    /// A table in this one.
    pub(super) fn section(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        keys: &'static [&'static str],
    ) -> Option<Self> {
        let found = self.get(key)?;
        let table = found.table(reader)?;
        Some(Self::new(reader, self.child(key), found.key_span, table, keys))
    }

    /// A string.
    pub(super) fn string(&self, reader: &mut Reader<'_>, key: &'static str) -> Option<(&'t str, Found<'t>)> {
        let found = self.get(key)?;
        Some((found.string(reader)?, found))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, reader: &mut Reader<'_>, key: &'static str) -> Option<bool> {
        let found = self.get(key)?;
        let value = found.value.as_bool();
        if value.is_none() {
            reader.note(found.wrong_type("true or false"), &found.span);
        }
        value
    }

    /// An amount within its limits, in its smallest unit.
    pub(super) fn amount<A: Amount>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        within: RangeInclusive<A>,
    ) -> Option<u64> {
        let found = self.get(key)?;
        match A::read(&found) {
            Ok(amount) if within.contains(&amount) => Some(amount.get()),
            Ok(amount) => {
                let problem = Problem::OutOfRange {
                    key: found.key.clone(),
                    value: amount.to_string(),
                    least: within.start().to_string(),
                    most: within.end().to_string(),
                };
                reader.note(problem, &found.span);
                None
            }
            Err(problem) => {
                reader.note(problem, &found.span);
                None
            }
        }
    }

    /// A number within its limits, with or without a fraction.
    pub(super) fn number(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        within: RangeInclusive<f64>,
    ) -> Option<f64> {
        let found = self.get(key)?;
        let text = match found.value {
            DeValue::Float(float) => float.to_string(),
            DeValue::Integer(integer) => integer.to_string(),
            _ => {
                reader.note(found.wrong_type("a number"), &found.span);
                return None;
            }
        };
        let number = text.parse().ok().filter(|number| within.contains(number));
        if number.is_none() {
            let problem = Problem::OutOfRange {
                key: found.key.clone(),
                value: text,
                least: within.start().to_string(),
                most: within.end().to_string(),
            };
            reader.note(problem, &found.span);
        }
        number
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        words: &'static [&'static str],
        values: &[T],
    ) -> Option<T> {
        let (word, found) = self.string(reader, key)?;
        choose(reader, &found, word, words, values)
    }

    /// Something with a name that is read from a string, or the problem with it.
    pub(super) fn parsed<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let (text, found) = self.string(reader, key)?;
        parse(text).map_err(|problem| reader.note(problem, &found.span)).ok()
    }
}

fn found<'t>(key: &Spanned<std::borrow::Cow<'t, str>>, value: &'t Spanned<DeValue<'t>>) -> Found<'t> {
    Found { key: key.get_ref().to_string(), value: value.get_ref(), span: value.span(), key_span: key.span() }
}

/// The value that goes with a word.
pub(super) fn choose<T: Copy>(
    reader: &mut Reader<'_>,
    found: &Found<'_>,
    word: &str,
    words: &'static [&'static str],
    values: &[T],
) -> Option<T> {
    if let Some(at) = words.iter().position(|allowed| *allowed == word) {
        return values.get(at).copied();
    }
    let problem = Problem::UnknownChoice {
        key: found.key.clone(),
        value: word.to_owned(),
        suggestion: suggest::nearest(word, words.iter().copied()),
        allowed: words,
    };
    reader.note(problem, &found.span);
    None
}

impl<'t> Found<'t> {
    /// The problem of not being what was expected.
    pub(super) fn wrong_type(&self, expected: &'static str) -> Problem {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        Problem::WrongType { key: self.key.clone(), expected, found }
    }

    /// As a table.
    pub(super) fn table(&self, reader: &mut Reader<'_>) -> Option<&'t DeTable<'t>> {
        let table = self.value.as_table();
        if table.is_none() {
            reader.note(self.wrong_type("a table"), &self.span);
        }
        table
    }

    /// As a string.
    pub(super) fn string(&self, reader: &mut Reader<'_>) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            reader.note(self.wrong_type("a string"), &self.span);
        }
        text
    }

    /// The tables, strings or whatever in it, each with the key of the whole.
    pub(super) fn items(&self, reader: &mut Reader<'_>) -> Vec<Self> {
        let Some(array) = self.value.as_array() else {
            reader.note(self.wrong_type("an array"), &self.span);
            return Vec::new();
        };
        array
            .iter()
            .map(|item| Self {
                key: self.key.clone(),
                value: item.get_ref(),
                span: item.span(),
                key_span: self.key_span.clone(),
            })
            .collect()
    }

    /// The keys and values of a table.
    pub(super) fn entries(&self, reader: &mut Reader<'_>) -> Vec<Self> {
        let Some(table) = self.table(reader) else { return Vec::new() };
        table.iter().map(|(key, value)| found(key, value)).collect()
    }

    /// As a number, where it is one.
    pub(super) fn integer(&self) -> Option<Result<u64, Problem>> {
        let integer = self.value.as_integer()?;
        let value = u64::from_str_radix(integer.as_str(), integer.radix());
        Some(value.map_err(|_| Problem::OutOfRange {
            key: self.key.clone(),
            value: integer.to_string(),
            least: "0".to_owned(),
            most: u64::MAX.to_string(),
        }))
    }
}
