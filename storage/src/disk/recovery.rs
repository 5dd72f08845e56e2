//! Opens the folder of a log and finds what stands in it: the rules are told in the crate's documentation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};
use metrics::counter;

use super::names;
use super::shared::Segments;
use super::sidecar::{self, Summary};
use super::survey::{Hole, Survey, survey_newest, survey_sealed};
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
    /// Where stored bytes are damaged, as far as they were looked at.
    pub(crate) holes: Vec<Hole>,
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

/// The offsets at which the segments of a folder begin, oldest first.
pub(crate) fn segment_bases(names: &[String]) -> Vec<Offset> {
    let mut bases: Vec<Offset> =
        names.iter().filter_map(|name| names::offset_of(name, names::SEGMENT_SUFFIX)).collect();
    bases.sort_unstable();
    bases
}

/// Opens the folder of a log, creating it where there is none.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, DiskError> {
    let names = list_or_create(disk, dir)?;
    let bases = segment_bases(&names);
    // A process that was killed may have left names that a power cut would still take away.
    disk.sync_dir(dir).at(dir)?;
    let claimed_end = claimed_end(disk, dir, &names, bases.last().copied())?;
    let Some((&newest, closed)) = bases.split_last() else { return create_first(disk, dir, claimed_end) };
    let mut sealed: Vec<Summary> = Vec::with_capacity(closed.len());
    let mut holes = Vec::new();
    for (&base, &next) in closed.iter().zip(&bases[1..]) {
        let mut summary = recover_sealed(disk, dir, base, next, &mut holes)?;
        // One of which nothing is left tells no time; times never go backwards in a log.
        let before = sealed.last().map_or(Timestamp::default(), |segment| segment.last_at);
        summary.first_at = summary.first_at.max(before);
        summary.last_at = summary.last_at.max(before);
        sealed.push(summary);
    }
    recover_newest(disk, dir, sealed, newest, claimed_end, holes)
}

/// Where the log ends according to sidecars of segments that are not there. A segment is created and synced long before it gets a
/// sidecar, and is removed from the front only: behind the newest one such a sidecar tells of a file that somebody took away.
pub(crate) fn claimed_end(
    disk: &dyn Disk,
    dir: &Path,
    names: &[String],
    newest: Option<Offset>,
) -> Result<Option<Offset>, DiskError> {
    let mut claimed = None;
    for base in names.iter().filter_map(|name| names::offset_of(name, names::SIDECAR_SUFFIX)) {
        if newest.is_some_and(|newest| base <= newest) {
            continue;
        }
        let path = names::sidecar(dir, base);
        let summary = sidecar::read_summary(disk, &path).at(&path)?;
        claimed = claimed.max(summary.filter(|summary| summary.base == base).map(|summary| summary.end));
    }
    Ok(claimed)
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

fn create_first(disk: &dyn Disk, dir: &Path, claimed_end: Option<Offset>) -> Result<Recovered, DiskError> {
    if let Some(end) = claimed_end {
        tracing::error!(dir = %names::display(dir), %end, "all segments of a log are gone; it goes on behind them");
    }
    let start = claimed_end.unwrap_or_default();
    let file = create_segment(disk, dir, start).at(dir)?;
    let active = Summary::empty(start, Timestamp::default());
    let segments = Segments { sealed: Vec::new(), active, active_index: Vec::new(), refusal: None };
    Ok(Recovered { segments, file, zeroed_end: 0, holes: Vec::new() })
}

/// Creates the file of a segment and makes its name durable.
pub(crate) fn create_segment(disk: &dyn Disk, dir: &Path, base: Offset) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&names::segment(dir, base))?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// A closed segment, by its sidecar or by reading it through. Where it is whole its sidecar is written anew; where it is not it is read
/// at every start, so that what is lost is told at every start.
fn recover_sealed(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    next: Offset,
    holes: &mut Vec<Hole>,
) -> Result<Summary, DiskError> {
    let path = names::segment(dir, base);
    let file = disk.open(&path).at(&path)?;
    let length = file.len().at(&path)?;
    let sidecar_path = names::sidecar(dir, base);
    if let Some(summary) = sidecar::read_summary(disk, &sidecar_path).at(&sidecar_path)?
        && (summary.base, summary.end, summary.bytes) == (base, next, length)
    {
        return Ok(summary);
    }
    let mut survey = survey_sealed(&*file, &path, base, next).at(&path)?;
    if !survey.holes.is_empty() {
        holes.append(&mut survey.holes);
        return Ok(survey.summary);
    }
    if survey.summary.bytes < length {
        // Zeros that were to be cut off when it was closed.
        file.set_len(survey.summary.bytes).at(&path)?;
        file.sync_data().at(&path)?;
    }
    if let Err(error) = sidecar::write(disk, &sidecar_path, &survey.summary, &survey.index) {
        tracing::warn!(file = %names::display(&sidecar_path), %error, "a sidecar could not be written");
    }
    Ok(survey.summary)
}

/// Reads the newest segment through.
pub(crate) fn survey_end(
    disk: &dyn Disk,
    dir: &Path,
    file: &dyn DiskFile,
    base: Offset,
    claimed_end: Option<Offset>,
) -> Result<Survey, DiskError> {
    let path = names::segment(dir, base);
    let sidecar_path = names::sidecar(dir, base);
    let closed = sidecar::read_summary(disk, &sidecar_path).at(&sidecar_path)?;
    let mut survey = survey_newest(file, &path, base, closed).at(&path)?;
    if let Some(end) = claimed_end {
        survey.miss_up_to(end);
    }
    Ok(survey)
}

fn recover_newest(
    disk: &dyn Disk,
    dir: &Path,
    sealed: Vec<Summary>,
    base: Offset,
    claimed_end: Option<Offset>,
    mut holes: Vec<Hole>,
) -> Result<Recovered, DiskError> {
    let path = names::segment(dir, base);
    let file = disk.open(&path).at(&path)?;
    let mut survey = survey_end(disk, dir, &*file, base, claimed_end)?;
    let length = file.len().at(&path)?;
    let position = survey.summary.bytes;
    if survey.is_torn {
        // Cut off and grown again it holds zeros: the old bytes can never be read as records.
        file.set_len(position).at(&path)?;
        counter!(metric_names::TORN_TAILS).increment(1);
        tracing::warn!(file = %names::display(&path), position, offset = survey.summary.end.0,
            torn_bytes = length - position, "a half-written tail was cut off");
    }
    // What a killed process wrote may be in memory only, and the next batch will say that it is safe.
    if length > 0 {
        file.sync_data().at(&path)?;
    }
    let zeroed_end = if survey.is_torn { position } else { length };
    holes.append(&mut survey.holes);
    let segments = Segments { sealed, active: survey.summary, active_index: survey.index, refusal: None };
    Ok(Recovered { segments, file, zeroed_end, holes })
}
