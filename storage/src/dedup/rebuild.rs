//! Remembers, at the opening of a log, what it holds: from snapshots as far as they can be believed, else from the log.

use std::collections::VecDeque;
use std::io;

use eventail_wire::{Offset, Timestamp};

use super::generation::Generation;
use super::{Dedup, snapshot};
use crate::disk::names;
use crate::disk::reader::Reader;
use crate::disk::recovery::{At, DiskError};
use crate::disk::shared::Shared;
use crate::log::{ReadError, ReadLimit};

const READ_LIMIT: ReadLimit = ReadLimit { records: 65_536, bytes: 4 << 20 };

pub(super) fn rebuild(dedup: &mut Dedup, shared: &Shared, now: Timestamp) -> Result<(), DiskError> {
    let mut reader = Reader::new(dedup.disk.clone());
    let end = shared.readable_end();
    let since = Timestamp(now.0.saturating_sub(dedup.options.window_ms));
    let mut next =
        reader.offset_at(shared, since).or_else(|error| skip(shared, shared.segments().start(), error))?;
    for generation in snapshots(dedup, since, end)? {
        read_log(dedup, &mut reader, shared, next, generation.from)?;
        next = next.max(generation.end);
        dedup.adopt(generation);
    }
    read_log(dedup, &mut reader, shared, next, end)?;
    dedup.keep_staged(end, now);
    for job in dedup.take_jobs() {
        job.run();
    }
    Ok(())
}

/// The snapshots that can be believed, oldest first; all others are removed.
fn snapshots(dedup: &Dedup, since: Timestamp, end: Offset) -> Result<VecDeque<Generation>, DiskError> {
    let mut names = dedup.disk.list(&dedup.dir).at(&dedup.dir)?;
    names.sort_unstable();
    let mut believed: VecDeque<Generation> = VecDeque::new();
    let mut removed = false;
    for from in names.iter().filter_map(|name| names::offset_of(name, names::DEDUP_SUFFIX)) {
        let path = names::dedup(&dedup.dir, from);
        let read = snapshot::read(&*dedup.disk, &path).at(&path)?;
        if read.is_none() {
            tracing::warn!(file = %names::display(&path), "a snapshot of remembered ids is damaged; the log is read instead");
        }
        let follows =
            |generation: &Generation| believed.back().is_none_or(|last| last.end <= generation.from);
        match read {
            // One that reaches beyond the log tells of records that were lost, and others may stand there now.
            Some(generation)
                if generation.from == from
                    && generation.end <= end
                    && generation.newest_at >= since
                    && follows(&generation) =>
            {
                believed.push_back(generation);
                continue;
            }
            _ => {}
        }
        removed = true;
        dedup.disk.remove(&path).at(&path)?;
    }
    if removed {
        dedup.disk.sync_dir(&dedup.dir).at(&dedup.dir)?;
    }
    Ok(believed)
}

/// Remembers the ids of a part of the log.
fn read_log(
    dedup: &mut Dedup,
    reader: &mut Reader,
    shared: &Shared,
    mut next: Offset,
    end: Offset,
) -> Result<(), DiskError> {
    dedup.begin_at(next);
    while next < end {
        match reader.read(shared, next, READ_LIMIT) {
            Ok(records) => {
                for record in records.iter().take_while(|record| record.offset < end) {
                    if let Some(fingerprint) = (dedup.options.fingerprint)(&record.payload) {
                        dedup.find_or_stage(fingerprint, record.offset, record.appended_at);
                    }
                    next = record.offset.plus(1);
                    if dedup.active.ids >= super::SNAPSHOT_IDS_MIN {
                        dedup.keep_staged(next, record.appended_at);
                    }
                }
            }
            Err(error) => next = skip(shared, next, error)?,
        }
    }
    Ok(())
}

/// The ids of damaged records cannot be remembered; those behind them can.
fn skip(shared: &Shared, from: Offset, error: ReadError) -> Result<Offset, DiskError> {
    match error {
        ReadError::Io { file, cause } => {
            let cause = io::Error::new(cause.kind(), cause);
            Err(DiskError { path: shared.dir.with_file_name(file), cause })
        }
        ReadError::Corrupt { next, .. } => Ok(next.max(from.plus(1))),
        ReadError::Trimmed { start, .. } => Ok(start.max(from.plus(1))),
        ReadError::Closed => Ok(shared.readable_end()),
    }
}

impl Dedup {
    /// Nothing of the log before this offset is to be told relative to the active generation.
    fn begin_at(&mut self, from: Offset) {
        if self.active.ids == 0 {
            self.active = Generation::new(from, self.active.first_at);
        }
    }

    /// Takes over a generation that was written down.
    fn adopt(&mut self, generation: Generation) {
        if self.active.ids > 0 {
            self.seal(generation.from, generation.first_at);
        }
        self.active = Generation::new(generation.end, generation.newest_at);
        let generation = std::sync::Arc::new(generation);
        self.sealed.push_back(super::Sealed { generation, saved: true });
    }
}
