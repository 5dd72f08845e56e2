//! Which patterns of a topic match an event.
//!
//! The event is looked at once: its attributes first, and its data only when a pattern whose attributes fit looks into it.
//! The cost grows with what the event holds at named paths and with the patterns that nearly match, not with the number of
//! patterns.

use eventail_wire::event::{Event, ValueKind};

use super::compile::{CORRELATION_ID, Compiled, DATA, compile};
use super::consistency::Walk;
use super::decide::{PlaceId, Question, RuleId};
use super::facts::{Facts, NONE, Stored};
use super::leaf::Leaf;
use super::parse::Pattern;
use super::paths::{PathId, ROOT};
use super::scan::{EventTextError, scan};
use super::values::double;

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
    places: Vec<PlaceId>,
    /// For each place the last event that came there.
    visited: Vec<u64>,
    event: u64,
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
        self.compiled.paths.child(ROOT, DATA.as_bytes()).is_some()
    }

    /// Puts the numbers of the patterns that match into `out`, ascending, after clearing it.
    ///
    /// Attributes stand at the top: integers as numbers, booleans as such, all others as strings; `correlationid` always,
    /// as [`Event::correlation_id`] gives it. Data is at `data` if it is JSON by its media type and by its bytes, and
    /// else absent.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<usize>) {
        let mut session = Session::new(&self.compiled, event.as_bytes(), Some(event), scratch);
        session.take_attributes(event);
        session.run(out);
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
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(EventTextError { what: "it does not begin with a brace", at: 0 });
        }
        let mut session = Session::new(&self.compiled, json, None, scratch);
        scan(json, 0, &self.compiled.paths, ROOT, &mut session.scratch.facts)?;
        session.run(out);
        Ok(())
    }
}

/// How one field of a rule stands when looked at alone.
enum Standing {
    /// It cannot be satisfied.
    Fails,
    /// It is satisfied whatever list elements are chosen.
    Holds,
    /// It depends on the element that is chosen, which gives or takes the value that it needs.
    Depends,
}

/// Reads an attribute that every event has.
type Read = fn(&Event) -> &str;

/// One event on its way through the structure.
struct Session<'a> {
    compiled: &'a Compiled,
    bytes: &'a [u8],
    scratch: &'a mut Scratch,
    /// The event whose data has not been looked at yet.
    unread: Option<&'a Event>,
}

impl<'a> Session<'a> {
    fn new(
        compiled: &'a Compiled,
        bytes: &'a [u8],
        unread: Option<&'a Event>,
        scratch: &'a mut Scratch,
    ) -> Self {
        scratch.facts.begin(compiled.paths.count());
        scratch.visited.resize(scratch.visited.len().max(compiled.tree.places.len()), 0);
        scratch.event += 1;
        Self { compiled, bytes, scratch, unread }
    }

    fn take_attributes(&mut self, event: &Event) {
        let named = &self.compiled.attributes;
        let fixed: [(_, Read); 5] = [
            (named.id, Event::id),
            (named.source, Event::source),
            (named.event_type, Event::event_type),
            (named.correlation_id, Event::correlation_id),
            (named.spec_version, |_| "1.0"),
        ];
        for (path, read) in fixed {
            if let Some(path) = path {
                self.take(path, ValueKind::String, read(event));
            }
        }
        if !named.has_others {
            return;
        }
        let paths = &self.compiled.paths;
        for attribute in event.optional_attributes().filter(|attribute| attribute.name != CORRELATION_ID) {
            let step = paths.child(ROOT, attribute.name.as_bytes());
            if let Some(path) = step.and_then(|step| paths.path(step)) {
                self.take(path, attribute.kind, attribute.value);
            }
        }
    }

    fn take(&mut self, path: PathId, kind: ValueKind, value: &str) {
        let stored = match kind {
            ValueKind::Boolean => Stored::Boolean(value == "true"),
            // Canonical integers of 32 bits are always held by a double.
            ValueKind::Integer => double(value.as_bytes()).map_or(Stored::Null, Stored::Number),
            ValueKind::String => self.place(value),
        };
        self.scratch.facts.add(path, stored);
    }

    /// The place of a value in the event's bytes; a value that is not in them is copied.
    fn place(&mut self, value: &str) -> Stored {
        let start = value.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        let end = start.saturating_add(value.len());
        if end <= self.bytes.len() {
            return Stored::Text { start, end };
        }
        let unescaped = &mut self.scratch.facts.unescaped;
        let start = unescaped.len();
        unescaped.extend_from_slice(value.as_bytes());
        Stored::Unescaped { start, end: unescaped.len() }
    }

    fn run(&mut self, out: &mut Vec<usize>) {
        out.clear();
        out.extend_from_slice(&self.compiled.always);
        let tree = &self.compiled.tree;
        self.scratch.places.push(0);
        while let Some(place) = self.scratch.places.pop() {
            for candidate in tree.candidates(place) {
                let is_sure = candidate.is_sure && self.scratch.facts.elements.is_empty();
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
        self.reach(question.path);
        let Scratch { facts, places, visited, event, .. } = &mut *self.scratch;
        places.extend(question.rest);
        // A place is led to from one other, so only several values can lead to it twice.
        let is_single = facts.is_single(question.path);
        for found in facts.at(question.path) {
            question.answers.find(facts.value(found.value, self.bytes), |place| {
                if is_single || std::mem::replace(&mut visited[place], *event) != *event {
                    places.push(place);
                }
            });
        }
    }

    /// Makes sure that values at the path have been looked for.
    fn reach(&mut self, path: PathId) {
        if path < self.compiled.first_data_path {
            return;
        }
        let Some(event) = self.unread.take() else { return };
        let paths = &self.compiled.paths;
        let Some(step) = paths.child(ROOT, DATA.as_bytes()) else { return };
        if !event.has_data() || !event.is_json() {
            return;
        }
        let start = self.bytes.len() - event.data_slice().len();
        let mark = self.scratch.facts.mark();
        // Data that is not JSON after all is absent: half of it must not match.
        if scan(self.bytes, start, paths, step, &mut self.scratch.facts).is_err() {
            self.scratch.facts.undo(mark);
        }
    }

    fn holds(&mut self, rule: RuleId) -> bool {
        let compiled = self.compiled;
        let leaves = &compiled.rules[rule].leaves;
        let (mut depending, mut may_be_absent) = (0, false);
        for &leaf in leaves {
            let leaf = &compiled.leaves[leaf];
            self.reach(leaf.path);
            match self.standing(leaf) {
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
        let Scratch { facts, walk, .. } = &mut *self.scratch;
        walk.holds(leaves.iter().map(|&leaf| &compiled.leaves[leaf]), facts, self.bytes)
    }

    fn standing(&self, leaf: &Leaf) -> Standing {
        let facts = &self.scratch.facts;
        let (mut is_outside, mut is_inside, mut accepted_inside) = (false, false, false);
        for found in facts.at(leaf.path) {
            let accepted = leaf.accepts(facts.value(found.value, self.bytes));
            if found.element == NONE {
                if accepted {
                    return Standing::Holds;
                }
                is_outside = true;
            } else {
                is_inside = true;
                accepted_inside |= accepted;
            }
        }
        match leaf.may_be_absent {
            _ if accepted_inside => Standing::Depends,
            true if !is_outside && !is_inside => Standing::Holds,
            true if !is_outside => Standing::Depends,
            _ => Standing::Fails,
        }
    }
}
