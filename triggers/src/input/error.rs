//! What can be wrong with an input: when a configuration is loaded, and when it is made of an event.

use std::fmt;

use super::path::ValuePathError;

/// A place in a text of several lines, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl TextPlace {
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for TextPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why options make no input. The same options fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A path that is none.
    #[error(transparent)]
    Path(#[from] ValuePathError),
    /// A path of a template that is none.
    #[error("`{name}`: {source}")]
    NamedPath {
        /// The path's name.
        name: String,
        /// What is wrong with it.
        source: ValuePathError,
    },
    /// A name that no path of a template can have.
    #[error("`{name}` cannot be the name of a path: {why}")]
    Name {
        /// The name.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// More paths than a template can have.
    #[error("a template has at most {most} paths, and this has {count}")]
    TooManyPaths {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A constant that is no JSON.
    #[error("the constant is not JSON ({place}): {why}")]
    Constant {
        /// Where.
        place: TextPlace,
        /// The parser's word.
        why: String,
    },
    /// A place for a value that nothing is known of.
    #[error("`<{name}>` ({place}) is no value of this template: it has {}", known(names))]
    UnknownName {
        /// What was written.
        name: String,
        /// Where.
        place: TextPlace,
        /// The names of its own paths.
        names: Vec<String>,
    },
    /// A path within a template that is none.
    #[error("{source} ({place})")]
    InlinePath {
        /// Where.
        place: TextPlace,
        /// What is wrong with it.
        source: ValuePathError,
    },
    /// An event inside of a string.
    #[error(
        "`<{name}>` ({place}) is a JSON object and cannot stand inside of a string: leave its quotes out"
    )]
    EventInString {
        /// What was written.
        name: &'static str,
        /// Where.
        place: TextPlace,
    },
    /// A template that begins as JSON and is none.
    #[error("the template begins as JSON and is none ({place}): {why}")]
    Template {
        /// Where.
        place: TextPlace,
        /// The parser's word.
        why: String,
    },
    /// A jq expression that cannot be used.
    #[error("the jq expression cannot be used ({place}): {why}")]
    Jq {
        /// Where.
        place: TextPlace,
        /// What is wrong with it.
        why: String,
    },
    /// A jq expression that is longer than one may be.
    #[error("a jq expression has at most {most} bytes, and this has {bytes}")]
    JqTooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// The system gave no thread to compile a jq expression on.
    #[error("the system has no thread for jq: {why}")]
    JqThread {
        /// Its word.
        why: String,
    },
}

impl InputError {
    /// Whether the same options may do later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::JqThread { .. })
    }
}

fn known(names: &[String]) -> String {
    let mut text = String::new();
    for name in names {
        text.push_str(&format!("`<{name}>`, "));
    }
    text + "`<eventail.trigger>` and the like, and paths such as `<$.data.id>`"
}

/// Why an event's input could not be made. The same event fails again, but for [`TransformError::is_retryable`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The event has nothing at the path.
    #[error("the event has nothing at `{path}`")]
    Missing {
        /// The path.
        path: String,
    },
    /// The input would be longer than one may be.
    #[error("the input would be longer than {most} bytes")]
    TooLarge {
        /// How many it may have.
        most: usize,
    },
    /// The jq expression raised an error.
    #[error("jq: {message}")]
    Jq {
        /// Its word.
        message: String,
    },
    /// The jq expression ended without a result.
    #[error("jq: the expression gave no result")]
    JqNothing,
    /// The jq expression did more than one may.
    #[error("jq: the expression took more than {most} steps")]
    JqSteps {
        /// How many it may take.
        most: u64,
    },
    /// The jq expression called itself too deeply, or built something that is nested too deeply.
    #[error("jq: the expression or its values nest too deeply")]
    JqDepth,
    /// The jq expression's result is none that JSON has.
    #[error("jq: the result is not JSON: {why}")]
    JqResult {
        /// What is wrong with it.
        why: String,
    },
    /// The system gave no thread to run jq on.
    #[error("jq: the system has no thread for it: {why}")]
    JqThread {
        /// Its word.
        why: String,
    },
}

impl TransformError {
    /// Whether the same event may do later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::JqThread { .. })
    }
}
