//! The threads of a store: one that writes and syncs, two that read.
//!
//! None of them ends because of a panic, and nobody waits for ever because of one. One while writing leaves every log poisoned: what
//! stands on disk is not known any more. One while reading fails that read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eventail_wire::{Clock, Offset, Timestamp};
use tokio::sync::oneshot;

use super::core::{Core, LogId, Request};
use super::moment::{Holds, LogAtMoment};
use super::reader::Reader;
use super::shared::Shared;
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

/// How the threads are reached.
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    pub(crate) writer: Sender<WriteMessage>,
    readers: [Sender<ReadMessage>; READERS],
}

impl Senders {
    /// The reader of a log: always the same one, which has its files at hand.
    pub(crate) fn reader(&self, log: LogId) -> &Sender<ReadMessage> {
        &self.readers[log.0 % READERS]
    }

    pub(crate) fn readers(&self) -> &[Sender<ReadMessage>] {
        &self.readers
    }
}

#[derive(Debug)]
pub(crate) struct Threads {
    writer: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
}

/// Starts the threads.
pub(crate) fn start(
    disk: &Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    holds: Holds,
) -> io::Result<(Senders, Threads)> {
    let mut readers = Vec::with_capacity(READERS);
    let mut spawn_reader = || {
        let (sender, receiver) = channel();
        let reader = Reader::new(Arc::clone(disk));
        readers.push(spawn("eventail-read", move || read_loop(reader, &receiver))?);
        Ok::<_, io::Error>(sender)
    };
    let reader_senders = [spawn_reader()?, spawn_reader()?];
    let (writer, receiver) = channel();
    let senders = Senders { writer, readers: reader_senders };
    let own_senders = senders.readers.clone();
    let writer = spawn("eventail-storage", move || {
        write_loop(Core::new(holds), &receiver, &own_senders, &*clock);
    })?;
    Ok((senders, Threads { writer, readers }))
}

impl Threads {
    /// Lets the threads finish what was asked of them, and waits for it.
    pub(crate) fn close(self, senders: &Senders) {
        let _ = senders.writer.send(WriteMessage::Close);
        join(self.writer);
        for (sender, reader) in senders.readers.iter().zip(self.readers) {
            let _ = sender.send(ReadMessage::Close);
            join(reader);
        }
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
    let mut group = Vec::new();
    loop {
        let first = match core.next_due_ms() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due_ms) => receiver.recv_timeout(Duration::from_millis(due_ms.saturating_sub(elapsed_ms()))),
        };
        let mut open = !matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut next = first.ok();
        let (mut bytes, mut moment) = (0, None);
        while let Some(message) = next {
            match message {
                WriteMessage::Log(log, request) => {
                    bytes += request.bytes();
                    group.push((log, request));
                }
                WriteMessage::TailsBytesMax(bytes) => core.set_tails_bytes_max(bytes),
                WriteMessage::Moment { answer } => {
                    // What was asked for before belongs to it, what comes after does not.
                    moment = Some(answer);
                    break;
                }
                WriteMessage::Close => {
                    open = false;
                    break;
                }
            }
            let full = bytes >= GROUP_BYTES_MAX || group.len() >= GROUP_REQUESTS_MAX;
            next = if full { None } else { receiver.try_recv().ok() };
        }
        let group = std::mem::take(&mut group);
        let turn = catch_unwind(AssertUnwindSafe(|| {
            core.apply(group, clock.now(), elapsed_ms());
            core.sync_due(elapsed_ms());
            if let Some(answer) = moment {
                let _ = answer.send(core.moment());
            }
            for (log, job) in core.take_jobs() {
                let _ = readers[log.0 % READERS].send(ReadMessage::Snapshot(job));
            }
            if !open {
                core.close();
            }
        }));
        if turn.is_err() {
            core.poison_all();
        }
        if !open {
            return;
        }
    }
}

fn read_loop(mut reader: Reader, receiver: &Receiver<ReadMessage>) {
    while let Ok(message) = receiver.recv() {
        match message {
            ReadMessage::Read { shared, from, limit, answer } => {
                let read = contained(&mut reader, &shared, |reader| reader.read(&shared, from, limit));
                let _ = answer.send(read);
            }
            ReadMessage::OffsetAt { shared, time, answer } => {
                let found = contained(&mut reader, &shared, |reader| reader.offset_at(&shared, time));
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
            ReadMessage::Close => return,
        }
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
