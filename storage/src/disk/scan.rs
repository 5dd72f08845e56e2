//! Reads a segment file batch by batch, checking each one, until the first that does not check out.
//!
//! What it means that one does not is judged elsewhere (`recovery`): here it is only told where and what.

use std::io;

use bytes::Bytes;
use eventail_wire::Offset;

use super::batch::{HEADER_BYTES, Header, MAGIC};
use super::window::Window;
use crate::disk_io::DiskFile;

/// What is read from the disk at once, unless a batch is larger.
const PIECE_BYTES: usize = 1 << 20;

/// Where a scan ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanEnd {
    /// Behind the last good batch.
    pub(crate) position: u64,
    /// The offset that should come next.
    pub(crate) offset: Offset,
    /// What did not fit at that position; `None` at the end of the file.
    pub(crate) what: Option<&'static str>,
}

/// Goes through the batches of a file, from a position that must hold the batch with offset `base`. Each good batch is
/// handed to `visit` with its position; an error of `visit` ends the scan.
pub(crate) fn scan(
    file: &dyn DiskFile,
    start: u64,
    base: Offset,
    mut visit: impl FnMut(u64, &Header, &Bytes) -> io::Result<()>,
) -> io::Result<ScanEnd> {
    let mut window = Window::new(file, start, PIECE_BYTES);
    let mut offset = base;
    loop {
        let position = window.position;
        let stop = |what| Ok(ScanEnd { position, offset, what });
        let head = window.peek(HEADER_BYTES)?;
        if head.is_empty() {
            return stop(None);
        }
        if head.len() < HEADER_BYTES {
            return stop(Some("the header is cut off"));
        }
        let Some(header) = Header::decode(head) else {
            return stop(Some("there is no header of a batch"));
        };
        if header.base != offset {
            return stop(Some("the offset does not follow the one before"));
        }
        if window.peek(header.bytes)?.len() < header.bytes {
            return stop(Some("the batch is cut off"));
        }
        let batch = window.take(header.bytes);
        if !header.matches(&batch) {
            return stop(Some("the checksum does not match"));
        }
        visit(position, &header, &batch)?;
        offset = header.end();
    }
}

/// What lies behind the place where a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Whether anything but zeros is there.
    pub(crate) dirty: bool,
    /// A valid batch is there that was written when the offset at which the scan ended was synced already: what is
    /// missing was once safe.
    pub(crate) proves_loss: bool,
}

/// Looks through everything from a position on for what a torn tail cannot explain.
pub(crate) fn look_behind(file: &dyn DiskFile, end: &ScanEnd) -> io::Result<Rest> {
    let mut rest = Rest { dirty: false, proves_loss: false };
    let mut window = Window::new(file, end.position, PIECE_BYTES);
    loop {
        let piece = window.peek(PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(rest);
        }
        rest.dirty = rest.dirty || piece.iter().any(|&byte| byte != 0);
        let whole = piece.len() < PIECE_BYTES;
        let found = piece.windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
        match found {
            Some(at) => {
                window.take(at);
                if proves_loss(&mut window, end)? {
                    return Ok(Rest { dirty: true, proves_loss: true });
                }
                window.take(1);
            }
            None if whole => return Ok(rest),
            None => {
                window.take(PIECE_BYTES - (MAGIC.len() - 1));
            }
        }
    }
}

fn proves_loss(window: &mut Window<'_>, end: &ScanEnd) -> io::Result<bool> {
    let Some(header) = Header::decode(window.peek(HEADER_BYTES)?) else { return Ok(false) };
    if header.base < end.offset || header.durable_end <= end.offset || header.durable_end > header.base {
        return Ok(false);
    }
    let batch = window.peek(header.bytes)?;
    Ok(batch.len() >= header.bytes && header.matches(&batch[..header.bytes]))
}
