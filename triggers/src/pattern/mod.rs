//! Event patterns: the language in which a trigger says what it wants, and one matcher for all triggers of a topic.
//!
//! A pattern is a JSON object that mirrors the event: fields hold lists of values and operators of which one must match,
//! all fields must match, and fields that are not named do not matter. CloudEvents attributes stand at the top, JSON data
//! under `data`. The language is EventBridge's, of which this version has exact values, `prefix`, `exists` and
//! `anything-but`; the other operators are refused by name.
//!
//! - Where an event has a list, a field matches if any element does; but two fields of one pattern are never satisfied by
//!   different elements of one list.
//! - `[]` and `{}` are absent, `null` and `""` are not. `anything-but` and `{"exists": true}` want a value, be it `null`.
//! - Keys are joined with dots: `{"a.b": …}` and `{"a": {"b": …}}` are the same, in patterns and in events.
//! - Numbers compare as doubles, those that no double holds by their text. A string in a field's list that is an IP
//!   address matches every spelling of it.
//! - A name that a pattern's text repeats counts as given last; objects that it repeats are joined. An event's text that
//!   repeats a name has both values.
//!
//! Nothing here does I/O, knows a clock or needs a runtime: [`Pattern::parse`], [`Matcher::new`], [`Matcher::matches`].

mod compile;
mod consistency;
pub(crate) mod cursor;
mod decide;
mod error;
mod facts;
mod leaf;
mod matcher;
mod operator;
mod parse;
mod paths;
mod scan;
mod table;
mod tree;
mod values;

#[cfg(test)]
mod tests;

pub use error::{PatternError, PatternProblem};
pub use matcher::{Matcher, Scratch};
pub use parse::{FIELDS_MAX, Pattern};
pub use scan::EventTextError;
