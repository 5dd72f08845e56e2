//! What one value may be: the meaning of each operator, one value at a time.

use super::fold::Folded;
use super::network::Network;
use super::range::NumberRange;
use super::values::{Literal, Value, address};
use super::wildcard::Wildcard;

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Predicate {
    Equals(Literal),
    Prefix(Box<str>),
    Suffix(Box<str>),
    EqualsIgnoreCase(Folded),
    PrefixIgnoreCase(Folded),
    SuffixIgnoreCase(Folded),
    Wildcard(Wildcard),
    Numeric(NumberRange),
    Cidr(Network),
    Exists(bool),
    /// A value of which none of these holds. Its strings are never addresses.
    AnythingBut(Vec<Self>),
}

impl Predicate {
    /// Whether a value that is there will do.
    pub(super) fn accepts(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), _) => *wanted,
            (Self::AnythingBut(excluded), _) => !excluded.iter().any(|predicate| predicate.accepts(value)),
            (Self::Equals(literal), _) => literal.equals(value),
            (Self::Numeric(range), Value::Number(bits)) => range.contains(bits),
            (_, Value::Text(text)) => self.accepts_text(text),
            _ => false,
        }
    }

    fn accepts_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::EqualsIgnoreCase(folded) => folded.equals(text),
            Self::PrefixIgnoreCase(folded) => folded.begins(text),
            Self::SuffixIgnoreCase(folded) => folded.ends(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Cidr(network) => address(text).is_some_and(|address| network.contains(address)),
            Self::Equals(_) | Self::Numeric(_) | Self::Exists(_) | Self::AnythingBut(_) => false,
        }
    }
}
