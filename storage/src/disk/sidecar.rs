//! The `.idx` file beside a segment: where it ends and a sparse index of offsets and times.
//!
//! It holds nothing that the segment does not: a missing or damaged one is written anew from a scan. It is there so that a
//! start need not read what was closed long ago.
//!
//! ```text
//!  0  magic "EVX1"
//!  4  CRC-32C of bytes 8 to 64
//!  8  first offset            16  offset behind the last record
//! 24  bytes of batches        32  time of the first batch     40  time of the last
//! 48  number of entries       52  CRC-32C of the entries      56  zero
//! 64  entries: offset, position, time (8 bytes each), one for about every 64 KiB
//! ```

use std::io;
use std::path::Path;

use eventail_wire::{Offset, Timestamp};

use super::batch::{Header, checksum, u32_at, u64_at};
use crate::disk_io::Disk;

const MAGIC: [u8; 4] = *b"EVX1";
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 24;
/// The distance of entries: a read goes through half of it in vain, which costs some microseconds.
const STRIDE_BYTES: u64 = 64 << 10;

/// A segment in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// The bytes of its batches.
    pub(crate) bytes: u64,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
}

impl Summary {
    /// A segment that has nothing yet.
    pub(crate) fn empty(base: Offset, at: Timestamp) -> Self {
        Self { base, end: base, bytes: 0, first_at: at, last_at: at }
    }

    /// Counts a batch that stands behind all the others.
    pub(crate) fn add(&mut self, header: &Header) {
        // Behind a hole at its beginning no time is known yet.
        if self.end == self.base || self.first_at == Timestamp::default() {
            self.first_at = header.appended_at;
        }
        self.last_at = header.appended_at;
        self.end = header.end();
        self.bytes += header.bytes as u64;
    }
}

/// A batch that can be found without reading those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) offset: Offset,
    pub(crate) position: u64,
    pub(crate) appended_at: Timestamp,
}

/// Adds an entry where the last one is far enough away.
pub(crate) fn note(entries: &mut Vec<IndexEntry>, position: u64, header: &Header) {
    if entries.last().is_none_or(|last| position >= last.position + STRIDE_BYTES) {
        entries.push(IndexEntry { offset: header.base, position, appended_at: header.appended_at });
    }
}

/// Writes and syncs the file.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    summary: &Summary,
    entries: &[IndexEntry],
) -> io::Result<()> {
    let mut bytes = vec![0; HEADER_BYTES];
    for entry in entries {
        for number in [entry.offset.0, entry.position, entry.appended_at.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    let entries_checksum = checksum(&bytes[HEADER_BYTES..]);
    let count = u32::try_from(entries.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let numbers = [summary.base.0, summary.end.0, summary.bytes, summary.first_at.0, summary.last_at.0];
    for (index, number) in numbers.into_iter().enumerate() {
        bytes[8 + index * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes[48..52].copy_from_slice(&count.to_le_bytes());
    bytes[52..56].copy_from_slice(&entries_checksum.to_le_bytes());
    bytes[..4].copy_from_slice(&MAGIC);
    let header_checksum = checksum(&bytes[8..HEADER_BYTES]);
    bytes[4..8].copy_from_slice(&header_checksum.to_le_bytes());
    let file = disk.create(path)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

/// Reads the summary alone. `None` where the file is missing or damaged.
pub(crate) fn read_summary(disk: &dyn Disk, path: &Path) -> io::Result<Option<Summary>> {
    let Some(header) = read_header(disk, path)? else { return Ok(None) };
    Ok(Some(header.summary))
}

/// Reads the entries. `None` where the file is missing or damaged.
pub(crate) fn read_entries(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<IndexEntry>>> {
    let Some(header) = read_header(disk, path)? else { return Ok(None) };
    let file = disk.open(path)?;
    let mut bytes = vec![0; header.entries * ENTRY_BYTES];
    let filled = file.read_full_at(&mut bytes, HEADER_BYTES as u64)?;
    if filled < bytes.len() || checksum(&bytes) != header.entries_checksum {
        return Ok(None);
    }
    let entries = bytes.chunks_exact(ENTRY_BYTES).map(|entry| IndexEntry {
        offset: Offset(u64_at(entry, 0)),
        position: u64_at(entry, 8),
        appended_at: Timestamp(u64_at(entry, 16)),
    });
    Ok(Some(entries.collect()))
}

struct SidecarHeader {
    summary: Summary,
    entries: usize,
    entries_checksum: u32,
}

fn read_header(disk: &dyn Disk, path: &Path) -> io::Result<Option<SidecarHeader>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; HEADER_BYTES];
    let filled = file.read_full_at(&mut bytes, 0)?;
    let right = filled == HEADER_BYTES && bytes[..4] == MAGIC && checksum(&bytes[8..]) == u32_at(&bytes, 4);
    let entries = u32_at(&bytes, 48) as usize;
    if !right || file.len()? < (HEADER_BYTES + entries * ENTRY_BYTES) as u64 {
        return Ok(None);
    }
    let summary = Summary {
        base: Offset(u64_at(&bytes, 8)),
        end: Offset(u64_at(&bytes, 16)),
        bytes: u64_at(&bytes, 24),
        first_at: Timestamp(u64_at(&bytes, 32)),
        last_at: Timestamp(u64_at(&bytes, 40)),
    };
    Ok(Some(SidecarHeader { summary, entries, entries_checksum: u32_at(&bytes, 52) }))
}
