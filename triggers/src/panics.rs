//! Panics that stay where they happen.
//!
//! A panic is a mistake of ours, and nobody else's. What panicked is not polled again, and whoever ran it decides what becomes of what it
//! was about. Locks that it held are taken all the same: what they guard is either whole at every step, or brought back in order by
//! whoever contained the panic. The hook that a program has for panics logs and counts them; nothing here does.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked: {message}")]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// What it was caught with.
    #[must_use]
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().copied().map(str::to_owned);
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Self { message: message.unwrap_or_else(|| "without a message".to_owned()) }
    }
}

/// Runs a future to its end; a panic ends it with an error.
///
/// # Errors
/// [`Panicked`].
pub async fn contained<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(payload) => Poll::Ready(Err(Panicked::of(&*payload))),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let number = 7;
        let ended = contained(async {
            tokio::task::yield_now().await;
            assert_eq!(number, 8, "broken {number}");
        })
        .await;
        assert!(ended.unwrap_err().to_string().contains("broken 7"));
        let ended = contained(async { std::panic::resume_unwind(Box::new(7)) }).await;
        let ended: Result<(), _> = ended;
        assert_eq!(ended.unwrap_err().to_string(), "it panicked: without a message");
        assert_eq!(contained(async { number }).await.unwrap(), 7);
    }
}
