//! From the patterns of a topic to the one structure that answers for all of them.
//!
//! Paths, fields and whole patterns that are said twice are kept once. Each pattern is one rule here; a pattern with `$or`
//! is several rules with the same number.

use std::collections::HashMap;

use super::decide::{Builder, Rule, Tree};
use super::leaf::Leaf;
use super::names::Names;
use super::parse::Pattern;
use super::paths::{Hashing, PathId};
use super::predicate::Predicate;

/// A compiled set of patterns.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) names: Names,
    pub(super) leaves: Vec<Leaf>,
    pub(super) rules: Vec<Rule>,
    pub(super) tree: Tree,
    /// Patterns that match everything.
    pub(super) always: Vec<usize>,
}

#[derive(Default)]
struct Tables<'p> {
    predicates: Vec<&'p [Predicate]>,
    leaves: Vec<Leaf>,
    leaf_of: HashMap<(PathId, &'p [Predicate]), usize, Hashing>,
    rules: Vec<Rule>,
    rule_of: HashMap<Vec<usize>, usize, Hashing>,
}

pub(super) fn compile(patterns: &[Option<Pattern>]) -> Compiled {
    let mut names = Names::new(patterns.iter().flatten());
    let mut tables = Tables::default();
    let mut always = Vec::new();
    for (number, pattern) in patterns.iter().enumerate() {
        match pattern {
            None => always.push(number),
            Some(pattern) => tables.add(number, pattern, &mut names),
        }
    }
    let Tables { predicates, leaves, rules, .. } = tables;
    let first_data_path = names.first_data_path;
    let builder = Builder { rules: &rules, leaves: &leaves, predicates: &predicates, first_data_path };
    let tree = builder.build();
    Compiled { names, leaves, rules, tree, always }
}

impl<'p> Tables<'p> {
    fn add(&mut self, number: usize, pattern: &'p Pattern, names: &mut Names) {
        for fields in pattern.alternatives() {
            let mut leaves: Vec<usize> =
                fields.map(|field| self.leaf(names.paths.intern(&field.path), &field.predicates)).collect();
            // Paths outside the data have the lower numbers.
            leaves.sort_unstable_by_key(|&leaf| (self.leaves[leaf].path, leaf));
            leaves.dedup();
            match self.rule_of.get(&leaves) {
                Some(&rule) => self.rules[rule].patterns.push(number),
                None => {
                    self.rule_of.insert(leaves.clone(), self.rules.len());
                    self.rules.push(Rule { leaves, patterns: vec![number] });
                }
            }
        }
    }

    fn leaf(&mut self, path: PathId, predicates: &'p [Predicate]) -> usize {
        if let Some(&known) = self.leaf_of.get(&(path, predicates)) {
            return known;
        }
        self.leaves.push(Leaf::new(path, predicates));
        self.predicates.push(predicates);
        self.leaf_of.insert((path, predicates), self.leaves.len() - 1);
        self.leaves.len() - 1
    }
}
