//! Group commit over all logs of a store: takes what waits, writes and syncs each log that it touches once, answers all.
//!
//! It is synchronous and knows neither threads nor clocks: the I/O thread calls it in production, a test calls it directly
//! and sees every step.

use bytes::Bytes;
use eventail_wire::{Offset, Timestamp};
use tokio::sync::oneshot;

use super::moment::{self, Holds, LogAtMoment};
use super::writer::{Answer, Writer};
use crate::dedup::SnapshotJob;
use crate::log::{AppendError, Durability, LogOptions, NewRecord};

/// What the tails of all logs together keep at most, unless it is told otherwise.
const TAILS_BYTES_MAX: usize = 64 << 20;

/// Which log of a store; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) usize);

/// Something to be done to one log.
#[derive(Debug)]
pub(crate) enum Request {
    Append {
        records: Vec<NewRecord>,
        answer: Answer,
    },
    Trim {
        before: Offset,
        answer: oneshot::Sender<Result<Offset, AppendError>>,
    },
    Retain {
        now: Timestamp,
        answer: oneshot::Sender<Result<Offset, AppendError>>,
    },
    Options(LogOptions),
    Adopt(Box<Writer>),
    /// Lets go of the log without closing it.
    Remove {
        answer: std::sync::mpsc::Sender<()>,
    },
}

impl Request {
    /// The payload bytes that it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append { records, .. } => records.iter().map(|record| Bytes::len(&record.payload)).sum(),
            _ => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Core {
    writers: Vec<Option<Box<Writer>>>,
    tails_bytes: usize,
    holds: Holds,
    tails_bytes_max: usize,
}

impl Default for Core {
    fn default() -> Self {
        Self::new(Holds::default())
    }
}

impl Core {
    /// One that removes nothing while a moment is held.
    pub(crate) fn new(holds: Holds) -> Self {
        Self { writers: Vec::new(), tails_bytes: 0, holds, tails_bytes_max: TAILS_BYTES_MAX }
    }

    /// Does what was asked, in the order in which it was asked of each log. `now` is the wall clock, `elapsed_ms` one that
    /// only moves forward.
    pub(crate) fn apply(&mut self, group: Vec<(LogId, Request)>, now: Timestamp, elapsed_ms: u64) {
        for (log, request) in &group {
            if let (Some(writer), Request::Append { records, .. }) = (self.writer(*log), request) {
                writer.announce(records);
            }
        }
        let mut touched = Vec::new();
        let mut afterwards = Vec::new();
        for (log, request) in group {
            match request {
                Request::Append { records, answer } => {
                    let Some(writer) = self.writer(log) else { continue };
                    let first = !writer.is_staged();
                    writer.stage(records, answer, now);
                    if first && writer.is_staged() {
                        touched.push(log);
                    }
                }
                Request::Adopt(writer) => {
                    if self.writers.len() <= log.0 {
                        self.writers.resize_with(log.0 + 1, || None);
                    }
                    self.writers[log.0] = Some(writer);
                }
                other => afterwards.push((log, other)),
            }
        }
        // A buffered log waits for no sync, so it need not wait for another log's either.
        for durability in [Durability::Buffered, Durability::Sync] {
            for &log in &touched {
                self.commit(log, durability, elapsed_ms);
            }
        }
        self.shorten_tails();
        for (log, request) in afterwards {
            self.handle(log, request);
        }
    }

    fn writer(&mut self, log: LogId) -> Option<&mut Writer> {
        self.writers.get_mut(log.0)?.as_deref_mut()
    }

    fn commit(&mut self, log: LogId, durability: Durability, elapsed_ms: u64) {
        let Some(writer) = self.writer(log).filter(|writer| writer.durability() == durability) else {
            return;
        };
        let before = writer.shared.tail().bytes();
        writer.commit(elapsed_ms);
        let after = writer.shared.tail().bytes();
        self.tails_bytes = self.tails_bytes + after - before;
    }

    fn handle(&mut self, log: LogId, request: Request) {
        let is_held = self.holds.is_held();
        let Some(writer) = self.writer(log) else { return };
        match request {
            // It comes again: whoever trims does so now and then.
            Request::Trim { answer, .. } | Request::Retain { answer, .. } if is_held => {
                let _ = answer.send(Ok(writer.shared.status().range.start));
            }
            Request::Trim { before, answer } => {
                let _ = answer.send(writer.trim(before));
            }
            Request::Retain { now, answer } => {
                let _ = answer.send(writer.retain(now));
            }
            Request::Options(options) => writer.set_options(options),
            Request::Remove { answer } => {
                let bytes = writer.shared.tail().bytes();
                self.tails_bytes -= bytes;
                self.writers[log.0] = None;
                let _ = answer.send(());
            }
            Request::Append { .. } | Request::Adopt(_) => {}
        }
    }

    fn shorten_tails(&mut self) {
        while self.tails_bytes > self.tails_bytes_max {
            let largest = self.writers.iter().flatten().max_by_key(|writer| writer.shared.tail().bytes());
            let dropped = largest.map_or(0, |writer| writer.shared.tail_mut().drop_oldest());
            if dropped == 0 {
                return;
            }
            self.tails_bytes -= dropped;
        }
    }

    /// Syncs the logs whose buffered writes waited long enough.
    pub(crate) fn sync_due(&mut self, elapsed_ms: u64) {
        for writer in self.writers.iter_mut().flatten() {
            writer.sync_if_due(elapsed_ms);
        }
    }

    /// When [`Core::sync_due`] has something to do next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.writers.iter().flatten().filter_map(|writer| writer.sync_due_ms()).min()
    }

    /// What is to be written beside the logs, away from the path of appends.
    pub(crate) fn take_jobs(&mut self) -> Vec<(LogId, SnapshotJob)> {
        let mut jobs = Vec::new();
        for (index, writer) in self.writers.iter_mut().enumerate() {
            let Some(writer) = writer else { continue };
            jobs.extend(writer.take_jobs().into_iter().map(|job| (LogId(index), job)));
        }
        jobs
    }

    /// Has the tails of all logs keep so much at most from now on.
    pub(crate) fn set_tails_bytes_max(&mut self, bytes: usize) {
        self.tails_bytes_max = bytes;
        self.shorten_tails();
    }

    /// Where every log stands, all at the same moment, by name.
    pub(crate) fn moment(&mut self) -> Vec<LogAtMoment> {
        let mut logs: Vec<_> =
            self.writers.iter_mut().flatten().map(|writer| moment::of_log(writer)).collect();
        logs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        logs
    }

    /// Has no log take anything any more: the thread panicked, and nobody knows how far it came.
    pub(crate) fn poison_all(&mut self) {
        for writer in self.writers.iter_mut().flatten() {
            writer.give_up();
        }
    }

    /// Syncs everything and writes down what makes the next start quick.
    pub(crate) fn close(&mut self) {
        for mut writer in self.writers.drain(..).flatten() {
            writer.close();
        }
    }
}
