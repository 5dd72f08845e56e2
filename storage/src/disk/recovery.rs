//! Opens the folder of a log and finds what stands in it: the rules are told in the crate's documentation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};
use metrics::counter;

use super::names;
use super::scan::{ScanEnd, look_behind, scan};
use super::shared::{Damage, Refusal, Segments};
use super::sidecar::{self, IndexEntry, Summary};
use crate::disk_io::{Disk, DiskFile};
use crate::metric_names;

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: Segments,
    /// The newest segment, open for writing.
    pub(crate) file: Arc<dyn DiskFile>,
    /// Up to where the newest segment is known to hold zeros.
    pub(crate) zeroed_end: u64,
}

/// A failed call, with the file that it was about.
#[derive(Debug)]
pub(crate) struct DiskError {
    pub(crate) path: PathBuf,
    pub(crate) cause: io::Error,
}

pub(crate) trait At<T> {
    /// Tells the file that the call was about.
    fn at(self, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, DiskError> {
        self.map_err(|cause| DiskError { path: path.to_owned(), cause })
    }
}

/// One segment that was read through.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) summary: Summary,
    pub(crate) index: Vec<IndexEntry>,
    pub(crate) end: ScanEnd,
}

/// Reads a segment through, checking every batch.
pub(crate) fn scan_segment(file: &dyn DiskFile, base: Offset) -> io::Result<Scanned> {
    let mut summary = Summary::empty(base, Timestamp::default());
    let mut index = Vec::new();
    let end = scan(file, 0, base, |position, header, _| {
        summary.add(header);
        sidecar::note(&mut index, position, header);
        Ok(())
    })?;
    Ok(Scanned { summary, index, end })
}

/// The offsets at which the segments of a folder begin, oldest first.
pub(crate) fn segment_bases(names: &[String]) -> Vec<Offset> {
    let mut bases: Vec<Offset> =
        names.iter().filter_map(|name| names::offset_of(name, names::SEGMENT_SUFFIX)).collect();
    bases.sort_unstable();
    bases
}

/// Opens the folder of a log, creating it where there is none.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, DiskError> {
    let bases = segment_bases(&list_or_create(disk, dir)?);
    // A process that was killed may have left names that a power cut would still take away.
    disk.sync_dir(dir).at(dir)?;
    let Some((&newest, closed)) = bases.split_last() else { return create_first(disk, dir) };
    let mut sealed = Vec::with_capacity(closed.len());
    for (&base, &next) in closed.iter().zip(&bases[1..]) {
        match recover_sealed(disk, dir, base, next)? {
            Ok(summary) => sealed.push(summary),
            Err((scanned, damage)) => return corrupt(disk, dir, sealed, *scanned, damage),
        }
    }
    recover_newest(disk, dir, sealed, newest)
}

fn list_or_create(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, DiskError> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir(dir).at(dir)?;
            if let Some(parent) = dir.parent() {
                disk.sync_dir(parent).at(parent)?;
            }
            Ok(Vec::new())
        }
        Err(cause) => Err(DiskError { path: dir.to_owned(), cause }),
    }
}

fn create_first(disk: &dyn Disk, dir: &Path) -> Result<Recovered, DiskError> {
    let file = create_segment(disk, dir, Offset(0)).at(dir)?;
    let active = Summary::empty(Offset(0), Timestamp::default());
    let segments = Segments { sealed: Vec::new(), active, active_index: Vec::new(), refusal: None };
    Ok(Recovered { segments, file, zeroed_end: 0 })
}

/// Creates the file of a segment and makes its name durable.
pub(crate) fn create_segment(disk: &dyn Disk, dir: &Path, base: Offset) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&names::segment(dir, base))?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// A closed segment, by its sidecar or by a scan that writes the sidecar anew.
#[allow(clippy::type_complexity)] // Three ends: found whole, found damaged, could not be looked at.
fn recover_sealed(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    next: Offset,
) -> Result<Result<Summary, (Box<Scanned>, Damage)>, DiskError> {
    let path = names::segment(dir, base);
    let file = disk.open(&path).at(&path)?;
    let length = file.len().at(&path)?;
    let sidecar_path = names::sidecar(dir, base);
    if let Some(summary) = sidecar::read_summary(disk, &sidecar_path).at(&sidecar_path)?
        && (summary.base, summary.end, summary.bytes) == (base, next, length)
    {
        return Ok(Ok(summary));
    }
    let scanned = scan_segment(&*file, base).at(&path)?;
    if scanned.end.offset != next {
        let what = scanned.end.what.unwrap_or("the segment ends before the next one begins");
        let damage = damage_at(&path, &scanned.end, what);
        return Ok(Err((Box::new(scanned), damage)));
    }
    if scanned.end.position < length {
        // Zeros that were to be cut off when it was closed.
        file.set_len(scanned.end.position).at(&path)?;
        file.sync_data().at(&path)?;
    }
    if let Err(error) = sidecar::write(disk, &sidecar_path, &scanned.summary, &scanned.index) {
        tracing::warn!(file = %names::display(&sidecar_path), %error, "a sidecar could not be written");
    }
    Ok(Ok(scanned.summary))
}

pub(crate) fn damage_at(path: &Path, end: &ScanEnd, what: &'static str) -> Damage {
    Damage { file: names::display(path), position: end.position, offset: end.offset, what }
}

/// A log that is readable up to a damaged place and not writable.
fn corrupt(
    disk: &dyn Disk,
    dir: &Path,
    sealed: Vec<Summary>,
    scanned: Scanned,
    damage: Damage,
) -> Result<Recovered, DiskError> {
    tracing::error!(file = %damage.file, position = damage.position, offset = damage.offset.0, what = damage.what,
        "stored bytes are corrupt; the log is readable up to there and takes no appends");
    let path = names::segment(dir, scanned.summary.base);
    let file = disk.open(&path).at(&path)?;
    let refusal = Some(Refusal::Corrupt(damage));
    let segments = Segments { sealed, active: scanned.summary, active_index: scanned.index, refusal };
    Ok(Recovered { segments, file, zeroed_end: 0 })
}

/// What stands behind the last good batch of the newest segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing, or zeros that were written ahead.
    Clean,
    /// A write that was cut off, of which nothing had been acknowledged as synced.
    Torn,
    /// Something that was safe once is missing.
    Damaged(Damage),
}

/// Tells a torn tail from damage in the newest segment.
pub(crate) fn judge_tail(
    disk: &dyn Disk,
    dir: &Path,
    file: &dyn DiskFile,
    scanned: &Scanned,
) -> Result<Tail, DiskError> {
    let base = scanned.summary.base;
    let path = names::segment(dir, base);
    let rest = look_behind(file, &scanned.end).at(&path)?;
    // Written when the log was last closed, so all that it counts was synced then.
    let sidecar_path = names::sidecar(dir, base);
    let closed = sidecar::read_summary(disk, &sidecar_path).at(&sidecar_path)?;
    let closed_end = closed.filter(|closed| closed.base == base).map_or(base, |closed| closed.end);
    Ok(if rest.proves_loss || scanned.end.offset < closed_end {
        let what = scanned.end.what.unwrap_or("the file was cut off");
        Tail::Damaged(damage_at(&path, &scanned.end, what))
    } else if rest.dirty {
        Tail::Torn
    } else {
        Tail::Clean
    })
}

fn recover_newest(
    disk: &dyn Disk,
    dir: &Path,
    sealed: Vec<Summary>,
    base: Offset,
) -> Result<Recovered, DiskError> {
    let path = names::segment(dir, base);
    let file = disk.open(&path).at(&path)?;
    let scanned = scan_segment(&*file, base).at(&path)?;
    let tail = judge_tail(disk, dir, &*file, &scanned)?;
    if let Tail::Damaged(damage) = tail {
        return corrupt(disk, dir, sealed, scanned, damage);
    }
    let length = file.len().at(&path)?;
    let position = scanned.end.position;
    if tail == Tail::Torn {
        // Cut off and grown again it holds zeros: the old bytes can never be read as records.
        file.set_len(position).at(&path)?;
        counter!(metric_names::TORN_TAILS).increment(1);
        tracing::warn!(file = %names::display(&path), position, offset = scanned.end.offset.0,
            torn_bytes = length - position, "a half-written tail was cut off");
    }
    // What a killed process wrote may be in memory only, and the next batch will say that it is safe.
    if length > 0 {
        file.sync_data().at(&path)?;
    }
    let zeroed_end = if tail == Tail::Torn { position } else { length };
    let segments = Segments { sealed, active: scanned.summary, active_index: scanned.index, refusal: None };
    Ok(Recovered { segments, file, zeroed_end })
}
