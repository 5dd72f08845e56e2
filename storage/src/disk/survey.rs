//! What a segment holds: its good batches, and the holes between them where stored bytes are damaged.
//!
//! A damaged batch costs its own records and no others: reading goes on at the next batch that checks out. What is lost is told by
//! offsets, since those of the batches before and behind it are known. At the end of the newest segment a half-written batch is no
//! damage but a torn tail, unless something proves that it was safe once.

use std::io;
use std::ops::Range;
use std::path::Path;

use eventail_wire::{Offset, Timestamp};

use super::names;
use super::scan::{Rest, ScanEnd, look_behind, next_good, scan};
use super::sidecar::{self, IndexEntry, Summary};
use crate::disk_io::DiskFile;

/// Records that are lost because stored bytes are damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The file, with the log's folder.
    pub(crate) file: String,
    /// The damaged bytes of it. The end may lie behind the file's, which was cut off then.
    pub(crate) bytes: Range<u64>,
    pub(crate) offsets: Range<Offset>,
    /// The time of the batch before it, where its segment has one.
    pub(crate) after: Timestamp,
    pub(crate) what: &'static str,
    /// Whether a repair put the bytes aside already.
    pub(crate) is_repaired: bool,
}

/// What a repair left of a batch.
pub(crate) const REPAIRED: &str = "a repair put the damaged bytes aside";
const ENDS_EARLY: &str = "the segment ends before the next one begins";
const CUT_OFF: &str = "the file was cut off";
const MISSING: &str = "a segment is missing";

/// A segment that was read through.
#[derive(Debug)]
pub(crate) struct Survey {
    /// From its first offset to the one behind the last record or hole. Its bytes tell where the next batch goes.
    pub(crate) summary: Summary,
    pub(crate) index: Vec<IndexEntry>,
    pub(crate) holes: Vec<Hole>,
    /// Whether a write that was cut off lies behind it all.
    pub(crate) is_torn: bool,
    file: String,
}

impl Survey {
    fn begin(path: &Path, base: Offset) -> Self {
        Self {
            summary: Summary::empty(base, Timestamp::default()),
            index: Vec::new(),
            holes: Vec::new(),
            is_torn: false,
            file: names::display(path),
        }
    }

    /// Records that are not in a hole.
    pub(crate) fn records(&self) -> u64 {
        let lost: u64 = self.holes.iter().map(|hole| hole.offsets.end.since(hole.offsets.start)).sum();
        self.summary.end.since(self.summary.base) - lost
    }

    /// Reads on from where it stands to the next batch that does not check out.
    fn run(&mut self, file: &dyn DiskFile) -> io::Result<ScanEnd> {
        let Self { summary, index, holes, file: name, .. } = self;
        scan(file, summary.bytes, summary.end, |position, header| {
            if header.is_tombstone {
                holes.push(Hole {
                    file: name.clone(),
                    bytes: position..position + header.bytes as u64,
                    offsets: header.base..header.end(),
                    after: header.appended_at,
                    what: REPAIRED,
                    is_repaired: true,
                });
            }
            summary.add(header);
            sidecar::note(index, position, header);
        })
    }

    /// Notes that a segment is missing which ended there: its offsets are never given out again.
    pub(crate) fn miss_up_to(&mut self, end: Offset) {
        let here = ScanEnd { position: self.summary.bytes, offset: self.summary.end, what: None };
        if end > here.offset {
            self.lose(&here, MISSING, here.position, end);
        }
    }

    /// Notes a hole from where it stands, and goes to its end.
    fn lose(&mut self, end: &ScanEnd, what: &'static str, to_position: u64, to_offset: Offset) {
        if to_offset > end.offset {
            self.holes.push(Hole {
                file: self.file.clone(),
                bytes: end.position..to_position,
                offsets: end.offset..to_offset,
                after: self.summary.last_at,
                what: end.what.unwrap_or(what),
                is_repaired: false,
            });
        }
        self.summary.bytes = to_position;
        self.summary.end = to_offset;
    }
}

/// Reads a closed segment through, of which it is known where the next one begins.
pub(crate) fn survey_sealed(
    file: &dyn DiskFile,
    path: &Path,
    base: Offset,
    next: Offset,
) -> io::Result<Survey> {
    let mut survey = Survey::begin(path, base);
    loop {
        let end = survey.run(file)?;
        if end.offset >= next {
            // What it has beyond the beginning of the next one is nobody's.
            survey.summary.end = next;
            return Ok(survey);
        }
        match next_good(file, &end, next)? {
            Some((position, header)) => survey.lose(&end, ENDS_EARLY, position, header.base),
            None => {
                let length = file.len()?.max(end.position);
                survey.lose(&end, ENDS_EARLY, length, next);
                return Ok(survey);
            }
        }
    }
}

/// Reads the newest segment through. `closed` is what its sidecar says, if there is one: it was written when the log was last
/// closed, so all that it counts was synced then.
pub(crate) fn survey_newest(
    file: &dyn DiskFile,
    path: &Path,
    base: Offset,
    closed: Option<Summary>,
) -> io::Result<Survey> {
    let mut survey = Survey::begin(path, base);
    let closed = closed.filter(|closed| closed.base == base);
    loop {
        let end = survey.run(file)?;
        let Rest { dirty, proof } = look_behind(file, &end)?;
        let closed = closed.filter(|closed| closed.end > end.offset && closed.bytes >= end.position);
        let limit = match (proof, closed) {
            (Some(proof), _) => proof.plus(1),
            (None, Some(closed)) => closed.end,
            (None, None) => {
                survey.is_torn = dirty;
                return Ok(survey);
            }
        };
        match (next_good(file, &end, limit)?, closed) {
            (Some((position, header)), _) => survey.lose(&end, CUT_OFF, position, header.base),
            (None, Some(closed)) => survey.lose(&end, CUT_OFF, closed.bytes, closed.end),
            // What was found a moment ago is not there any more: a medium that answers as it likes.
            (None, None) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
