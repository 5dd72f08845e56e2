//! Which patterns of a topic match an event.
//!
//! The event is looked at once: its attributes first, and its data only when a pattern whose attributes fit looks into it.
//! The cost grows with what the event holds at named paths and with the patterns that nearly match, not with the number of
//! patterns.

use eventail_wire::event::Event;

use super::compile::{Compiled, compile};
use super::consistency::Walk;
use super::decide::{PlaceId, Question, RuleId};
use super::facts::Facts;
use super::gather::Gather;
use super::parse::Pattern;
use super::scan::EventTextError;
use super::standing::{Standing, standing};

/// All patterns of a topic, compiled into one structure. Immutable: a reload makes a new one and swaps it in.
///
/// ```
/// use eventail_triggers::pattern::{Matcher, Pattern, Scratch};
/// use eventail_wire::event::Event;
///
/// let created = Pattern::parse(r#"{"type": ["order.created"], "data": {"total": [{"exists": true}]}}"#)?;
/// let paid = Pattern::parse(r#"{"type": [{"prefix": "order.paid"}]}"#)?;
/// let matcher = Matcher::new(&[Some(created), Some(paid), None]);
///
/// let event = Event::builder("1", "/shop", "order.created").json_data(r#"{"total": 12}"#).build()?;
/// let (mut scratch, mut matching) = (Scratch::default(), Vec::new());
/// matcher.matches(&event, &mut scratch, &mut matching);
/// assert_eq!(matching, [0, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Matcher {
    compiled: Compiled,
}

/// Buffers that a caller keeps from event to event, so that matching does not allocate. Serves any matcher.
#[derive(Debug, Default)]
pub struct Scratch {
    facts: Facts,
    walk: Walk,
    turn: Turn,
}

/// One event's way through the tree.
#[derive(Debug, Default)]
struct Turn {
    places: Vec<PlaceId>,
    /// For each place the last event that came there.
    visited: Vec<u64>,
    event: u64,
}

impl Turn {
    fn begin(&mut self, places: usize) {
        self.visited.resize(self.visited.len().max(places), 0);
        self.event += 1;
    }
}

impl Matcher {
    /// Compiles patterns. The index in the slice is a pattern's number; `None` matches everything.
    #[must_use]
    pub fn new(patterns: &[Option<Pattern>]) -> Self {
        Self { compiled: compile(patterns) }
    }

    /// Whether some pattern looks into an event's data. If not, no data is ever read.
    #[must_use]
    pub fn needs_data(&self) -> bool {
        self.compiled.names.data.is_some() || self.compiled.names.detail.is_some()
    }

    /// Puts the numbers of the patterns that match into `out`, ascending, after clearing it.
    ///
    /// Attributes stand at the top: integers as numbers, booleans as such, all others as strings; `correlationid` always,
    /// as [`Event::correlation_id`] gives it. Data is at `data` if it is JSON by its media type and by its bytes, and
    /// else absent. An event in EventBridge's shape has EventBridge's names too, as [the module](super) says.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<usize>) {
        let Scratch { facts, walk, turn } = scratch;
        let gather = Gather::event(&self.compiled.names, event, facts);
        Session { compiled: &self.compiled, gather, walk, turn }.run(out);
    }

    /// The same for JSON text whose members are the attributes, whatever they are called.
    ///
    /// # Errors
    /// If the text is not one JSON object; `out` is empty then.
    pub fn matches_json(
        &self,
        json: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<usize>,
    ) -> Result<(), EventTextError> {
        out.clear();
        let Scratch { facts, walk, turn } = scratch;
        let gather = Gather::json(&self.compiled.names, json, facts)?;
        Session { compiled: &self.compiled, gather, walk, turn }.run(out);
        Ok(())
    }
}

/// One event on its way through the structure.
struct Session<'a> {
    compiled: &'a Compiled,
    gather: Gather<'a>,
    walk: &'a mut Walk,
    turn: &'a mut Turn,
}

impl Session<'_> {
    fn run(&mut self, out: &mut Vec<usize>) {
        self.turn.begin(self.compiled.tree.places.len());
        out.clear();
        out.extend_from_slice(&self.compiled.always);
        let tree = &self.compiled.tree;
        self.turn.places.push(0);
        while let Some(place) = self.turn.places.pop() {
            for candidate in tree.candidates(place) {
                let is_sure = candidate.is_sure && self.gather.facts.elements.is_empty();
                if is_sure || self.holds(candidate.rule) {
                    match candidate.pattern {
                        Some(pattern) => out.push(pattern),
                        None => out.extend_from_slice(&self.compiled.rules[candidate.rule].patterns),
                    }
                }
            }
            if let Some(question) = &tree.places[place].question {
                self.ask(question);
            }
        }
        out.sort_unstable();
        out.dedup();
    }

    /// Goes on to the places that the values at the question's path lead to.
    fn ask(&mut self, question: &Question) {
        self.gather.reach(question.path);
        let Turn { places, visited, event } = &mut *self.turn;
        let facts = &*self.gather.facts;
        places.extend(question.rest);
        // A place is led to from one other, so only several values can lead to it twice.
        let is_single = facts.is_single(question.path);
        for found in facts.at(question.path) {
            question.answers.find(facts.value(found.value, self.gather.bytes), |place| {
                if is_single || std::mem::replace(&mut visited[place], *event) != *event {
                    places.push(place);
                }
            });
        }
    }

    fn holds(&mut self, rule: RuleId) -> bool {
        let compiled = self.compiled;
        let leaves = &compiled.rules[rule].leaves;
        let (mut depending, mut may_be_absent) = (0, false);
        for &leaf in leaves {
            let leaf = &compiled.leaves[leaf];
            self.gather.reach(leaf.path);
            match standing(leaf, self.gather.facts, self.gather.bytes) {
                Standing::Fails => return false,
                Standing::Holds => {}
                Standing::Depends => {
                    depending += 1;
                    may_be_absent |= leaf.may_be_absent;
                }
            }
        }
        if depending == 0 || (depending == 1 && !may_be_absent) {
            return true;
        }
        let leaves = leaves.iter().map(|&leaf| &compiled.leaves[leaf]);
        self.walk.holds(leaves, self.gather.facts, self.gather.bytes)
    }
}
