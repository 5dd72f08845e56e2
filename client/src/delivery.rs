//! Settling from outside what a trigger's target took over.

use std::sync::Arc;
use std::time::Duration;

use eventail_wire::frame::{CallBack, CallbackAction, CallbackOutcome, Frame};

use crate::client::Shared;
use crate::error::ClientError;

/// How long the answer to a callback may take: the server keeps nobody waiting for longer than a moment.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// An event that a trigger's target took over: it answered 202 with `eventail-callback: accepted`, and whoever does the work
/// tells the broker when it is done.
///
/// The token is that of the request header `eventail-callback-token`. It is good for one ack, nack or reject, until the lease
/// runs out. Whoever has it may settle the event, so keep it as you keep a secret; the handle does not print it.
///
/// A call that failed because the connection was lost may have reached the broker. It may be made again: where the first one
/// did settle the event, the second is refused with [`eventail_wire::Code::DeliveryNotFound`].
///
/// ```no_run
/// use std::time::Duration;
/// # use eventail_client::{Client, ClientError};
///
/// # async fn example(client: &Client, token: &str) -> Result<(), ClientError> {
/// let delivery = client.delivery(token);
/// delivery.extend(Some(Duration::from_secs(600))).await?;
/// // ... the long work ...
/// delivery.ack().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeliveryHandle {
    shared: Arc<Shared>,
    token: String,
}

impl std::fmt::Debug for DeliveryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryHandle").finish_non_exhaustive()
    }
}

impl DeliveryHandle {
    pub(crate) const fn new(shared: Arc<Shared>, token: String) -> Self {
        Self { shared, token }
    }

    /// The event is done.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`eventail_wire::Code::DeliveryNotFound`] where nobody waits for the token: the event was
    /// settled, its lease ran out, the broker was started anew, or it never was. Also where the server cannot be reached.
    pub async fn ack(&self) -> Result<CallbackOutcome, ClientError> {
        self.call_back(CallbackAction::Ack).await
    }

    /// The event shall be tried again, after `delay` or the trigger's own backoff. It costs an attempt. The reason is for people,
    /// and kept with the dead letter if it becomes one.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn nack(
        &self,
        delay: Option<Duration>,
        reason: impl Into<String>,
    ) -> Result<CallbackOutcome, ClientError> {
        let action = CallbackAction::Nack { after_ms: delay.map(milliseconds), reason: reason.into() };
        self.call_back(action).await
    }

    /// The event shall never be tried again: it is dead-lettered with this reason.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn reject(&self, reason: impl Into<String>) -> Result<CallbackOutcome, ClientError> {
        self.call_back(CallbackAction::Reject { reason: reason.into() }).await
    }

    /// The work takes longer: the lease ends `by` from now, or the trigger's timeout from now, and in an hour at most. The answer
    /// says when. May be done as often as needed.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn extend(&self, by: Option<Duration>) -> Result<CallbackOutcome, ClientError> {
        self.call_back(CallbackAction::Extend { by_ms: by.map(milliseconds) }).await
    }

    async fn call_back(&self, action: CallbackAction) -> Result<CallbackOutcome, ClientError> {
        let limit_ms = milliseconds(ANSWER_TIME);
        tokio::select! {
            () = self.shared.closed() => Err(ClientError::Closed),
            answer = tokio::time::timeout(ANSWER_TIME, self.exchange(action)) => {
                answer.unwrap_or(Err(ClientError::Timeout { what: "the answer to a callback", limit_ms }))
            }
        }
    }

    async fn exchange(&self, action: CallbackAction) -> Result<CallbackOutcome, ClientError> {
        let mut link = self.shared.open_link().await?;
        link.out.push(&Frame::CallBack(CallBack { request: 1, token: self.token.clone(), action }))?;
        let outcome = loop {
            match link.next_frame()? {
                Some(Frame::CalledBack(answer)) => break answer.outcome,
                Some(Frame::Refused(refused)) => return Err(refused.into()),
                // The server is stopping; it answers what came before.
                Some(Frame::Goodbye) => {}
                Some(other) => return Err(ClientError::Unexpected { kind: other.kind() }),
                None => link.turn().await?,
            }
        };
        if let Err(error) = link.finish(drop).await {
            tracing::debug!(%error, "the stream of a callback ended badly after its answer");
        }
        Ok(outcome)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
