//! Waiting on conditions: polls until something is so, and fails by name when it never becomes so.

use std::time::Duration;

use tokio::time::Instant;

/// How long a condition may take before the test fails. Far more than any needs, since two cores may be busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(15);

/// Polls `probe` until it answers `Some`, and panics with `what` after [`PATIENCE`].
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// Polls `probe` until its answer is as wished, and panics with `what` and the last answer after [`PATIENCE`].
pub async fn until<T: std::fmt::Display>(
    what: &str,
    wish: impl Fn(&T) -> bool,
    mut probe: impl AsyncFnMut() -> T,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = probe().await;
        if wish(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}; at last it was {value}");
        tokio::time::sleep(POLL).await;
    }
}

/// Polls `probe` until it answers `Some`, and panics with `what` after `patience`.
pub async fn within<T>(patience: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}
