//! The one way to a disk: what the engine asks of a file system, and nothing more.
//!
//! Everything above takes an [`Disk`], so that a test can hand in a [`SimDisk`] that forgets what was not synced, tears
//! writes, fills up or fails at any call. The promises are those of a POSIX file system and no better:
//!
//! - A write is readable at once and survives the process; it survives a power cut only after [`DiskFile::sync_data`].
//! - A file's name, or its absence, survives a power cut only after [`Disk::sync_dir`] of its folder.
//! - After a failed sync the state of what was written before is unknown, for good: it must not be tried again.
//!
//! All calls block. They belong on the storage threads and never on an async worker.

mod os;
mod sim;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use os::{OsDisk, create_private_dir};
pub use sim::{SimDisk, SimFault};

/// A file system, or something that behaves like one.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` where there is none, and whatever the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file that is only read: one that this user may not write will do.
    ///
    /// # Errors
    /// `NotFound` where there is none, and whatever the system says.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    /// Creates a file, or empties the one that is there, and opens it for reading and writing.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or folder another name, replacing a file that has it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, under which its content stays when the first one is removed.
    ///
    /// # Errors
    /// `Unsupported` where this disk has no such thing, `CrossesDevices` where the other name would be on another one, and whatever
    /// the system says.
    fn link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` where there is none, and whatever the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// `NotFound` where there is none, and whatever the system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, files and folders, in no order.
    ///
    /// # Errors
    /// `NotFound` where there is no such folder, and whatever the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a folder and those above it; one that is there already is fine.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Lets nobody but this user read a file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn make_private(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Makes the names in a folder durable: created, renamed and removed ones.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock that no other process may hold at the same time; it is released when the guard is dropped or the
    /// process ends.
    ///
    /// # Errors
    /// `WouldBlock` where somebody else holds it, and whatever the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Holds a lock until it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// An open file. Clones of the `Arc` and other handles of the same name share its content.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at a position; fewer bytes than asked may come, none at the end.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes at a position, growing the file where needed; fewer bytes than given may be taken.
    ///
    /// # Errors
    /// `StorageFull` where there is no room, and whatever the system says.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Makes the content, and the length that reading it needs, durable.
    ///
    /// # Errors
    /// Whatever the system says. It must not be called again after that.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file off, or grows it with zeros.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The length.
    ///
    /// # Errors
    /// Whatever the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Fills the buffer from a position on, or as much of it as the file has; answers how much that was.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_full_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all the bytes from a position on.
    ///
    /// # Errors
    /// Whatever the system says; a part may have been written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_at(&bytes[written..], position + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the disk, or what this user may have of it, is used up: the error that passes when there is room again.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
