//! The decision tree: which patterns can match at all, asked of few values however many patterns there are.
//!
//! A place of the tree asks for the values at one path and leads on to a place for each predicate that they satisfy, and
//! to one for the patterns that this path does not sort out. What hangs at a place are candidates, which the matcher checks
//! whole. A pattern hangs in several places where it allows several values, within a budget, so that the tree stays in
//! proportion to the patterns.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::leaf::Leaf;
use super::paths::{Hashing, PathId};
use super::predicate::Predicate;
use super::table::ValueTable;

/// The number of a rule, of a place.
pub(super) type RuleId = usize;
pub(super) type PlaceId = usize;

/// So few candidates are cheaper checked than sorted out further.
const CANDIDATES_KEPT: usize = 2;

/// How many times a rule may hang in the tree, in the mean.
const COPIES_MAX: usize = 16;

/// A conjunction of fields, of one or several patterns that say the same.
#[derive(Debug)]
pub(super) struct Rule {
    /// Into the matcher's leaves; those that need no data come first.
    pub(super) leaves: Vec<usize>,
    /// The patterns that match when it holds.
    pub(super) patterns: Vec<usize>,
}

/// The tree: places, each of which is led to from one other, and what hangs there.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) places: Vec<Place>,
    candidates: Vec<Candidate>,
}

/// A rule that can match once its place is reached. Holds what a sure match needs, so that it needs no look elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) rule: RuleId,
    /// Whether all its fields were asked on the way: without lists of objects in the event it matches then.
    pub(super) is_sure: bool,
    /// Its pattern, if it is only one.
    pub(super) pattern: Option<usize>,
}

/// A place of the tree.
#[derive(Debug, Default)]
pub(super) struct Place {
    candidates: Range<usize>,
    pub(super) question: Option<Box<Question>>,
}

/// What a place asks.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) path: PathId,
    pub(super) answers: ValueTable,
    /// For the rules that have nothing to say to it.
    pub(super) rest: Option<PlaceId>,
}

impl Tree {
    pub(super) fn candidates(&self, place: PlaceId) -> &[Candidate] {
        &self.candidates[self.places[place].candidates.clone()]
    }
}

/// Rules that still have to be sorted out.
struct Work {
    place: PlaceId,
    rules: Vec<RuleId>,
    asked: Vec<PathId>,
}

/// How a path would sort out some rules.
#[derive(Default)]
struct Tally<'a> {
    rules: usize,
    /// Predicates of all these rules, and how many rules have each.
    copies: usize,
    sizes: HashMap<&'a Predicate, usize, Hashing>,
    largest: usize,
}

/// What the tree is built from.
pub(super) struct Builder<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) leaves: &'a [Leaf],
    /// The predicates of each leaf.
    pub(super) predicates: &'a [&'a [Predicate]],
    /// Paths below it need no data.
    pub(super) first_data_path: PathId,
}

type Groups<'a> = HashMap<&'a Predicate, Vec<RuleId>, Hashing>;

impl Builder<'_> {
    /// Builds the tree; its root is the first place.
    pub(super) fn build(&self) -> Tree {
        let mut places = vec![Place::default()];
        let mut candidates = Vec::new();
        let mut budget = self.rules.len() * COPIES_MAX;
        // Breadth first, so that a budget that runs out leaves all branches equally deep.
        let mut queue = VecDeque::new();
        queue.push_back(Work { place: 0, rules: (0..self.rules.len()).collect(), asked: Vec::new() });
        while let Some(work) = queue.pop_front() {
            let is_small = work.rules.len() <= CANDIDATES_KEPT;
            let Some(path) = (if is_small { None } else { self.best_path(&work, budget) }) else {
                let first = candidates.len();
                candidates.extend(work.rules.iter().map(|&rule| self.candidate(rule, &work.asked)));
                places[work.place].candidates = first..candidates.len();
                continue;
            };
            let (groups, rest) = self.groups(&work.rules, path);
            budget = budget.saturating_sub(groups.values().map(Vec::len).sum());
            let mut asked = work.asked;
            asked.push(path);
            let mut open = |rules: Vec<RuleId>| {
                places.push(Place::default());
                queue.push_back(Work { place: places.len() - 1, rules, asked: asked.clone() });
                places.len() - 1
            };
            let rest = if rest.is_empty() { None } else { Some(open(rest)) };
            let mut answers = ValueTable::default();
            for (predicate, rules) in groups {
                answers.insert(predicate, open(rules));
            }
            answers.finish();
            places[work.place].question = Some(Box::new(Question { path, answers, rest }));
        }
        Tree { places, candidates }
    }

    fn candidate(&self, rule: RuleId, asked: &[PathId]) -> Candidate {
        let Rule { leaves, patterns } = &self.rules[rule];
        let path = |leaf: usize| self.leaves[leaf].path;
        // A question asks one field of its path.
        let is_one_each = leaves.windows(2).all(|pair| path(pair[0]) != path(pair[1]));
        let is_sure = is_one_each
            && self.sortable(rule).count() == leaves.len()
            && leaves.iter().all(|&leaf| asked.contains(&path(leaf)));
        let pattern = if let [only] = patterns[..] { Some(only) } else { None };
        Candidate { rule, is_sure, pattern }
    }

    /// The path whose answers leave the fewest rules in the worst case. Paths that need no data come first, unless rules
    /// would have to hang there many times over.
    fn best_path(&self, work: &Work, budget: usize) -> Option<PathId> {
        let mut tallies: HashMap<PathId, Tally<'_>, Hashing> = HashMap::default();
        for &rule in &work.rules {
            for leaf in self.sortable(rule).filter(|&leaf| !work.asked.contains(&self.leaves[leaf].path)) {
                let tally = tallies.entry(self.leaves[leaf].path).or_default();
                tally.rules += 1;
                for predicate in self.predicates[leaf] {
                    let size = tally.sizes.entry(predicate).or_default();
                    *size += 1;
                    tally.largest = tally.largest.max(*size);
                    tally.copies += 1;
                }
            }
        }
        let rank = |(&path, tally): (&PathId, &Tally<'_>)| {
            let is_costly = path >= self.first_data_path || tally.copies > 2 * work.rules.len();
            (is_costly, tally.largest + work.rules.len().saturating_sub(tally.rules), path)
        };
        let affordable = tallies.iter().filter(|(_, tally)| tally.copies <= budget);
        affordable.map(rank).min().map(|(_, _, path)| path)
    }

    fn groups(&self, rules: &[RuleId], path: PathId) -> (Groups<'_>, Vec<RuleId>) {
        let mut groups: Groups<'_> = HashMap::default();
        let mut rest = Vec::new();
        for &rule in rules {
            let Some(leaf) = self.sortable(rule).find(|&leaf| self.leaves[leaf].path == path) else {
                rest.push(rule);
                continue;
            };
            for predicate in self.predicates[leaf] {
                let group = groups.entry(predicate).or_default();
                if group.last() != Some(&rule) {
                    group.push(rule);
                }
            }
        }
        (groups, rest)
    }

    /// The leaves of a rule that a table can hold whole.
    fn sortable(&self, rule: RuleId) -> impl Iterator<Item = usize> {
        let leaves = self.rules[rule].leaves.iter().copied();
        leaves.filter(|&leaf| self.predicates[leaf].iter().all(ValueTable::holds))
    }
}
