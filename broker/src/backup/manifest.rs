//! The manifest of a backup: what is in it, with checksums, and one of its own.
//!
//! ```json
//! { "checksum": "crc32c:1b2c3d4e", "backup": { "format": 1, "logs": [ … ], … } }
//! ```
//!
//! The checksum is of the text of `backup`, byte for byte. A version reads every format up to its own; fields that it does not know are
//! passed over, so what must not be passed over gets a format of its own.

use std::path::Path;

use eventail_storage::disk::Corruption;
use eventail_storage::disk::files::checksum;
use eventail_storage::disk_io::Disk;
use eventail_wire::{Code, Offset, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{BackupError, MANIFEST};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// A manifest that is larger is none: 10,000 topics with a hundred segments each take less.
const BYTES_MAX: u64 = 1 << 30;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// How the backup is laid out.
    pub format: u32,
    /// The version of the disk format of its logs.
    pub storage_format: u32,
    /// The version of Eventail that made it.
    pub eventail: String,
    /// The moment that it is of.
    pub moment: Timestamp,
    /// Every log, by name.
    pub logs: Vec<LogInBackup>,
    /// Files with secrets, named as in a data folder; none where they were not asked for.
    pub secrets: Vec<FileInBackup>,
}

/// A log in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInBackup {
    /// Its name.
    pub name: String,
    /// The first offset.
    pub start: Offset,
    /// The offset behind the last record.
    pub end: Offset,
    /// Why the log took no appends, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Code>,
    /// Places that were damaged already when the backup was made. They are copied as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamageInBackup>,
    /// Its files.
    pub files: Vec<FileInBackup>,
}

/// A place that was damaged before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageInBackup {
    /// The file, with the log's folder.
    pub file: String,
    /// Where in it.
    pub position: u64,
    /// The first offset that cannot be read.
    pub offset: Offset,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInBackup {
    /// Its name in its folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// `crc32c:` and eight hexadecimal digits.
    pub checksum: String,
    /// Whether it is the same file as the one in the data folder: it takes no room, and is no protection against damage of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_linked: bool,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    checksum: String,
    backup: Box<RawValue>,
}

impl BackupManifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let logs = self.logs.iter().flat_map(|log| &log.files);
        logs.chain(&self.secrets).map(|file| file.bytes).sum()
    }

    /// Places that were damaged before the backup was made.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.logs.iter().map(|log| log.damaged.len()).sum()
    }
}

impl From<Corruption> for DamageInBackup {
    fn from(Corruption { file, position, offset, .. }: Corruption) -> Self {
        Self { file, position, offset }
    }
}

/// A checksum as it is written down.
pub(super) fn checksum_text(checksum: u32) -> String {
    format!("crc32c:{checksum:08x}")
}

/// Writes the manifest, which makes the backup complete.
pub(super) fn write(disk: &dyn Disk, dir: &Path, manifest: &BackupManifest) -> Result<(), BackupError> {
    let path = dir.join(MANIFEST);
    let new = dir.join(format!("{MANIFEST}.new"));
    let unwritten = |source| BackupError::Manifest { path: path.clone(), source };
    let text = serde_json::to_string(manifest).map_err(unwritten)?;
    let checksum = checksum_text(checksum(text.as_bytes()));
    let backup = RawValue::from_string(text).map_err(unwritten)?;
    let mut bytes = serde_json::to_vec(&Envelope { checksum, backup }).map_err(unwritten)?;
    bytes.push(b'\n');
    let written = || {
        let file = disk.create(&new)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)
    };
    written().map_err(|source| BackupError::file(&path, source))
}

/// Reads the manifest of a complete backup.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<BackupManifest, BackupError> {
    let path = dir.join(MANIFEST);
    // A folder that is not there is another mistake than one without a manifest.
    disk.list(dir).map_err(|source| BackupError::file(dir, source))?;
    let read = || {
        let file = disk.open_to_read(&path)?;
        let length = file.len()?.min(BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let filled = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(filled);
        Ok(bytes)
    };
    let bytes = read().map_err(|source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => BackupError::Incomplete { dir: dir.to_owned() },
        _ => BackupError::file(&path, source),
    })?;
    let none = |source| BackupError::Manifest { path: path.clone(), source };
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(none)?;
    let text = envelope.backup.get();
    let damaged = |what| BackupError::DamagedManifest { path: path.clone(), what };
    if checksum_text(checksum(text.as_bytes())) != envelope.checksum {
        return Err(damaged("its checksum does not match"));
    }
    // The format first: in a newer one anything else may look otherwise.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
        storage_format: u32,
    }
    let Versioned { format, storage_format } = serde_json::from_str(text).map_err(none)?;
    if format > FORMAT || storage_format > eventail_storage::disk::FORMAT {
        return Err(BackupError::Newer { format, storage_format });
    }
    let manifest: BackupManifest = serde_json::from_str(text).map_err(none)?;
    if names_are_ours(&manifest) { Ok(manifest) } else { Err(damaged("it names what no broker writes")) }
}

/// Whether all names stay in their folders.
fn names_are_ours(manifest: &BackupManifest) -> bool {
    let is_plain = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
    };
    let logs_are = manifest
        .logs
        .iter()
        .all(|log| is_plain(&log.name) && log.files.iter().all(|file| is_plain(&file.name)));
    logs_are && manifest.secrets.iter().all(|file| super::SECRET_FILES.contains(&file.name.as_str()))
}
