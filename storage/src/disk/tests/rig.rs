//! A log driven step by step, without threads, on a simulated disk.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Offset, Timestamp};
use tokio::sync::oneshot;

use crate::disk::core::{Core, LogId, Request};
use crate::disk::reader::Reader;
use crate::disk::recovery::{At, DiskError};
use crate::disk::shared::Shared;
use crate::disk::writer::Writer;
use crate::disk_io::{Disk, SimDisk};
use crate::log::{
    AppendError, Appended, Deduplication, Fingerprint, LogOptions, NewRecord, ReadError, ReadLimit, Record,
};

pub(super) const WINDOW_MS: u64 = 1_000;
const LOG: LogId = LogId(0);

/// A payload that begins with its fingerprint, and tells its length by its bytes.
pub(super) fn payload(fingerprint: Fingerprint, filler: usize) -> Bytes {
    let mut bytes = fingerprint.to_le_bytes().to_vec();
    bytes.resize(16 + filler, filler as u8 | 1);
    bytes.into()
}

pub(super) fn fingerprint_of(payload: &Bytes) -> Option<Fingerprint> {
    payload.first_chunk().map(|bytes| Fingerprint::from_le_bytes(*bytes))
}

pub(super) fn new_record(fingerprint: Fingerprint, filler: usize) -> NewRecord {
    NewRecord { payload: payload(fingerprint, filler), fingerprint: Some(fingerprint) }
}

pub(super) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 2 << 10,
        deduplication: Some(Deduplication { window_ms: WINDOW_MS, ids_max: 64, fingerprint: fingerprint_of }),
        ..LogOptions::default()
    }
}

/// One life of a process with one log.
pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader,
    pub(super) now: Timestamp,
}

impl Rig {
    pub(super) fn open(disk: &SimDisk, options: LogOptions, now: Timestamp) -> Result<Self, DiskError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        // As a store does.
        let data = PathBuf::from("/data");
        disk.create_dir(&data).at(&data)?;
        disk.sync_dir(&PathBuf::from("/")).at(&data)?;
        disk.sync_dir(&data).at(&data)?;
        let writer = Writer::open(&disk, &PathBuf::from("/data/log"), "log", options, now)?;
        let shared = Arc::clone(&writer.shared);
        let mut core = Core::default();
        core.apply(vec![(LOG, Request::Adopt(Box::new(writer)))], now, 0);
        Ok(Self { core, shared, reader: Reader::new(disk), now })
    }

    /// Commits one group of appends.
    pub(super) fn group(&mut self, appends: Vec<Vec<NewRecord>>) -> Vec<Result<Vec<Appended>, AppendError>> {
        let mut answers = Vec::new();
        let requests: Vec<_> = appends
            .into_iter()
            .map(|records| {
                let (answer, answered) = oneshot::channel();
                answers.push(answered);
                (LOG, Request::Append { records, answer })
            })
            .collect();
        self.core.apply(requests, self.now, self.now.0);
        for (_, job) in self.core.take_jobs() {
            job.run();
        }
        answers.into_iter().map(|mut answer| answer.try_recv().expect("every append is answered")).collect()
    }

    pub(super) fn append(&mut self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        self.group(vec![records]).remove(0)
    }

    pub(super) fn trim(&mut self, before: Offset) -> Result<Offset, AppendError> {
        let (answer, mut answered) = oneshot::channel();
        self.core.apply(vec![(LOG, Request::Trim { before, answer })], self.now, self.now.0);
        answered.try_recv().expect("it is answered")
    }

    pub(super) fn start(&self) -> Offset {
        self.shared.segments().start()
    }

    pub(super) fn end(&self) -> Offset {
        self.shared.readable_end()
    }

    /// Reads everything, from disk, in small steps.
    pub(super) fn read_all(&mut self) -> Result<Vec<Record>, ReadError> {
        let mut records: Vec<Record> = Vec::new();
        let mut next = self.start();
        while next < self.end() {
            let limit = ReadLimit { records: 7, bytes: 700 };
            let read = self.reader.read(&self.shared, next, limit)?;
            assert!(!read.is_empty(), "there is something below the end");
            if let Some(tail) = self.shared.read_tail(next, limit) {
                assert_eq!(tail, read, "memory and disk tell the same");
            }
            records.extend(read);
            next = records.last().unwrap().offset.plus(1);
        }
        Ok(records)
    }
}
