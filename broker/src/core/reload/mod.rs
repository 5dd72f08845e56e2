//! Reloading the configuration while the broker runs: read, plan, prepare, and only then exchange, whole or not at all.
//!
//! A reload that is refused changes nothing: the last good configuration stays in effect, and the error is kept for [`ConfigStatus`],
//! counted, and answered to whoever asked. One that changes nothing does nothing. Reloads come one after the other.

pub(crate) mod plan;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_wire::{Code, Timestamp};
use metrics::{counter, gauge};

use super::{Broker, BrokerError, Core};
use crate::config::{Config, ConfigErrors, ConfigSource, Loaded};
use crate::metrics::{CONFIG_LOADED, CONFIG_RELOAD_FAILURES, CONFIG_RELOADS};
use crate::rehearsal::{self, TestFailure};
use crate::status::{ConfigFailure, ConfigStatus, ReloadPlan, ReloadReport};
use crate::tls::TlsError;

/// What is kept of the message of a refused reload: a thousand errors tell no more than the first of them.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Why a configuration was not loaded. The one that ran still does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Nobody said where the configuration comes from.
    #[error("the broker does not run from a file, so there is nothing to load again")]
    NoSource,
    /// What is wrong with it, with places.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// It cannot be put into effect.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The certificate that it names cannot be served.
    #[error("{}", .0.message())]
    Tls(#[from] TlsError),
    /// A test that it has does not hold.
    #[error("{} of its tests do not hold:\n{}", .0.len(), lines(.0))]
    Tests(Vec<TestFailure>),
    /// A task of the broker ended in a way that it never should.
    #[error("a task of the broker failed")]
    Task(#[from] tokio::task::JoinError),
}

impl ReloadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoSource => Code::Conflict,
            Self::Config(_) | Self::Tls(_) | Self::Tests(_) => Code::InvalidConfig,
            Self::Broker(error) => error.code(),
            Self::Task(_) => Code::Internal,
        }
    }

    /// Whether the same reload may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The error with what caused it, for people.
    pub(crate) fn message(&self) -> String {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        let end = (0..=MESSAGE_BYTES_MAX.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
        message.truncate(end.unwrap_or_default());
        message
    }
}

fn lines(failures: &[TestFailure]) -> String {
    failures.iter().map(TestFailure::to_string).collect::<Vec<_>>().join("\n")
}

/// What is known of the configurations of this broker.
pub(crate) struct Reloads {
    source: Option<Arc<dyn ConfigSource>>,
    state: Mutex<State>,
}

struct State {
    /// The last good configuration as it was written: what waits for a restart included.
    declared: Arc<Config>,
    files: Vec<PathBuf>,
    status: ConfigStatus,
}

impl Reloads {
    pub(super) fn new(config: Arc<Config>, source: Option<Arc<dyn ConfigSource>>, now: Timestamp) -> Self {
        let origin = source.as_ref().map(|source| source.origin()).unwrap_or_default();
        let status = ConfigStatus {
            file: origin.files.first().map(|file| file.display().to_string()),
            hash: origin.hash,
            loaded_at: now,
            reloads: 0,
            failures: 0,
            last_error: None,
            needs_restart: Vec::new(),
            tls: None,
        };
        let state = State { declared: config, files: origin.files, status };
        counter!(CONFIG_RELOADS).absolute(0);
        counter!(CONFIG_RELOAD_FAILURES).absolute(0);
        gauge!(CONFIG_LOADED).set(now.0 as f64 / 1000.0);
        Self { source, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what came of a reload.
    fn note(&self, now: Timestamp, outcome: &Result<ReloadReport, ReloadError>) {
        match outcome {
            Ok(report) if report.plan.is_empty() => tracing::info!("the configuration is unchanged"),
            Ok(report) => {
                counter!(CONFIG_RELOADS).increment(1);
                gauge!(CONFIG_LOADED).set(now.0 as f64 / 1000.0);
                let changes = report.plan.changes.len();
                let needs_restart = report.plan.needs_restart().join(", ");
                tracing::info!(changes, needs_restart, "configuration reloaded");
            }
            Err(error) => {
                let message = error.message();
                counter!(CONFIG_RELOAD_FAILURES).increment(1);
                tracing::error!(code = %error.code(), "the configuration was not reloaded, the last good one stays\n{message}");
                let mut state = self.lock();
                state.status.failures += 1;
                state.status.last_error = Some(ConfigFailure { at: now, message });
            }
        }
    }
}

impl Broker {
    /// Goes on under another configuration. What cannot change while the broker runs is told in the report and left as it is until the next
    /// start; everything else takes effect at once. It goes on if the caller does not wait for its end.
    ///
    /// # Errors
    /// Where a trigger, target, pattern or topic of it cannot be made. Nothing has changed then.
    pub async fn reload(&self, config: Config) -> Result<ReloadReport, ReloadError> {
        let core = Arc::clone(&self.core);
        let loaded = Loaded { config, hash: None, files: Vec::new() };
        tokio::spawn(async move {
            let outcome = core.exchange(loaded).await;
            core.reloads.note(core.clock.now(), &outcome);
            outcome
        })
        .await?
    }

    /// Reads the configuration again from where it came from, and goes on under it.
    ///
    /// # Errors
    /// As [`Broker::reload`], and where it cannot be read or something is wrong with it.
    pub async fn reload_again(&self) -> Result<ReloadReport, ReloadError> {
        let core = Arc::clone(&self.core);
        tokio::spawn(async move {
            let outcome = match core.read_source().await {
                Ok(loaded) => core.exchange(loaded).await,
                Err(error) => Err(error),
            };
            core.reloads.note(core.clock.now(), &outcome);
            outcome
        })
        .await?
    }

    /// The same, but only where the text is not the one that was read last: for whoever watches the files. A secret in a file of its own is no
    /// part of the text.
    ///
    /// # Errors
    /// As [`Broker::reload_again`]. Where there is nothing to read there is no change.
    pub async fn reload_if_changed(&self) -> Result<Option<ReloadReport>, ReloadError> {
        if self.core.reloads.source.is_none() {
            return Ok(None);
        }
        let seen = {
            let state = self.core.reloads.lock();
            state.status.hash.clone().filter(|_| state.status.last_error.is_none())
        };
        if let Ok(loaded) = self.core.read_source().await
            && loaded.hash.is_some()
            && loaded.hash == seen
        {
            return Ok(None);
        }
        self.reload_again().await.map(Some)
    }

    /// What a reload with this configuration would change.
    #[must_use]
    pub fn plan_reload(&self, config: &Config) -> ReloadPlan {
        let core = &self.core;
        let mut plan = plan::plan(&core.reloads.lock().declared.clone(), config, &|topic, trigger| {
            core.has_past(topic, trigger)
        });
        plan.changes.sort_by(|a, b| (a.part, &a.name).cmp(&(b.part, &b.name)));
        plan
    }

    /// What a reload would change now.
    ///
    /// # Errors
    /// Where the configuration cannot be read or something is wrong with it.
    pub async fn plan_reload_again(&self) -> Result<ReloadPlan, ReloadError> {
        let loaded = self.core.read_source().await?;
        Ok(self.plan_reload(&loaded.config))
    }

    /// What the broker runs with.
    #[must_use]
    pub fn config_status(&self) -> ConfigStatus {
        let status = self.core.reloads.lock().status.clone();
        ConfigStatus { tls: self.certificates().map(|certificates| certificates.status()), ..status }
    }

    /// The files that the configuration was read from, the first one first.
    #[must_use]
    pub fn config_files(&self) -> Vec<PathBuf> {
        self.core.reloads.lock().files.clone()
    }
}

impl Core {
    async fn read_source(&self) -> Result<Loaded, ReloadError> {
        let source = self.reloads.source.clone().ok_or(ReloadError::NoSource)?;
        Ok(tokio::task::spawn_blocking(move || source.load()).await??)
    }

    /// Puts a configuration that was read into effect.
    async fn exchange(self: &Arc<Self>, loaded: Loaded) -> Result<ReloadReport, ReloadError> {
        let _changing = self.changing.lock().await;
        if self.stopping.load(Ordering::Acquire) {
            return Err(BrokerError::ShuttingDown.into());
        }
        let Loaded { config, hash, files } = loaded;
        let plan = Broker { core: Arc::clone(self) }.plan_reload(&config);
        let running = self.config();
        let failures = rehearsal::failures(&config)?;
        if !failures.is_empty() {
            return Err(ReloadError::Tests(failures));
        }
        let certificates = self.prepare_certificates(&config).await?;
        if !plan.is_empty() {
            // Everything that may refuse it stands before `install`.
            let prepared = self.prepare(Arc::new(plan::in_effect(&running, &config))).await?;
            self.install(prepared).await;
            if let Err(error) = self.letters.catch_up(self).await {
                tracing::warn!(%error, "dead letters of a topic that is new here are listed only after a restart");
            }
        }
        self.renew_certificates(certificates).await;
        let needs_restart = plan::plan(&self.config(), &config, &|_, _| false).needs_restart();
        let at = self.clock.now();
        let mut state = self.reloads.lock();
        state.declared = Arc::new(config);
        if !files.is_empty() {
            state.files = files;
        }
        state.status.hash = hash.or_else(|| state.status.hash.take());
        state.status.last_error = None;
        state.status.needs_restart = needs_restart;
        if !plan.is_empty() {
            state.status.reloads += 1;
            state.status.loaded_at = at;
        }
        drop(state);
        Ok(ReloadReport { at, plan })
    }
}
