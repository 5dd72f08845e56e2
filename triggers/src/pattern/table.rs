//! From a value to whatever the predicates that it satisfies lead to, at a cost that the number of predicates does not move.
//!
//! Each kind of predicate has its own part here: literals are hashed; beginnings, ends and networks too, once for each length
//! that they have; what ignores case is hashed folded; ranges of numbers stand in a search tree. A wildcard is looked up by
//! its longest fixed part, and only then tried. A predicate that no
//! part can hold is not [`ValueTable::holds`]; patterns with it are checked one by one behind the tables of their other fields.

use std::collections::HashMap;
use std::net::IpAddr;

use super::affixes::Affixes;
use super::fold::folded;
use super::network::Networks;
use super::paths::Hashing;
use super::predicate::Predicate;
use super::range::Ranges;
use super::values::{Literal, Value, address};
use super::wildcards::Wildcards;

/// What a predicate leads to.
pub(super) type Goal = usize;

/// Predicates of one path. Must be [finished](ValueTable::finish) before values are looked up.
#[derive(Debug, Default)]
pub(super) struct ValueTable {
    texts: HashMap<Box<[u8]>, Goal, Hashing>,
    addresses: HashMap<IpAddr, Goal, Hashing>,
    numbers: HashMap<u64, Goal, Hashing>,
    long_numbers: HashMap<Box<[u8]>, Goal, Hashing>,
    booleans: [Option<Goal>; 2],
    null: Option<Goal>,
    prefixes: Affixes,
    ranges: Ranges,
    /// What few tables have.
    rare: Option<Box<Rare>>,
}

/// Predicates of strings beside literals and prefixes.
#[derive(Debug, Default)]
struct Rare {
    suffixes: Affixes,
    networks: Networks,
    wildcards: Wildcards,
    /// All of these are folded.
    texts_folded: HashMap<Box<[u8]>, Goal, Hashing>,
    prefixes_folded: Affixes,
    suffixes_folded: Affixes,
    has_folded: bool,
}

impl ValueTable {
    /// Whether a table can hold the predicate.
    pub(super) fn holds(predicate: &Predicate) -> bool {
        !matches!(predicate, Predicate::Exists(_) | Predicate::AnythingBut(_))
    }

    /// Lets a predicate lead to a goal; the same predicate again leads to the last one.
    pub(super) fn insert(&mut self, predicate: &Predicate, goal: Goal) {
        match predicate {
            Predicate::Equals(literal) => self.insert_literal(literal, goal),
            Predicate::Prefix(prefix) => self.prefixes.insert(prefix.as_bytes(), goal),
            Predicate::Numeric(range) => self.ranges.insert(*range, goal),
            Predicate::Exists(_) | Predicate::AnythingBut(_) => debug_assert!(false, "no table holds it"),
            rare => self.rare.get_or_insert_default().insert(rare, goal),
        }
    }

    /// Must come after the last `insert`.
    pub(super) fn finish(&mut self) {
        self.ranges.finish();
        if let Some(rare) = &mut self.rare {
            rare.wildcards.finish();
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

    /// Calls `each` with the goal of every predicate that the value satisfies, once each.
    pub(super) fn find(&self, value: Value<'_>, mut each: impl FnMut(Goal)) {
        let goal = match value {
            Value::Text(text) => {
                self.prefixes.find_beginnings(text, &mut each);
                if let Some(rare) = &self.rare {
                    rare.find(text, &mut each);
                }
                if let Some(goal) = self.find_address(text) {
                    each(goal);
                }
                self.texts.get(text).copied()
            }
            Value::Number(bits) => {
                self.ranges.find(bits, &mut each);
                self.numbers.get(&bits).copied()
            }
            Value::LongNumber(text) => self.long_numbers.get(text).copied(),
            Value::Boolean(truth) => self.booleans[usize::from(truth)],
            Value::Null => self.null,
        };
        if let Some(goal) = goal {
            each(goal);
        }
    }

    fn find_address(&self, text: &[u8]) -> Option<Goal> {
        if self.addresses.is_empty() {
            return None;
        }
        self.addresses.get(&address(text)?).copied()
    }
}

impl Rare {
    fn insert(&mut self, predicate: &Predicate, goal: Goal) {
        match predicate {
            Predicate::Suffix(suffix) => self.suffixes.insert(suffix.as_bytes(), goal),
            Predicate::Cidr(network) => self.networks.insert(*network, goal),
            Predicate::Wildcard(wildcard) => self.wildcards.insert(wildcard.clone(), goal),
            Predicate::EqualsIgnoreCase(text) => {
                self.texts_folded.insert(text.as_bytes().into(), goal);
                self.has_folded = true;
            }
            Predicate::PrefixIgnoreCase(prefix) => {
                self.prefixes_folded.insert(prefix.as_bytes(), goal);
                self.has_folded = true;
            }
            Predicate::SuffixIgnoreCase(suffix) => {
                self.suffixes_folded.insert(suffix.as_bytes(), goal);
                self.has_folded = true;
            }
            _ => {}
        }
    }

    fn find(&self, text: &[u8], each: &mut impl FnMut(Goal)) {
        self.suffixes.find_ends(text, each);
        self.networks.find(text, each);
        self.wildcards.find(text, each);
        if !self.has_folded {
            return;
        }
        folded(text, |text| {
            if let Some(&goal) = self.texts_folded.get(text) {
                each(goal);
            }
            self.prefixes_folded.find_beginnings(text, each);
            self.suffixes_folded.find_ends(text, each);
        });
    }
}
