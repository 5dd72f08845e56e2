//! From a value to whatever the predicates that it satisfies lead to, at a cost that the number of predicates does not move.
//!
//! Each kind of predicate that can be looked up has its own part here: literals are hashed, and so are prefixes, once for
//! each length that a prefix has. A predicate that no part can hold is not [`ValueTable::holds`]; patterns with it are
//! checked one by one behind the tables of their other fields.

use std::collections::HashMap;
use std::net::IpAddr;

use super::parse::Predicate;
use super::paths::Hashing;
use super::values::{Literal, Value, address};

/// What a predicate leads to.
pub(super) type Goal = usize;

/// Predicates of one path.
#[derive(Debug, Default)]
pub(super) struct ValueTable {
    texts: HashMap<Box<[u8]>, Goal, Hashing>,
    addresses: HashMap<IpAddr, Goal, Hashing>,
    numbers: HashMap<u64, Goal, Hashing>,
    long_numbers: HashMap<Box<[u8]>, Goal, Hashing>,
    booleans: [Option<Goal>; 2],
    null: Option<Goal>,
    prefixes: HashMap<Box<[u8]>, Goal, Hashing>,
    /// The lengths that prefixes have, ascending.
    prefix_lengths: Vec<usize>,
}

impl ValueTable {
    /// Whether a table can hold the predicate.
    pub(super) fn holds(predicate: &Predicate) -> bool {
        matches!(predicate, Predicate::Equals(_) | Predicate::Prefix(_))
    }

    /// Lets a predicate lead to a goal; the same predicate again leads to the last one.
    pub(super) fn insert(&mut self, predicate: &Predicate, goal: Goal) {
        match predicate {
            Predicate::Equals(literal) => self.insert_literal(literal, goal),
            Predicate::Prefix(prefix) => {
                self.prefixes.insert(prefix.as_bytes().into(), goal);
                if let Err(at) = self.prefix_lengths.binary_search(&prefix.len()) {
                    self.prefix_lengths.insert(at, prefix.len());
                }
            }
            Predicate::Exists(_) | Predicate::AnythingBut(_) => debug_assert!(false, "no table holds it"),
        }
    }

    fn insert_literal(&mut self, literal: &Literal, goal: Goal) {
        match literal {
            Literal::Text(text) => drop(self.texts.insert(text.as_bytes().into(), goal)),
            Literal::Address(address) => drop(self.addresses.insert(*address, goal)),
            Literal::Number(bits) => drop(self.numbers.insert(*bits, goal)),
            Literal::LongNumber(text) => drop(self.long_numbers.insert(text.as_bytes().into(), goal)),
            Literal::Boolean(truth) => self.booleans[usize::from(*truth)] = Some(goal),
            Literal::Null => self.null = Some(goal),
        }
    }

    /// Calls `each` with the goal of every predicate that the value satisfies.
    pub(super) fn find(&self, value: Value<'_>, mut each: impl FnMut(Goal)) {
        let goal = match value {
            Value::Text(text) => {
                self.find_prefixes(text, &mut each);
                self.texts.get(text).copied().or_else(|| self.find_address(text))
            }
            Value::Number(bits) => self.numbers.get(&bits).copied(),
            Value::LongNumber(text) => self.long_numbers.get(text).copied(),
            Value::Boolean(truth) => self.booleans[usize::from(truth)],
            Value::Null => self.null,
        };
        if let Some(goal) = goal {
            each(goal);
        }
    }

    fn find_prefixes(&self, text: &[u8], each: &mut impl FnMut(Goal)) {
        for &length in &self.prefix_lengths {
            let Some(start) = text.get(..length) else { return };
            if let Some(&goal) = self.prefixes.get(start) {
                each(goal);
            }
        }
    }

    fn find_address(&self, text: &[u8]) -> Option<Goal> {
        if self.addresses.is_empty() {
            return None;
        }
        self.addresses.get(&address(text)?).copied()
    }
}
