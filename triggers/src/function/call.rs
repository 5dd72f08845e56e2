//! One invocation of a local function, and what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::limits;
use tokio::time::Instant;

use super::environment::MEMORY_MB_DEFAULT;
use super::error::RunError;
use crate::report::{Report, RunEnd};

/// What a function is to do.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it gets to see, usually JSON.
    pub payload: Bytes,
    /// Names the invocation: in the function's context, in its log and in what it answers to.
    pub request_id: String,
    /// When nobody waits any longer. The function's own timeout may end it before.
    pub deadline: Instant,
    /// `Lambda-Runtime-Client-Context`: JSON.
    pub client_context: Option<String>,
    /// `Lambda-Runtime-Cognito-Identity`: JSON.
    pub cognito_identity: Option<String>,
    /// A `traceparent`, or a trace header as Lambda has it.
    pub trace: Option<String>,
    /// The event that it is about, for log lines.
    pub event_id: Option<String>,
    /// The story that the event belongs to, for log lines.
    pub correlation_id: Option<String>,
}

impl Call {
    /// A call with nothing but what it needs.
    #[must_use]
    pub const fn new(payload: Bytes, request_id: String, deadline: Instant) -> Self {
        Self {
            payload,
            request_id,
            deadline,
            client_context: None,
            cognito_identity: None,
            trace: None,
            event_id: None,
            correlation_id: None,
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its answer, or why there is none.
    pub result: Result<Bytes, RunError>,
    /// For the ledger.
    pub report: Report,
    /// The last of what the function wrote during the run, or during the init that failed.
    pub log_tail: String,
    /// As the call had it.
    pub request_id: String,
    /// How long the init took, where this was a cold start.
    pub init: Option<Duration>,
    /// From handing out the call to the answer.
    pub duration: Duration,
}

impl Run {
    /// The log of the run as `X-Amz-Log-Type: Tail` has it: the last [`limits::LOG_TAIL_BYTES_MAX`] bytes of it, and the
    /// line with the report always whole.
    #[must_use]
    pub fn tail(&self) -> String {
        let id = &self.request_id;
        let mut log = format!("START RequestId: {id} Version: $LATEST\n{}", self.log_tail);
        if !log.ends_with('\n') {
            log.push('\n');
        }
        if let Err(error @ (RunError::Timeout { .. } | RunError::Crash { .. } | RunError::Start(_))) =
            &self.result
        {
            // Writing to a string cannot fail.
            let _ = writeln!(log, "RequestId: {id} Error: {error}");
        }
        let _ = writeln!(log, "END RequestId: {id}");
        let report = self.report_line();
        let room = limits::LOG_TAIL_BYTES_MAX.saturating_sub(report.len());
        let begin = log.ceil_char_boundary(log.len().saturating_sub(room));
        log.drain(..begin);
        log + &report
    }

    fn report_line(&self) -> String {
        let report = &self.report;
        let mut line = format!(
            "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
            self.request_id,
            report.duration_ms,
            report.billed_ms.unwrap_or_default(),
            report.memory_mb.unwrap_or(MEMORY_MB_DEFAULT),
            report.memory_used_mb.unwrap_or_default(),
        );
        if let Some(init_ms) = report.init_ms {
            let _ = write!(line, "Init Duration: {init_ms:.2} ms\t");
        }
        match (&self.result, report.end) {
            (Ok(_) | Err(RunError::Function { .. }), _) => {}
            (Err(_), RunEnd::Timeout) => line.push_str("Status: timeout\t"),
            (Err(error), _) => {
                let _ = write!(line, "Status: error\tError Type: {}\t", error.kind());
            }
        }
        line.push('\n');
        line
    }
}

/// How a run ended, as the ledger tells it apart.
pub(super) const fn end(result: &Result<Bytes, RunError>) -> RunEnd {
    match result {
        Ok(_) => RunEnd::Succeeded,
        Err(RunError::Timeout { .. }) => RunEnd::Timeout,
        Err(RunError::OutOfMemory { .. }) => RunEnd::OutOfMemory,
        Err(RunError::Throttled(_)) => RunEnd::Throttled,
        Err(RunError::Start(_)) => RunEnd::InitError,
        Err(_) => RunEnd::Error,
    }
}
