//! What the broker tells about functions.

use eventail_triggers::ledger::Summary;
use serde::{Deserialize, Serialize};

/// The processes of a local function at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesStatus {
    /// Those that there are.
    pub instances: u64,
    /// Those that run something.
    pub busy: u64,
    /// Those that wait for something to run.
    pub idle: u64,
    /// Processes that were started since the broker was.
    pub starts: u64,
    /// Why the last one that did not come up did not.
    pub last_init_error: Option<String>,
}

/// A function: what it did, and what there is of it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionSummary {
    /// What it did.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its processes, where it is a local one.
    #[serde(default)]
    pub instances: Option<InstancesStatus>,
}
