//! Looking after the certificate while the broker runs: its files are read again when they change, and its end is told before it comes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::store::Certificates;
use crate::file_watch::FileWatch;

/// How often the files are read where nothing tells that they changed: not every file system does.
const POLL: Duration = Duration::from_secs(30);

/// Keeps the certificate up to date until the broker ends. The files' folders are watched and the files are read now and then all the
/// same.
pub(crate) async fn keep_up(certificates: Weak<Certificates>, mut ended: watch::Receiver<bool>) {
    let mut files = FileWatch::new("the certificate");
    loop {
        let Some(held) = certificates.upgrade() else { return };
        // Before the files are read: a change that comes while they are is seen by the next look.
        files.watch(&held.options().files());
        let looked = tokio::task::spawn_blocking(move || look(&held)).await;
        if let Err(error) = looked {
            tracing::error!(%error, "looking after the certificate failed");
        }
        tokio::select! {
            () = files.changed() => {}
            () = tokio::time::sleep(POLL) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
    }
}

fn look(certificates: &Arc<Certificates>) {
    if let Err(error) = certificates.refresh() {
        // It was logged when it was new.
        tracing::debug!(%error, "waiting for the certificate's files to change again");
    }
    certificates.look_at_expiry();
}
