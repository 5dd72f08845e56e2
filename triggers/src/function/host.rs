//! The host of one function: what happens to its pool, and what has to be done about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::Clock;
use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::error::{ProcessEnd, RunError, StartError};
use super::instance::{self, Running};
use super::memory;
use super::pool::{Current, Due, Ended, Pool, StartFailure};
use super::{Finished, FunctionOptions, environment};
use crate::panics::contained;

/// How long the end of a process is waited for after its answer broke off: the end tells more.
const TRUNCATED_GRACE: Duration = Duration::from_millis(100);

/// How long the keeper rests after it panicked.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// One function's pool, and what every instance needs to know.
pub(super) struct Host {
    pub(super) options: FunctionOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) arn: HeaderValue,
    pool: Mutex<Pool>,
    /// Wakes the keeper.
    keeper: Notify,
    /// Something has ended.
    removed: Notify,
}

impl Host {
    /// Must be called in a runtime.
    pub(super) fn new(options: FunctionOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        let region = environment::region(&|name| std::env::var_os(name));
        let arn = format!("arn:aws:lambda:{region}:000000000000:function:{}", options.name);
        let arn = HeaderValue::try_from(arn).unwrap_or_else(|_| HeaderValue::from_static("arn:aws:lambda"));
        let pool = Mutex::new(Pool::new(&options));
        let host =
            Arc::new(Self { options, clock, arn, pool, keeper: Notify::new(), removed: Notify::new() });
        let kept = Arc::clone(&host);
        tokio::spawn(async move {
            // Without it nothing would time out: calls would wait for ever.
            while contained(keep(&kept)).await.is_err() {
                tokio::time::sleep(KEEP_AGAIN).await;
            }
        });
        host
    }

    /// Looks at the pool.
    pub(super) fn with_pool<R>(&self, look: impl FnOnce(&mut Pool) -> R) -> R {
        look(&mut self.pool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something to the pool, and then what it asks for.
    pub(super) fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut Pool, Instant) -> R) -> R {
        let now = Instant::now();
        let (result, begun, wakes_keeper) = self.with_pool(|pool| {
            let result = act(pool, now);
            (result, std::mem::take(&mut pool.begun), std::mem::take(&mut pool.wakes_keeper))
        });
        if !begun.is_empty() {
            // Without a runtime everything is ending.
            if let Ok(runtime) = Handle::try_current() {
                for id in begun {
                    runtime.spawn(run_contained(Arc::clone(self), id));
                }
            }
        }
        if wakes_keeper {
            self.keeper.notify_one();
        }
        result
    }

    /// What CloudWatch would call the log of this instance: its day, and a number of its own.
    pub(super) fn log_stream(&self, id: u64) -> String {
        let now = self.clock.now();
        let day: String = now.to_string().chars().take(10).map(|c| if c == '-' { '/' } else { c }).collect();
        let name = format!("{} {} {id}", self.options.name, now.0);
        let hash = rapidhash::v3::rapidhash_v3(name.as_bytes());
        format!("{day}/[$LATEST]{hash:016x}{id:016x}")
    }

    /// An instance has answered. `false` where the invocation is its own no more.
    pub(super) fn settle(
        self: &Arc<Self>,
        running: &Running,
        request_id: &str,
        result: Result<Bytes, RunError>,
    ) -> bool {
        running.logs.drain();
        let settled = self.with(|pool, now| pool.finish(running.id, request_id, now).map(|it| (it, now)));
        let Some((current, now)) = settled else { return false };
        tell(current, result, now, running);
        true
    }

    /// An answer broke off.
    pub(super) fn truncated(self: &Arc<Self>, running: &Running, request_id: &str) {
        self.with(|pool, now| pool.truncated(running.id, request_id, now + TRUNCATED_GRACE));
    }

    /// An instance broke the Runtime API, and was expelled for it. One that had no invocation and never answered any counts as a
    /// start that failed: else the next one would be started at once, and do the same.
    pub(super) fn broke(self: &Arc<Self>, running: &Running, current: Option<Current>, rule: &'static str) {
        warn!(function = %self.options.name, instance = running.id, rule, "a function broke the Runtime API");
        running.logs.drain();
        match current {
            Some(current) => tell(current, Err(RunError::Protocol { rule }), Instant::now(), running),
            None if self.with_pool(|pool| pool.has_answered(running.id)) => {}
            None => {
                let error = Arc::new(StartError::Protocol { rule });
                self.start_failed(running.id, StartFailure { error, log: running.logs.tail() });
            }
        }
    }

    /// An instance reported that its init failed. `false` where it is not in its init.
    pub(super) fn init_failed(self: &Arc<Self>, running: &Running, kind: String, message: String) -> bool {
        if !self.with_pool(|pool| pool.is_starting(running.id)) {
            return false;
        }
        running.logs.drain();
        let error = if memory::is_reported(&kind, &message) {
            StartError::OutOfMemory { memory_mb: self.options.memory_mb }
        } else {
            StartError::Init { kind, message }
        };
        self.start_failed(running.id, StartFailure { error: Arc::new(error), log: running.logs.tail() });
        true
    }

    /// A start failed.
    pub(super) fn start_failed(self: &Arc<Self>, id: u64, failure: StartFailure) {
        let source = std::error::Error::source(&*failure.error).map(tracing::field::display);
        warn!(function = %self.options.name, instance = id, error = %failure.error, source, "an instance could not be started");
        self.with(|pool, now| pool.start_failed(id, failure, now));
    }

    /// The process of an instance has ended.
    pub(super) fn ended(self: &Arc<Self>, running: &Running, end: ProcessEnd, peak_mb: Option<u32>) {
        let ended = self.with(|pool, _| pool.ended(running.id));
        let memory_mb = self.options.memory_mb;
        let log = running.logs.tail();
        let is_memory = memory::explains(end, &log, peak_mb, memory_mb);
        match ended {
            Ended::Busy(current) => {
                let error = if is_memory {
                    RunError::OutOfMemory { memory_mb, cause: end.to_string() }
                } else {
                    RunError::Crash { end }
                };
                tell(current, Err(error), Instant::now(), running);
            }
            Ended::Starting | Ended::Unused => {
                let error = if is_memory {
                    StartError::OutOfMemory { memory_mb }
                } else {
                    StartError::Exited { end }
                };
                self.start_failed(running.id, StartFailure { error: Arc::new(error), log });
            }
            Ended::Other => {}
        }
    }

    /// Nothing of an instance is left.
    pub(super) fn remove(self: &Arc<Self>, id: u64) {
        self.with(|pool, now| {
            pool.remove(id, now);
            pool.wakes_keeper = true;
        });
        self.removed.notify_waiters();
    }

    /// Lets nobody in any more and makes all instances end.
    pub(super) fn close(self: &Arc<Self>) {
        for (running, current) in self.with(Pool::close) {
            running.logs.drain();
            tell(current, Err(RunError::Stopped), Instant::now(), &running);
        }
    }

    /// Waits until the last process is gone.
    pub(super) async fn closed(&self) {
        loop {
            let removed = self.removed.notified();
            if self.with_pool(|pool| pool.is_over()) {
                return;
            }
            removed.await;
        }
    }

    fn tick(self: &Arc<Self>) -> Option<Instant> {
        let Due { timed_out, stopped, init_timed_out, next } = self.with(Pool::tick);
        for (running, current, is_truncated) in timed_out {
            running.logs.drain();
            let error = if is_truncated {
                RunError::Protocol { rule: "its answer broke off" }
            } else {
                let after = current.deadline.saturating_duration_since(current.handed_at);
                RunError::Timeout { after }
            };
            tell(current, Err(error), Instant::now(), &running);
        }
        for running in stopped {
            debug!(function = %self.options.name, instance = running.id, "an idle instance is stopped");
        }
        for (id, running) in init_timed_out {
            let after = Duration::from_millis(self.options.init_timeout_ms);
            let log = running.map_or_else(String::new, |running| {
                running.logs.drain();
                running.logs.tail()
            });
            self.start_failed(id, StartFailure { error: Arc::new(StartError::Timeout { after }), log });
        }
        next
    }
}

/// Runs an instance; where that panics, its process is killed, and whoever waits for its answer is told at once.
async fn run_contained(host: Arc<Host>, id: u64) {
    if contained(instance::run(Arc::clone(&host), id)).await.is_err() {
        host.remove(id);
    }
}

/// Sees to what is due, until the function is closed and its last process gone.
async fn keep(host: &Arc<Host>) {
    loop {
        let woken = host.keeper.notified();
        let next = host.tick();
        if host.with_pool(|pool| pool.is_over()) {
            return;
        }
        match next {
            None => woken.await,
            Some(next) => {
                tokio::select! {
                    () = woken => {}
                    () = sleep_until(next) => {}
                }
            }
        }
    }
}

/// Tells who waits for it how an invocation ended. Nobody may wait any more: then it ends for itself.
fn tell(current: Current, result: Result<Bytes, RunError>, now: Instant, running: &Running) {
    let finished = Finished {
        result,
        init: current.init,
        duration: now.saturating_duration_since(current.handed_at),
        log: running.logs.tail(),
        memory_mb: running.peak_mb(),
    };
    current.answer.send(finished).ok();
}
