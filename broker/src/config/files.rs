//! The only place where configuration is read from files: the configuration itself, secrets and certificates.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::glob;

/// Files of configuration are small; whatever is larger than this was named by mistake.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A whole file as text.
///
/// # Errors
/// Where it cannot be read, is larger than 4 MiB, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = std::fs::OpenOptions::new().read(true).open(path)?;
    let mut bytes = Vec::new();
    // What a file says of its length is not what can be read of it: a device has none, and no end either.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than the {FILE_BYTES_MAX} bytes that are the limit"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The files that a path stands for, by name: those that its last part fits, in which `*` is any characters. A path without
/// one is a file that must be there.
///
/// # Errors
/// Where its folder cannot be read.
pub fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let last = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !last.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut paths = Vec::new();
    let entries = match std::fs::read_dir(folder.unwrap_or_else(|| Path::new("."))) {
        // A folder that is not there yet has no files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        // As in a shell: what is hidden is not meant.
        let is_meant = name.to_str().is_some_and(|name| !name.starts_with('.') && glob::fits(last, name));
        if is_meant {
            paths.push(folder.map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name)));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_not_read_for_ever() {
        let error = read_text(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
