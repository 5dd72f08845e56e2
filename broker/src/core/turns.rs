//! How long publishes to one topic wait for their turn. A log appends in order, so the first that is under way tells how far behind the
//! disk is; while that is further than `limits.publish_wait`, new publishes are refused at once.
//!
//! So whatever is offered, a publish that is taken waits no longer than that for those before it, and who comes in vain knows it
//! soon. Bytes alone would not do: a hundred megabytes of small events are minutes for a slow disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::BrokerError;

/// When a refused publisher should try again: by then the disk has done some syncs.
const RETRY_AFTER_MS: u64 = 250;

/// The publishes under way, by when they came.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<VecDeque<Instant>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// Gets in line, where the first in it does not wait too long.
    pub(crate) fn enter(self: &Arc<Self>, now: Instant, limit: Duration) -> Result<Turn, BrokerError> {
        let mut line = self.line();
        if let Some(first) = line.front() {
            let waits = now.saturating_duration_since(*first);
            if waits > limit {
                let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let (waited_ms, limit_ms) = (ms(waits), ms(limit));
                return Err(BrokerError::Behind { waited_ms, limit_ms, retry_after_ms: RETRY_AFTER_MS });
            }
        }
        line.push_back(now);
        Ok(Turn(Arc::clone(self)))
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The log answers in order: whoever leaves is the first, or as good as.
        self.0.line().pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_the_first_waits_too_long_is_refused_until_it_is_done() {
        let turns = Arc::new(Turns::default());
        let first = turns.enter(Instant::now(), LIMIT).unwrap();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        let second = turns.enter(Instant::now(), LIMIT).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let refused = turns.enter(Instant::now(), LIMIT).unwrap_err();
        assert_eq!(refused.code(), eventail_wire::Code::Overloaded);
        assert_eq!(refused.retry_after_ms(), Some(RETRY_AFTER_MS));
        let message = refused.to_string();
        assert!(message.contains("2500 ms") && message.contains("limits.publish_wait"), "{message}");
        drop(first);
        let third = turns.enter(Instant::now(), LIMIT).unwrap();
        drop((second, third));
        assert!(turns.line().is_empty());
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(turns.enter(Instant::now(), LIMIT).is_ok(), "nobody waits");
    }
}
