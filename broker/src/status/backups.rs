//! Backups of a running broker: what may be asked, and what is told of the one that is made or was made last.

use std::path::PathBuf;

use eventail_wire::{Code, Timestamp};
use serde::{Deserialize, Serialize};

/// Asks for a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Where it goes, on the broker's machine: a folder that does not exist yet, or is empty. An absolute path.
    pub dir: PathBuf,
    /// Copy closed segments even where a second name for the same file would do.
    #[serde(default)]
    pub copies: bool,
    /// Tokens and the key of the certificate too.
    #[serde(default)]
    pub secrets: bool,
}

/// How a backup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// It is being made.
    Running,
    /// It is complete.
    Complete,
    /// There is none; the folder may hold the remains.
    Failed,
}

/// What is told of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Where it goes.
    pub dir: PathBuf,
    /// How it stands.
    pub state: BackupState,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was complete, or failed.
    pub ended_at: Option<Timestamp>,
    /// The moment that it is of, once that was taken.
    pub moment: Option<Timestamp>,
    /// Logs in it, once the moment was taken.
    pub logs: u64,
    /// Bytes in it, as far as they are known.
    pub bytes: u64,
    /// Those that were read or copied.
    pub bytes_done: u64,
    /// Places that were damaged before; they are copied as they are.
    pub damaged: u64,
    /// The code of why it failed.
    pub code: Option<Code>,
    /// Why it failed.
    pub error: Option<String>,
}
