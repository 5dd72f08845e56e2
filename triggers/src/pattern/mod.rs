//! Event patterns: the language in which a trigger says what it wants, and one matcher for all triggers of a topic.
//!
//! A pattern is a JSON object that mirrors the event: fields hold lists of values and operators of which one must match,
//! all fields must match, and fields that are not named do not matter. CloudEvents attributes stand at the top, JSON data
//! under `data`. The language is EventBridge's:
//!
//! | in a field's list | a value matches if it |
//! | --- | --- |
//! | `"x"`, `1`, `true`, `null` | is this |
//! | `{"exactly": "x"}` | is this text |
//! | `{"prefix": "x"}`, `{"suffix": "x"}` | is text that begins or ends so |
//! | `{"equals-ignore-case": "x"}` | is this text in any case, also inside `prefix` and `suffix` |
//! | `{"wildcard": "a*b"}` | is such text; `*` is any text, `\*` a star, `\\` a backslash |
//! | `{"anything-but": …}` | is there and is none of a string, a number, a list of either, or a list in one of `prefix`, `suffix`, `equals-ignore-case`, `wildcard` |
//! | `{"numeric": [">", 0, "<=", 5]}` | is a number in this range |
//! | `{"cidr": "10.0.0.0/8"}` | is text that is an IP address in this block |
//! | `{"exists": true}` | is there at all; `false`: there is none |
//!
//! `"$or": [{…}, {…}]` in any object wants one of the objects to match, beside the fields around it.
//!
//! - Where an event has a list, a field matches if any element does; but two fields of one pattern are never satisfied by
//!   different elements of one list. A field also counts as absent where no value of it stands in the elements that the other
//!   fields chose.
//! - `[]` and `{}` are absent, `null` and `""` are not. `anything-but` and `{"exists": true}` want a value, be it `null`.
//! - Keys are joined with dots: `{"a.b": …}` and `{"a": {"b": …}}` are the same, in patterns and in events.
//! - Numbers compare as doubles, those that no double holds by their text. A string in a field's list that is an IP
//!   address matches every spelling of it.
//! - Case is folded beyond ASCII: `ß` is `SS`.
//! - A name that a pattern's text repeats counts as given last; objects that it repeats are joined. A field that stands both
//!   in an `$or` and around it must match both. An event's text that repeats a name has both values.
//! - Wildcards have a budget, each its own and all of a pattern one together: [`Pattern::complexity`].
//!
//! # EventBridge's names
//! An event came in through EventBridge's shape if its `datacontenttype` is `application/eventbridge+json`. For such events
//! patterns that were written for EventBridge hold as they are: `detail` is the data, `detail-type` the type, and `resources`
//! the list that stands as JSON in the extension `resources`. `source`, `id` and `time` are attributes of the same name,
//! `account` and `region` extensions. The names of CloudEvents hold too. For all other events these are names like any others.
//!
//! Nothing here does I/O, knows a clock or needs a runtime: [`Pattern::parse`], [`Matcher::new`], [`Matcher::matches`], and to
//! know why, [`Pattern::explain`].

mod affixes;
mod compile;
mod consistency;
pub(crate) mod cursor;
mod decide;
mod error;
mod explain;
mod expression;
mod facts;
mod fold;
mod gather;
mod leaf;
mod matcher;
mod names;
mod network;
mod operator;
mod parse;
mod paths;
mod predicate;
mod range;
mod scan;
mod scope;
mod standing;
mod substrings;
mod table;
mod tree;
mod values;
mod wildcard;
mod wildcards;

#[cfg(test)]
mod tests;

pub use error::{PatternError, PatternProblem};
pub use explain::{Explanation, Found, Miss};
pub(crate) use gather::is_eventbridge;
pub use matcher::{Matcher, Scratch};
pub use parse::{FIELDS_MAX, Pattern};
pub use scan::EventTextError;
