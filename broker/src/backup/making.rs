//! Making a backup of a moment.

use std::path::{Component, Path, PathBuf};

use eventail_storage::disk::FORMAT as STORAGE_FORMAT;
use eventail_storage::disk::{LogAtMoment, Moment, SegmentAtMoment, check, files};
use eventail_storage::disk_io::Disk;
use eventail_storage::{OpenError, disk::Checked};
use eventail_wire::Timestamp;

use super::manifest::{self, BackupManifest, FORMAT, FileInBackup, LogInBackup, checksum_text};
use super::{BackupError, LOGS, Progress, SECRET_FILES, SECRETS, names_in, sync_parent};

/// How a backup is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Closed segments are copied even where a second name for the same file would do.
    pub copies: bool,
    /// Tokens and the key of the certificate are part of it.
    pub secrets: bool,
}

/// Makes a backup of a moment that was taken `at` this time into `dir`, which is created, or empty. Blocks.
///
/// # Errors
/// Where the folder cannot be used, something cannot be read or written, or what was copied is not what the logs were.
pub fn make(
    disk: &dyn Disk,
    data_dir: &Path,
    dir: &Path,
    moment: &Moment,
    at: Timestamp,
    options: BackupOptions,
    progress: &Progress,
) -> Result<BackupManifest, BackupError> {
    begin(disk, data_dir, dir)?;
    let segments = moment.logs.iter().flat_map(|log| &log.segments);
    progress.expect(segments.map(|segment| segment.bytes).sum());
    let into = dir.join(LOGS);
    create(disk, &into)?;
    let mut logs = Vec::with_capacity(moment.logs.len());
    for log in &moment.logs {
        logs.push(copy_log(disk, log, &into.join(&log.name), options, progress)?);
    }
    disk.sync_dir(&into).map_err(|source| BackupError::file(&into, source))?;
    let secrets = if options.secrets {
        copy_secrets(disk, data_dir, &dir.join(SECRETS), progress)?
    } else {
        Vec::new()
    };
    disk.sync_dir(dir).map_err(|source| BackupError::file(dir, source))?;
    read_back(disk, &into, &mut logs)?;
    let eventail = env!("CARGO_PKG_VERSION").to_owned();
    let made = BackupManifest {
        format: FORMAT,
        storage_format: STORAGE_FORMAT,
        eventail,
        moment: at,
        logs,
        secrets,
    };
    manifest::write(disk, dir, &made)?;
    sync_parent(disk, dir)?;
    Ok(made)
}

fn begin(disk: &dyn Disk, data_dir: &Path, dir: &Path) -> Result<(), BackupError> {
    if resolved(dir).starts_with(resolved(data_dir)) {
        return Err(BackupError::InsideData { dir: dir.to_owned() });
    }
    match names_in(disk, dir)? {
        None => create(disk, dir),
        Some(names) if names.is_empty() => Ok(()),
        Some(_) => Err(BackupError::NotEmpty { dir: dir.to_owned() }),
    }
}

/// Where a path leads: its links followed as far as it is there, and its dots without them. Texts that differ may be one folder.
fn resolved(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        above.canonicalize().ok().map(|real| (above, real))
    });
    let Some((above, mut real)) = found else { return path.to_owned() };
    let rest = path.strip_prefix(above).unwrap_or(path);
    for part in rest.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    // Dots behind a folder that is not there may lead to one that is.
    if rest.components().any(|part| part == Component::ParentDir) { resolved(&real) } else { real }
}

fn create(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    disk.create_dir(dir).map_err(|source| BackupError::file(dir, source))
}

fn copy_log(
    disk: &dyn Disk,
    log: &LogAtMoment,
    into: &Path,
    options: BackupOptions,
    progress: &Progress,
) -> Result<LogInBackup, BackupError> {
    create(disk, into)?;
    let mut files = Vec::with_capacity(log.segments.len());
    for segment in &log.segments {
        files.push(copy_segment(disk, segment, into, options, progress)?);
        if let Some(sidecar) = &segment.sidecar {
            files.extend(copy_if_there(disk, sidecar, into, progress)?);
        }
    }
    disk.sync_dir(into).map_err(|source| BackupError::file(into, source))?;
    Ok(LogInBackup {
        name: log.name.clone(),
        start: log.start,
        end: log.end,
        refusal: log.refusal,
        damaged: Vec::new(),
        files,
    })
}

fn copy_segment(
    disk: &dyn Disk,
    segment: &SegmentAtMoment,
    into: &Path,
    options: BackupOptions,
    progress: &Progress,
) -> Result<FileInBackup, BackupError> {
    let name = name_of(&segment.path);
    let to = into.join(&name);
    let mut told = |bytes| progress.piece(bytes);
    // Where there can be no second name, for instance on another file system, there is a copy.
    let is_linked = segment.is_sealed && !options.copies && disk.link(&segment.path, &to).is_ok();
    let checked = if is_linked {
        files::read_through(disk, &to, &mut told)
    } else {
        // Where one is damaged its end is not known.
        let bytes = if segment.is_sealed { u64::MAX } else { segment.bytes };
        files::copy(disk, &segment.path, &to, bytes, &mut told)
    };
    Ok(FileInBackup { is_linked, ..in_backup(name, cancelled_or(checked)?) })
}

/// A small file beside the segments; one that is missing is made anew when it is missed.
fn copy_if_there(
    disk: &dyn Disk,
    path: &Path,
    into: &Path,
    progress: &Progress,
) -> Result<Option<FileInBackup>, BackupError> {
    if disk.open_to_read(path).is_err() {
        return Ok(None);
    }
    let name = name_of(path);
    let mut told = |bytes| {
        progress.expect(bytes);
        progress.piece(bytes)
    };
    let copied = files::copy(disk, path, &into.join(&name), u64::MAX, &mut told);
    cancelled_or(copied).map(|copied| Some(in_backup(name, copied)))
}

fn copy_secrets(
    disk: &dyn Disk,
    data_dir: &Path,
    into: &Path,
    progress: &Progress,
) -> Result<Vec<FileInBackup>, BackupError> {
    let mut copied = Vec::new();
    for name in SECRET_FILES {
        let to = into.join(name);
        let folder = to.parent().unwrap_or(into);
        create(disk, folder)?;
        if disk.open_to_read(&data_dir.join(name)).is_ok() {
            create_private(disk, &to)?;
        }
        if let Some(file) = copy_if_there(disk, &data_dir.join(name), folder, progress)? {
            copied.push(FileInBackup { name: name.to_owned(), ..file });
        }
        disk.sync_dir(folder).map_err(|source| BackupError::file(folder, source))?;
    }
    disk.sync_dir(into).map_err(|source| BackupError::file(into, source))?;
    Ok(copied)
}

/// An empty file that only this user may read.
pub(super) fn create_private(disk: &dyn Disk, path: &Path) -> Result<(), BackupError> {
    let created = disk.create(path).and_then(|_| disk.make_private(path));
    created.map_err(|source| BackupError::file(path, source))
}

/// Reads what was written as a start would. What is damaged in the copy was damaged before, and is told.
fn read_back(disk: &dyn Disk, into: &Path, logs: &mut [LogInBackup]) -> Result<(), BackupError> {
    let found = check(disk, into)?;
    // It was held while the logs were read.
    let lock = into.join(".lock");
    match disk.remove(&lock) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(BackupError::file(&lock, error));
        }
        _ => {}
    }
    for check in found {
        let Some(log) = logs.iter_mut().find(|log| log.name == check.name) else { continue };
        let is_sound = check.is_sound();
        log.damaged.extend(check.corruptions.into_iter().map(Into::into));
        let (expected, found) = (log.end, check.offsets.end);
        if is_sound && log.refusal.is_none() && found != expected {
            return Err(BackupError::Inconsistent { log: log.name.clone(), expected, found });
        }
    }
    Ok(())
}

fn in_backup(name: String, Checked { bytes, checksum }: Checked) -> FileInBackup {
    FileInBackup { name, bytes, checksum: checksum_text(checksum), is_linked: false }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Tells an end that was asked for from one that was not.
pub(super) fn cancelled_or<T>(outcome: Result<T, OpenError>) -> Result<T, BackupError> {
    outcome.map_err(|error| match error {
        OpenError::Io { cause, .. } if cause.kind() == std::io::ErrorKind::Interrupted => {
            BackupError::Cancelled
        }
        error => error.into(),
    })
}
