//! Loading the configuration again when its files change, or when SIGHUP says so.
//!
//! The folders are watched and not the files: an editor writes another file and renames it, and Kubernetes exchanges a link to a folder.
//! What happens in a folder is waited out, so that a file that is written in parts is read once. A reload that
//! is refused was logged and is kept for `eventail config status`; the next change tries again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::Broker;

/// How long nothing must have happened before the files are read.
const QUIET: Duration = Duration::from_millis(200);
/// How long that is waited for: a folder may never be quiet.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// The names of the files, as the watcher's thread needs them.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// What makes a broker load its configuration again.
pub(super) struct Reloader {
    broker: Broker,
    hang_up: Signal,
    /// Rung by the watcher; one place is enough, since what happened is looked up.
    changed: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    names: Names,
}

impl Reloader {
    /// Listens from now on. Where files cannot be watched that is logged, and SIGHUP still works.
    pub(super) fn new(broker: Broker, is_watching: bool) -> std::io::Result<Self> {
        let (sender, changed) = mpsc::channel(1);
        let hang_up = signal(SignalKind::hangup())?;
        let names = Names::default();
        let known = Arc::clone(&names);
        let watcher = is_watching.then(|| {
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| concerns(&event, &known)) {
                    // Where there is no place it was rung already.
                    let _rung = sender.try_send(());
                }
            })
        });
        let watcher = match watcher.transpose() {
            Ok(watcher) => watcher,
            Err(error) => {
                warn!(%error, "the configuration is not watched; SIGHUP loads it again");
                None
            }
        };
        let mut reloader = Self { broker, hang_up, changed, watcher, watched: BTreeSet::new(), names };
        reloader.watch();
        Ok(reloader)
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
            self.watch();
            is_asked = self.next().await;
        }
    }

    /// Waits for a reason to reload; `true` where it is SIGHUP.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.hang_up.recv() => return true,
            Some(()) = self.changed.recv() => {}
        }
        let quiet =
            async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changed.recv()).await {} };
        // Whether it became quiet or not, it is time.
        let _waited = tokio::time::timeout(QUIET_MAX, quiet).await;
        false
    }

    /// Watches the folders of the files as they are now, and where links lead to.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let files = self.broker.config_files();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) =
            files.iter().filter_map(|file| file.file_name()).map(ToOwned::to_owned).collect();
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        for folder in self.watched.difference(&folders) {
            if let Err(error) = watcher.unwatch(folder) {
                debug!(folder = %folder.display(), %error, "a folder was not watched any more");
            }
        }
        for folder in folders.difference(&self.watched) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                warn!(folder = %folder.display(), %error, "the configuration is not watched here; SIGHUP loads it again");
            }
        }
        self.watched = folders;
    }
}

/// Whether something happened that may have changed one of the files. Reading one is no change. What is written into another file, a log
/// in the same folder perhaps, concerns nobody; but whatever is made, moved or removed may be a link that leads to one.
fn concerns(event: &notify::Event, names: &Names) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            event.paths.iter().filter_map(|path| path.file_name()).any(|name| names.contains(name))
        }
        _ => true,
    }
}

/// The folder that a file is in by its name, and the one that it is in after all links.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let folder = |file: &Path| match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let real = file.canonicalize().ok();
    std::iter::once(folder(file)).chain(real.as_deref().map(folder)).collect()
}
