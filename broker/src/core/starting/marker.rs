//! The file `running` in the data folder: it is there while a broker runs, so whoever finds it at its start knows that the one before
//! did not stop in order.
//!
//! Nothing depends on it but what is told: a log is recovered by what stands in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventail_storage::disk_io::Disk;

const NAME: &str = "running";

/// The mark of a broker that runs.
#[derive(Clone, Debug)]
pub(crate) struct Marker {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
}

impl Marker {
    /// Sets it; answers whether it was not there, and so the last stop was in order. Blocks.
    pub(crate) fn set(disk: Arc<dyn Disk>, data_dir: &Path) -> (Self, bool) {
        let path = data_dir.join(NAME);
        let is_there = disk.open_to_read(&path).is_ok();
        if !is_there && let Err(error) = disk.create(&path).and_then(|_| disk.sync_dir(data_dir)) {
            tracing::debug!(%error, "the next start will take a crash for an orderly stop");
        }
        (Self { disk, data_dir: data_dir.to_owned() }, !is_there)
    }

    /// Takes it away: everything is on disk. Blocks.
    pub(crate) fn clear(&self) {
        let removed = self.disk.remove(&self.data_dir.join(NAME));
        match removed.and_then(|()| self.disk.sync_dir(&self.data_dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, "the next start will take this stop for a crash");
            }
            _ => {}
        }
    }
}
