//! Reads every batch of every log and tells what it finds. Changes nothing.

use std::io;
use std::ops::Range;
use std::path::Path;

use eventail_wire::Offset;
use serde::Serialize;

use super::names;
use super::recovery::{At, DiskError, claimed_end, segment_bases, survey_end};
use super::sidecar;
use super::store::{OpenError, log_names};
use super::survey::{Hole, Survey, survey_sealed};
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
    /// Damaged places, in order.
    pub corruptions: Vec<Corruption>,
    /// What repairs put aside: lost for good, and no damage any more.
    pub repaired: Vec<Corruption>,
    /// Sidecars that are missing or damaged. They are written anew when they are missed.
    pub sidecars_missing: Vec<String>,
    /// Files in the folder that are none of a log's. They are left alone.
    pub foreign: Vec<String>,
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
    /// The damaged bytes. None are there where a file was cut off or is missing.
    pub bytes: u64,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// The first offset behind it that can be, or the end.
    pub next: Offset,
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

impl From<Hole> for Corruption {
    fn from(Hole { file, bytes, offsets, what, .. }: Hole) -> Self {
        let (position, offset, next) = (bytes.start, offsets.start, offsets.end);
        Self { file, position, bytes: bytes.end - bytes.start, offset, next, what }
    }
}

/// Checks every log of a folder that no broker has open.
///
/// # Errors
/// [`OpenError::Locked`] where a broker has it; what the system says.
pub fn check(disk: &dyn Disk, dir: &Path) -> Result<Vec<LogCheck>, OpenError> {
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
    let names = disk.list(&dir).at(&dir)?;
    let mut found = LogCheck { name, ..LogCheck::default() };
    for (base, survey, next) in surveys(disk, &dir, &names)? {
        if found.segments == 0 {
            found.offsets.start = base;
        }
        found.segments += 1;
        found.records += survey.records();
        found.bytes += survey.summary.bytes;
        found.offsets.end = survey.summary.end;
        if survey.is_torn {
            let file = names::display(&names::segment(&dir, base));
            let (position, offset) = (survey.summary.bytes, survey.summary.end);
            found.torn_tail = Some(TornTail { file, position, offset });
        }
        // One with a hole has none on purpose.
        if let Some(next) = next.filter(|_| survey.holes.is_empty()) {
            let path = names::sidecar(&dir, base);
            let summary = sidecar::read_summary(disk, &path).at(&path)?;
            if summary.is_none_or(|summary| (summary.base, summary.end) != (base, next)) {
                found.sidecars_missing.push(names::display(&path));
            }
        }
        for hole in survey.holes {
            let places = if hole.is_repaired { &mut found.repaired } else { &mut found.corruptions };
            places.push(hole.into());
        }
    }
    found.foreign = names.into_iter().filter(|name| !names::is_ours(name)).collect();
    found.foreign.sort_unstable();
    Ok(found)
}

/// Every segment of a log, read through, with where the next one begins.
pub(crate) fn surveys(
    disk: &dyn Disk,
    dir: &Path,
    names: &[String],
) -> Result<Vec<(Offset, Survey, Option<Offset>)>, DiskError> {
    let bases = segment_bases(names);
    let claimed_end = claimed_end(disk, dir, names, bases.last().copied())?;
    let mut surveys = Vec::with_capacity(bases.len());
    for (index, &base) in bases.iter().enumerate() {
        let path = names::segment(dir, base);
        let file = disk.open(&path).at(&path)?;
        let next = bases.get(index + 1).copied();
        let survey = match next {
            Some(next) => survey_sealed(&*file, &path, base, next).at(&path)?,
            None => survey_end(disk, dir, &*file, base, claimed_end)?,
        };
        surveys.push((base, survey, next));
    }
    Ok(surveys)
}
