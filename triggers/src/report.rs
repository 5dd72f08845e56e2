//! What is known of one run of a function: what the ledger counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a run ended, as the ledger tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// It answered.
    Succeeded,
    /// It answered with an error of its own, crashed, or broke the protocol.
    Error,
    /// It did not answer in time.
    Timeout,
    /// It took more memory than it may have.
    OutOfMemory,
    /// It was not run: the target asks for less.
    Throttled,
    /// It could not be started, or its init failed.
    InitError,
}

/// The processor that a function runs on: prices differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    X86,
    /// 64-bit Arm.
    Arm,
}

/// One run. Times in milliseconds, memory in MiB (which Lambda calls MB).
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which function: `function NAME`, `lambda NAME-OR-ARN` or `http HOST`, as people see it.
    pub function: Arc<str>,
    /// How it ended.
    pub end: RunEnd,
    /// How long the init took; `Some` where this run was a cold start.
    pub init_ms: Option<f64>,
    /// How long the run took, without init.
    pub duration_ms: f64,
    /// What is paid for; `None` where nothing is.
    pub billed_ms: Option<u64>,
    /// The memory that it may have.
    pub memory_mb: Option<u32>,
    /// The most that it had.
    pub memory_used_mb: Option<u32>,
    /// What it ran on.
    pub architecture: Architecture,
}
