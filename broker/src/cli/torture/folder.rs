//! The folder that is tried: nobody else's files are touched.

use std::io;
use std::path::{Path, PathBuf};

use super::super::error::CliError;

/// The file that says whose folder it is.
const MARK: &str = ".eventail-torture";
const MARK_TEXT: &str = "This folder is of `eventail torture`, which removes what is in it.\n";
/// The folders that are made in it.
const PARTS: [&str; 2] = ["crash", "power-cut"];

/// A folder that may be written and emptied.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Takes a folder that is empty or of an earlier run, and empties it.
    pub(super) fn claim(dir: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::Torture { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let is_empty = std::fs::read_dir(dir).map_err(failed)?.next().is_none();
        if !is_empty && std::fs::read(dir.join(MARK)).map_err(|_| ()) != Ok(MARK_TEXT.into()) {
            return Err(CliError::TortureFolder { dir: dir.to_owned() });
        }
        // A relative path would be another one for the process that is killed, should it be started elsewhere.
        let dir = dir.canonicalize().map_err(failed)?;
        std::fs::write(dir.join(MARK), MARK_TEXT).map_err(failed)?;
        let folder = Self { dir };
        for part in PARTS {
            folder.remove(part)?;
        }
        Ok(folder)
    }

    /// Whether a folder is one that a run has claimed: the process that appends asks before it writes anything.
    pub(super) fn is_claimed(dir: &Path) -> bool {
        dir.join(MARK).is_file()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the logs are that outlive one round after the other.
    pub(super) fn crash(dir: &Path) -> PathBuf {
        dir.join(PARTS[0])
    }

    /// An empty folder in it.
    pub(super) fn fresh(&self, part: &'static str) -> Result<PathBuf, CliError> {
        debug_assert!(PARTS.contains(&part));
        self.remove(part)?;
        let dir = self.dir.join(part);
        std::fs::create_dir(&dir).map_err(|source| self.failed(source))?;
        Ok(dir)
    }

    /// Leaves it as it was found.
    pub(super) fn tidy(&self) -> Result<(), CliError> {
        for part in PARTS {
            self.remove(part)?;
        }
        std::fs::remove_file(self.dir.join(MARK)).map_err(|source| self.failed(source))
    }

    fn remove(&self, part: &str) -> Result<(), CliError> {
        match std::fs::remove_dir_all(self.dir.join(part)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.failed(source)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> CliError {
        CliError::Torture { dir: self.dir.clone(), source }
    }
}
