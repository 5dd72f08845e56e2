//! Calls that may block, off the async threads; those that cannot are made at once, and need no thread.

use tokio::task::JoinError;

/// Makes the call: on a thread for such calls where it may block.
pub(super) async fn run<T: Send + 'static>(
    may_block: bool,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if may_block { tokio::task::spawn_blocking(call).await } else { Ok(call()) }
}
