//! A log as the rest of the broker holds it: requests go to the threads, answers come back.

use std::sync::Arc;

use eventail_wire::{Offset, Timestamp};
use tokio::sync::{oneshot, watch};

use super::core::{LogId, Request};
use super::shared::Shared;
use super::threads::{ReadMessage, Senders};
use crate::log::{AppendError, Appended, BoxFuture, Log, LogStatus, NewRecord, ReadError, ReadLimit, Record};

/// A log in segment files.
#[derive(Debug)]
pub(crate) struct DiskLog {
    pub(crate) id: LogId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) senders: Senders,
}

impl DiskLog {
    fn write<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, AppendError>>) -> Request,
    ) -> BoxFuture<'static, Result<T, AppendError>> {
        let (answer, answered) = oneshot::channel();
        self.senders.write(self.id, request(answer));
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            // Where the thread panicked the log knows why it takes no more.
            answered.await.unwrap_or_else(|_| Err(shared.append_error().unwrap_or(AppendError::Closed)))
        })
    }
}

impl Log for DiskLog {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'static, Result<Vec<Appended>, AppendError>> {
        if records.is_empty() {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.write(|answer| Request::Append { records, answer })
    }

    fn durable_end(&self) -> watch::Receiver<Offset> {
        self.shared.end.subscribe()
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'static, Result<Vec<Record>, ReadError>> {
        if let Some(records) = self.shared.read_tail(from, limit) {
            return Box::pin(async { Ok(records) });
        }
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.senders.read(self.id, ReadMessage::Read { shared, from, limit, answer });
        Box::pin(async move { answered.await.unwrap_or(Err(ReadError::Closed)) })
    }

    fn read_tail(&self, from: Offset, limit: ReadLimit) -> Option<Vec<Record>> {
        self.shared.read_tail(from, limit)
    }

    fn offset_at(&self, time: Timestamp) -> BoxFuture<'static, Result<Offset, ReadError>> {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.senders.read(self.id, ReadMessage::OffsetAt { shared, time, answer });
        Box::pin(async move { answered.await.unwrap_or(Err(ReadError::Closed)) })
    }

    fn trim(&self, before: Offset) -> BoxFuture<'static, Result<Offset, AppendError>> {
        self.write(|answer| Request::Trim { before, answer })
    }

    fn retain(&self, now: Timestamp) -> BoxFuture<'static, Result<Offset, AppendError>> {
        self.write(|answer| Request::Retain { now, answer })
    }

    fn status(&self) -> LogStatus {
        self.shared.status()
    }
}
