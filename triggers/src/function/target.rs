//! The target of triggers that run a local function: events become a payload, and what came of the run an outcome.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::{FunctionName, limits};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use tokio::time::Instant;

use super::{Call, Function, Run, RunError};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use crate::payload::{self, PayloadShape};
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// A deadline beyond what the clock can tell is none.
const FAR: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs a local function.
pub struct FunctionTarget {
    function: Arc<Function>,
    shape: PayloadShape,
    key: String,
}

impl FunctionTarget {
    /// A target that shows events to `function` in this shape.
    #[must_use]
    pub fn new(function: Arc<Function>, shape: PayloadShape) -> Self {
        let key = Self::key_of(&function.options().name);
        Self { function, shape, key }
    }

    /// What all targets of a function share: its instances.
    #[must_use]
    pub fn key_of(name: &FunctionName) -> String {
        format!("function {name}")
    }

    /// What is invoked, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        self.key.clone()
    }

    async fn call(&self, first: &Invocation, count: usize, payload: Bytes) -> Result<Run, Outcome> {
        if payload.len() > limits::FUNCTION_PAYLOAD_BYTES_MAX {
            return Err(too_large(payload.len()));
        }
        let now = Instant::now();
        let budget = Duration::from_millis(first.deadline.since_ms(first.now));
        let deadline = now.checked_add(budget).unwrap_or(now + FAR);
        let mut call = Call::new(payload, request_id(first, count), deadline);
        call.trace = Some(first.event.traceparent());
        call.event_id = Some(first.event.id().to_owned());
        call.correlation_id = Some(first.event.correlation_id().to_owned());
        Ok(self.function.invoke(call).await)
    }
}

impl Target for FunctionTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let payload = payload::encode_one(self.shape, &invocation);
            let run = match self.call(&invocation, 1, payload).await {
                Ok(run) => run,
                Err(outcome) => return outcome.into(),
            };
            let outcome = match run.result {
                Ok(answer) => with_log(payload::settle_one(self.shape, &answer, &invocation), &run.log_tail),
                Err(error) => failed(error, run.log_tail),
            };
            Answer { outcome, report: Some(Box::new(run.report)) }
        })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move {
            let Some(first) = batch.first() else { return BatchOutcome::Each(Vec::new()).into() };
            let payload = payload::encode_batch(self.shape, &batch);
            let run = match self.call(first, batch.len(), payload).await {
                Ok(run) => run,
                Err(outcome) => return BatchOutcome::Whole(outcome).into(),
            };
            let outcome = match run.result {
                Err(error) => BatchOutcome::Whole(failed(error, run.log_tail)),
                Ok(answer) => match payload::partial(self.shape, &answer, &batch) {
                    BatchOutcome::Whole(outcome) => BatchOutcome::Whole(with_log(outcome, &run.log_tail)),
                    BatchOutcome::Each(outcomes) => BatchOutcome::Each(
                        outcomes.into_iter().map(|outcome| with_log(outcome, &run.log_tail)).collect(),
                    ),
                },
            };
            Answer { outcome, report: Some(Box::new(run.report)) }
        })
    }

    fn shared_key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

impl fmt::Debug for FunctionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionTarget")
            .field("function", &self.function)
            .field("shape", &self.shape)
            .finish()
    }
}

/// The outcome of a run that has no answer.
fn failed(error: RunError, log: String) -> Outcome {
    let class = match &error {
        RunError::Timeout { .. } => RetryClass::Timeout,
        RunError::Throttled(_) => RetryClass::Throttled,
        // Nothing was run, or it was cut short for a reason that is not the event's.
        RunError::Start(_) | RunError::Stopped => RetryClass::Unreachable,
        RunError::Function { .. }
        | RunError::Crash { .. }
        | RunError::OutOfMemory { .. }
        | RunError::Protocol { .. } => RetryClass::Failed,
    };
    let body = match &error {
        RunError::Function { document, .. } => {
            String::from_utf8_lossy(&document[..document.len().min(limits::RESPONSE_SNIPPET_BYTES_MAX)])
                .into_owned()
        }
        _ => String::new(),
    };
    Outcome::Retry {
        class,
        after_ms: None,
        response: Response { status: None, body, error: error.to_string(), log },
    }
}

/// What the function wrote goes with its failures.
fn with_log(outcome: Outcome, log: &str) -> Outcome {
    let with = |response: Response| Response { log: log.to_owned(), ..response };
    match outcome {
        Outcome::Accepted | Outcome::Ack { .. } | Outcome::Withheld { .. } => outcome,
        Outcome::Retry { class, after_ms, response } => {
            Outcome::Retry { class, after_ms, response: with(response) }
        }
        Outcome::Reject { reason, response, disable } => {
            Outcome::Reject { reason, response: with(response), disable }
        }
    }
}

fn too_large(bytes: usize) -> Outcome {
    let most = limits::FUNCTION_PAYLOAD_BYTES_MAX;
    let error = format!("the payload has {bytes} bytes, a function takes at most {most}");
    let response = Response { error, ..Response::default() };
    Outcome::Reject { reason: RejectReason::TooLarge, response, disable: false }
}

/// Shaped as Lambda's, a version 4 UUID; the same for the same attempt, so that a log of it can be found from the delivery.
fn request_id(first: &Invocation, count: usize) -> String {
    let name = format!("{} {} {count} {}", first.delivery_id, first.attempt, first.now.0);
    let high = rapidhash_v3_seeded(name.as_bytes(), &RapidSecrets::seed(1));
    let low = rapidhash_v3_seeded(name.as_bytes(), &RapidSecrets::seed(2));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}
