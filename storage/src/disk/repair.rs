//! Puts damaged bytes aside and leaves a tombstone in their place, so that a log knows what it has lost without reading the damage again.
//!
//! - Offsets stay as they are: a tombstone stands for those that are lost.
//! - The damaged bytes are copied into the quarantine and synced before anything is overwritten; nothing is ever removed from there.
//! - What is good is not touched. A repair that is interrupted is completed by the next one.

use std::io;
use std::path::{Path, PathBuf};

use eventail_wire::Timestamp;
use serde::Serialize;

use super::batch::{HEADER_BYTES, tombstone};
use super::check::{Corruption, surveys};
use super::names;
use super::recovery::{At, DiskError};
use super::store::{OpenError, log_names};
use super::survey::Hole;
use crate::disk_io::{Disk, DiskFile};

/// The folder of damaged bytes that are put aside, where nobody says another one. It stands beside the logs.
pub const QUARANTINE: &str = "quarantine";

/// What is copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// The most bytes that one tombstone stands for.
const TOMBSTONE_BYTES_MAX: u64 = u32::MAX as u64;

/// One damaged place that was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// What was damaged.
    pub damage: Corruption,
    /// Where the damaged bytes are now; `None` where there were none: a file that was cut off or is missing.
    pub quarantined: Option<PathBuf>,
}

/// Why a log was not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The logs cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A damaged place is larger than a tombstone can stand for.
    #[error("{file}: {bytes} damaged bytes at byte {position} are more than a repair can put aside")]
    TooLarge {
        /// The file, with the log's folder.
        file: String,
        /// Where.
        position: u64,
        /// How many.
        bytes: u64,
    },
}

impl RepairError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_retryable(),
            Self::TooLarge { .. } => false,
        }
    }
}

impl From<DiskError> for RepairError {
    fn from(error: DiskError) -> Self {
        Self::Open(error.into())
    }
}

/// Puts every damaged place of every log of a folder aside, into `<quarantine>/<log>/<file>.<position>`. No broker may have the folder
/// open.
///
/// # Errors
/// [`RepairError::Open`] with [`OpenError::Locked`] where a broker has it; what the system says.
pub fn repair(disk: &dyn Disk, dir: &Path, quarantine: &Path) -> Result<Vec<Repair>, RepairError> {
    let lock_path = dir.join(names::LOCK);
    let _lock = match disk.lock(&lock_path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenError::Locked { dir: dir.to_owned() }.into());
        }
        outcome => outcome.at(&lock_path)?,
    };
    let mut repairs = Vec::new();
    for name in log_names(disk, dir)? {
        repair_log(disk, &dir.join(&name), &quarantine.join(&name), &mut repairs)?;
    }
    Ok(repairs)
}

fn repair_log(
    disk: &dyn Disk,
    dir: &Path,
    quarantine: &Path,
    repairs: &mut Vec<Repair>,
) -> Result<(), RepairError> {
    let names = disk.list(dir).at(dir)?;
    let mut last_at = Timestamp::default();
    for (base, survey, _) in surveys(disk, dir, &names)? {
        let path = names::segment(dir, base);
        let length = disk.open(&path).at(&path)?.len().at(&path)?;
        for hole in survey.holes.into_iter().filter(|hole| !hole.is_repaired) {
            let quarantined = put_aside(disk, &path, &hole, length, quarantine)?;
            // That of the batch before it: times never go backwards in a log.
            bury(disk, &path, &hole, hole.after.max(last_at))?;
            repairs.push(Repair { damage: hole.into(), quarantined });
        }
        last_at = last_at.max(survey.summary.last_at);
    }
    Ok(())
}

/// Copies the damaged bytes, and makes the copy durable.
fn put_aside(
    disk: &dyn Disk,
    path: &Path,
    hole: &Hole,
    length: u64,
    quarantine: &Path,
) -> Result<Option<PathBuf>, DiskError> {
    let end = hole.bytes.end.min(length);
    if hole.bytes.start >= end {
        return Ok(None);
    }
    create_durably(disk, quarantine)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let taken = disk.list(quarantine).at(quarantine)?;
    let first = format!("{name}.{}", hole.bytes.start);
    // An interrupted repair left its copy, and a second damage in the same place must not overwrite the first one's.
    let free = std::iter::once(first.clone()).chain((2_u32..).map(|number| format!("{first}.{number}")));
    let copy_path = quarantine.join(free.into_iter().find(|name| !taken.contains(name)).unwrap_or(first));
    let (from, to) = (disk.open(path).at(path)?, disk.create(&copy_path).at(&copy_path)?);
    copy(&*from, hole.bytes.start, end, &*to).at(&copy_path)?;
    disk.sync_dir(quarantine).at(quarantine)?;
    Ok(Some(copy_path))
}

fn copy(from: &dyn DiskFile, start: u64, end: u64, to: &dyn DiskFile) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let count = from.read_full_at(&mut piece[..wanted], position)?;
        if count == 0 {
            break;
        }
        to.write_all_at(&piece[..count], position - start)?;
        position += count as u64;
    }
    to.sync_data()
}

/// Creates a folder and the one above it, both by names that are durable.
fn create_durably(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    disk.create_dir(dir).at(dir)?;
    for above in dir.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
        disk.sync_dir(above).at(above)?;
    }
    Ok(())
}

/// Writes tombstones over the damaged bytes. One is enough, unless more records are lost than its count can say.
fn bury(disk: &dyn Disk, path: &Path, hole: &Hole, at: Timestamp) -> Result<(), RepairError> {
    let Hole { file, bytes, offsets, .. } = hole;
    let mut position = bytes.start;
    let mut first = offsets.start;
    let segment = disk.open(path).at(path)?;
    while first < offsets.end {
        let records = u32::try_from(offsets.end.since(first)).unwrap_or(u32::MAX);
        let next = first.plus(u64::from(records));
        // The last one stands for all bytes up to the next batch, which stays where it is.
        let left = bytes.end.saturating_sub(position);
        let covered = if next == offsets.end { left.max(HEADER_BYTES as u64) } else { HEADER_BYTES as u64 };
        let covered = u32::try_from(covered).map_err(|_| RepairError::TooLarge {
            file: file.clone(),
            position: bytes.start,
            bytes: left.max(TOMBSTONE_BYTES_MAX),
        })?;
        segment.write_all_at(&tombstone(covered, records, first, at), position).at(path)?;
        position += u64::from(covered);
        first = next;
    }
    segment.sync_data().at(path)?;
    Ok(())
}
