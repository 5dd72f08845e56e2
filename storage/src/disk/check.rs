//! Reads every batch of every log and tells what it finds. Changes nothing.

use std::io;
use std::ops::Range;
use std::path::Path;

use eventail_wire::Offset;
use serde::Serialize;

use super::format;
use super::names;
use super::recovery::{At, Tail, damage_at, judge_tail, scan_segment, segment_bases};
use super::shared::Damage;
use super::sidecar;
use super::store::{OpenError, log_names};
use crate::disk_io::Disk;

/// What was found in one log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCheck {
    /// The log.
    pub name: String,
    /// Its segments.
    pub segments: u64,
    /// Records whose checksum is right.
    pub records: u64,
    /// The bytes that they take.
    pub bytes: u64,
    /// From the first offset to the one behind the last, whether or not all between can be read.
    pub offsets: Range<Offset>,
    /// A write that was cut off, if there is one. The next start drops it; nothing acknowledged as synced is in it.
    pub torn_tail: Option<TornTail>,
    /// Damaged places: the first one of each segment.
    pub corruptions: Vec<Corruption>,
    /// Sidecars that are missing or damaged. They are written anew when they are missed.
    pub sidecars_missing: Vec<String>,
}

/// A write that was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TornTail {
    /// The file, with the log's folder.
    pub file: String,
    /// Where it begins.
    pub position: u64,
    /// The offset that its first record would have had.
    pub offset: Offset,
}

/// A place where stored bytes are damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corruption {
    /// The file, with the log's folder.
    pub file: String,
    /// Where in it the damage begins.
    pub position: u64,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// What did not fit.
    pub what: &'static str,
}

impl LogCheck {
    /// Whether everything that was ever synced is there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corruptions.is_empty()
    }
}

impl From<Damage> for Corruption {
    fn from(Damage { file, position, offset, what }: Damage) -> Self {
        Self { file, position, offset, what }
    }
}

/// Checks every log of a folder that no broker has open.
///
/// # Errors
/// [`OpenError::Locked`] where a broker has it; what the system says.
pub fn check(disk: &dyn Disk, dir: &Path) -> Result<Vec<LogCheck>, OpenError> {
    format::check(disk, dir)?;
    let names = log_names(disk, dir)?;
    let _lock = match disk.lock(&dir.join(names::LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenError::Locked { dir: dir.to_owned() });
        }
        // A folder that cannot be written can be checked nevertheless.
        outcome => outcome.ok(),
    };
    names.into_iter().map(|name| check_log(disk, dir, name)).collect()
}

/// Writes, syncs and removes a file in a folder. Where it is one of logs, its lock is held meanwhile.
///
/// # Errors
/// [`OpenError::Locked`] where a broker has it, and then nothing was tried; what the system says.
pub fn try_writing(disk: &dyn Disk, dir: &Path, is_of_logs: bool) -> Result<(), OpenError> {
    let lock_path = dir.join(names::LOCK);
    let locked = is_of_logs.then(|| disk.lock(&lock_path)).transpose();
    let _lock = match locked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenError::Locked { dir: dir.to_owned() });
        }
        locked => locked.at(&lock_path)?,
    };
    let path = dir.join(names::TRIAL);
    let file = disk.create(&path).at(&path)?;
    let written = file.write_all_at(b"trial", 0).and_then(|()| file.sync_data());
    // Whatever came of it, the file goes.
    let removed = disk.remove(&path).and_then(|()| disk.sync_dir(dir));
    written.and(removed).at(&path)?;
    Ok(())
}

fn check_log(disk: &dyn Disk, dir: &Path, name: String) -> Result<LogCheck, OpenError> {
    let dir = dir.join(&name);
    let bases = segment_bases(&disk.list(&dir).at(&dir)?);
    let start = bases.first().copied().unwrap_or_default();
    let mut found = LogCheck { name, offsets: start..start, ..LogCheck::default() };
    for (index, &base) in bases.iter().enumerate() {
        let path = names::segment(&dir, base);
        let file = disk.open(&path).at(&path)?;
        let scanned = scan_segment(&*file, base).at(&path)?;
        found.segments += 1;
        found.records += scanned.summary.end.since(base);
        found.bytes += scanned.summary.bytes;
        found.offsets.end = scanned.end.offset;
        let Some(&next) = bases.get(index + 1) else {
            match judge_tail(disk, &dir, &*file, &scanned)? {
                Tail::Clean => {}
                Tail::Damaged(damage) => found.corruptions.push(damage.into()),
                Tail::Torn => {
                    let file = names::display(&path);
                    let (position, offset) = (scanned.end.position, scanned.end.offset);
                    found.torn_tail = Some(TornTail { file, position, offset });
                }
            }
            break;
        };
        if scanned.end.offset != next {
            let what = scanned.end.what.unwrap_or("the segment ends before the next one begins");
            found.corruptions.push(damage_at(&path, &scanned.end, what).into());
        }
        let sidecar_path = names::sidecar(&dir, base);
        let summary = sidecar::read_summary(disk, &sidecar_path).at(&sidecar_path)?;
        if summary.is_none_or(|summary| (summary.base, summary.end) != (base, next)) {
            found.sidecars_missing.push(names::display(&sidecar_path));
        }
    }
    Ok(found)
}
