//! Names of files and folders of the disk engine.

use std::path::{Path, PathBuf};

use eventail_wire::Offset;

/// The lock file in the data folder. No log can have the name: a log's name does not begin with a dot.
pub(crate) const LOCK: &str = ".lock";
/// The file that is written and removed to see whether a folder can be written.
pub(crate) const TRIAL: &str = ".eventail-trial";
/// How the folder of a log begins that is being removed.
pub(crate) const REMOVED_PREFIX: &str = ".removed-";
/// How the name of a file with remembered fingerprints ends.
pub(crate) const DEDUP_SUFFIX: &str = ".snap";
/// How the name of a segment ends.
pub(crate) const SEGMENT_SUFFIX: &str = ".log";
/// How the name of a sidecar ends.
pub(crate) const SIDECAR_SUFFIX: &str = ".idx";
/// File systems take names of 255 bytes; the rest is for what is put before one at its removal.
const NAME_BYTES_MAX: usize = 200;

/// Whether a log may be called so: letters, digits, `.`, `_` and `-`, not a dot first.
pub(crate) fn is_log_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.chars().all(allowed)
}

pub(crate) fn segment(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{base:020}{SEGMENT_SUFFIX}", base = base.0))
}

pub(crate) fn sidecar(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{base:020}{SIDECAR_SUFFIX}", base = base.0))
}

pub(crate) fn dedup(dir: &Path, from: Offset) -> PathBuf {
    dir.join(format!("{from:020}{DEDUP_SUFFIX}", from = from.0))
}

/// The offset in a name of 20 digits and a suffix.
pub(crate) fn offset_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let right = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if right { digits.parse().ok().map(Offset) } else { None }
}

/// Whether a file in a log's folder is one of the engine's.
pub(crate) fn is_ours(name: &str) -> bool {
    [SEGMENT_SUFFIX, SIDECAR_SUFFIX, DEDUP_SUFFIX].iter().any(|suffix| offset_of(name, suffix).is_some())
}

/// How a file is called in messages: with the folder that tells the log.
pub(crate) fn display(path: &Path) -> String {
    let mut parts: Vec<_> =
        path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.reverse();
    parts.join("/")
}
