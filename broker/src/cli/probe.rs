//! What a configuration needs of the world around it, tried out: the certificate, targets, credentials, programs and the data folder. Nothing is
//! sent to a target and nothing is called; a folder that a broker uses is left alone.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventail_storage::OpenError;
use eventail_storage::disk::try_writing;
use eventail_storage::disk_io::Disk;
use eventail_triggers::function::{FunctionOptions, StartError};
use eventail_triggers::http::{ConnectError, Egress, HttpTarget, HttpTargetError, HttpTargetOptions};
use eventail_triggers::lambda::{LambdaTarget, LambdaTargetError, LambdaTargetOptions, SigningError};
use eventail_wire::Timestamp;
use rustix::fs::{Access, access};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::chain;
use super::storage::LOGS;
use crate::TlsError;
use crate::clock::SystemClock;
use crate::config::{Config, TargetOptions, TlsOptions};

/// How long a target's host may take to be found and to take a connection.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long credentials may take: the metadata service of an instance is tried several times.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the disk may take.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);
/// Probes at once.
const PARALLEL_MAX: usize = 64;

/// One thing that was tried.
#[derive(Debug)]
pub(super) struct Probe {
    /// What needs it, such as `trigger ship`.
    pub(super) subject: String,
    /// What was tried, such as `http api.example.com`.
    pub(super) what: String,
    /// What was found.
    pub(super) outcome: Result<String, ProbeError>,
}

/// Why something will not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Http(#[from] HttpTargetError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Lambda(#[from] LambdaTargetError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error("no answer within {} s", within.as_secs())]
    Slow { within: Duration },
    #[error("the program `{program}` is in no folder of PATH")]
    NotInPath { program: String },
    #[error("the program {} cannot be run: {source}", path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("the working directory {} cannot be used: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{}", chain(source))]
    Account { source: StartError },
    #[error("the data folder cannot be written: {}", chain(source))]
    Data { source: OpenError },
    #[error("{}", .0.message())]
    Certificate(#[from] TlsError),
    #[error("the probe was cut off")]
    Lost,
}

impl ProbeError {
    /// The cause in one line.
    pub(super) fn text(&self) -> String {
        chain(self)
    }

    /// What to do about it.
    pub(super) const fn next(&self) -> &'static str {
        match self {
            Self::Http(_) | Self::Lambda(_) => "correct the target",
            Self::Connect(ConnectError::Resolve { .. } | ConnectError::NoAddress { .. }) => {
                "check the host in the target's `url`, and this machine's DNS"
            }
            Self::Connect(ConnectError::Forbidden { .. }) => {
                "add its network to `egress.allow`, or name another host"
            }
            Self::Connect(ConnectError::ForbiddenPort { .. }) => {
                "add its port to `egress.ports`, or name another in the target's `url`"
            }
            Self::Connect(_) => "start the target, open the way to it, or correct its `url`",
            Self::Signing(SigningError::NoRegion) => "name a `region` in the target, or set AWS_REGION",
            Self::Signing(_) => {
                "set AWS credentials in the broker's environment, or name a `profile` that has some"
            }
            Self::NotInPath { .. } => "install it, or write its whole path in `command`",
            Self::Program { .. } => "correct `command`, or make the file executable",
            Self::Directory { .. } => "make the folder, or correct `directory`",
            Self::Account { .. } => {
                "correct `user` and `group`, make the user, or start the broker as one that may become it"
            }
            Self::Data { .. } => {
                "give the broker's user the right to write there, or name another `data_dir`"
            }
            Self::Certificate(TlsError::Expired { .. }) => "have another one made",
            Self::Certificate(_) => "correct the files that `listen.tls` names",
            Self::Slow { .. } | Self::Lost => "try again",
        }
    }
}

/// Tries everything, in parallel; what was found comes in the order of the configuration.
pub(super) async fn all(
    config: &Config,
    disk: Arc<dyn Disk>,
    now: Timestamp,
    path: Option<OsString>,
) -> Vec<Probe> {
    let egress = config.egress();
    let turns = Arc::new(Semaphore::new(PARALLEL_MAX));
    let mut probes = JoinSet::new();
    let mut subjects = Vec::new();
    let mut add = |subject: String, what: String, probe: Trial| {
        let (index, turns) = (subjects.len(), Arc::clone(&turns));
        subjects.push((subject, what));
        probes.spawn(async move {
            let _turn = turns.acquire_owned().await;
            (index, probe.run(now).await)
        });
    };
    let data_dir = config.data_dir.clone();
    add("data".to_owned(), data_dir.display().to_string(), Trial::Data { disk, data_dir });
    if let Some(tls) = &config.tls {
        let what = tls.certificate.display().to_string();
        add("certificate".to_owned(), what, Trial::Certificate(Box::new(tls.clone())));
    }
    for (name, trigger) in &config.triggers {
        let (what, trial) = match &trigger.target {
            TargetOptions::Http(options) => {
                let what = format!("connect to {}", options.url.authority().map_or("", |host| host.as_str()));
                (what, Trial::Http(Box::new(options.clone()), egress.clone()))
            }
            TargetOptions::Lambda(options) => {
                ("AWS credentials".to_owned(), Trial::Lambda(Box::new(options.clone()), egress.clone()))
            }
            TargetOptions::Function(_) | TargetOptions::Topic(_) | TargetOptions::Handler(_) => continue,
        };
        add(format!("trigger {name}"), what, trial);
    }
    for (name, function) in &config.functions {
        let program = function.command.first().map_or("", String::as_str);
        let trial = Trial::Function(Box::new(function.clone()), path.clone());
        add(format!("function {name}"), format!("program {program}"), trial);
    }
    let mut outcomes: Vec<Result<String, ProbeError>> =
        subjects.iter().map(|_| Err(ProbeError::Lost)).collect();
    while let Some(ended) = probes.join_next().await {
        if let Ok((index, outcome)) = ended {
            outcomes[index] = outcome;
        }
    }
    let found = subjects.into_iter().zip(outcomes);
    found.map(|((subject, what), outcome)| Probe { subject, what, outcome }).collect()
}

/// Something to try.
enum Trial {
    Data { disk: Arc<dyn Disk>, data_dir: PathBuf },
    Certificate(Box<TlsOptions>),
    Http(Box<HttpTargetOptions>, Egress),
    Lambda(Box<LambdaTargetOptions>, Egress),
    Function(Box<FunctionOptions>, Option<OsString>),
}

impl Trial {
    async fn run(self, now: Timestamp) -> Result<String, ProbeError> {
        match self {
            Self::Data { disk, data_dir } => blocking(move || data_folder(&*disk, &data_dir)).await,
            Self::Certificate(options) => {
                blocking(move || {
                    let end = crate::tls::try_out(*options, Arc::new(SystemClock), now)?;
                    Ok(format!("it fits its key, and ends at {end}"))
                })
                .await
            }
            Self::Http(options, egress) => {
                let address: SocketAddr = HttpTarget::new(*options, egress)?.reach(REACH_TIMEOUT).await?;
                Ok(format!("connected to {address}"))
            }
            Self::Lambda(options, egress) => {
                let target = LambdaTarget::new(*options, egress)?;
                let within = CREDENTIALS_TIMEOUT;
                let found = tokio::time::timeout(within, target.check_signing(now)).await;
                found.map_err(|_| ProbeError::Slow { within })??;
                Ok("credentials and region found".to_owned())
            }
            Self::Function(options, path) => blocking(move || function(&options, path.as_deref())).await,
        }
    }
}

async fn blocking(
    probe: impl FnOnce() -> Result<String, ProbeError> + Send + 'static,
) -> Result<String, ProbeError> {
    let within = DISK_TIMEOUT;
    match tokio::time::timeout(within, tokio::task::spawn_blocking(probe)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(ProbeError::Lost),
        Err(_) => Err(ProbeError::Slow { within }),
    }
}

/// Writes, syncs and removes a file where the logs are, those of dead letters among them; or in the folder that they will be in.
fn data_folder(disk: &dyn Disk, data_dir: &Path) -> Result<String, ProbeError> {
    let logs = data_dir.join(LOGS);
    let there = logs.ancestors().map(|dir| if dir == Path::new("") { Path::new(".") } else { dir });
    let there = there.into_iter().find(|dir| dir.exists()).unwrap_or(&logs);
    match try_writing(disk, there, there == logs) {
        Ok(()) if there == logs => Ok("it can be written".to_owned()),
        Ok(()) => Ok(format!("it is not there yet, and can be made in {}", there.display())),
        Err(OpenError::Locked { .. }) => Ok("a broker uses it; it was left alone".to_owned()),
        Err(source) => Err(ProbeError::Data { source }),
    }
}

/// Looks for what a function runs, and where.
fn function(options: &FunctionOptions, path: Option<&OsStr>) -> Result<String, ProbeError> {
    let directory = options.directory.as_deref();
    if let Some(path) = directory {
        let usable = std::fs::metadata(path).and_then(|found| {
            let is_folder = if found.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
            is_folder.and_then(|()| access(path, Access::EXEC_OK).map_err(io::Error::from))
        });
        usable.map_err(|source| ProbeError::Directory { path: path.to_owned(), source })?;
    }
    options.check_account().map_err(|source| ProbeError::Account { source })?;
    let program = options.command.first().map_or("", String::as_str);
    if program.contains('/') {
        let path = directory.map_or_else(|| PathBuf::from(program), |directory| directory.join(program));
        executable(&path).map_err(|source| ProbeError::Program { path: path.clone(), source })?;
        return Ok(format!("found {}", path.display()));
    }
    let own = options.environment.iter().find(|(name, _)| name == "PATH");
    let path = own.map(|(_, value)| OsString::from(value.expose())).or_else(|| path.map(OsStr::to_owned));
    let folders = path.unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| executable(path).is_ok());
    let found = found.ok_or_else(|| ProbeError::NotInPath { program: program.to_owned() })?;
    Ok(format!("found {}", found.display()))
}

fn executable(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    access(path, Access::EXEC_OK).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
