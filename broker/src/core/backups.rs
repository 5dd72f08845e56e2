//! The backup that is being made, one at a time, beside everything else, and those that were made before.
//!
//! It goes on whether or not anybody watches, and ends early where the broker stops: a start must not wait for it.

use std::collections::VecDeque;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Broker, BrokerError, Core};
use crate::backup::{self, BackupError, BackupManifest, BackupOptions, Progress};
use crate::panics::contained;
use crate::status::{BackupRequest, BackupState, BackupStatus};

/// So many of them are told, the last ones.
const TOLD_MAX: usize = 16;

/// The backups since the start, the last one first.
#[derive(Default)]
pub(crate) struct Backups(Mutex<VecDeque<Job>>);

struct Job {
    status: BackupStatus,
    progress: Progress,
}

impl Job {
    fn told(&self) -> BackupStatus {
        let (bytes, bytes_done) = self.progress.bytes();
        BackupStatus { bytes, bytes_done, ..self.status.clone() }
    }
}

impl Backups {
    /// What is told of them.
    fn all(&self) -> Vec<BackupStatus> {
        self.lock().iter().map(Job::told).collect()
    }

    /// Notes that one begins, unless one is under way.
    fn begin(&self, status: BackupStatus, progress: Progress) -> Result<(), BackupError> {
        let mut jobs = self.lock();
        if jobs.front().is_some_and(|job| job.status.state == BackupState::Running) {
            return Err(BackupError::Busy);
        }
        jobs.truncate(TOLD_MAX - 1);
        jobs.push_front(Job { status, progress });
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut BackupStatus)) {
        if let Some(job) = self.lock().front_mut() {
            change(&mut job.status);
        }
    }

    /// Has the one that is made end early.
    pub(crate) fn cancel(&self) {
        if let Some(job) = self.lock().front() {
            job.progress.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
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
        self.backups().into_iter().next()
    }

    /// The backups since the start, the last one first, each with its own folder. Of many only the last ones are told.
    #[must_use]
    pub fn backups(&self) -> Vec<BackupStatus> {
        self.core.backups.all()
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
                    let is_others = matches!(
                        error,
                        BackupError::NotEmpty { .. } | BackupError::InsideData { .. }
                    );
                    if is_others {
                        tracing::error!(%dir, %error, "no backup was made, and the folder was left as it is");
                    } else {
                        tracing::error!(%dir, %error, "no backup was made; its folder is of no use");
                    }
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
