//! The only place where configuration is read from files: the configuration itself, secrets and certificates.

use std::io;
use std::path::Path;

/// Files of configuration are small; whatever is larger than this was named by mistake.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A whole file as text.
///
/// # Errors
/// Where it cannot be read, is larger than 4 MiB, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {bytes} bytes, and {FILE_BYTES_MAX} are the limit"),
        ));
    }
    std::fs::read_to_string(path)
}
