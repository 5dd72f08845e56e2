//! What a publisher has under way, as a pure state machine: which events go out next, which answer belongs to which, and
//! what has to be sent again.
//!
//! Promises: answers are handed out in the order of the entries, whatever order the server's come in; an entry leaves only
//! with its answer; a retryable refusal and a lost connection only move the place from which is sent.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::Event;
use eventail_wire::frame::{FrameKind, Held, PeerLimits, Published};

use super::entry::Entry;
use super::handle::PublishAck;
use super::{PublisherOptions, Share};
use crate::error::ClientError;

/// Entries in one frame that is out: `from..to`, counted from the first that ever came.
#[derive(Debug)]
struct SentFrame {
    request: u64,
    from: u64,
    to: u64,
}

/// A retryable refusal that must be gone back to.
#[derive(Debug)]
pub(crate) struct Rewind {
    request: u64,
    pub(crate) error: ClientError,
}

impl Rewind {
    pub(crate) fn at_least(&self) -> Duration {
        Duration::from_millis(self.error.retry_after_ms().unwrap_or(0))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// The number of `entries[0]`, counted from the first that ever came.
    first: u64,
    /// The number of the next one to be sent.
    unsent: u64,
    /// Events and bytes from `unsent` on.
    waiting_events: usize,
    waiting_bytes: usize,
    frames: VecDeque<SentFrame>,
    next_request: u64,
    rewind: Option<Rewind>,
    batch_events: usize,
    batch_bytes: usize,
    limits: Option<PeerLimits>,
}

impl Window {
    pub(crate) const fn new(options: &PublisherOptions) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            unsent: 0,
            waiting_events: 0,
            waiting_bytes: 0,
            frames: VecDeque::new(),
            next_request: 1,
            rewind: None,
            batch_events: options.batch_events,
            batch_bytes: options.batch_bytes,
            limits: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.waiting_events += entry.events();
        self.waiting_bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// Whether events wait that were not sent.
    pub(crate) const fn has_unsent(&self) -> bool {
        self.waiting_events > 0
    }

    /// Frames that were sent and not answered.
    pub(crate) fn frames_out(&self) -> usize {
        self.frames.len()
    }

    /// Whether what waits fills a frame.
    pub(crate) const fn fills_a_frame(&self) -> bool {
        self.waiting_events >= self.batch_events || self.waiting_bytes >= self.batch_bytes
    }

    /// The stream is new: what was sent and not answered goes out again.
    pub(crate) fn begin(&mut self, limits: PeerLimits) {
        self.limits = Some(limits);
        self.next_request = 1;
        self.go_back();
    }

    fn go_back(&mut self) {
        self.frames.clear();
        self.rewind = None;
        self.unsent = self.first;
        let waiting = self.entries.iter().filter(|entry| entry.outcome.is_none());
        (self.waiting_events, self.waiting_bytes) =
            waiting.fold((0, 0), |(events, bytes), entry| (events + entry.events(), bytes + entry.bytes));
    }

    /// The refusal to be gone back to, once everything that was sent is answered.
    pub(crate) fn refused(&self) -> Option<&Rewind> {
        self.rewind.as_ref().filter(|_| self.frames.is_empty())
    }

    /// Goes back to the refused request: it and all behind it are sent again.
    pub(crate) fn resume(&mut self) {
        if let Some(rewind) = self.rewind.take() {
            self.next_request = rewind.request;
            self.go_back();
        }
    }

    /// The next frame: its request number and its events. `None` where nothing may go out.
    pub(crate) fn next_frame(&mut self) -> Option<(u64, impl Iterator<Item = &Bytes> + Clone)> {
        let limits = self.limits?;
        if self.rewind.is_some() {
            return None;
        }
        self.skip_answered(&limits);
        let begin = self.index(self.unsent);
        let (mut events, mut bytes, mut end) = (0, 0, begin);
        let events_max =
            self.batch_events.min(usize::try_from(limits.batch_events_max).unwrap_or(usize::MAX));
        let bytes_max = self.batch_bytes.min(usize::try_from(limits.batch_bytes_max).unwrap_or(usize::MAX));
        while let Some(entry) = self.entries.get(end).filter(|entry| entry.outcome.is_none()) {
            let (more_events, more_bytes) = (events + entry.events(), bytes + entry.bytes);
            let is_over = more_events > events_max || more_bytes > bytes_max || entry.check(&limits).is_err();
            // The first was checked by itself: it may be more than this publisher wants in a frame, not more than the server takes.
            if end > begin && is_over {
                break;
            }
            (events, bytes, end) = (more_events, more_bytes, end + 1);
        }
        if end == begin {
            return None;
        }
        let (request, from) = (self.next_request, self.unsent);
        self.next_request += 1;
        self.unsent += (end - begin) as u64;
        self.waiting_events = self.waiting_events.saturating_sub(events);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        self.frames.push_back(SentFrame { request, from, to: self.unsent });
        let sent = self.entries.range(begin..end);
        Some((request, sent.flat_map(|entry| entry.batch.as_slice()).map(Event::as_bytes)))
    }

    /// Passes over entries that have an outcome, and gives one to those that the server would not take.
    fn skip_answered(&mut self, limits: &PeerLimits) {
        loop {
            let index = self.index(self.unsent);
            let Some(entry) = self.entries.get_mut(index) else { return };
            if entry.outcome.is_none() {
                let Err(error) = entry.check(limits) else { return };
                entry.outcome = Some(Err(error));
                self.waiting_events = self.waiting_events.saturating_sub(entry.events());
                self.waiting_bytes = self.waiting_bytes.saturating_sub(entry.bytes);
            }
            self.unsent += 1;
        }
    }

    /// Takes the answer that a request was done.
    pub(crate) fn take_published(&mut self, published: &Published) -> Result<(), ClientError> {
        let unexpected = ClientError::Unexpected { kind: FrameKind::Published };
        let Some(frame) = self.answered(published.request) else { return Err(unexpected) };
        if published.events() != self.events_of(&frame) as u64 {
            return Err(unexpected);
        }
        let results = published.results();
        self.give_out(&frame, results.map(|(offset, duplicate)| PublishAck::Appended { offset, duplicate }));
        Ok(())
    }

    /// Takes the answer that a request was done, and that some of its events are held.
    pub(crate) fn take_held(&mut self, held: &Held) -> Result<(), ClientError> {
        let unexpected = ClientError::Unexpected { kind: FrameKind::Held };
        let Some(frame) = self.answered(held.request) else { return Err(unexpected) };
        let results = held.results(self.events_of(&frame)).ok_or(unexpected)?;
        self.give_out(&frame, results.into_iter());
        Ok(())
    }

    fn events_of(&self, frame: &SentFrame) -> usize {
        self.entries.range(self.index(frame.from)..self.index(frame.to)).map(Entry::events).sum()
    }

    fn give_out(&mut self, frame: &SentFrame, mut results: impl Iterator<Item = PublishAck>) {
        let range = self.index(frame.from)..self.index(frame.to);
        for entry in self.entries.range_mut(range) {
            let events = entry.events();
            entry.outcome = Some(Ok(results.by_ref().take(events).collect()));
        }
    }

    /// Takes the answer that a request was not done.
    pub(crate) fn take_refused(&mut self, request: u64, error: ClientError) -> Result<(), ClientError> {
        let Some(frame) = self.answered(request) else {
            return Err(ClientError::Unexpected { kind: FrameKind::Refused });
        };
        if error.is_retryable() {
            self.rewind.get_or_insert(Rewind { request, error });
        } else {
            let range = self.index(frame.from)..self.index(frame.to);
            for entry in self.entries.range_mut(range) {
                entry.outcome = Some(Err(error.clone()));
            }
        }
        Ok(())
    }

    /// Gives up on everything that has no answer yet. Only where nothing is out: the stream is gone, or all of it was refused.
    pub(crate) fn fail_all(&mut self, error: &ClientError) {
        for entry in &mut self.entries {
            entry.outcome.get_or_insert_with(|| Err(error.clone()));
        }
        self.next_request = self.rewind.as_ref().map_or(self.next_request, |rewind| rewind.request);
        self.go_back();
    }

    /// Hands out the answers whose turn it is; what becomes free of the window.
    pub(crate) fn hand_out(&mut self) -> Share {
        let mut free = Share::default();
        while let Some(Entry { outcome: Some(_), .. }) = self.entries.front() {
            let Some(Entry { reply, share, outcome: Some(outcome), .. }) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            free += share;
            reply.send(outcome);
        }
        self.unsent = self.unsent.max(self.first);
        free
    }

    fn answered(&mut self, request: u64) -> Option<SentFrame> {
        self.frames.pop_front().filter(|frame| frame.request == request)
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number - self.first).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
