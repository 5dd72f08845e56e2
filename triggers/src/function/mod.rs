//! Local functions: the broker starts processes that speak the AWS Lambda Runtime API, keeps them warm, and stops them.

use std::path::PathBuf;

use eventail_wire::FunctionName;

use crate::http::Secret;
use crate::payload::PayloadShape;

/// A function that runs on this machine.
#[derive(Clone, Debug)]
pub struct FunctionOptions {
    /// What it is called: by triggers, by the Invoke API and in `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: FunctionName,
    /// The program and its arguments. A program without a `/` is looked for in `PATH`.
    pub command: Vec<String>,
    /// Where it runs; `None` is the broker's own working directory.
    pub directory: Option<PathBuf>,
    /// Variables beyond those that the host sets. Values may be secrets.
    pub environment: Vec<(String, Secret)>,
    /// `_HANDLER`; `None` is the last argument of the command.
    pub handler: Option<String>,
    /// The memory that an instance may have, in MiB; `None` limits nothing and tells the function 128.
    pub memory_mb: Option<u32>,
    /// How long one invocation may take.
    pub timeout_ms: u64,
    /// How long an instance may take until it asks for its first invocation.
    pub init_timeout_ms: u64,
    /// Instances that are kept even if idle.
    pub min_instances: usize,
    /// Instances at once at most: each runs one invocation at a time.
    pub max_instances: usize,
    /// How long an instance may be idle before it is stopped.
    pub idle_timeout_ms: u64,
}

/// A trigger's use of a local function.
#[derive(Clone, Debug)]
pub struct FunctionTargetOptions {
    /// Which function.
    pub function: FunctionName,
    /// What it gets to see.
    pub payload: PayloadShape,
}
