//! The file of the segment that is written: where its data end, and up to where it holds zeros already.
//!
//! A write into bytes that the file has already makes the sync that follows commit no metadata, which halves its time. So
//! small commits find zeros written ahead of them. Large ones grow the file: to write every byte twice would cost more.

use std::io;
use std::sync::Arc;

use crate::disk_io::{DiskFile, is_full};

/// Written ahead when the first small commit comes: an idle log stays small.
const ZERO_BYTES_FIRST: u64 = 64 << 10;
/// Written ahead by the small commits that follow.
const ZERO_BYTES: u64 = 256 << 10;
/// A commit from this size on is large.
const LARGE_BYTES: usize = 128 << 10;

static ZEROS: [u8; ZERO_BYTES as usize] = [0; ZERO_BYTES as usize];

#[derive(Debug)]
pub(crate) struct ActiveFile {
    file: Arc<dyn DiskFile>,
    position: u64,
    zeroed_end: u64,
}

impl ActiveFile {
    /// A file whose data end at `position`, and which holds zeros from there up to `zeroed_end`.
    pub(crate) fn new(file: Arc<dyn DiskFile>, position: u64, zeroed_end: u64) -> Self {
        Self { file, position, zeroed_end: zeroed_end.max(position) }
    }

    /// Where the data end.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes behind the data, and zeros behind that where they are used up and will be of use.
    pub(crate) fn write(&mut self, bytes: &[u8], segment_bytes: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        if self.position <= self.zeroed_end {
            return Ok(());
        }
        let first = self.zeroed_end == 0;
        self.zeroed_end = self.position;
        if bytes.len() < LARGE_BYTES {
            let ahead = if first { ZERO_BYTES_FIRST } else { ZERO_BYTES };
            let end = (self.position + ahead).min(segment_bytes).next_multiple_of(4096);
            self.zero_up_to(end)?;
        }
        Ok(())
    }

    fn zero_up_to(&mut self, end: u64) -> io::Result<()> {
        let missing = usize::try_from(end.saturating_sub(self.position)).unwrap_or(0).min(ZEROS.len());
        match self.file.write_all_at(&ZEROS[..missing], self.position) {
            Ok(()) => {
                self.zeroed_end = self.position + missing as u64;
                Ok(())
            }
            // The data are written; without zeros ahead the next sync takes longer, that is all.
            Err(error) if is_full(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Cuts the zeros off: the segment is about to be closed.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        // Always: a disk that filled up may have taken some of them.
        self.file.set_len(self.position)?;
        self.zeroed_end = self.position;
        Ok(())
    }
}
