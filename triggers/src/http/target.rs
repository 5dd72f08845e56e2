//! The HTTP target itself: one attempt from the connection to the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::response::Parts;
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;
use super::classify::Verdict;
use super::egress::Egress;
use super::error::{AttemptError, HttpTargetError};
use super::request::Template;
use super::{HttpTargetOptions, StatusMeaning};
use crate::outcome::Outcome;
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// Invokes an HTTP endpoint: a POST per attempt.
pub struct HttpTarget {
    template: Template,
    statuses: BTreeMap<u16, StatusMeaning>,
    caller: Caller,
}

impl HttpTarget {
    /// Checks the options and keeps them. Connects nowhere yet.
    ///
    /// # Errors
    /// The first option that cannot be used. No error shows a secret.
    pub fn new(options: HttpTargetOptions, egress: Egress) -> Result<Self, HttpTargetError> {
        let caller = Caller::new(&options.url, egress, options.idle_connections)?;
        let template = Template::new(&options)?;
        Ok(Self { template, statuses: options.statuses, caller })
    }

    /// What is invoked, for people: the URL without its query, and no secret.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("http {}", self.caller.endpoint())
    }

    async fn invoke_by_deadline(&self, invocation: &Invocation) -> Outcome {
        let begun = Instant::now();
        let budget = Duration::from_millis(invocation.deadline.since_ms(invocation.now));
        // A deadline beyond what the clock can tell is none.
        let attempted = match begun.checked_add(budget) {
            Some(deadline) => timeout_at(deadline, self.attempt(invocation, deadline)).await,
            None => Ok(self.attempt(invocation, begun + Duration::from_secs(u32::MAX.into())).await),
        };
        match attempted {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => error.into_outcome(),
            Err(_) => AttemptError::Timeout { after_ms: budget.as_millis() }.into_outcome(),
        }
    }

    async fn attempt(&self, invocation: &Invocation, deadline: Instant) -> Result<Outcome, AttemptError> {
        let request = self.template.request(invocation);
        let judge = |head: &Parts| {
            let verdict = Verdict::new(head.status, &head.headers, &self.statuses, invocation.wants_reply);
            (verdict.body_bytes_wanted(), verdict)
        };
        let (head, body, verdict) = self.caller.exchange(request, deadline, judge).await?;
        Ok(verdict.outcome(&head.headers, body, invocation.now))
    }
}

impl Target for HttpTarget {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        Box::pin(async move { self.invoke_by_deadline(&invocation).await.into() })
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTarget").field(&self.describe()).finish()
    }
}
