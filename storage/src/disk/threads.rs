//! The threads of a store: one that writes and syncs, two that read.

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
pub(crate) fn start(disk: &Arc<dyn Disk>, clock: Arc<dyn Clock>) -> io::Result<(Senders, Threads)> {
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
    let writer = spawn("eventail-storage", move || write_loop(&receiver, &own_senders, &*clock))?;
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

fn write_loop(receiver: &Receiver<WriteMessage>, readers: &[Sender<ReadMessage>], clock: &dyn Clock) {
    let started = Instant::now();
    let elapsed_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut core = Core::default();
    let mut group = Vec::new();
    loop {
        let first = match core.next_due_ms() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due_ms) => receiver.recv_timeout(Duration::from_millis(due_ms.saturating_sub(elapsed_ms()))),
        };
        let mut open = !matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut next = first.ok();
        let mut bytes = 0;
        while let Some(message) = next {
            match message {
                WriteMessage::Log(log, request) => {
                    bytes += request.bytes();
                    group.push((log, request));
                }
                WriteMessage::Close => {
                    open = false;
                    break;
                }
            }
            let full = bytes >= GROUP_BYTES_MAX || group.len() >= GROUP_REQUESTS_MAX;
            next = if full { None } else { receiver.try_recv().ok() };
        }
        core.apply(std::mem::take(&mut group), clock.now(), elapsed_ms());
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
            ReadMessage::Close => return,
        }
    }
}
