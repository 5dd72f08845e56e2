//! Wildcards: `*` stands for any bytes, also none; `\*` and `\\` are the only escapes.
//!
//! Matching costs one walk over the value, whatever the wildcard: the leftmost place for each part is always good enough.

use super::predicate::Predicate;
use super::substrings::Substrings;

/// What is wrong with a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WildcardMistake {
    /// Two stars side by side.
    Stars,
    /// A backslash before anything but a star or a backslash.
    Escape,
}

/// A wildcard with at least one star.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wildcard {
    /// Before the first star.
    pub(super) first: Box<[u8]>,
    /// Between stars, none of them empty.
    middle: Box<[Needle]>,
    /// Behind the last star.
    pub(super) last: Box<[u8]>,
}

/// What a wildcard says.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// It has no star.
    Text(String),
    Wildcard(Wildcard),
}

impl Wildcard {
    pub(super) fn parse(text: &str) -> Result<Meaning, WildcardMistake> {
        let mut parts = vec![Vec::new()];
        let mut bytes = text.bytes();
        let mut is_behind_star = false;
        while let Some(byte) = bytes.next() {
            let (taken, is_star) = match byte {
                b'*' if is_behind_star => return Err(WildcardMistake::Stars),
                b'*' => (None, true),
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'\\')) => (Some(escaped), false),
                    _ => return Err(WildcardMistake::Escape),
                },
                plain => (Some(plain), false),
            };
            is_behind_star = is_star;
            if is_star {
                parts.push(Vec::new());
            } else if let Some(part) = parts.last_mut() {
                part.extend(taken);
            }
        }
        let last = parts.pop().unwrap_or_default();
        if parts.is_empty() {
            return Ok(Meaning::Text(String::from_utf8_lossy(&last).into_owned()));
        }
        let middle = parts.split_off(1).into_iter().map(Needle::new).collect();
        let first = parts.pop().unwrap_or_default();
        Ok(Meaning::Wildcard(Self { first: first.into(), middle, last: last.into() }))
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let inner = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&*self.last));
        let Some(mut rest) = inner else { return false };
        for needle in &self.middle {
            match needle.end_in(rest) {
                Some(end) => rest = &rest[end..],
                None => return false,
            }
        }
        true
    }

    /// The simplest predicate that says the same.
    pub(super) fn into_predicate(self) -> Predicate {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
        match (&*self.middle, &*self.first, &*self.last) {
            ([], first, []) => Predicate::Prefix(text(first)),
            ([], [], last) => Predicate::Suffix(text(last)),
            _ => Predicate::Wildcard(self),
        }
    }

    /// The longest part between stars.
    pub(super) fn longest(&self) -> Option<&[u8]> {
        self.middle.iter().map(|needle| &*needle.bytes).max_by_key(|bytes| bytes.len())
    }

    /// How many beginnings of the wildcard one value can match at once in the worst case: every star once passed stays, and
    /// to them come the beginnings of the parts behind stars that the value can end with.
    pub(super) fn complexity(&self) -> usize {
        let stars = self.middle.len() + 1;
        let parts = self.middle.iter().map(|needle| &*needle.bytes).chain([&*self.last]);
        stars + Substrings::new(parts.map(|part| (part, 0))).most_at_once()
    }
}

/// Bytes to look for, with what Knuth, Morris and Pratt need so that no value makes the search slow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Needle {
    bytes: Box<[u8]>,
    /// For each place, how long an end of what is before it is a beginning too.
    borders: Box<[usize]>,
}

impl Needle {
    fn new(bytes: Vec<u8>) -> Self {
        let mut borders = vec![0; bytes.len()];
        let mut length = 0;
        for at in 1..bytes.len() {
            while length > 0 && bytes[at] != bytes[length] {
                length = borders[length - 1];
            }
            length += usize::from(bytes[at] == bytes[length]);
            borders[at] = length;
        }
        Self { bytes: bytes.into(), borders: borders.into() }
    }

    /// Where the leftmost occurrence ends.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        let first = *self.bytes.first()?;
        let (mut at, mut length) = (0, 0);
        while length < self.bytes.len() {
            if length == 0 {
                at += text.get(at..)?.iter().position(|&byte| byte == first)? + 1;
                length = 1;
            } else if *text.get(at)? == self.bytes[length] {
                (at, length) = (at + 1, length + 1);
            } else {
                length = self.borders[length - 1];
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wildcard(text: &str) -> Wildcard {
        match Wildcard::parse(text) {
            Ok(Meaning::Wildcard(wildcard)) => wildcard,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_wildcard_is_as_complex_as_the_worst_value_makes_it() {
        for (text, complexity) in [
            ("*", 1),
            ("a*", 1),
            ("*a", 2),
            ("a*b*c", 3),
            ("*:*:*:*:*:event-bus/*", 11),
            ("F*ooooo", 6),
            ("*aa*aa", 6),
        ] {
            assert_eq!(wildcard(text).complexity(), complexity, "{text}");
        }
    }

    #[test]
    fn a_part_is_found_where_it_overlaps_itself() {
        assert!(wildcard("*aab*").matches(b"aaaab"));
        assert!(wildcard("*abab*").matches(b"abaabab"));
        assert!(!wildcard("*abab*b").matches(b"abaabab"));
        assert!(wildcard("*ab*ab*").matches(b"abab"));
        assert!(!wildcard("ab*ba").matches(b"aba"));
    }

    #[test]
    fn escapes_are_taken_out() {
        assert_eq!(Wildcard::parse(r"a\*\\b"), Ok(Meaning::Text(r"a*\b".to_owned())));
        assert!(wildcard(r"\**\\").matches(br"*x\"));
        for text in [r"a\b", r"a\", r"\n*"] {
            assert_eq!(Wildcard::parse(text), Err(WildcardMistake::Escape), "{text}");
        }
        assert_eq!(Wildcard::parse("a**"), Err(WildcardMistake::Stars));
        assert!(Wildcard::parse(r"*\**").is_ok());
    }
}
