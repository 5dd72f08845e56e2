//! Who does the work of a store: threads, one that writes and syncs and two that read, or whoever opened it.
//!
//! No thread ends because of a panic, and nobody waits for ever because of one. One while writing leaves every log poisoned: what
//! stands on disk is not known any more. One while reading fails that read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eventail_wire::{Clock, Offset, Timestamp};
use tokio::sync::oneshot;

use super::core::{Core, LogId, Request};
use super::moment::{Holds, LogAtMoment};
use super::reader::Reader;
use super::shared::Shared;
use super::steps::Steps;
use crate::dedup::SnapshotJob;
use crate::disk_io::Disk;
use crate::log::{ReadError, ReadLimit, Record};

/// Payload bytes that one group takes; what waits beyond it is in the next. A sync of so much takes a few milliseconds.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Requests that one group takes.
const GROUP_REQUESTS_MAX: usize = 8_192;
/// Two, so that a long catch-up of one log does not hold up another's.
const READERS: usize = 2;

#[derive(Debug)]
pub(crate) enum WriteMessage {
    Log(LogId, Request),
    /// The tails of all logs may keep so many bytes.
    TailsBytesMax(usize),
    /// Tells where every log stands.
    Moment {
        answer: Sender<Vec<LogAtMoment>>,
    },
    Close,
}

#[derive(Debug)]
pub(crate) enum ReadMessage {
    Read {
        shared: Arc<Shared>,
        from: Offset,
        limit: ReadLimit,
        answer: oneshot::Sender<ReadAnswer<Vec<Record>>>,
    },
    OffsetAt {
        shared: Arc<Shared>,
        time: Timestamp,
        answer: oneshot::Sender<ReadAnswer<Offset>>,
    },
    Snapshot(SnapshotJob),
    /// The files of this log are about to go.
    Forget {
        log: String,
        answer: Sender<()>,
    },
    Close,
}

pub(crate) type ReadAnswer<T> = Result<T, ReadError>;

/// How those who do the work are reached.
#[derive(Clone, Debug)]
pub(crate) enum Senders {
    Threads {
        writer: Sender<WriteMessage>,
        /// A log has always the same reader, which has its files at hand.
        readers: [Sender<ReadMessage>; READERS],
    },
    Steps(Arc<Steps>),
}

impl Senders {
    /// Hands a request to the writer. Where there is none any more the answer is dropped, which is an answer as well.
    pub(crate) fn write(&self, log: LogId, request: Request) {
        self.tell_writer(WriteMessage::Log(log, request));
    }

    fn tell_writer(&self, message: WriteMessage) {
        match self {
            Self::Threads { writer, .. } => drop(writer.send(message)),
            Self::Steps(steps) => steps.ask_writer(message),
        }
    }

    /// Has the tails of all logs keep so many bytes together at most.
    pub(crate) fn set_tails_bytes_max(&self, bytes: usize) {
        self.tell_writer(WriteMessage::TailsBytesMax(bytes));
    }

    /// Where every log stands behind what was asked for so far; `None` where nobody writes any more. Blocks.
    pub(crate) fn moment(&self) -> Option<Vec<LogAtMoment>> {
        let (answer, answered) = channel();
        self.tell_writer(WriteMessage::Moment { answer });
        self.catch_up();
        answered.recv().ok()
    }

    /// Hands a request to the log's reader, with the same answer where it is gone.
    pub(crate) fn read(&self, log: LogId, message: ReadMessage) {
        match self {
            Self::Threads { readers, .. } => drop(readers[log.0 % READERS].send(message)),
            Self::Steps(steps) => steps.ask_reader(message),
        }
    }

    /// Lets go of a log and of all its files. Blocks.
    pub(crate) fn forget(&self, id: Option<LogId>, name: &str) {
        if let Some(id) = id {
            let (answer, answered) = channel();
            self.write(id, Request::Remove { answer });
            self.catch_up();
            let _ = answered.recv();
        }
        for reader in 0..READERS {
            let (answer, answered) = channel();
            self.read(LogId(reader), ReadMessage::Forget { log: name.to_owned(), answer });
            self.catch_up();
            let _ = answered.recv();
        }
    }

    /// Does what was asked where no thread will.
    fn catch_up(&self) {
        match self {
            Self::Threads { .. } => {}
            Self::Steps(steps) => steps.catch_up(),
        }
    }
}

/// What has to end when a store is closed.
#[derive(Debug)]
pub(crate) enum Workers {
    Threads { writer: JoinHandle<()>, readers: Vec<JoinHandle<()>> },
    Steps,
}

/// Starts the threads.
pub(crate) fn start(
    disk: &Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    holds: Holds,
) -> io::Result<(Senders, Workers)> {
    let mut readers = Vec::with_capacity(READERS);
    let mut spawn_reader = || {
        let (sender, receiver) = channel();
        let reader = Reader::new(Arc::clone(disk));
        readers.push(spawn("eventail-read", move || read_loop(reader, &receiver))?);
        Ok::<_, io::Error>(sender)
    };
    let reader_senders = [spawn_reader()?, spawn_reader()?];
    let (writer, receiver) = channel();
    let own_senders = reader_senders.clone();
    let senders = Senders::Threads { writer, readers: reader_senders };
    let writer = spawn("eventail-storage", move || {
        write_loop(Core::new(holds), &receiver, &own_senders, &*clock);
    })?;
    Ok((senders, Workers::Threads { writer, readers }))
}

impl Workers {
    /// Finishes what was asked for, and waits for it.
    pub(crate) fn close(self, senders: &Senders) {
        match (self, senders) {
            (
                Self::Threads { writer, readers },
                Senders::Threads { writer: to_writer, readers: to_readers },
            ) => {
                let _ = to_writer.send(WriteMessage::Close);
                join(writer);
                for (sender, reader) in to_readers.iter().zip(readers) {
                    let _ = sender.send(ReadMessage::Close);
                    join(reader);
                }
            }
            (_, Senders::Steps(steps)) => steps.close(),
            (Self::Steps, Senders::Threads { .. }) => {}
        }
    }
}

/// What the writer does between two looks at what waits.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    requests: Vec<(LogId, Request)>,
    bytes: usize,
    tails_bytes_max: Option<usize>,
    moment: Option<Sender<Vec<LogAtMoment>>>,
    is_last: bool,
}

impl Turn {
    pub(crate) fn add(&mut self, message: WriteMessage) {
        match message {
            WriteMessage::Log(log, request) => {
                self.bytes += request.bytes();
                self.requests.push((log, request));
            }
            WriteMessage::TailsBytesMax(bytes) => self.tails_bytes_max = Some(bytes),
            WriteMessage::Moment { answer } => self.moment = Some(answer),
            WriteMessage::Close => self.is_last = true,
        }
    }

    /// Whether another message may join. What was asked for before a moment belongs to it, what comes after does not.
    pub(crate) fn has_room(&self) -> bool {
        let is_full = self.bytes >= GROUP_BYTES_MAX || self.requests.len() >= GROUP_REQUESTS_MAX;
        !is_full && self.moment.is_none() && !self.is_last
    }

    /// Writes and syncs, and tells which snapshots are to be written now. `elapsed_ms` is of a clock that only moves forward.
    pub(crate) fn perform(
        self,
        core: &mut Core,
        clock: &dyn Clock,
        elapsed_ms: u64,
    ) -> Vec<(LogId, SnapshotJob)> {
        if let Some(bytes) = self.tails_bytes_max {
            core.set_tails_bytes_max(bytes);
        }
        core.apply(self.requests, clock.now(), elapsed_ms);
        core.sync_due(elapsed_ms);
        if let Some(answer) = self.moment {
            let _ = answer.send(core.moment());
        }
        core.take_jobs()
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a storage thread had panicked");
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

fn write_loop(
    mut core: Core,
    receiver: &Receiver<WriteMessage>,
    readers: &[Sender<ReadMessage>],
    clock: &dyn Clock,
) {
    let started = Instant::now();
    let elapsed_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut is_open = true;
    while is_open {
        let mut next = match core.next_due_ms() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due_ms) => receiver.recv_timeout(Duration::from_millis(due_ms.saturating_sub(elapsed_ms()))),
        };
        let mut turn = Turn::default();
        loop {
            match next {
                Ok(message) => turn.add(message),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    turn.is_last = true;
                    break;
                }
            }
            if !turn.has_room() {
                break;
            }
            next = receiver.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        is_open = !turn.is_last;
        let performed = catch_unwind(AssertUnwindSafe(|| {
            for (log, job) in turn.perform(&mut core, clock, elapsed_ms()) {
                let _ = readers[log.0 % READERS].send(ReadMessage::Snapshot(job));
            }
            if !is_open {
                core.close();
            }
        }));
        if performed.is_err() {
            core.poison_all();
        }
    }
}

fn read_loop(mut reader: Reader, receiver: &Receiver<ReadMessage>) {
    while let Ok(message) = receiver.recv() {
        if matches!(message, ReadMessage::Close) {
            return;
        }
        perform_read(&mut reader, message);
    }
}

/// Does what a reader was asked for.
pub(crate) fn perform_read(reader: &mut Reader, message: ReadMessage) {
    match message {
        ReadMessage::Read { shared, from, limit, answer } => {
            let read = contained(reader, &shared, |reader| reader.read(&shared, from, limit));
            let _ = answer.send(read);
        }
        ReadMessage::OffsetAt { shared, time, answer } => {
            let found = contained(reader, &shared, |reader| reader.offset_at(&shared, time));
            let _ = answer.send(found);
        }
        ReadMessage::Snapshot(job) => {
            // Its file costs time at the next start, and nothing else.
            let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
        }
        ReadMessage::Forget { log, answer } => {
            reader.forget(&log);
            let _ = answer.send(());
        }
        ReadMessage::Close => {}
    }
}

/// Reads; a panic on the way fails this read, and what the reader had at hand is not trusted any more.
fn contained<T>(
    reader: &mut Reader,
    shared: &Shared,
    read: impl FnOnce(&mut Reader) -> ReadAnswer<T>,
) -> ReadAnswer<T> {
    catch_unwind(AssertUnwindSafe(|| read(reader))).unwrap_or_else(|_| {
        reader.forget(&shared.name);
        let cause = Arc::new(io::Error::other("the reading thread panicked; the server's log says where"));
        Err(ReadError::Io { file: shared.name.clone(), cause })
    })
}
