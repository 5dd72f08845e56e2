//! The last of what an instance wrote, from two streams that are read apart.
//!
//! It promises that a flood on one stream does not wash away the last words on the other: each has half of the room, and
//! what it does not need is the other's. What was read earlier stands earlier. Memory stays bounded.

use eventail_wire::limits::LOG_TAIL_BYTES_MAX;

/// How much more than is shown is kept, so that what is too old is thrown away seldom.
const KEPT_BYTES_MAX: usize = 4 * LOG_TAIL_BYTES_MAX;

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// To whom the bytes belong: a stream and a length for each stretch.
    runs: Vec<(usize, usize)>,
}

impl Tail {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    /// Adds what was read from stream 0 or 1.
    pub(super) fn push(&mut self, stream: usize, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES_MAX)..];
        match self.runs.last_mut() {
            Some((owner, length)) if *owner == stream => *length += last.len(),
            _ => self.runs.push((stream, last.len())),
        }
        self.bytes.extend_from_slice(last);
        if self.bytes.len() > KEPT_BYTES_MAX {
            *self = self.last([LOG_TAIL_BYTES_MAX; 2]);
        }
    }

    /// The end of it as text, of at most [`LOG_TAIL_BYTES_MAX`] bytes.
    pub(super) fn text(&self) -> String {
        let [first, second] = self.lengths();
        let beside = |other: usize| LOG_TAIL_BYTES_MAX - other.min(LOG_TAIL_BYTES_MAX / 2);
        let last = self.last([beside(second), beside(first)]);
        let mut text = String::from_utf8_lossy(&last.bytes).into_owned();
        // What is no text has become longer.
        let begin = text.len().saturating_sub(LOG_TAIL_BYTES_MAX);
        text.drain(..text.ceil_char_boundary(begin));
        text
    }

    /// The last bytes of each stream, in the order in which they came.
    fn last(&self, most: [usize; 2]) -> Self {
        let lengths = self.lengths();
        let mut left_out = [0, 1].map(|stream| lengths[stream].saturating_sub(most[stream]));
        let (mut last, mut at) = (Self::default(), 0);
        for &(stream, length) in &self.runs {
            let skipped = left_out[stream].min(length);
            left_out[stream] -= skipped;
            if skipped < length {
                last.bytes.extend_from_slice(&self.bytes[at + skipped..at + length]);
                last.runs.push((stream, length - skipped));
            }
            at += length;
        }
        last
    }

    fn lengths(&self) -> [usize; 2] {
        [0, 1].map(|stream| {
            self.runs.iter().filter(|(owner, _)| *owner == stream).map(|(_, length)| length).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stands_whole_and_in_its_order() {
        let mut tail = Tail::default();
        for (stream, said) in [(0, "a\n"), (1, "b\n"), (1, "c\n"), (0, "d\n")] {
            tail.push(stream, said.as_bytes());
        }
        assert_eq!(tail.text(), "a\nb\nc\nd\n");
        tail.clear();
        assert_eq!(tail.text(), "");
    }

    #[test]
    fn a_flood_on_one_stream_leaves_the_last_words_on_the_other() {
        for flooded in [0, 1] {
            let mut tail = Tail::default();
            tail.push(1 - flooded, b"last words\n");
            for n in 0..100_000 {
                tail.push(flooded, format!("line {n}\n").as_bytes());
            }
            let text = tail.text();
            assert!(text.starts_with("last words\n") && text.ends_with("line 99999\n"), "{text}");
            assert_eq!(text.len(), LOG_TAIL_BYTES_MAX);
            assert!(tail.bytes.len() <= KEPT_BYTES_MAX && tail.runs.len() <= 2);
        }
    }

    #[test]
    fn two_floods_share_the_room() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push(0, &[b'o'; 999]);
            tail.push(1, &[b'e'; 333]);
        }
        let text = tail.text();
        for stream in ["o", "e"] {
            assert_eq!(text.matches(stream).count(), LOG_TAIL_BYTES_MAX / 2);
        }
    }

    #[test]
    fn what_is_no_text_does_not_make_it_longer() {
        let mut tail = Tail::default();
        tail.push(0, &[0xff; 2 * LOG_TAIL_BYTES_MAX]);
        let text = tail.text();
        assert!(text.len() <= LOG_TAIL_BYTES_MAX && text.chars().all(|c| c == '\u{fffd}'), "{text}");
    }
}
