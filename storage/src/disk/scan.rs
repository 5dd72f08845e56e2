//! Reads a segment file batch by batch, checking each one, until the first that does not check out.
//!
//! What it means that one does not is judged elsewhere (`survey`): here it is only told where and what, and what lies behind.

use std::io;

use bytes::Bytes;
use eventail_wire::Offset;

use super::batch::{HEADER_BYTES, Header, MAGIC, TOMBSTONE_MAGIC};
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

/// Takes the next batch of a window, which must begin with `offset`. `Ok(Err(..))` says what does not fit; the window stands where it
/// stood then. Of a tombstone the header alone comes.
pub(crate) fn take_batch(
    window: &mut Window<'_>,
    offset: Offset,
) -> io::Result<Result<(Header, Bytes), &'static str>> {
    let head = window.peek(HEADER_BYTES)?;
    if head.len() < HEADER_BYTES {
        return Ok(Err("the header is cut off"));
    }
    let Some(header) = Header::decode(head) else { return Ok(Err("there is no header of a batch")) };
    if header.base != offset {
        return Ok(Err("the offset does not follow the one before"));
    }
    let checked = header.checked_bytes();
    let Some(batch) = window.peek(checked)?.get(..checked) else { return Ok(Err("the batch is cut off")) };
    if !header.matches(batch) {
        return Ok(Err("the checksum does not match"));
    }
    let batch = window.take(checked);
    window.skip((header.bytes - checked) as u64);
    Ok(Ok((header, batch)))
}

/// Goes through the batches of a file, from a position that must hold the batch with offset `base`. Each good batch is
/// handed to `visit` with its position.
pub(crate) fn scan(
    file: &dyn DiskFile,
    start: u64,
    base: Offset,
    mut visit: impl FnMut(u64, &Header),
) -> io::Result<ScanEnd> {
    let mut window = Window::new(file, start, PIECE_BYTES);
    let mut offset = base;
    loop {
        let position = window.position;
        if window.peek(1)?.is_empty() {
            return Ok(ScanEnd { position, offset, what: None });
        }
        match take_batch(&mut window, offset)? {
            Ok((header, _)) => {
                visit(position, &header);
                offset = header.end();
            }
            Err(what) => return Ok(ScanEnd { position, offset, what: Some(what) }),
        }
    }
}

/// What lies behind the place where a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Whether anything but zeros is there.
    pub(crate) dirty: bool,
    /// The first offset of a valid batch that was written when the offset at which the scan ended was synced already: what is
    /// missing before it was once safe.
    pub(crate) proof: Option<Offset>,
}

/// Looks through everything from a position on for what a torn tail cannot explain.
pub(crate) fn look_behind(file: &dyn DiskFile, end: &ScanEnd) -> io::Result<Rest> {
    let mut dirty = false;
    let proof = seek(file, end.position, &mut dirty, |header| {
        header.base >= end.offset && header.durable_end > end.offset && header.durable_end <= header.base
    })?;
    Ok(Rest { dirty: dirty || proof.is_some(), proof: proof.map(|(_, header)| header.base) })
}

/// The first valid batch behind the damaged one at `end` that begins before `limit`, with its position.
pub(crate) fn next_good(
    file: &dyn DiskFile,
    end: &ScanEnd,
    limit: Offset,
) -> io::Result<Option<(u64, Header)>> {
    let fits = |header: &Header| header.base >= end.offset && header.base < limit;
    // Where the damage is in the payload, the header still tells where the next batch begins, and nothing needs to be guessed.
    let mut window = Window::new(file, end.position, HEADER_BYTES);
    let damaged = Header::decode(window.peek(HEADER_BYTES)?).filter(|header| header.base == end.offset);
    if let Some(damaged) = damaged {
        let position = end.position + damaged.bytes as u64;
        let mut window = Window::new(file, position, HEADER_BYTES);
        let header = Header::decode(window.peek(HEADER_BYTES)?);
        if let Some(header) = header.filter(|header| header.base == damaged.end() && fits(header))
            && is_whole(&mut window, &header)?
        {
            return Ok(Some((position, header)));
        }
    }
    seek(file, end.position + 1, &mut false, fits)
}

/// The first valid batch at or behind a position that `fits`. Tells on the way whether there is anything but zeros.
fn seek(
    file: &dyn DiskFile,
    position: u64,
    dirty: &mut bool,
    fits: impl Fn(&Header) -> bool,
) -> io::Result<Option<(u64, Header)>> {
    let mut window = Window::new(file, position, PIECE_BYTES);
    loop {
        let piece = window.peek(PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(None);
        }
        *dirty = *dirty || piece.iter().any(|&byte| byte != 0);
        let whole = piece.len() < PIECE_BYTES;
        let found = piece.windows(MAGIC.len()).position(|bytes| bytes == MAGIC || bytes == TOMBSTONE_MAGIC);
        match found {
            Some(at) => {
                window.take(at);
                let header = Header::decode(window.peek(HEADER_BYTES)?);
                if let Some(header) = header.filter(&fits)
                    && is_whole(&mut window, &header)?
                {
                    return Ok(Some((window.position, header)));
                }
                window.take(1);
            }
            None if whole => return Ok(None),
            None => {
                window.take(PIECE_BYTES - (MAGIC.len() - 1));
            }
        }
    }
}

fn is_whole(window: &mut Window<'_>, header: &Header) -> io::Result<bool> {
    let checked = header.checked_bytes();
    Ok(window.peek(checked)?.get(..checked).is_some_and(|batch| header.matches(batch)))
}
