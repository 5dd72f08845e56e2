//! The HTTP target itself: one attempt from the connection to the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout_at};

use super::body;
use super::classify::Verdict;
use super::egress::Egress;
use super::endpoint::Endpoint;
use super::error::{AttemptError, HttpTargetError};
use super::pool::{Pool, Taken};
use super::request::Template;
use super::{HttpTargetOptions, StatusMeaning};
use crate::outcome::Outcome;
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// Invokes an HTTP endpoint: a POST per attempt.
pub struct HttpTarget {
    endpoint: Endpoint,
    template: Template,
    statuses: BTreeMap<u16, StatusMeaning>,
    egress: Egress,
    pool: Arc<Pool>,
}

impl HttpTarget {
    /// Checks the options and keeps them. Connects nowhere yet.
    ///
    /// # Errors
    /// The first option that cannot be used. No error shows a secret.
    pub fn new(options: HttpTargetOptions, egress: Egress) -> Result<Self, HttpTargetError> {
        let endpoint = Endpoint::new(&options.url)?;
        let template = Template::new(&options)?;
        let pool = Pool::new(options.idle_connections, endpoint.server_name.is_some());
        Ok(Self { endpoint, template, statuses: options.statuses, egress, pool })
    }

    /// What is invoked, for people: the URL without its query, and no secret.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("http {}", self.endpoint)
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
        let Taken { mut link, is_reused } = self.pool.take(&self.endpoint, &self.egress, deadline).await?;
        let request = self.template.request(invocation);
        let answer = match link.exchange(request, &self.endpoint).await {
            Ok(answer) => answer,
            Err(mut error) if is_reused && error.message().is_some() => {
                // It was closed while it lay idle, and the target saw nothing of the request.
                let request = error.take_message().ok_or_else(|| broken(error))?;
                link = self.pool.fresh(&self.endpoint, &self.egress, deadline).await?.link;
                link.exchange(request, &self.endpoint).await.map_err(broken)?
            }
            Err(error) => return Err(broken(error)),
        };
        let (head, incoming) = answer.into_parts();
        let verdict = Verdict::new(head.status, &head.headers, &self.statuses, invocation.wants_reply);
        let body = body::read(&mut link, incoming, verdict.body_bytes_wanted()).await;
        let status = Some(head.status.as_u16());
        let body = body.map_err(|source| AttemptError::Broken { status, source })?;
        if body.is_read {
            self.pool.put(link).await;
        }
        Ok(verdict.outcome(&head.headers, body, invocation.now))
    }
}

fn broken<T>(error: TrySendError<T>) -> AttemptError {
    let is_unsent = error.message().is_some();
    let source = error.into_error();
    if is_unsent { AttemptError::Unsent { source } } else { AttemptError::Broken { status: None, source } }
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
