//! What a publish gives back: a future of its answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use eventail_wire::Offset;
use tokio::sync::oneshot;

use crate::error::ClientError;

/// Where a published event is. It is durable as its topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishAck {
    /// Its offset, or the first one's where it is a duplicate.
    pub offset: Offset,
    /// Whether an event with the same source and id was there already; it was not stored again.
    pub duplicate: bool,
}

impl PublishAck {
    pub(super) const fn new((offset, duplicate): (Offset, bool)) -> Self {
        Self { offset, duplicate }
    }
}

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
