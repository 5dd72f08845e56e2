//! A field as it is compiled: what one value at one path must be.

use super::paths::PathId;
use super::predicate::Predicate;
use super::table::ValueTable;
use super::values::Value;

/// Predicates up to here are tried one by one.
const LISTED_MAX: usize = 8;

/// A field of one or many patterns.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) path: PathId,
    /// Whether no value at all would do: `exists` is false.
    pub(super) may_be_absent: bool,
    any: AnyOf,
    but: Vec<AnyOf>,
}

/// Predicates of which one must hold.
#[derive(Debug)]
enum AnyOf {
    Listed(Vec<Predicate>),
    Table(Box<ValueTable>),
}

impl Leaf {
    pub(super) fn new(path: PathId, predicates: &[Predicate]) -> Self {
        let mut leaf = Self { path, may_be_absent: false, any: AnyOf::Listed(Vec::new()), but: Vec::new() };
        let mut any = Vec::new();
        for predicate in predicates {
            match predicate {
                Predicate::Exists(false) => leaf.may_be_absent = true,
                Predicate::AnythingBut(excluded) => leaf.but.push(AnyOf::new(excluded.clone())),
                other => any.push(other.clone()),
            }
        }
        leaf.any = AnyOf::new(any);
        leaf
    }

    /// Whether a value that is there will do.
    pub(super) fn accepts(&self, value: Value<'_>) -> bool {
        self.any.holds(value) || self.but.iter().any(|excluded| !excluded.holds(value))
    }
}

impl AnyOf {
    fn new(predicates: Vec<Predicate>) -> Self {
        if predicates.len() <= LISTED_MAX || !predicates.iter().all(ValueTable::holds) {
            return Self::Listed(predicates);
        }
        let mut table = ValueTable::default();
        for predicate in &predicates {
            table.insert(predicate, 0);
        }
        table.finish();
        Self::Table(Box::new(table))
    }

    fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Self::Listed(predicates) => predicates.iter().any(|predicate| predicate.accepts(value)),
            Self::Table(table) => {
                let mut found = false;
                table.find(value, |_| found = true);
                found
            }
        }
    }
}
