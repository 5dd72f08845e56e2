//! The backup that is being made, one at a time, beside everything else.
//!
//! It goes on whether or not anybody watches, and ends early where the broker stops: a start must not wait for it.

use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Broker, BrokerError, Core};
use crate::backup::{self, BackupError, BackupManifest, BackupOptions, Progress};
use crate::panics::contained;
use crate::status::{BackupRequest, BackupState, BackupStatus};

/// The backup that is made, or was made last.
#[derive(Default)]
pub(crate) struct Backups(Mutex<Option<Job>>);

struct Job {
    status: BackupStatus,
    progress: Progress,
}

impl Backups {
    /// What is told of it.
    pub(crate) fn status(&self) -> Option<BackupStatus> {
        let jobs = self.lock();
        let job = jobs.as_ref()?;
        let (bytes, bytes_done) = job.progress.bytes();
        Some(BackupStatus { bytes, bytes_done, ..job.status.clone() })
    }

    /// Notes that one begins, unless one is under way.
    fn begin(&self, status: BackupStatus, progress: Progress) -> Result<(), BackupError> {
        let mut jobs = self.lock();
        if jobs.as_ref().is_some_and(|job| job.status.state == BackupState::Running) {
            return Err(BackupError::Busy);
        }
        *jobs = Some(Job { status, progress });
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut BackupStatus)) {
        if let Some(job) = &mut *self.lock() {
            change(&mut job.status);
        }
    }

    /// Has the one that is made end early.
    pub(crate) fn cancel(&self) {
        if let Some(job) = &*self.lock() {
            job.progress.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Begins a backup; [`Broker::backup`] tells how it goes.
    ///
    /// # Errors
    /// Where one is being made, the path is not absolute or lies in the data folder, or the broker stops.
    pub fn start_backup(&self, request: &BackupRequest) -> Result<BackupStatus, BrokerError> {
        let core = &self.core;
        if *core.stop.borrow() {
            return Err(BrokerError::ShuttingDown);
        }
        let dir = request.dir.clone();
        // Without knowing what the dots lead to it cannot be told where the folder lies.
        if !dir.is_absolute() || dir.components().any(|part| part == Component::ParentDir) {
            return Err(BackupError::Relative { dir }.into());
        }
        let status = BackupStatus {
            dir,
            state: BackupState::Running,
            started_at: core.clock.now(),
            ended_at: None,
            moment: None,
            logs: 0,
            bytes: 0,
            bytes_done: 0,
            damaged: 0,
            code: None,
            error: None,
        };
        let progress = Progress::default();
        core.backups.begin(status.clone(), progress.clone())?;
        tracing::info!(dir = %request.dir.display(), "backup begun");
        let options = BackupOptions { copies: request.copies, secrets: request.secrets };
        let (job, dir) = (Arc::clone(core), request.dir.clone());
        core.tasks.spawn_below("backup", async move {
            let made = contained(job.make_backup(dir, options, progress)).await;
            job.end_backup(made.unwrap_or_else(|panicked| Err(panicked.into())));
        });
        Ok(status)
    }

    /// The backup that is being made, or was made last since the start.
    #[must_use]
    pub fn backup(&self) -> Option<BackupStatus> {
        self.core.backups.status()
    }
}

impl Core {
    async fn make_backup(
        self: &Arc<Self>,
        dir: std::path::PathBuf,
        options: BackupOptions,
        progress: Progress,
    ) -> Result<BackupManifest, BackupError> {
        let core = Arc::clone(self);
        let making = move || {
            let data_dir = absolute(&core.config().data_dir)?;
            let at = core.clock.now();
            let moment = core.store.moment()?;
            core.backups.change(|status| {
                (status.moment, status.logs) = (Some(at), moment.logs.len() as u64);
            });
            let disk = Arc::clone(core.store.disk());
            backup::make(&*disk, &data_dir, &dir, &moment, at, options, &progress)
        };
        tokio::task::spawn_blocking(making).await?
    }

    fn end_backup(&self, made: Result<BackupManifest, BackupError>) {
        let now = self.clock.now();
        self.backups.change(|status| {
            status.ended_at = Some(now);
            let dir = status.dir.display();
            match made {
                Ok(manifest) => {
                    status.state = BackupState::Complete;
                    status.damaged = manifest.damaged() as u64;
                    let took_ms = now.since_ms(status.started_at);
                    tracing::info!(%dir, logs = manifest.logs.len(), bytes = manifest.bytes(), took_ms, damaged = status.damaged, "backup complete");
                }
                Err(error) => {
                    tracing::error!(%dir, %error, "no backup was made; its folder is of no use");
                    (status.state, status.code) = (BackupState::Failed, Some(error.code()));
                    status.error = Some(error.to_string());
                }
            }
        });
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, BackupError> {
    std::path::absolute(path).map_err(|source| BackupError::File { path: path.to_owned(), source })
}
