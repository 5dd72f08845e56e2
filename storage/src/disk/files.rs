//! Files as a backup sees them: so many bytes and a checksum, whatever is in them.
//!
//! All calls block; between pieces of a megabyte or so they tell how far they are, and end early where that is answered with an error.

use std::io;
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};

use super::recovery::{At, DiskError};
use super::store::OpenError;
use crate::disk_io::{Disk, DiskFile};

/// What is read and written at once.
const PIECE_BYTES: usize = 1 << 20;

/// Told of every piece, with its bytes. An error ends what is done.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> io::Result<()>;

/// What is known of a file that was read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How long it is, or how much of it was asked for.
    pub bytes: u64,
    /// The CRC-32C of that.
    pub checksum: u32,
}

/// Reads a file through.
///
/// # Errors
/// What the system says, and what `progress` does.
pub fn read_through(disk: &dyn Disk, path: &Path, progress: Progress<'_>) -> Result<Checked, OpenError> {
    let file = disk.open_to_read(path).at(path)?;
    Ok(pieces(&*file, u64::MAX, progress, |_, _| Ok(())).at(path)?)
}

/// Copies the first `bytes` of a file, or all of it where it is shorter, into a new one, which is synced; its name is not.
///
/// # Errors
/// What the system says, and what `progress` does.
pub fn copy(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    bytes: u64,
    progress: Progress<'_>,
) -> Result<Checked, OpenError> {
    let source = disk.open_to_read(from).at(from)?;
    let target = disk.create(to).at(to)?;
    let mut failed: Option<DiskError> = None;
    let copied = pieces(&*source, bytes, progress, |piece, position| {
        target.write_all_at(piece, position).map_err(|cause| {
            let kind = cause.kind();
            failed = Some(DiskError { path: to.to_owned(), cause });
            kind.into()
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let copied = copied.at(from)?;
    target.sync_data().at(to)?;
    Ok(copied)
}

/// The CRC-32C of some bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    super::batch::checksum(bytes)
}

fn pieces(
    file: &dyn DiskFile,
    bytes: u64,
    progress: Progress<'_>,
    mut visit: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<Checked> {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut buffer = vec![0; PIECE_BYTES];
    let mut position = 0;
    while position < bytes {
        let wanted = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let filled = file.read_full_at(&mut buffer[..wanted], position)?;
        let piece = &buffer[..filled];
        digest.update(piece);
        visit(piece, position)?;
        position += filled as u64;
        progress(filled as u64)?;
        if filled < wanted {
            break;
        }
    }
    let checksum = u32::try_from(digest.finalize()).expect("a 32-bit checksum");
    Ok(Checked { bytes: position, checksum })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk_io::SimDisk;

    fn disk_with(path: &Path, content: &[u8]) -> Arc<dyn Disk> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir(path.parent().unwrap()).unwrap();
        disk.create(path).unwrap().write_all_at(content, 0).unwrap();
        disk
    }

    #[test]
    fn a_copy_has_what_was_asked_for_and_its_checksum() {
        let (from, to) = (Path::new("/a/from"), Path::new("/a/to"));
        let content: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
        let disk = disk_with(from, &content);
        let mut told = 0;
        let copied = copy(&*disk, from, to, 2_500_000, &mut |bytes| {
            told += bytes;
            Ok(())
        })
        .unwrap();
        assert_eq!((copied.bytes, told), (2_500_000, 2_500_000));
        assert_eq!(read_through(&*disk, to, &mut |_| Ok(())).unwrap(), copied);
        let whole = read_through(&*disk, from, &mut |_| Ok(())).unwrap();
        assert_eq!(whole.bytes, 3_000_000);
        assert_ne!(whole.checksum, copied.checksum);
    }

    #[test]
    fn a_copy_ends_where_it_is_told_to() {
        let (from, to) = (Path::new("/a/from"), Path::new("/a/to"));
        let disk = disk_with(from, &[7; 3 << 20]);
        let mut pieces = 0;
        let ended = copy(&*disk, from, to, u64::MAX, &mut |_| {
            pieces += 1;
            if pieces == 2 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        assert!(matches!(ended, Err(OpenError::Io { .. })));
        assert_eq!(pieces, 2);
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        let path = Path::new("/a/check");
        let disk = disk_with(path, b"123456789");
        assert_eq!(read_through(&*disk, path, &mut |_| Ok(())).unwrap().checksum, 0xe306_9283);
    }
}
