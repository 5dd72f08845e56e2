//! One walk over an event's JSON that takes out the values at the named paths and runs over all else.
//!
//! The whole text is checked, also behind the last value of interest: data is JSON or it is not, whatever patterns ask for.

use super::cursor::{Cursor, DEPTH_MAX, Mistake, RawText, TOO_DEEP, unescape};
use super::facts::{Facts, Stored};
use super::paths::{Paths, StepId};
use super::values::Value;

/// Why text that should be an event is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event is not a JSON object: {what}, at byte {at}")]
pub struct EventTextError {
    /// What does not fit.
    pub what: &'static str,
    /// Where, from 0.
    pub at: usize,
}

/// Takes the values at the paths below `step` out of the value that begins at `start` and ends with the bytes.
///
/// After an error the facts may hold what was found up to it.
pub(super) fn scan(
    bytes: &[u8],
    start: usize,
    paths: &Paths,
    step: StepId,
    facts: &mut Facts,
) -> Result<(), EventTextError> {
    if let Err(error) = std::str::from_utf8(&bytes[start..]) {
        return Err(EventTextError { what: "it is not UTF-8", at: error.valid_up_to() });
    }
    let mut scan = Scan { cursor: Cursor::new(bytes, start), paths, facts };
    let done = scan.value(step, 0).and_then(|()| scan.cursor.end());
    done.map_err(|what| EventTextError { what, at: scan.cursor.at - start })
}

struct Scan<'a> {
    cursor: Cursor<'a>,
    paths: &'a Paths,
    facts: &'a mut Facts,
}

impl Scan<'_> {
    fn value(&mut self, step: StepId, depth: usize) -> Result<(), Mistake> {
        match self.cursor.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(TOO_DEEP),
            Some(b'{') if self.paths.is_end(step) => self.cursor.skip_value(depth),
            Some(b'{') => self.object(step, depth),
            Some(b'[') => self.list(step, depth),
            _ => self.scalar(step),
        }
    }

    fn object(&mut self, step: StepId, depth: usize) -> Result<(), Mistake> {
        self.cursor.at += 1;
        if self.cursor.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.cursor.key()?;
            match self.follow(step, key) {
                Some(child) => self.value(child, depth + 1)?,
                None => self.cursor.skip_value(depth + 1)?,
            }
            if self.cursor.take(b'}') {
                return Ok(());
            }
            if !self.cursor.take(b',') {
                return Err("a comma or a closing brace must come here");
            }
        }
    }

    fn follow(&mut self, step: StepId, key: RawText) -> Option<StepId> {
        let raw = &self.cursor.bytes[key.start..key.end];
        if !key.escaped {
            return self.paths.follow(step, raw);
        }
        let start = self.facts.unescaped.len();
        unescape(raw, &mut self.facts.unescaped);
        let found = self.paths.follow(step, &self.facts.unescaped[start..]);
        self.facts.unescaped.truncate(start);
        found
    }

    fn list(&mut self, step: StepId, depth: usize) -> Result<(), Mistake> {
        self.cursor.at += 1;
        if self.cursor.take(b']') {
            return Ok(());
        }
        let list = self.facts.begin_list();
        loop {
            if matches!(self.cursor.peek(), Some(b'{' | b'[')) {
                self.facts.enter(list);
                self.value(step, depth + 1)?;
                self.facts.leave();
            } else {
                self.scalar(step)?;
            }
            if self.cursor.take(b']') {
                return Ok(());
            }
            if !self.cursor.take(b',') {
                return Err("a comma or a closing bracket must come here");
            }
        }
    }

    fn scalar(&mut self, step: StepId) -> Result<(), Mistake> {
        let Some(path) = self.paths.path(step) else { return self.cursor.skip_value(0) };
        let first = self.cursor.peek();
        let start = self.cursor.at;
        let stored = match first {
            Some(b'"') => {
                let raw = self.cursor.text()?;
                self.text(raw)
            }
            Some(b't') => self.cursor.word(b"true").map(|()| Stored::Boolean(true))?,
            Some(b'f') => self.cursor.word(b"false").map(|()| Stored::Boolean(false))?,
            Some(b'n') => self.cursor.word(b"null").map(|()| Stored::Null)?,
            Some(_) => match Value::number(self.cursor.number()?) {
                Value::Number(bits) => Stored::Number(bits),
                _ => Stored::LongNumber { start, end: self.cursor.at },
            },
            None => return Err("the text ends where a value must come"),
        };
        self.facts.add(path, stored);
        Ok(())
    }

    fn text(&mut self, raw: RawText) -> Stored {
        if !raw.escaped {
            return Stored::Text { start: raw.start, end: raw.end };
        }
        let start = self.facts.unescaped.len();
        unescape(&self.cursor.bytes[raw.start..raw.end], &mut self.facts.unescaped);
        Stored::Unescaped { start, end: self.facts.unescaped.len() }
    }
}
