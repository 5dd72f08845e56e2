//! Verifying a backup, and restoring it into an empty data folder.

use std::io;
use std::path::Path;

use eventail_storage::disk::{files, mark_format};
use eventail_storage::disk_io::Disk;

use super::making::{cancelled_or, create_private};
use super::manifest::{self, BackupManifest, FileInBackup, checksum_text};
use super::{BackupError, FileProblem, LOGS, Progress, SECRETS, names_in, sync_parent};

/// The folder that a restore fills before it becomes that of the logs.
const RESTORING: &str = "logs.restoring";
/// What an empty file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Reads every file of a backup and compares it with its checksum. Blocks.
///
/// # Errors
/// Where the backup is not complete, was made by a newer version, or is damaged: then every damaged file is named.
pub fn verify(disk: &dyn Disk, dir: &Path, progress: &Progress) -> Result<BackupManifest, BackupError> {
    let manifest = manifest::read(disk, dir)?;
    progress.expect(manifest.bytes());
    let mut problems = Vec::new();
    for (path, file) in files_of(&manifest) {
        let read =
            cancelled_or(files::read_through(disk, &dir.join(&path), &mut |bytes| progress.piece(bytes)));
        let what = match read {
            Ok(read) if read.bytes != file.bytes => "it has another length",
            Ok(read) if checksum_text(read.checksum) != file.checksum => "its checksum does not match",
            Ok(_) => continue,
            Err(BackupError::Storage(eventail_storage::OpenError::Io { cause, .. }))
                if cause.kind() == io::ErrorKind::NotFound =>
            {
                "it is missing"
            }
            Err(BackupError::Storage(eventail_storage::OpenError::Io { .. })) => "it cannot be read",
            Err(error) => return Err(error),
        };
        problems.push(FileProblem { path, what });
    }
    if problems.is_empty() { Ok(manifest) } else { Err(BackupError::Damaged { problems }) }
}

/// Restores a backup into a data folder that is empty, or not there. Everything is verified first. Blocks.
///
/// # Errors
/// As [`verify`], and then nothing was written; where there is data already, or something cannot be written.
pub fn restore(
    disk: &dyn Disk,
    dir: &Path,
    data_dir: &Path,
    progress: &Progress,
) -> Result<BackupManifest, BackupError> {
    let there = names_in(disk, data_dir)?.unwrap_or_default();
    if there.iter().any(|name| name != LOST_AND_FOUND && name != RESTORING) {
        return Err(BackupError::DataThere { dir: data_dir.to_owned() });
    }
    let manifest = verify(disk, dir, progress)?;
    progress.expect(manifest.bytes());
    let at = |path: &Path, outcome: io::Result<()>| outcome.map_err(|source| BackupError::file(path, source));
    let restoring = data_dir.join(RESTORING);
    if there.iter().any(|name| name == RESTORING) {
        // The remains of a restore that was interrupted.
        remove_logs(disk, &restoring)?;
    }
    at(&restoring, disk.create_dir(&restoring))?;
    sync_parent(disk, data_dir)?;
    at(data_dir, disk.sync_dir(data_dir))?;
    for log in &manifest.logs {
        let folder = restoring.join(&log.name);
        at(&folder, disk.create_dir(&folder))?;
        for file in &log.files {
            let from = dir.join(LOGS).join(&log.name).join(&file.name);
            copy(disk, &from, &folder.join(&file.name), file, progress)?;
        }
        at(&folder, disk.sync_dir(&folder))?;
    }
    mark_format(disk, &restoring, manifest.storage_format)?;
    at(&restoring, disk.sync_dir(&restoring))?;
    for file in &manifest.secrets {
        let to = data_dir.join(&file.name);
        let folder = to.parent().unwrap_or(data_dir);
        at(folder, disk.create_dir(folder))?;
        create_private(disk, &to)?;
        copy(disk, &dir.join(SECRETS).join(&file.name), &to, file, progress)?;
        at(folder, disk.sync_dir(folder))?;
    }
    let logs = data_dir.join(LOGS);
    at(&logs, disk.rename(&restoring, &logs))?;
    at(data_dir, disk.sync_dir(data_dir))?;
    Ok(manifest)
}

/// Whether a restore into this data folder did not come to its end.
pub(crate) fn is_half_restored(disk: &dyn Disk, data_dir: &Path) -> bool {
    disk.list(&data_dir.join(RESTORING)).is_ok()
}

/// Every file with its path within the backup.
fn files_of(manifest: &BackupManifest) -> impl Iterator<Item = (String, &FileInBackup)> {
    let logs = manifest.logs.iter().flat_map(|log| {
        log.files.iter().map(move |file| (format!("{LOGS}/{}/{}", log.name, file.name), file))
    });
    logs.chain(manifest.secrets.iter().map(|file| (format!("{SECRETS}/{}", file.name), file)))
}

/// Never a second name for the same file: the broker would write into the backup.
fn copy(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    file: &FileInBackup,
    progress: &Progress,
) -> Result<(), BackupError> {
    let copied = cancelled_or(files::copy(disk, from, to, u64::MAX, &mut |bytes| progress.piece(bytes)))?;
    if (copied.bytes, checksum_text(copied.checksum)) != (file.bytes, file.checksum.clone()) {
        let problem =
            FileProblem { path: from.display().to_string(), what: "it changed while it was copied" };
        return Err(BackupError::Damaged { problems: vec![problem] });
    }
    Ok(())
}

fn remove_logs(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    for name in names_in(disk, dir)?.unwrap_or_default() {
        let folder = dir.join(&name);
        let Ok(files) = disk.list(&folder) else {
            // The file that tells the format.
            disk.remove(&folder).map_err(|source| BackupError::file(&folder, source))?;
            continue;
        };
        for file in files {
            let path = folder.join(file);
            disk.remove(&path).map_err(|source| BackupError::file(&path, source))?;
        }
        disk.remove_dir(&folder).map_err(|source| BackupError::file(&folder, source))?;
    }
    disk.remove_dir(dir).map_err(|source| BackupError::file(dir, source))
}
