//! What answers hold until their peers have taken them: over all connections no more than `limits.in_flight_bytes_max`, and each
//! no longer than it may take to be read.
//!
//! An answer's memory belongs to the connection from when it is made until its last byte is with the system: a peer that asks for
//! much and reads nothing (over HTTP/2 for 256 things at once) would hold it for ever.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Smaller answers are not counted: requests under way are limited in number, and these are what everybody gets.
const COUNTED_BYTES_MIN: usize = 16 << 10;

/// The bytes that all answers under way hold.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The answers that one connection has not taken yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Untaken(Mutex<VecDeque<(Instant, Weak<Held>)>>);

#[derive(Debug)]
struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// There is no room for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// What all would hold together.
    pub(super) bytes: usize,
    /// What they may.
    pub(super) limit: usize,
}

impl Answers {
    /// All answers together may hold `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { held: Arc::default(), bytes_max }
    }

    /// Counts an answer for as long as any of its bytes is held, if there is room for it. One alone always fits.
    pub(super) fn guard<B: Body<Data = Bytes>>(
        &self,
        body: B,
        connection: &Untaken,
    ) -> Result<Guarded<B>, NoRoom> {
        let (held, limit) = (self.held.load(Ordering::Relaxed), self.bytes_max);
        let bytes = held.saturating_add(bytes_of(&body));
        if held > 0 && bytes > limit && bytes_of(&body) >= COUNTED_BYTES_MIN {
            return Err(NoRoom { bytes, limit });
        }
        Ok(self.count(body, connection))
    }

    /// The same for an answer that must be given.
    pub(super) fn count<B: Body<Data = Bytes>>(&self, body: B, connection: &Untaken) -> Guarded<B> {
        let bytes = bytes_of(&body);
        if bytes < COUNTED_BYTES_MIN {
            return Guarded::free(body);
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Arc::new(Held { all: Arc::clone(&self.held), bytes });
        connection.note(&held);
        Guarded { body, held: Some(held) }
    }
}

fn bytes_of(body: &impl Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

impl Untaken {
    fn note(&self, held: &Arc<Held>) {
        let mut untaken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As many stay as there are requests under way.
        untaken.retain(|(_, held)| held.strong_count() > 0);
        untaken.push_back((Instant::now(), Arc::downgrade(held)));
    }

    /// Since when the oldest waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let mut untaken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untaken.retain(|(_, held)| held.strong_count() > 0);
        untaken.front().map(|(since, _)| *since)
    }
}

/// A body whose bytes count until they are written.
#[derive(Debug)]
pub(super) struct Guarded<B> {
    body: B,
    held: Option<Arc<Held>>,
}

impl<B> Guarded<B> {
    /// A body that is not counted.
    pub(super) const fn free(body: B) -> Self {
        Self { body, held: None }
    }
}

/// Bytes that take their count with them.
struct Counted {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Guarded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Some(held) = &self.held else { return frame };
        let count = |bytes| Bytes::from_owner(Counted { bytes, _held: Arc::clone(held) });
        frame.map_ok(|frame| frame.map_data(count))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    fn body(bytes: usize) -> Full<Bytes> {
        Full::new(vec![7; bytes].into())
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_byte_is_gone() {
        let (answers, connection) = (Answers::new(100 << 10), Untaken::default());
        let first = answers.guard(body(60 << 10), &connection).unwrap();
        let written = first.collect().await.unwrap().to_bytes();
        assert_eq!(written, vec![7; 60 << 10]);
        let part = written.slice(..10);
        drop(written);
        assert!(connection.oldest().is_some());
        let refused = answers.guard(body(50 << 10), &connection).unwrap_err();
        assert_eq!(refused, NoRoom { bytes: 110 << 10, limit: 100 << 10 });
        assert!(answers.guard(body(40 << 10), &connection).is_ok());
        assert!(answers.guard(body(100), &connection).is_ok(), "small ones are not counted");
        drop(part);
        assert!(connection.oldest().is_none());
        assert_eq!(answers.held.load(Ordering::Relaxed), 0);
        assert!(answers.guard(body(200 << 10), &connection).is_ok(), "one alone always fits");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_answer_that_is_not_taken_is_known() {
        let (answers, connection) = (Answers::new(1 << 20), Untaken::default());
        let begun = Instant::now();
        let old = answers.guard(body(20 << 10), &connection).unwrap();
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        let new = answers.guard(body(20 << 10), &connection).unwrap();
        assert_eq!(connection.oldest(), Some(begun));
        drop(old);
        assert_eq!(connection.oldest(), Some(Instant::now()));
        drop(new);
        assert_eq!(connection.oldest(), None);
    }
}
