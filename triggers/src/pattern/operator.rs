//! The words of the pattern language, in one place for the parser and for its errors. They are case-sensitive.

pub(super) const EXACTLY: &str = "exactly";
pub(super) const PREFIX: &str = "prefix";
pub(super) const SUFFIX: &str = "suffix";
pub(super) const EQUALS_IGNORE_CASE: &str = "equals-ignore-case";
pub(super) const WILDCARD: &str = "wildcard";
pub(super) const ANYTHING_BUT: &str = "anything-but";
pub(super) const NUMERIC: &str = "numeric";
pub(super) const CIDR: &str = "cidr";
pub(super) const EXISTS: &str = "exists";
pub(super) const OR: &str = "$or";

/// The operators that stand in a field's list.
pub(super) const NAMES: &[&str] =
    &[EXACTLY, PREFIX, SUFFIX, EQUALS_IGNORE_CASE, WILDCARD, ANYTHING_BUT, NUMERIC, CIDR, EXISTS];

/// The operators that stand inside another one.
pub(super) fn nested_names(outer: &str) -> &'static [&'static str] {
    match outer {
        ANYTHING_BUT => &[PREFIX, SUFFIX, EQUALS_IGNORE_CASE, WILDCARD],
        _ => &[EQUALS_IGNORE_CASE],
    }
}

/// Words that no field inside `$or` may be called, beside the operators: AWS keeps them for itself.
const RESERVED: &[&str] = &[
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// Whether a field inside `$or` may not be called so.
pub(super) fn is_reserved_in_or(name: &str) -> bool {
    NAMES.contains(&name) || RESERVED.contains(&name)
}
