//! What a scan found in one event: the values at the paths that patterns name, and the list elements they stand in.
//!
//! All of it lives in buffers that the caller keeps from event to event, so that matching allocates nothing in the long run.

use super::paths::PathId;
use super::values::Value;

/// No entry.
pub(super) const NONE: usize = usize::MAX;

/// Entries that a buffer keeps when an event that needed more is done with.
const KEPT_MAX: usize = 64 * 1024;

/// One value at one path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) value: Stored,
    /// The innermost list element around it, or [`NONE`]. A plain value in a list stands beside the elements, not in one.
    pub(super) element: usize,
    /// The next value of the same path, or [`NONE`].
    next: usize,
}

/// A value as places in the event's bytes or in the bytes that were unescaped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored {
    Text { start: usize, end: usize },
    Unescaped { start: usize, end: usize },
    Number(u64),
    LongNumber { start: usize, end: usize },
    Boolean(bool),
    Null,
}

/// An element of a list that holds values of interest. Elements are numbered from the outside in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The list.
    pub(super) list: usize,
    /// The element that the list stands in, or [`NONE`].
    pub(super) parent: usize,
}

/// A list element that the scan is in.
#[derive(Clone, Copy, Debug)]
struct Frame {
    list: usize,
    /// Its number, once a value in it was found.
    element: usize,
}

/// The buffers behind [`super::Scratch`].
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) found: Vec<Found>,
    pub(super) elements: Vec<Element>,
    pub(super) unescaped: Vec<u8>,
    pub(super) lists: usize,
    first_of_path: Vec<usize>,
    touched: Vec<PathId>,
    frames: Vec<Frame>,
}

/// A state of the facts to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    touched: usize,
    elements: usize,
}

impl Facts {
    /// Forgets the last event and makes room for so many paths.
    pub(super) fn begin(&mut self, paths: usize) {
        for path in self.touched.drain(..) {
            self.first_of_path[path] = NONE;
        }
        if self.first_of_path.len() < paths {
            self.first_of_path.resize(paths, NONE);
        }
        self.found.clear();
        self.elements.clear();
        self.unescaped.clear();
        self.frames.clear();
        self.lists = 0;
        self.found.shrink_to(KEPT_MAX);
        self.elements.shrink_to(KEPT_MAX);
        self.unescaped.shrink_to(KEPT_MAX);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { touched: self.touched.len(), elements: self.elements.len() }
    }

    /// Drops all values of the paths that were first found after the mark.
    pub(super) fn undo(&mut self, mark: Mark) {
        for path in self.touched.drain(mark.touched..) {
            self.first_of_path[path] = NONE;
        }
        self.elements.truncate(mark.elements);
        self.frames.clear();
    }

    /// Notes a value at a path, in the list elements that are entered.
    pub(super) fn add(&mut self, path: PathId, value: Stored) {
        let element = self.element();
        let first = &mut self.first_of_path[path];
        if *first == NONE {
            self.touched.push(path);
        }
        self.found.push(Found { value, element, next: *first });
        *first = self.found.len() - 1;
    }

    /// A new list's number.
    pub(super) fn begin_list(&mut self) -> usize {
        self.lists += 1;
        self.lists - 1
    }

    pub(super) fn enter(&mut self, list: usize) {
        self.frames.push(Frame { list, element: NONE });
    }

    pub(super) fn leave(&mut self) {
        self.frames.pop();
    }

    /// The element that the scan is in. Elements get their numbers only here, so that those without values cost nothing.
    fn element(&mut self) -> usize {
        match self.frames.last() {
            None => return NONE,
            Some(frame) if frame.element != NONE => return frame.element,
            Some(_) => {}
        }
        let mut parent = NONE;
        for frame in &mut self.frames {
            if frame.element == NONE {
                frame.element = self.elements.len();
                self.elements.push(Element { list: frame.list, parent });
            }
            parent = frame.element;
        }
        parent
    }

    /// All values at a path, last first.
    pub(super) fn at(&self, path: PathId) -> impl Iterator<Item = &Found> {
        let mut next = self.first_of_path[path];
        std::iter::from_fn(move || {
            let found = self.found.get(next)?;
            next = found.next;
            Some(found)
        })
    }

    /// Whether a path has no more than one value.
    pub(super) fn is_single(&self, path: PathId) -> bool {
        self.found.get(self.first_of_path[path]).is_none_or(|found| found.next == NONE)
    }

    /// What was stored, in the bytes that it was found in.
    pub(super) fn value<'a>(&'a self, stored: Stored, bytes: &'a [u8]) -> Value<'a> {
        match stored {
            Stored::Text { start, end } => Value::Text(&bytes[start..end]),
            Stored::Unescaped { start, end } => Value::Text(&self.unescaped[start..end]),
            Stored::Number(bits) => Value::Number(bits),
            Stored::LongNumber { start, end } => Value::LongNumber(&bytes[start..end]),
            Stored::Boolean(truth) => Value::Boolean(truth),
            Stored::Null => Value::Null,
        }
    }
}
