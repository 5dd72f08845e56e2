//! The words of the pattern language, in one place for the parser and for its errors.
//!
//! Operators are case-sensitive. Those of the language that this version does not have are listed too, so that a pattern
//! written for it is refused by the operator's name and not as a mistake.

pub(super) const PREFIX: &str = "prefix";
pub(super) const EXISTS: &str = "exists";
pub(super) const ANYTHING_BUT: &str = "anything-but";
pub(super) const OR: &str = "$or";

/// The operators that stand in a field's list.
pub(super) const NAMES: &[&str] = &[PREFIX, EXISTS, ANYTHING_BUT];

/// The operators that stand inside another one.
pub(super) const NESTED_NAMES: &[&str] = &[PREFIX];

const LATER: &[&str] = &["exactly", "suffix", "equals-ignore-case", "wildcard", "numeric", "cidr"];
const LATER_NESTED_IN_PREFIX: &[&str] = &["equals-ignore-case"];
const LATER_NESTED_IN_ANYTHING_BUT: &[&str] = &["suffix", "equals-ignore-case", "wildcard"];

/// Whether the language has the operator, though this version has not.
pub(super) fn is_later(name: &str) -> bool {
    LATER.contains(&name)
}

/// The same for an operator inside another one.
pub(super) fn is_later_inside(outer: &str, name: &str) -> bool {
    match outer {
        PREFIX => LATER_NESTED_IN_PREFIX.contains(&name),
        ANYTHING_BUT => LATER_NESTED_IN_ANYTHING_BUT.contains(&name),
        _ => false,
    }
}
