//! How far a start is, and what it found.

use serde::{Deserialize, Serialize};

/// What a start is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartPhase {
    /// The data folder is opened.
    #[default]
    Opening,
    /// Logs are read through where they were not closed.
    Recovering,
    /// What can be rebuilt from the logs is.
    Indexing,
    /// Triggers and what serves them begin.
    Starting,
}

/// What `/readyz` tells while a broker starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// It is not.
    pub ready: bool,
    /// The same in words, as a broker that runs tells what is wrong.
    pub problems: Vec<(String, String)>,
    /// What it is at.
    pub phase: StartPhase,
    /// The log or index that is worked on.
    pub log: Option<String>,
    /// Logs that there are.
    pub logs: u64,
    /// Those that were opened.
    pub logs_done: u64,
    /// Bytes that have to be read; more may turn up on the way.
    pub bytes: u64,
    /// Those that were.
    pub bytes_done: u64,
    /// How long it has taken by now.
    pub elapsed_ms: u64,
}
