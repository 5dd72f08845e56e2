//! A view that moves through a file: what comes next is looked at before it is taken.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::disk_io::DiskFile;

/// A moving view of a file.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    /// Where the next byte stands in the file.
    pub(crate) position: u64,
    piece_bytes: usize,
    buffer: BytesMut,
    at_end: bool,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, position: u64, piece_bytes: usize) -> Self {
        Self { file, position, piece_bytes, buffer: BytesMut::new(), at_end: false }
    }

    /// The next bytes, at least `wanted` of them unless the file ends before.
    pub(crate) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.buffer.len() < wanted && !self.at_end {
            let have = self.buffer.len();
            let missing = (wanted - have).max(self.piece_bytes);
            // No more memory than the file has bytes: most logs are small.
            let left = self.file.len()?.saturating_sub(self.position + have as u64);
            let missing = usize::try_from(left).unwrap_or(usize::MAX).min(missing);
            self.at_end = missing == 0;
            self.buffer.resize(have + missing, 0);
            let count = self.file.read_full_at(&mut self.buffer[have..], self.position + have as u64)?;
            self.buffer.truncate(have + count);
            self.at_end = self.at_end || count < missing;
        }
        Ok(&self.buffer)
    }

    /// Moves on; only over bytes that were peeked.
    pub(crate) fn take(&mut self, bytes: usize) -> Bytes {
        let taken = self.buffer.split_to(bytes.min(self.buffer.len()));
        self.position += taken.len() as u64;
        taken.freeze()
    }

    /// Moves on over bytes that nobody needs to see.
    pub(crate) fn skip(&mut self, bytes: u64) {
        let peeked = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.buffer.len());
        drop(self.buffer.split_to(peeked));
        self.position += bytes;
        self.at_end = self.at_end && peeked as u64 == bytes;
    }
}
