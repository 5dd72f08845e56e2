//! Why a pattern does not match an event: the first field that fails, what it wants and what is there.
//!
//! One pattern at a time and slower than the matcher, for people and reports; both give the same answer.

use std::fmt::{self, Write as _};

use eventail_wire::event::Event;

use super::consistency::Walk;
use super::facts::{Facts, Stored};
use super::gather::Gather;
use super::leaf::Leaf;
use super::names::Names;
use super::parse::{Field, Pattern};
use super::scan::EventTextError;
use super::standing::{Standing, standing};
use super::values::Value;

/// Bytes of a found value that an explanation shows.
const SHOWN_BYTES_MAX: usize = 256;

/// Values of one path that an explanation shows.
const SHOWN_VALUES_MAX: usize = 16;

/// Whether a pattern matches, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// It matches.
    Match,
    /// It does not.
    NoMatch(Miss),
}

/// The first field, in the pattern's order, that an event fails. Of a pattern with `$or`, that of the alternative that came
/// nearest: the one with the fewest fields that fail, and of equal ones the first. Prints as
/// `data.total: expected [{"numeric":[">",100]}], found 12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The field, its keys joined with dots.
    pub path: String,
    /// The field's list, as JSON text.
    pub expected: String,
    /// What the event has there.
    pub found: Found,
    /// How many fields fail, at least one. Of fields that only fail together because the values that they want stand in
    /// different elements of a list, one counts.
    pub failed_fields: usize,
    /// Whether the values found would do, but stand in other list elements than those of the fields before.
    pub is_elsewhere: bool,
}

/// What an event has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that a field could match: no such field, an object, or an empty list.
    Absent,
    /// A value as JSON text, of several values a list of them, cut to 256 bytes.
    Value(String),
    /// The path leads into data that is not JSON.
    NotJson,
}

impl Explanation {
    /// Whether the pattern matches.
    #[must_use]
    pub fn is_match(&self) -> bool {
        matches!(self, Self::Match)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match => f.write_str("match"),
            Self::NoMatch(miss) => miss.fmt(f),
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)?;
        if self.is_elsewhere {
            f.write_str(", but in no list element that has what the fields before want")?;
        }
        match self.failed_fields {
            0 | 1 => Ok(()),
            2 => f.write_str(" (1 more field fails)"),
            more => write!(f, " ({} more fields fail)", more - 1),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "nothing",
            Self::Value(json) => json,
            Self::NotJson => "data that is not JSON",
        })
    }
}

impl Pattern {
    /// Whether the pattern matches the event as [`super::Matcher::matches`] sees it, and if not, why.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Explanation {
        let (names, mut facts) = (Names::new(std::iter::once(self)), Facts::default());
        let mut gather = Gather::event(&names, event, &mut facts);
        gather.reach(names.paths.count());
        explain(self, &gather)
    }

    /// The same for JSON text whose members are the attributes, whatever they are called.
    ///
    /// # Errors
    /// If the text is not one JSON object.
    pub fn explain_json(&self, json: &[u8]) -> Result<Explanation, EventTextError> {
        let (names, mut facts) = (Names::new(std::iter::once(self)), Facts::default());
        Gather::json(&names, json, &mut facts).map(|gather| explain(self, &gather))
    }

    /// Whether the pattern matches JSON text whose members are the attributes, whatever they are called. For one pattern
    /// and one event; [`super::Matcher`] is for many.
    ///
    /// # Errors
    /// If the text is not one JSON object.
    pub fn matches_json(&self, json: &[u8]) -> Result<bool, EventTextError> {
        self.explain_json(json).map(|explanation| explanation.is_match())
    }
}

fn explain(pattern: &Pattern, gather: &Gather<'_>) -> Explanation {
    let mut nearest: Option<Miss> = None;
    for fields in pattern.alternatives() {
        let Some(miss) = miss(fields, gather) else { return Explanation::Match };
        if nearest.as_ref().is_none_or(|nearest| miss.failed_fields < nearest.failed_fields) {
            nearest = Some(miss);
        }
    }
    nearest.map_or(Explanation::Match, Explanation::NoMatch)
}

/// How some fields fail together; `None` if they all match.
fn miss<'p>(fields: impl Iterator<Item = &'p Field>, gather: &Gather<'_>) -> Option<Miss> {
    let compiled: Vec<(&Field, Leaf)> = fields
        .filter_map(|field| {
            Some((field, Leaf::new(gather.names.paths.find(&field.path)?, &field.predicates)))
        })
        .collect();
    let fails = |(_, leaf): &&(&Field, Leaf)| standing(leaf, gather.facts, gather.bytes) == Standing::Fails;
    let failed_fields = compiled.iter().filter(fails).count();
    let first = compiled.iter().find(fails);
    let (failed, is_elsewhere) = match first {
        Some(failed) => (failed, false),
        None => (first_elsewhere(&compiled, gather)?, true),
    };
    let (field, leaf) = failed;
    Some(Miss {
        path: field.path.clone(),
        expected: field.text.clone(),
        found: found(leaf, gather),
        failed_fields: failed_fields.max(1),
        is_elsewhere,
    })
}

/// The first field that cannot be satisfied together with those before it.
fn first_elsewhere<'c, 'p>(
    compiled: &'c [(&'p Field, Leaf)],
    gather: &Gather<'_>,
) -> Option<&'c (&'p Field, Leaf)> {
    let mut walk = Walk::default();
    let mut holds = |count: usize| {
        let leaves = compiled[..count].iter().map(|(_, leaf)| leaf);
        walk.holds(leaves, gather.facts, gather.bytes)
    };
    if holds(compiled.len()) {
        return None;
    }
    let first = (1..compiled.len()).find(|&count| !holds(count));
    compiled.get(first.unwrap_or(compiled.len()) - 1)
}

fn found(leaf: &Leaf, gather: &Gather<'_>) -> Found {
    let facts = &*gather.facts;
    let mut values: Vec<Stored> = facts.at(leaf.path).map(|found| found.value).collect();
    values.reverse();
    let print = |stored: &Stored, to: &mut String| print(facts.value(*stored, gather.bytes), to);
    let mut text = String::new();
    match &values[..] {
        [] if gather.has_other_data && leaf.path >= gather.names.first_data_path => return Found::NotJson,
        [] => return Found::Absent,
        [only] => print(only, &mut text),
        several => {
            text.push('[');
            for (at, stored) in several.iter().take(SHOWN_VALUES_MAX).enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                print(stored, &mut text);
            }
            text.push_str(if several.len() > SHOWN_VALUES_MAX { ",…]" } else { "]" });
        }
    }
    if text.len() > SHOWN_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    Found::Value(text)
}

fn print(value: Value<'_>, to: &mut String) {
    // Nobody sees more of it.
    let shown =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
    // Writing to a string cannot fail.
    let _ = match value {
        Value::Text(text) => write!(to, "{}", serde_json::Value::from(shown(text))),
        Value::Number(bits) => write!(to, "{}", f64::from_bits(bits)),
        Value::LongNumber(text) => write!(to, "{}", shown(text)),
        Value::Boolean(truth) => write!(to, "{truth}"),
        Value::Null => write!(to, "null"),
    };
}
