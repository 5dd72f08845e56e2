//! From the patterns of a topic to the one structure that answers for all of them.
//!
//! Paths, fields and whole patterns that are said twice are kept once. Each pattern is one rule here; a pattern with
//! alternatives will be several rules with the same number.

use std::collections::HashMap;

use super::decide::{Builder, Rule, Tree};
use super::leaf::Leaf;
use super::parse::{Pattern, Predicate};
use super::paths::{Hashing, PathId, Paths, ROOT};

/// The name under which an event's data stands among its attributes.
pub(super) const DATA: &str = "data";

/// The attribute that every event has, be it derived.
pub(super) const CORRELATION_ID: &str = "correlationid";

/// A compiled set of patterns.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) paths: Paths,
    /// Paths from here on lead into an event's data.
    pub(super) first_data_path: PathId,
    pub(super) attributes: Attributes,
    pub(super) leaves: Vec<Leaf>,
    pub(super) rules: Vec<Rule>,
    pub(super) tree: Tree,
    /// Patterns that match everything.
    pub(super) always: Vec<usize>,
}

/// The paths of the attributes that an event does not keep in its list, where patterns name them.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) id: Option<PathId>,
    pub(super) source: Option<PathId>,
    pub(super) event_type: Option<PathId>,
    pub(super) correlation_id: Option<PathId>,
    pub(super) spec_version: Option<PathId>,
    /// Whether patterns name any other attribute.
    pub(super) has_others: bool,
}

impl Attributes {
    fn new(paths: &Paths, outside_data: usize) -> Self {
        let path = |name: &str| paths.child(ROOT, name.as_bytes()).and_then(|step| paths.path(step));
        let [id, source, event_type] = ["id", "source", "type"].map(path);
        let [correlation_id, spec_version] = [CORRELATION_ID, "specversion"].map(path);
        let fixed = [id, source, event_type, correlation_id, spec_version].into_iter().flatten().count();
        let has_others = outside_data > fixed;
        Self { id, source, event_type, correlation_id, spec_version, has_others }
    }
}

#[derive(Default)]
struct Tables {
    predicates: Vec<Vec<Predicate>>,
    leaves: Vec<Leaf>,
    leaf_of: HashMap<(PathId, Vec<Predicate>), usize, Hashing>,
    rules: Vec<Rule>,
    rule_of: HashMap<Vec<usize>, usize, Hashing>,
}

pub(super) fn compile(patterns: &[Option<Pattern>]) -> Compiled {
    let fields = || patterns.iter().flatten().flat_map(|pattern| &pattern.fields);
    let mut paths = Paths::new();
    for field in fields().filter(|field| !is_in_data(&field.path)) {
        paths.intern(&field.path);
    }
    let first_data_path = paths.count();
    for field in fields() {
        paths.intern(&field.path);
    }
    let attributes = Attributes::new(&paths, first_data_path);
    let mut tables = Tables::default();
    let mut always = Vec::new();
    for (number, pattern) in patterns.iter().enumerate() {
        match pattern {
            None => always.push(number),
            Some(pattern) => tables.add(number, pattern, &mut paths),
        }
    }
    let Tables { predicates, leaves, rules, .. } = tables;
    let builder = Builder { rules: &rules, leaves: &leaves, predicates: &predicates, first_data_path };
    let tree = builder.build();
    Compiled { paths, first_data_path, attributes, leaves, rules, tree, always }
}

fn is_in_data(path: &str) -> bool {
    path.split('.').next() == Some(DATA)
}

impl Tables {
    fn add(&mut self, number: usize, pattern: &Pattern, paths: &mut Paths) {
        let mut leaves = Vec::with_capacity(pattern.fields.len());
        for field in &pattern.fields {
            leaves.push(self.leaf(paths.intern(&field.path), &field.predicates));
        }
        // Paths outside the data have the lower numbers.
        leaves.sort_unstable_by_key(|&leaf| (self.leaves[leaf].path, leaf));
        match self.rule_of.get(&leaves) {
            Some(&rule) => self.rules[rule].patterns.push(number),
            None => {
                self.rule_of.insert(leaves.clone(), self.rules.len());
                self.rules.push(Rule { leaves, patterns: vec![number] });
            }
        }
    }

    fn leaf(&mut self, path: PathId, predicates: &[Predicate]) -> usize {
        let key = (path, predicates.to_vec());
        if let Some(&known) = self.leaf_of.get(&key) {
            return known;
        }
        self.leaves.push(Leaf::new(path, predicates));
        self.predicates.push(predicates.to_vec());
        self.leaf_of.insert(key, self.leaves.len() - 1);
        self.leaves.len() - 1
    }
}
