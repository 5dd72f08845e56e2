//! The HTTP target itself: one attempt from the connection to the verdict, and what the ledger is to know of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventail_wire::Timestamp;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::response::Parts;
use tokio::time::{Instant, timeout_at};

use super::auth::HttpAuth;
use super::body::Body;
use super::caller::Caller;
use super::classify::{Verdict, Wanted};
use super::dynamic::Dynamic;
use super::egress::Egress;
use super::error::{AttemptError, ConnectError, HttpTargetError};
use super::handshake::{Handshake, HandshakeError};
use super::oauth::{Token, TokenSource};
use super::request::Template;
use super::{HttpTargetOptions, StatusMeaning, dynamic, server_timing};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, RetryClass};
use crate::report::{Architecture, Report, RunEnd};
use crate::target::{Answer, BoxFuture, Invocation, Leave, Target};

/// So long before the attempt's end whatever has to come before the request must be there: that it is not is told then as what it is,
/// and not as a request that took too long.
const SENDING_TIME_MIN: Duration = Duration::from_millis(10);

/// Invokes an HTTP endpoint: a POST per attempt.
pub struct HttpTarget {
    caller: Caller,
    template: Template,
    /// What of its requests differs from event to event, if anything.
    dynamic: Option<Dynamic>,
    /// Where access tokens come from, if requests need one.
    tokens: Option<Arc<TokenSource>>,
    /// What is known of the target's leave, where it is asked for it.
    handshake: Option<Handshake>,
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
        if options.handshake && dynamic.as_ref().is_some_and(Dynamic::has_url) {
            return Err(HttpTargetError::HandshakeOfPlaces);
        }
        let tokens = match &options.auth {
            Some(HttpAuth::OAuth(oauth)) => Some(TokenSource::new(oauth, &egress)?),
            _ => None,
        };
        let handshake = options.handshake.then(|| Handshake::new(&egress.origin));
        let template = Template::new(&options, handshake.as_ref().map(Handshake::origin))?;
        let caller = Caller::new(&options.url, egress, options.idle_connections)?;
        Ok(Self {
            function: format!("http {}", caller.endpoint().host_and_port()).into(),
            shared_key: caller.endpoint().origin(),
            caller,
            template,
            dynamic,
            tokens,
            handshake,
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

    /// With the target's leave, and a token that is good. Where the target does not know the token it is replaced, once.
    async fn attempt(&self, sent: &Sent<'_>, deadline: Instant) -> Result<Answered, AttemptError> {
        let now = sent.first().now;
        let before = deadline.checked_sub(SENDING_TIME_MIN).unwrap_or(deadline);
        let mut token = self.token(now, before).await?;
        if let Some(handshake) = &self.handshake {
            let asked = Box::pin(self.obtain_leave(handshake, token.as_ref(), now, before)).await;
            match (asked, &token) {
                (Err(error), Some(refused)) if error.is_unauthorized() => {
                    token = self.another_token(refused, now, before).await?;
                    Box::pin(self.obtain_leave(handshake, token.as_ref(), now, before)).await?;
                }
                (asked, _) => asked?,
            }
        }
        let answered = self.exchange(sent, token.as_ref(), deadline).await?;
        let Some(refused) = token.filter(|_| answered.verdict.is_unauthorized()) else { return Ok(answered) };
        let token = self.another_token(&refused, now, before).await?;
        self.exchange(sent, token.as_ref(), deadline).await
    }

    async fn token(&self, now: Timestamp, deadline: Instant) -> Result<Option<Arc<Token>>, AttemptError> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        Ok(Some(Box::pin(tokens.get(now, deadline)).await?))
    }

    async fn another_token(
        &self,
        refused: &Arc<Token>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Arc<Token>>, AttemptError> {
        if let Some(tokens) = &self.tokens {
            tokens.forget(refused);
        }
        self.token(now, deadline).await
    }

    async fn obtain_leave(
        &self,
        handshake: &Handshake,
        token: Option<&Arc<Token>>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<(), HandshakeError> {
        let mut headers = self.template.handshake_headers().clone();
        put_token(token, &mut headers);
        handshake.obtain(&self.caller, &headers, now, deadline).await
    }

    async fn exchange(
        &self,
        sent: &Sent<'_>,
        token: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<Answered, AttemptError> {
        let mut request = match sent {
            Sent::One(invocation) => {
                let mut request = self.template.request(invocation);
                if let Some(dynamic) = &self.dynamic {
                    dynamic.apply(&invocation.event, &mut request)?;
                }
                request
            }
            Sent::Batch(batch, _) => self.template.batch_request(batch, sent.deadline()),
        };
        put_token(token, request.headers_mut());
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

fn put_token(token: Option<&Arc<Token>>, headers: &mut HeaderMap) {
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.header.clone());
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
        Outcome::Withheld { .. } => None,
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

    fn leave(&self) -> Option<Leave> {
        self.handshake.as_ref().map(Handshake::leave)
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
