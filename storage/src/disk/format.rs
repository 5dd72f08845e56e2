//! The version of the disk format, in a file of its own beside the logs: `.format`, with the one line `eventail-logs 1`.
//!
//! A folder without one is of version 1, from before there was the file. Whoever opens a folder of a newer version than its own refuses
//! it before anything is touched: what an older version does not know it would take for a torn tail and cut off.

use std::io;
use std::path::Path;

use super::recovery::{At, DiskError};
use super::store::OpenError;
use crate::disk_io::Disk;

/// The version that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

const NAME: &str = ".format";
const NEW_NAME: &str = ".format-new";
const TITLE: &str = "eventail-logs ";
const BYTES_MAX: usize = 64;

/// Refuses a folder that is of a newer version; answers whether it says its version at all.
pub(crate) fn check(disk: &dyn Disk, dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(NAME);
    let file = match disk.open_to_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(DiskError { path, cause }.into()),
    };
    let mut bytes = [0; BYTES_MAX];
    let filled = file.read_full_at(&mut bytes, 0).at(&path)?;
    let text = String::from_utf8_lossy(&bytes[..filled]);
    let version = text.lines().next().and_then(|line| line.strip_prefix(TITLE)?.parse::<u32>().ok());
    match version {
        Some(version) if version <= FORMAT => Ok(true),
        Some(found) => Err(OpenError::NewerFormat { dir: dir.to_owned(), found }),
        None => Err(OpenError::UnknownFormat { path }),
    }
}

/// Notes that a folder is of this version, durably.
///
/// # Errors
/// What the system says.
pub fn mark(disk: &dyn Disk, dir: &Path, version: u32) -> Result<(), OpenError> {
    let (new, path) = (dir.join(NEW_NAME), dir.join(NAME));
    let written = || {
        let file = disk.create(&new)?;
        file.write_all_at(format!("{TITLE}{version}\n").as_bytes(), 0)?;
        file.sync_data()?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)
    };
    Ok(written().at(&path)?)
}
