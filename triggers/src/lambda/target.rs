//! The Lambda target itself: one call from the credentials to the verdict.

use std::fmt;
use std::slice;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use eventail_wire::Timestamp;
use http::Uri;
use tokio::time::{Instant, timeout_at};

use super::access::{Access, AccessError, Granted};
use super::classify::{Verdict, body_bytes_wanted, judge};
use super::name::{FunctionName, check_qualifier};
use super::request::{Place, RequestError};
use super::{InvocationType, LambdaTargetError, LambdaTargetOptions, SigningError};
use crate::http::{AttemptError, Egress, chain};
use crate::ledger::report_line::RunFacts;
use crate::outcome::{BatchOutcome, Outcome, RejectReason, Response, RetryClass};
use crate::payload::{self, PayloadShape, encode_batch_at, encode_one_at, partial, settle_one, trace_header};
use crate::report::{Architecture, Report, RunEnd};
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// Invokes an AWS Lambda function.
pub struct LambdaTarget {
    name: FunctionName,
    qualifier: Option<String>,
    endpoint: Option<Uri>,
    invocation: InvocationType,
    shape: PayloadShape,
    /// `lambda NAME-OR-ARN`.
    label: Arc<str>,
    access: Arc<Access>,
    egress: Egress,
    /// Where it is called: known at once, or with the chain's region at the first call.
    place: OnceLock<Place>,
}

/// Why there is no answer to judge.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Place(#[from] SigningError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Attempt(#[from] AttemptError),
}

impl CallError {
    /// Whatever keeps a call from being made is an outage: no event is at fault.
    fn into_outcome(self) -> Outcome {
        let error = match self {
            Self::Attempt(error) => return error.into_outcome(),
            Self::Access(error) => error.text(),
            Self::Place(_) | Self::Request(_) => chain(&self),
        };
        let response = Response { error, ..Response::default() };
        Outcome::Retry { class: RetryClass::Unreachable, after_ms: None, response }
    }
}

/// How a call ended, and the report of its run.
type Called = (Result<Bytes, Outcome>, Option<Box<Report>>);

impl LambdaTarget {
    /// Checks the options and keeps them. Looks up no credentials and connects nowhere yet.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn new(options: LambdaTargetOptions, egress: Egress) -> Result<Self, LambdaTargetError> {
        let access = Access::chain(options.profile.clone(), options.region.clone(), &egress);
        Self::with_access(options, egress, access)
    }

    /// [`LambdaTarget::new`] with credentials of the caller's own in place of the standard chain: for programs that embed
    /// the broker. The options then have to name the region.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn with_credentials(
        options: LambdaTargetOptions,
        egress: Egress,
        provider: SharedCredentialsProvider,
    ) -> Result<Self, LambdaTargetError> {
        Self::with_access(options, egress, Access::provider(provider))
    }

    fn with_access(
        options: LambdaTargetOptions,
        egress: Egress,
        access: Arc<Access>,
    ) -> Result<Self, LambdaTargetError> {
        let name = FunctionName::new(&options.function)?;
        if let Some(outer) = options.qualifier.as_deref() {
            check_qualifier(outer)?;
            if let Some(inner) = name.qualifier().filter(|inner| *inner != outer) {
                let (inner, outer) = (inner.to_owned(), outer.to_owned());
                return Err(LambdaTargetError::TwoQualifiers { inner, outer });
            }
        }
        let target = Self {
            label: format!("lambda {}", name.as_str()).into(),
            qualifier: options.qualifier,
            endpoint: options.endpoint,
            invocation: options.invocation,
            shape: options.payload,
            place: OnceLock::new(),
            name,
            access,
            egress,
        };
        let region = options.region.or_else(|| target.name.region().map(str::to_owned));
        // An endpoint is checked even where its region is not known yet.
        let place = target.place_in(region.as_deref().unwrap_or(payload::Place::default().region))?;
        if region.is_some() {
            drop(target.place.set(place));
        }
        Ok(target)
    }

    /// Whether there are credentials and a region to sign calls with; calls nothing but what the chain needs.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check_signing(&self, now: Timestamp) -> Result<(), SigningError> {
        let granted = self.access.get(now).await;
        let granted = granted.map_err(|error| SigningError::NoCredentials { why: error.text() })?;
        self.place(&granted).map(|_| ())
    }

    /// What is invoked, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        self.label.to_string()
    }

    fn place_in(&self, region: &str) -> Result<Place, LambdaTargetError> {
        Place::new(&self.name, self.qualifier.as_deref(), region, self.endpoint.as_ref(), &self.egress)
    }

    fn place(&self, granted: &Granted) -> Result<&Place, SigningError> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        // With an endpoint of its own the region is but a word in the signature.
        let usual = self.endpoint.is_some().then_some(payload::Place::default().region);
        let region = granted.region.as_deref().or(usual).ok_or(SigningError::NoRegion)?;
        let place = self.place_in(region)?;
        Ok(self.place.get_or_init(|| place))
    }

    /// What the payload says of where it comes from; before the first call the region may not be known yet.
    fn origin(&self) -> payload::Place<'_> {
        let usual = payload::Place::default();
        payload::Place {
            region: self.place.get().map_or(usual.region, |place| &place.region),
            account: self.name.account().unwrap_or(usual.account),
        }
    }

    /// Refuses what Lambda would refuse.
    fn too_large(&self, payload: &Bytes) -> Option<Outcome> {
        let (bytes, limit) = (payload.len(), self.invocation.payload_bytes_max());
        if bytes <= limit {
            return None;
        }
        let how = match self.invocation {
            InvocationType::Sync => "synchronous",
            InvocationType::Async => "asynchronous",
        };
        let error =
            format!("the payload has {bytes} bytes, and Lambda takes {limit} at most with {how} invocations");
        let response = Response { error, ..Response::default() };
        Some(Outcome::Reject { reason: RejectReason::TooLarge, response, disable: false })
    }

    /// Makes one call. `first` is the first of its events, `wants_answer` whether the function's answer matters.
    async fn call(
        &self,
        first: &Invocation,
        payload: Bytes,
        wants_answer: bool,
        deadline: Instant,
    ) -> Called {
        let begun = Instant::now();
        let called = timeout_at(deadline, self.exchange(first, payload, wants_answer, deadline)).await;
        let duration_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let after_ms = (deadline - begun).as_millis();
        match called {
            Ok(Ok(verdict)) => {
                let end = verdict.run;
                let report = end.and_then(|end| self.report(end, verdict.facts.as_ref(), duration_ms));
                (verdict.ended, report)
            }
            Ok(Err(error)) => (Err(error.into_outcome()), None),
            Err(_) => {
                let report = self.report(RunEnd::Timeout, None, duration_ms);
                (Err(AttemptError::Timeout { after_ms }.into_outcome()), report)
            }
        }
    }

    async fn exchange(
        &self,
        first: &Invocation,
        payload: Bytes,
        wants_answer: bool,
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        let granted = self.access.get(first.now).await?;
        let place = self.place(&granted)?;
        let trace = trace_header(&first.event);
        let request = place.request(&granted.identity, self.invocation, payload, trace, first.now)?;
        let wanted = |head: &http::response::Parts| (body_bytes_wanted(head, wants_answer), ());
        let (head, body, ()) = place.caller.exchange(request, deadline, wanted).await?;
        let verdict = judge(&head, body, first.now);
        if verdict.refuses_credentials {
            self.access.forget(&granted);
        }
        Ok(verdict)
    }

    /// Lambda's own figures, or what was measured here. An asynchronous call runs later, and nothing is known of it.
    fn report(&self, end: RunEnd, facts: Option<&RunFacts>, measured_ms: f64) -> Option<Box<Report>> {
        if self.invocation == InvocationType::Async && end != RunEnd::Throttled {
            return None;
        }
        let measured_ms = if end == RunEnd::Throttled { 0.0 } else { measured_ms };
        Some(Box::new(Report {
            function: Arc::clone(&self.label),
            end,
            init_ms: facts.and_then(RunFacts::cold_start_ms),
            duration_ms: facts.map_or(measured_ms, |facts| facts.duration_ms),
            billed_ms: facts.and_then(|facts| facts.billed_ms),
            memory_mb: facts.and_then(|facts| facts.memory_mb),
            memory_used_mb: facts.and_then(|facts| facts.memory_used_mb),
            architecture: Architecture::default(),
        }))
    }

    async fn invoke_one(&self, invocation: &Invocation) -> Answer {
        let payload = encode_one_at(self.origin(), self.shape, invocation);
        if let Some(refused) = self.too_large(&payload) {
            return refused.into();
        }
        let wants_answer = self.invocation == InvocationType::Sync
            && (self.shape == PayloadShape::Sqs || invocation.wants_reply);
        let (ended, report) =
            self.call(invocation, payload, wants_answer, deadline(slice::from_ref(invocation))).await;
        let outcome = match ended {
            Ok(_) if !wants_answer => Outcome::Ack { reply: None },
            Ok(answer) => settle_one(self.shape, &answer, invocation),
            Err(outcome) => outcome,
        };
        Answer { outcome, report }
    }

    /// A batch that is too large as a whole goes in halves, so that only an event which is too large by itself is refused.
    async fn invoke_several(&self, batch: &[Invocation], deadline: Instant) -> Answer<BatchOutcome> {
        let Some(first) = batch.first() else { return BatchOutcome::Each(Vec::new()).into() };
        let payload = encode_batch_at(self.origin(), self.shape, batch);
        if let Some(refused) = self.too_large(&payload) {
            if batch.len() == 1 {
                return BatchOutcome::Whole(refused).into();
            }
            let (front, back) = batch.split_at(batch.len() / 2);
            let front_answer = Box::pin(self.invoke_several(front, deadline)).await;
            let back_answer = Box::pin(self.invoke_several(back, deadline)).await;
            let mut outcomes = each(front_answer.outcome, front.len());
            outcomes.extend(each(back_answer.outcome, back.len()));
            let report = both(front_answer.report, back_answer.report);
            return Answer { outcome: BatchOutcome::Each(outcomes), report };
        }
        let wants_answer = self.invocation == InvocationType::Sync;
        let (ended, report) = self.call(first, payload, wants_answer, deadline).await;
        let outcome = match ended {
            Ok(_) if !wants_answer => BatchOutcome::Whole(Outcome::Ack { reply: None }),
            Ok(answer) => partial(self.shape, &answer, batch),
            Err(outcome) => BatchOutcome::Whole(outcome),
        };
        Answer { outcome, report }
    }
}

fn each(outcome: BatchOutcome, events: usize) -> Vec<Outcome> {
    match outcome {
        BatchOutcome::Whole(outcome) => vec![outcome; events],
        BatchOutcome::Each(outcomes) => outcomes,
    }
}

/// Two runs told as one: what they took and cost together, and how the worse of them ended.
fn both(front: Option<Box<Report>>, back: Option<Box<Report>>) -> Option<Box<Report>> {
    let (mut both, back) = match (front, back) {
        (Some(front), Some(back)) => (front, back),
        (front, back) => return front.or(back),
    };
    if both.end == RunEnd::Succeeded {
        both.end = back.end;
    }
    both.init_ms = both.init_ms.or(back.init_ms);
    both.duration_ms += back.duration_ms;
    both.billed_ms = both.billed_ms.zip(back.billed_ms).map(|(front, back)| front.saturating_add(back));
    both.memory_used_mb = both.memory_used_mb.max(back.memory_used_mb);
    Some(both)
}

/// When a call that begins now has to end: with the first lease of its events. A deadline beyond what the clock can tell is
/// none.
fn deadline(batch: &[Invocation]) -> Instant {
    let begun = Instant::now();
    let budgets = batch.iter().map(|invocation| invocation.deadline.since_ms(invocation.now));
    let budget = Duration::from_millis(budgets.min().unwrap_or_default());
    begun.checked_add(budget).unwrap_or(begun + Duration::from_secs(u32::MAX.into()))
}

impl Target for LambdaTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move { self.invoke_one(&invocation).await })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move { self.invoke_several(&batch, deadline(&batch)).await })
    }

    fn shared_key(&self) -> Option<String> {
        Some(self.label.to_string())
    }
}

impl fmt::Debug for LambdaTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LambdaTarget").field(&self.label).finish()
    }
}
