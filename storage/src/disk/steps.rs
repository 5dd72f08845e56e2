//! The work of a store without threads: whoever opened the store does it, step by step.
//!
//! It is meant for simulations on one thread. A step is what a thread does in one turn, on the same code: a group of writes with its
//! syncs, or one read. When it happens is up to the opener, so that a slow disk is a pause between two steps. Calls on the
//! store that have to wait for the work (a removal, the end) do what stands before it themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_wire::Clock;
use tokio::sync::Notify;

use super::core::Core;
use super::moment::Holds;
use super::reader::Reader;
use super::threads::{ReadMessage, Turn, WriteMessage, perform_read};
use crate::disk_io::Disk;

/// The work of a store that was opened with [`DiskStore::open_in_steps`](super::DiskStore::open_in_steps).
#[derive(Debug)]
pub struct Steps {
    clock: Arc<dyn Clock>,
    queues: Mutex<Queues>,
    worker: Mutex<Worker>,
    has_writes: Notify,
    has_reads: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    writes: VecDeque<WriteMessage>,
    reads: VecDeque<ReadMessage>,
    is_closed: bool,
}

#[derive(Debug)]
struct Worker {
    core: Core,
    reader: Reader,
    elapsed_ms: u64,
}

impl Steps {
    pub(crate) fn new(disk: &Arc<dyn Disk>, clock: Arc<dyn Clock>, holds: Holds) -> Arc<Self> {
        let worker = Worker { core: Core::new(holds), reader: Reader::new(Arc::clone(disk)), elapsed_ms: 0 };
        Arc::new(Self {
            clock,
            queues: Mutex::default(),
            worker: Mutex::new(worker),
            has_writes: Notify::new(),
            has_reads: Notify::new(),
        })
    }

    /// Waits until there is something to write; `false` where the store is closed. A sync that falls due by itself is not waited for:
    /// [`Steps::next_due_ms`] tells of it.
    pub async fn has_writes(&self) -> bool {
        loop {
            {
                let queues = self.queues();
                if queues.is_closed || !queues.writes.is_empty() {
                    return !queues.is_closed;
                }
            }
            self.has_writes.notified().await;
        }
    }

    /// Waits until there is something to read; `false` where the store is closed.
    pub async fn has_reads(&self) -> bool {
        loop {
            {
                let queues = self.queues();
                if queues.is_closed || !queues.reads.is_empty() {
                    return !queues.is_closed;
                }
            }
            self.has_reads.notified().await;
        }
    }

    /// When buffered writes have to be synced, by the clock that [`Steps::write`] is given.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.worker().core.next_due_ms()
    }

    /// Writes and syncs one group of what waits, and syncs what is due. `elapsed_ms` is of a clock that only moves forward.
    pub fn write(&self, elapsed_ms: u64) {
        let mut turn = Turn::default();
        {
            let mut queues = self.queues();
            while turn.has_room()
                && let Some(message) = queues.writes.pop_front()
            {
                turn.add(message);
            }
        }
        let mut worker = self.worker();
        worker.elapsed_ms = elapsed_ms;
        let jobs = turn.perform(&mut worker.core, &*self.clock, elapsed_ms);
        drop(worker);
        for (_, job) in jobs {
            self.ask_reader(ReadMessage::Snapshot(job));
        }
    }

    /// Does one of the reads that wait.
    pub fn read(&self) {
        let Some(message) = self.queues().reads.pop_front() else { return };
        perform_read(&mut self.worker().reader, message);
    }

    pub(crate) fn ask_writer(&self, message: WriteMessage) {
        let mut queues = self.queues();
        if !queues.is_closed {
            queues.writes.push_back(message);
            self.has_writes.notify_one();
        }
    }

    pub(crate) fn ask_reader(&self, message: ReadMessage) {
        let mut queues = self.queues();
        if !queues.is_closed {
            queues.reads.push_back(message);
            self.has_reads.notify_one();
        }
    }

    /// Does everything that waits.
    pub(crate) fn catch_up(&self) {
        while !self.queues().writes.is_empty() {
            let elapsed_ms = self.worker().elapsed_ms;
            self.write(elapsed_ms);
        }
        while !self.queues().reads.is_empty() {
            self.read();
        }
    }

    /// Does everything that waits, syncs, and takes no more.
    pub(crate) fn close(&self) {
        self.catch_up();
        self.queues().is_closed = true;
        self.worker().core.close();
        self.has_writes.notify_one();
        self.has_reads.notify_one();
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
