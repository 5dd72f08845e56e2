//! Who does the work of a store: threads, one that writes and syncs and two that read, or whoever opened it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eventail_wire::{Clock, Offset, Timestamp};
use tokio::sync::oneshot;

use super::core::{Core, LogId, Request};
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
        let message = WriteMessage::Log(log, request);
        match self {
            Self::Threads { writer, .. } => drop(writer.send(message)),
            Self::Steps(steps) => steps.ask_writer(message),
        }
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
pub(crate) fn start(disk: &Arc<dyn Disk>, clock: Arc<dyn Clock>) -> io::Result<(Senders, Workers)> {
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
    let writer = spawn("eventail-storage", move || write_loop(&receiver, &own_senders, &*clock))?;
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

/// Requests that are written together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    requests: Vec<(LogId, Request)>,
    bytes: usize,
}

impl Group {
    pub(crate) fn add(&mut self, log: LogId, request: Request) {
        self.bytes += request.bytes();
        self.requests.push((log, request));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES_MAX || self.requests.len() >= GROUP_REQUESTS_MAX
    }

    /// Empties it.
    pub(crate) fn take(&mut self) -> Vec<(LogId, Request)> {
        self.bytes = 0;
        std::mem::take(&mut self.requests)
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

fn write_loop(receiver: &Receiver<WriteMessage>, readers: &[Sender<ReadMessage>], clock: &dyn Clock) {
    let started = Instant::now();
    let elapsed_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut core = Core::default();
    let mut group = Group::default();
    loop {
        let first = match core.next_due_ms() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due_ms) => receiver.recv_timeout(Duration::from_millis(due_ms.saturating_sub(elapsed_ms()))),
        };
        let mut open = !matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut next = first.ok();
        while let Some(message) = next {
            match message {
                WriteMessage::Log(log, request) => group.add(log, request),
                WriteMessage::Close => {
                    open = false;
                    break;
                }
            }
            next = if group.is_full() { None } else { receiver.try_recv().ok() };
        }
        core.apply(group.take(), clock.now(), elapsed_ms());
        core.sync_due(elapsed_ms());
        for (log, job) in core.take_jobs() {
            let _ = readers[log.0 % READERS].send(ReadMessage::Snapshot(job));
        }
        if !open {
            core.close();
            return;
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
            let _ = answer.send(reader.read(&shared, from, limit));
        }
        ReadMessage::OffsetAt { shared, time, answer } => {
            let _ = answer.send(reader.offset_at(&shared, time));
        }
        ReadMessage::Snapshot(job) => job.run(),
        ReadMessage::Forget { log, answer } => {
            reader.forget(&log);
            let _ = answer.send(());
        }
        ReadMessage::Close => {}
    }
}
