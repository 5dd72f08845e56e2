//! What a publish gives back: a future of its answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::ClientError;

/// Where a published event is: in its topic, or held until its time.
pub use eventail_wire::Placed as PublishAck;

macro_rules! handle {
    ($(#[$meta:meta])* $name:ident, $answer:ty) => {
        $(#[$meta])*
        #[derive(Debug)]
        #[must_use = "without its answer it is not known whether the publish succeeded"]
        pub struct $name(oneshot::Receiver<Result<$answer, ClientError>>);

        impl $name {
            pub(super) const fn new(answer: oneshot::Receiver<Result<$answer, ClientError>>) -> Self {
                Self(answer)
            }
        }

        impl Future for $name {
            type Output = Result<$answer, ClientError>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ClientError::Closed)))
            }
        }
    };
}

handle!(
    /// Resolves to where one event went.
    PublishHandle,
    PublishAck
);
handle!(
    /// Resolves to where each event of a batch went, in its order.
    BatchHandle,
    Vec<PublishAck>
);
