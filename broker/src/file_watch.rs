//! Hearing that files have changed.
//!
//! The folders are watched and not the files: an editor writes another file and renames it, and Kubernetes exchanges a link to a folder.
//! What happens in a folder is waited out, so that a file that is written in parts is read once. That something happened is no promise
//! that a file is another one: whoever hears it looks.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// How long nothing must have happened before the files are read.
const QUIET: Duration = Duration::from_millis(200);
/// How long that is waited for: a folder may never be quiet.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// The names of the files, as the watcher's thread needs them.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// Watches some files.
pub(crate) struct FileWatch {
    /// What they are, for the log.
    what: &'static str,
    /// Rung by the watcher; one place is enough, since what happened is looked up.
    rung: mpsc::Receiver<()>,
    /// Where there is no watcher nobody rings, and the receiver still must not end.
    ringer: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    names: Names,
}

impl FileWatch {
    /// Watches nothing yet. Where the system cannot watch files that is logged, and nothing is ever heard.
    pub(crate) fn new(what: &'static str) -> Self {
        let mut watch = Self::deaf(what);
        let (names, ringer) = (Arc::clone(&watch.names), watch.ringer.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &names)) {
                // Where there is no place it was rung already.
                let _rung = ringer.try_send(());
            }
        });
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => warn!(what, %error, "files are not watched"),
        }
        watch
    }

    /// Hears nothing, ever.
    pub(crate) fn deaf(what: &'static str) -> Self {
        let (ringer, rung) = mpsc::channel(1);
        Self { what, rung, ringer, watcher: None, watched: BTreeSet::new(), names: Names::default() }
    }

    /// Watches the folders of these files and no others, as they are now, and where links lead to.
    pub(crate) fn watch(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
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
                warn!(what = self.what, folder = %folder.display(), %error, "a folder is not watched");
            }
        }
        self.watched = folders;
    }

    /// Returns when something has happened, and then nothing for a moment. Whoever drops it before looks by himself.
    pub(crate) async fn changed(&mut self) {
        if self.rung.recv().await.is_none() {
            // The sender lives in `self`.
            return std::future::pending().await;
        }
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.rung.recv()).await {} };
        // Whether it became quiet or not, it is time.
        let _waited = tokio::time::timeout(QUIET_MAX, quiet).await;
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
