//! Local functions: the broker starts processes that speak the AWS Lambda Runtime API, keeps them warm, and stops them.
//!
//! It promises that a function sees what it would see in Lambda (so that real runtimes run unmodified), that an invocation
//! ends by its deadline with a reason that tells a function's own error, a timeout, a crash, want of memory and a failed
//! start apart, that no more processes run than are allowed, and that none outlives the broker. It must not retry: that is
//! the delivery machine's part.
//!
//! The way of an invocation: `pool` decides which instance takes it or that it waits; `runtime_api` hands it to the
//! instance's runtime over HTTP and takes the answer; `host` tells who called. `instance` sees to one process, which
//! `process` starts and `system` confines; `guard` kills what is left when the broker is gone. `logs` reads what it writes,
//! `tail` keeps the last of that, `memory` looks at what it takes.
//!
//! Each instance has a port of its own on the loopback address. The Runtime API knows no authentication, so `peer` asks the
//! kernel whose each connection is, and nobody but the instance's own processes is heard. `account` finds the user that a
//! function runs as. A function is no sandbox all the same: what its user may read, it may read.

mod account;
mod call;
mod environment;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod host;
mod instance;
mod logs;
mod memory;
mod peer;
mod pool;
mod process;
mod runtime_api;
mod system;
mod tail;
mod target;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::{Clock, FunctionName};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::http::Secret;
use crate::payload::PayloadShape;
use crate::report::{Architecture, Report};

pub use account::AccountError;
pub use call::{Call, Run};
pub use error::{ProcessEnd, RunError, StartError, ThrottleReason};
pub use pool::FunctionStatus;
pub use target::FunctionTarget;

use host::Host;
use logs::Names;
use pool::Admission;

/// Descriptors that a function may have at once where nobody says otherwise: as many as Lambda gives it.
pub const OPEN_FILES_DEFAULT: u64 = 1024;

/// What a function's processes are, and may have, beside memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The user that it runs as, a name or a number; `None` is the broker's own.
    pub user: Option<String>,
    /// The group, a name or a number; `None` is the user's own.
    pub group: Option<String>,
    /// Descriptors that each process may have at once.
    pub open_files_max: u64,
    /// Processes and threads that its user may have at once, all that run as that user together; `None` limits nothing.
    pub processes_max: Option<u64>,
}

impl Default for Confinement {
    fn default() -> Self {
        Self { user: None, group: None, open_files_max: OPEN_FILES_DEFAULT, processes_max: None }
    }
}

/// A function that runs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Who it is, and what else it may have.
    pub confinement: Confinement,
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

impl FunctionOptions {
    /// Looks up the user that it is to run as.
    ///
    /// # Errors
    /// There is none of that name, or this process may not become it: no instance would start.
    pub fn check_account(&self) -> Result<(), StartError> {
        instance::account(self).map(drop)
    }
}

/// A trigger's use of a local function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTargetOptions {
    /// Which function.
    pub function: FunctionName,
    /// What it gets to see.
    pub payload: PayloadShape,
}

/// A call on its way to an instance.
struct Work {
    names: Arc<Names>,
    payload: Bytes,
    deadline: Instant,
    client_context: Option<String>,
    cognito_identity: Option<String>,
    trace: Option<String>,
}

/// What came of it, as far as the instance knows.
struct Finished {
    result: Result<Bytes, RunError>,
    init: Option<Duration>,
    duration: Duration,
    log: String,
    memory_mb: Option<u32>,
}

impl Finished {
    /// It was not run at all.
    const fn unrun(error: RunError, log: String) -> Self {
        Self { result: Err(error), init: None, duration: Duration::ZERO, log, memory_mb: None }
    }
}

/// A function and its instances. Dropped, it makes them end; [`Function::close`] also waits for that.
pub struct Function {
    host: Arc<Host>,
    /// What reports call it.
    label: Arc<str>,
}

impl Function {
    /// Begins to keep `min_instances` instances, and starts others when there are calls. Must be called in a runtime.
    #[must_use]
    pub fn new(options: FunctionOptions, now: Arc<dyn Clock>) -> Arc<Self> {
        let label = format!("function {}", options.name).into();
        Arc::new(Self { host: Host::new(options, now), label })
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &FunctionOptions {
        &self.host.options
    }

    /// Runs the function once. Ends soon after the call's deadline at the latest. When the caller goes away, the run goes on
    /// to its end.
    pub async fn invoke(&self, call: Call) -> Run {
        let Call {
            payload,
            request_id,
            deadline,
            waits,
            client_context,
            cognito_identity,
            trace,
            event_id,
            correlation_id,
        } = call;
        let names = Arc::new(Names { request_id, event_id, correlation_id });
        let work =
            Work { names: Arc::clone(&names), payload, deadline, client_context, cognito_identity, trace };
        let (answer, mut finished) = oneshot::channel();
        let finished = match self.host.with(|pool, now| pool.admit(work, waits, answer, now)) {
            Admission::Handed => finished.await.ok(),
            Admission::Refused { error, log } => Some(Finished::unrun(error, log)),
            Admission::Queued(ticket) => match timeout_at(deadline, &mut finished).await {
                Ok(finished) => finished.ok(),
                Err(_) if self.host.with_pool(|pool| pool.withdraw(ticket)) => {
                    Some(Finished::unrun(ThrottleReason::Deadline.into(), String::new()))
                }
                Err(_) => finished.await.ok(),
            },
        };
        let finished = finished.unwrap_or_else(|| Finished::unrun(RunError::Stopped, String::new()));
        self.run(finished, names.request_id.clone())
    }

    fn run(&self, finished: Finished, request_id: String) -> Run {
        let Finished { result, init, duration, log, memory_mb } = finished;
        let is_run = !matches!(result, Err(RunError::Start(_) | RunError::Throttled(_) | RunError::Stopped));
        let init_ms = init.map(|init| init.as_secs_f64() * 1e3);
        let duration_ms = duration.as_secs_f64() * 1e3;
        let report = Report {
            function: Arc::clone(&self.label),
            end: call::end(&result),
            init_ms,
            duration_ms,
            billed_ms: is_run.then(|| billed_ms(init.unwrap_or_default() + duration)),
            memory_mb: self.host.options.memory_mb,
            memory_used_mb: memory_mb,
            architecture: architecture(),
        };
        Run { result, report, log_tail: log, request_id, init, duration }
    }

    /// Its instances at this moment.
    #[must_use]
    pub fn status(&self) -> FunctionStatus {
        self.host.with_pool(|pool| pool.status())
    }

    /// Lets no call in any more, stops all instances and returns when the last process is gone.
    pub async fn close(&self) {
        self.host.close();
        self.host.closed().await;
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.host.close();
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.label).finish()
    }
}

/// Whole milliseconds, begun ones too: init and duration together, as AWS has it since 2025-08-01.
fn billed_ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

const fn architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Arm } else { Architecture::X86 }
}
