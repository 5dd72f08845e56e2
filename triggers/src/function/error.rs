//! What goes wrong with a local function: when an instance starts, and when it runs an invocation.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::limits;
use serde::Deserialize;
use serde_json::json;

use super::account::AccountError;

/// What is kept of an error's type: a word, as `Runtime.ImportModuleError` is one.
const KIND_BYTES_MAX: usize = 256;

/// How a process ended, told in the words that Lambda uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEnd(pub(super) ExitStatus);

impl ProcessEnd {
    /// The signal that ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        self.0.signal()
    }
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(signal) = self.0.signal() else {
            return write!(f, "exit status {}", self.0.code().unwrap_or_default());
        };
        match signal {
            libc::SIGKILL => f.write_str("signal: killed"),
            libc::SIGTERM => f.write_str("signal: terminated"),
            libc::SIGABRT => f.write_str("signal: aborted"),
            libc::SIGSEGV => f.write_str("signal: segmentation fault"),
            other => write!(f, "signal: {other}"),
        }
    }
}

/// Why an instance did not come to ask for its first invocation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no command.
    #[error("the command is empty")]
    NoCommand,
    /// The program could not be executed.
    #[error("`{program}` cannot be executed")]
    Command {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot run as the user that is configured.
    #[error("it cannot run as the user that is configured")]
    Account {
        /// Why.
        source: AccountError,
    },
    /// Its Runtime API could not be served.
    #[error("no port on the loopback address for the function")]
    Listen {
        /// Why.
        source: io::Error,
    },
    /// The process was started and cannot be watched.
    #[error("the process cannot be watched")]
    Watch {
        /// Why.
        source: io::Error,
    },
    /// The function reported that its init failed.
    #[error("init failed: {kind}: {message}")]
    Init {
        /// The type of the error, as reported.
        kind: String,
        /// Its message.
        message: String,
    },
    /// The process ended before it asked for an invocation, or each time without having answered one.
    #[error("the process ended before it answered anything: {end}")]
    Exited {
        /// How.
        end: ProcessEnd,
    },
    /// Its init needed more memory than it may have.
    #[error("init ran out of its {} MiB of memory", memory_mb.unwrap_or_default())]
    OutOfMemory {
        /// What it may have.
        memory_mb: Option<u32>,
    },
    /// It did not ask for an invocation in time.
    #[error("init took longer than {} ms", after.as_millis())]
    Timeout {
        /// How long it had.
        after: Duration,
    },
    /// It did what the Runtime API does not allow, before it ever answered an invocation.
    #[error("the process broke the Runtime API before it answered anything: {rule}")]
    Protocol {
        /// What it did.
        rule: &'static str,
    },
}

impl StartError {
    /// What Lambda calls it.
    fn kind(&self) -> &str {
        match self {
            Self::NoCommand | Self::Command { .. } => "Runtime.InvalidEntrypoint",
            Self::Account { .. } | Self::Listen { .. } | Self::Watch { .. } => "Sandbox.Failure",
            Self::Init { kind, .. } => kind,
            Self::Exited { .. } => "Runtime.ExitError",
            Self::OutOfMemory { .. } => "Runtime.OutOfMemory",
            Self::Timeout { .. } => "Sandbox.Timedout",
            Self::Protocol { .. } => "Runtime.InvalidStateTransition",
        }
    }
}

/// Why an invocation was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThrottleReason {
    /// All instances were busy until its deadline.
    #[error("no instance was free in time")]
    Deadline,
    /// All instances are busy, and it was not to wait.
    #[error("all instances are busy")]
    Busy,
    /// Too many wait already.
    #[error("too many invocations wait for an instance")]
    QueueFull,
}

/// Why an invocation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The function answered with an error.
    #[error("{kind}: {message}")]
    Function {
        /// Its type, such as `ValueError`.
        kind: String,
        /// Its message.
        message: String,
        /// All of it as the function reported it; usually JSON with `errorType`, `errorMessage` and `stackTrace`.
        document: Bytes,
    },
    /// It did not answer in time. Its instance was stopped.
    #[error("Task timed out after {:.2} seconds", after.as_secs_f64())]
    Timeout {
        /// How long it had.
        after: Duration,
    },
    /// The process ended without an answer.
    #[error("the process ended without an answer: {end}")]
    Crash {
        /// How.
        end: ProcessEnd,
    },
    /// It needed more memory than it may have.
    #[error("out of memory{}: {cause}", limit(*memory_mb))]
    OutOfMemory {
        /// What it may have.
        memory_mb: Option<u32>,
        /// What it came to: the reported error, or how the process ended.
        cause: String,
    },
    /// It broke the Runtime API. Its instance was stopped.
    #[error("the function broke the Runtime API: {rule}")]
    Protocol {
        /// What it did.
        rule: &'static str,
    },
    /// No instance could be started.
    #[error("no instance can be started: {}", chain(.0))]
    Start(Arc<StartError>),
    /// It was not run.
    #[error(transparent)]
    Throttled(#[from] ThrottleReason),
    /// The function is being closed.
    #[error("the function is being stopped")]
    Stopped,
}

fn limit(memory_mb: Option<u32>) -> String {
    memory_mb.map_or_else(String::new, |mb| format!(" (limit {mb} MiB)"))
}

fn chain(error: &StartError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl RunError {
    /// Whether the same invocation may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        true
    }

    /// The error's type, in Lambda's words where the function gave none of its own.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Function { kind, .. } => kind,
            Self::Timeout { .. } => "Sandbox.Timedout",
            Self::Crash { .. } => "Runtime.ExitError",
            Self::OutOfMemory { .. } => "Runtime.OutOfMemory",
            Self::Protocol { .. } => "Runtime.InvalidStateTransition",
            Self::Start(error) => error.kind(),
            Self::Throttled(_) => "TooManyRequestsException",
            Self::Stopped => "Sandbox.Failure",
        }
    }

    /// The payload that the Invoke API answers with: what the function reported, or what Lambda would say.
    #[must_use]
    pub fn document(&self, request_id: &str) -> Bytes {
        let message = match self {
            Self::Function { document, .. } => return document.clone(),
            Self::Crash { end } => {
                format!("RequestId: {request_id} Error: Runtime exited with error: {end}")
            }
            Self::Timeout { .. } => format!("RequestId: {request_id} Error: {self}"),
            other => format!("RequestId: {request_id} Error: {other}"),
        };
        Bytes::from(json!({ "errorType": self.kind(), "errorMessage": message }).to_string())
    }
}

/// An error as runtimes report it. Unknown fields are theirs.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reported {
    error_type: String,
    error_message: String,
}

/// The type and the message of a reported error, as much of them as people read: a function may report megabytes, and a type
/// with tabs in it would write fields of its own into the report line. `header` is `Lambda-Runtime-Function-Error-Type`, which some runtimes set
/// instead of a body.
pub(super) fn reported(document: &[u8], header: Option<&str>) -> (String, String) {
    let reported = serde_json::from_slice::<Reported>(document).unwrap_or_else(|_| Reported {
        error_type: String::new(),
        error_message: String::from_utf8_lossy(document).into_owned(),
    });
    let kind = if reported.error_type.is_empty() {
        header.filter(|kind| !kind.is_empty()).unwrap_or("Runtime.Unknown").to_owned()
    } else {
        reported.error_type
    };
    let mut kind = kind.replace(char::is_control, " ");
    kind.truncate(kind.floor_char_boundary(KIND_BYTES_MAX));
    let mut message = reported.error_message;
    message.truncate(message.floor_char_boundary(limits::RESPONSE_SNIPPET_BYTES_MAX));
    (kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_cut_to_what_people_read_and_its_type_to_a_word() {
        let document =
            json!({ "errorType": "T\t\r\nREPORT ".repeat(100_000), "errorMessage": "é".repeat(100_000) });
        let (kind, message) = reported(document.to_string().as_bytes(), None);
        assert!(kind.len() <= 256 && kind.starts_with("T") && !kind.contains(char::is_control), "{kind:?}");
        assert_eq!(message, "é".repeat(limits::RESPONSE_SNIPPET_BYTES_MAX / 2));
        let (kind, message) = reported(&[b'x'; 100_000], Some(&"k".repeat(100_000)));
        assert_eq!((kind, message), ("k".repeat(256), "x".repeat(limits::RESPONSE_SNIPPET_BYTES_MAX)));
    }

    #[test]
    fn what_is_reported_is_read_with_or_without_a_document() {
        let whole =
            reported(br#"{"errorType":"ValueError","errorMessage":"no","stackTrace":[]}"#, Some("Other"));
        assert_eq!(whole, ("ValueError".to_owned(), "no".to_owned()));
        assert_eq!(reported(b"", Some("Other")), ("Other".to_owned(), String::new()));
        assert_eq!(reported(b"oh", None), ("Runtime.Unknown".to_owned(), "oh".to_owned()));
    }
}
