//! Loading the configuration again when its files change, or when SIGHUP says so.
//!
//! A reload that is refused was logged and is kept for `eventail config status`; the next change tries again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::debug;

use crate::Broker;
use crate::file_watch::FileWatch;

/// What the log calls the files.
const WHAT: &str = "the configuration";

/// What makes a broker load its configuration again.
pub(super) struct Reloader {
    broker: Broker,
    hang_up: Signal,
    files: FileWatch,
}

impl Reloader {
    /// Listens from now on. Where files cannot be watched that is logged, and SIGHUP still works.
    pub(super) fn new(broker: Broker, is_watching: bool) -> std::io::Result<Self> {
        let hang_up = signal(SignalKind::hangup())?;
        let mut files = if is_watching { FileWatch::new(WHAT) } else { FileWatch::deaf(WHAT) };
        files.watch(&broker.config_files());
        Ok(Self { broker, hang_up, files })
    }

    /// Reloads whenever it has to. It never ends.
    pub(super) async fn run(mut self) {
        // What changed between the first reading and the watching.
        let mut is_asked = false;
        loop {
            let outcome = if is_asked {
                self.broker.reload_again().await.map(Some)
            } else {
                self.broker.reload_if_changed().await
            };
            if let Err(error) = outcome {
                debug!(code = %error.code(), "waiting for the configuration to change again");
            }
            self.files.watch(&self.broker.config_files());
            // SIGHUP reads all files, so what was heard of them may be dropped.
            is_asked = tokio::select! {
                _ = self.hang_up.recv() => true,
                () = self.files.changed() => false,
            };
        }
    }
}
