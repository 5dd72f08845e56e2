//! The file of the tokens: read whole, and replaced whole under a lock, so that a broker never reads half of it and two commands
//! never undo each other's work.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use eventail_storage::disk_io::create_private_dir;
use rustix::fs::{FlockOperation, flock};

use super::tokens::{Tokens, TokensError};
use crate::config::files;

/// Only its owner may read or write the file: who can write it can let himself in.
const MODE: u32 = 0o600;

/// Why the file of the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensFileError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it is wrong, or what was asked does not go with it.
    #[error("{}: {source}", path.display())]
    Tokens {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TokensError,
    },
}

impl TokensFileError {
    /// Never: something has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// By what a file is told from one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    /// What is there now; `None` where there is no file.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>, TokensFileError> {
        let stamp = |metadata: fs::Metadata| {
            let modified = metadata.modified()?;
            Ok(Some(Self { modified, bytes: metadata.len(), inode: metadata.ino() }))
        };
        match fs::metadata(path).and_then(stamp) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            stamp => stamp.map_err(|source| TokensFileError::Read { path: path.to_owned(), source }),
        }
    }
}

/// Reads the file; where there is none, there are no tokens.
pub(crate) fn read(path: &Path) -> Result<Tokens, TokensFileError> {
    let text = match files::read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tokens::default()),
        text => text.map_err(|source| TokensFileError::Read { path: path.to_owned(), source })?,
    };
    Tokens::parse(&text).map_err(|source| TokensFileError::Tokens { path: path.to_owned(), source })
}

/// Reads the file, lets `change` change what is in it, and writes it, while nobody else does. Where `change` refuses, the file stays as it was.
pub(crate) fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut Tokens) -> Result<T, TokensError>,
) -> Result<T, TokensFileError> {
    let wrong = |source| TokensFileError::Tokens { path: path.to_owned(), source };
    let unwritten = |source| TokensFileError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    create_private_dir(folder).map_err(unwritten)?;
    // A lock on the file itself would be one on the file that is about to be replaced. It goes when this handle does.
    let lock = options().open(path.with_extension("lock")).map_err(unwritten)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| unwritten(error.into()))?;
    let mut tokens = read(path)?;
    let changed = change(&mut tokens).map_err(wrong)?;
    let text = tokens.render().map_err(wrong)?;
    replace(path, folder, &text).map_err(unwritten)?;
    Ok(changed)
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    options
}

fn replace(path: &Path, folder: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = options().open(&new)?;
    // One that an interrupted command left behind keeps the mode that it has.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::OpenOptions::new().read(true).open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eventail_wire::Timestamp;

    use super::super::token::TokenHash;
    use super::super::tokens::Token;
    use super::*;

    fn token(name: &str) -> Token {
        Token {
            name: name.to_owned(),
            hash: TokenHash::of(&format!("evt_{name}")).unwrap(),
            created: Timestamp(0),
            expires: None,
            allow: Arc::from(["admin".parse().unwrap()]),
        }
    }

    #[test]
    fn a_change_is_there_for_whoever_reads_next_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/tokens.toml");
        assert_eq!(read(&path).unwrap().all().count(), 0);
        assert_eq!(Stamp::of(&path).unwrap(), None);
        change(&path, |tokens| tokens.add(token("a"))).unwrap();
        let first = Stamp::of(&path).unwrap();
        change(&path, |tokens| tokens.add(token("b"))).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), first);
        assert_eq!(read(&path).unwrap().all().count(), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        change(&path, |tokens| tokens.add(token("a"))).unwrap();
        let before = Stamp::of(&path).unwrap();
        let refused = change(&path, |tokens| tokens.add(token("a")));
        assert!(matches!(refused, Err(TokensFileError::Tokens { .. })));
        assert_eq!(Stamp::of(&path).unwrap(), before);
    }

    #[test]
    fn of_many_changes_at_once_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || change(path, |tokens| tokens.add(token(&format!("t{number}")))).unwrap());
            }
        });
        assert_eq!(read(&path).unwrap().all().count(), 8);
    }
}
