//! A field as it is compiled: what one value at one path must be.

use super::parse::{Excluded, Predicate};
use super::paths::PathId;
use super::table::ValueTable;
use super::values::{Literal, Value};

/// Literals up to here are compared one by one.
const LISTED_MAX: usize = 8;

/// A field of one or many patterns.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) path: PathId,
    /// Whether no value at all would do: `exists` is false.
    pub(super) may_be_absent: bool,
    equal: Literals,
    tests: Vec<Test>,
}

#[derive(Debug)]
enum Test {
    Prefix(Box<str>),
    Anything,
    NotOneOf(Literals),
    NoPrefix(Vec<Box<str>>),
}

#[derive(Debug)]
enum Literals {
    Listed(Vec<Literal>),
    Table(Box<ValueTable>),
}

impl Leaf {
    pub(super) fn new(path: PathId, predicates: &[Predicate]) -> Self {
        let mut leaf =
            Self { path, may_be_absent: false, equal: Literals::new(Vec::new()), tests: Vec::new() };
        let mut equal = Vec::new();
        for predicate in predicates {
            match predicate {
                Predicate::Equals(literal) => equal.push(literal.clone()),
                Predicate::Prefix(prefix) => leaf.tests.push(Test::Prefix(prefix.clone())),
                Predicate::Exists(true) => leaf.tests.push(Test::Anything),
                Predicate::Exists(false) => leaf.may_be_absent = true,
                Predicate::AnythingBut(Excluded::Values(values)) => {
                    leaf.tests.push(Test::NotOneOf(Literals::new(values.clone())));
                }
                Predicate::AnythingBut(Excluded::Prefixes(prefixes)) => {
                    leaf.tests.push(Test::NoPrefix(prefixes.clone()));
                }
            }
        }
        leaf.equal = Literals::new(equal);
        leaf
    }

    /// Whether a value that is there will do.
    pub(super) fn accepts(&self, value: Value<'_>) -> bool {
        self.equal.contain(value) || self.tests.iter().any(|test| test.accepts(value))
    }
}

impl Test {
    fn accepts(&self, value: Value<'_>) -> bool {
        let starts_with =
            |prefix: &str| matches!(value, Value::Text(text) if text.starts_with(prefix.as_bytes()));
        match self {
            Self::Prefix(prefix) => starts_with(prefix),
            Self::Anything => true,
            Self::NotOneOf(literals) => !literals.contain(value),
            Self::NoPrefix(prefixes) => !prefixes.iter().any(|prefix| starts_with(prefix)),
        }
    }
}

impl Literals {
    fn new(literals: Vec<Literal>) -> Self {
        if literals.len() <= LISTED_MAX {
            return Self::Listed(literals);
        }
        let mut table = ValueTable::default();
        for literal in &literals {
            table.insert(&Predicate::Equals(literal.clone()), 0);
        }
        Self::Table(Box::new(table))
    }

    fn contain(&self, value: Value<'_>) -> bool {
        match self {
            Self::Listed(literals) => literals.iter().any(|literal| literal.equals(value)),
            Self::Table(table) => {
                let mut found = false;
                table.find(value, |_| found = true);
                found
            }
        }
    }
}
