//! The HTTP target itself: one attempt from the connection to the verdict, and what the ledger is to know of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventail_wire::Timestamp;
use http::HeaderMap;
use http::response::Parts;
use tokio::time::{Instant, timeout_at};

use super::body::Body;
use super::caller::Caller;
use super::classify::{Verdict, Wanted};
use super::dynamic::Dynamic;
use super::egress::Egress;
use super::error::{AttemptError, ConnectError, HttpTargetError};
use super::request::Template;
use super::{HttpTargetOptions, StatusMeaning, dynamic, server_timing};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, RetryClass};
use crate::report::{Architecture, Report, RunEnd};
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// Invokes an HTTP endpoint: a POST per attempt.
pub struct HttpTarget {
    caller: Caller,
    template: Template,
    /// What of its requests differs from event to event, if anything.
    dynamic: Option<Dynamic>,
    statuses: BTreeMap<u16, StatusMeaning>,
    callback: bool,
    /// As reports name it.
    function: Arc<str>,
    shared_key: String,
}

impl HttpTarget {
    /// Checks the options and keeps them. Connects nowhere yet.
    ///
    /// # Errors
    /// The first option that cannot be used. No error shows a secret.
    pub fn new(options: HttpTargetOptions, egress: Egress) -> Result<Self, HttpTargetError> {
        let dynamic = Dynamic::new(&options)?;
        let caller = Caller::new(&options.url, egress, options.idle_connections)?;
        let template = Template::new(&options)?;
        Ok(Self {
            function: format!("http {}", caller.endpoint().host_and_port()).into(),
            shared_key: caller.endpoint().origin(),
            caller,
            template,
            dynamic,
            statuses: options.statuses,
            callback: options.callback,
        })
    }

    /// What is invoked, for people: the URL without its query, and no secret.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("http {}", self.caller.endpoint())
    }

    /// Whether its host can be found, may be called and takes a connection; sends nothing.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn reach(&self, within: Duration) -> Result<SocketAddr, ConnectError> {
        self.caller.reach(Instant::now() + within).await
    }

    async fn send(&self, sent: &Sent<'_>, begun: Instant) -> Result<Answered, AttemptError> {
        let budget = Duration::from_millis(sent.deadline().since_ms(sent.first().now));
        // A deadline beyond what the clock can tell is none.
        let attempted = match begun.checked_add(budget) {
            Some(deadline) => timeout_at(deadline, self.attempt(sent, deadline)).await,
            None => Ok(self.attempt(sent, begun + Duration::from_secs(u32::MAX.into())).await),
        };
        attempted.unwrap_or_else(|_| Err(AttemptError::Timeout { after_ms: budget.as_millis() }))
    }

    /// Whether requests differ from event to event beyond what events themselves bring: then there is one for each.
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// Where a place such as `{$.data.id}` ends, of which `inside` is what follows `{$`: at its closing brace.
    #[must_use]
    pub fn end_of_place(inside: &str) -> Option<usize> {
        dynamic::end_of_place(inside)
    }

    async fn invoke_each(&self, batch: Vec<Invocation>) -> Answer<BatchOutcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for invocation in batch {
            outcomes.push(self.invoke(invocation).await.outcome);
        }
        BatchOutcome::Each(outcomes).into()
    }

    async fn attempt(&self, sent: &Sent<'_>, deadline: Instant) -> Result<Answered, AttemptError> {
        let request = match sent {
            Sent::One(invocation) => {
                let mut request = self.template.request(invocation);
                if let Some(dynamic) = &self.dynamic {
                    dynamic.apply(&invocation.event, &mut request)?;
                }
                request
            }
            Sent::Batch(batch, _) => self.template.batch_request(batch, sent.deadline()),
        };
        let judge = |head: &Parts| {
            let verdict = Verdict::new(head.status, &head.headers, &self.statuses, sent.wanted());
            (verdict.body_bytes_wanted(), verdict)
        };
        let (head, body, verdict) = self.caller.exchange(request, deadline, judge).await?;
        Ok(Answered { verdict, headers: head.headers, body })
    }

    /// What the ledger is to know of a call; nothing where it did not get through.
    fn report(&self, begun: Instant, init_ms: Option<f64>, end: Option<RunEnd>) -> Option<Box<Report>> {
        let took_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        Some(Box::new(Report {
            function: Arc::clone(&self.function),
            end: end?,
            init_ms,
            // The init was waited for too.
            duration_ms: (took_ms - init_ms.unwrap_or(0.0)).max(0.0),
            billed_ms: None,
            memory_mb: None,
            memory_used_mb: None,
            architecture: Architecture::default(),
        }))
    }
}

/// What is sent in one request.
enum Sent<'a> {
    One(&'a Invocation),
    /// Its first event stands for all of them in what they have in common.
    Batch(&'a [Invocation], &'a Invocation),
}

impl Sent<'_> {
    const fn first(&self) -> &Invocation {
        match self {
            Self::One(first) | Self::Batch(_, first) => first,
        }
    }

    /// When the first lease ends.
    fn deadline(&self) -> Timestamp {
        match self {
            Self::One(invocation) => invocation.deadline,
            Self::Batch(batch, first) => {
                batch.iter().map(|invocation| invocation.deadline).min().unwrap_or(first.deadline)
            }
        }
    }

    const fn wanted(&self) -> Wanted {
        let callback = self.first().callback.is_some();
        match self {
            Self::One(invocation) => Wanted { reply: invocation.wants_reply, failures: false, callback },
            Self::Batch(..) => Wanted { reply: false, failures: true, callback },
        }
    }
}

/// A whole answer, as far as it is wanted.
struct Answered {
    verdict: Verdict,
    headers: HeaderMap,
    body: Body,
}

/// How a call ended for the ledger; `None` where the target was not reached.
const fn end_of(outcome: &Outcome) -> Option<RunEnd> {
    match outcome {
        Outcome::Ack { .. } | Outcome::Accepted => Some(RunEnd::Succeeded),
        Outcome::Reject { reason: RejectReason::InvalidReply, .. } => Some(RunEnd::Succeeded),
        Outcome::Reject { .. } => Some(RunEnd::Error),
        Outcome::Retry { class, .. } => match class {
            RetryClass::Throttled => Some(RunEnd::Throttled),
            RetryClass::Timeout => Some(RunEnd::Timeout),
            RetryClass::Failed => Some(RunEnd::Error),
            RetryClass::Unreachable => None,
        },
    }
}

impl Target for HttpTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let begun = Instant::now();
            let (outcome, init_ms) = match self.send(&Sent::One(&invocation), begun).await {
                Ok(Answered { verdict, headers, body }) => {
                    (verdict.outcome(&headers, body, invocation.now), server_timing::init_ms(&headers))
                }
                Err(error) => (error.into_outcome(), None),
            };
            Answer { report: self.report(begun, init_ms, end_of(&outcome)), outcome }
        })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        Box::pin(async move {
            if self.dynamic.is_some() {
                // Each has a URL or headers of its own, and so a request of its own.
                return self.invoke_each(batch).await;
            }
            let Some(first) = batch.first() else { return BatchOutcome::Each(Vec::new()).into() };
            let begun = Instant::now();
            let (outcome, init_ms) = match self.send(&Sent::Batch(&batch, first), begun).await {
                Ok(Answered { verdict, headers, body }) => {
                    let outcome = verdict.batch_outcome(&headers, body, &batch, first.now);
                    (outcome, server_timing::init_ms(&headers))
                }
                Err(error) => (BatchOutcome::Whole(error.into_outcome()), None),
            };
            let end = match &outcome {
                BatchOutcome::Whole(outcome) => end_of(outcome),
                // It ran, and says which events it could not take.
                BatchOutcome::Each(_) => Some(RunEnd::Succeeded),
            };
            Answer { report: self.report(begun, init_ms, end), outcome }
        })
    }

    fn shared_key(&self) -> Option<String> {
        Some(self.shared_key.clone())
    }

    fn allows_callback(&self) -> bool {
        self.callback
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTarget").field(&self.describe()).finish()
    }
}
