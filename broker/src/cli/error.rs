//! Why a command failed: the cause, and the next step for whoever reads it.

use std::io;
use std::path::PathBuf;

use eventail_storage::OpenError;
use eventail_storage::disk::RepairError;
use eventail_storage::power_cut::Loss;
use eventail_triggers::http::VerifyError;
use eventail_triggers::pattern::{EventTextError, PatternError};
use eventail_wire::cloudevents::CloudEventError;
use eventail_wire::{Code, ScheduleName};

use metrics_exporter_prometheus::BuildError;

use super::exit::Exit;
use super::run_function::RuntimeApiError;
use super::screen::{Paint, Screen};
use crate::auth::{Exposed, TokensError, TokensFileError};
use crate::backup::BackupError;
use crate::config::ConfigErrors;
use crate::http::HttpError;
use crate::quic::QuicError;
use crate::{BrokerError, TlsError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The patterns and inputs of a configuration cannot be compiled.
    #[error("what the configuration does cannot be told: {source}")]
    Rehearsal {
        /// Why not.
        source: BrokerError,
    },
    /// The broker runs from no file that can be read here.
    #[error("the broker runs from no file that can be read on this machine")]
    NoRunningFile,
    /// No connection.
    #[error("the broker at {url} cannot be reached: {source}")]
    Unreachable {
        /// Where.
        url: String,
        /// The system's word.
        source: io::Error,
    },
    /// A connection that comes to no TLS.
    #[error("there is no TLS with the broker at {url}: {source}")]
    Handshake {
        /// Where.
        url: String,
        /// rustls' word.
        source: io::Error,
    },
    /// What https:// needs cannot be used.
    #[error("{}", source.message())]
    ClientTls {
        /// Why not.
        source: TlsError,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{given} needs {missing}")]
    HalfAPair {
        /// What was given.
        given: &'static str,
        /// What was not.
        missing: &'static str,
    },
    /// A host that no certificate can be for.
    #[error("{host:?} is no host that a certificate can be for")]
    ServerName {
        /// The host.
        host: String,
    },
    /// Certificates cannot be made.
    #[error("no certificates can be made: {source}")]
    MakeCertificates {
        /// Why not.
        source: rcgen::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the connection to the broker at {url} broke: {}", chain(source))]
    Broken {
        /// Where.
        url: String,
        /// hyper's word.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("the broker at {url} did not answer within {seconds} s")]
    Timeout {
        /// Where.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A request cannot be built from what was given.
    #[error("this makes no request: {source}")]
    Request {
        /// Why not.
        source: http::Error,
    },
    /// The broker said no.
    #[error("{detail} [{code}]")]
    Refused {
        /// Its stable code.
        code: Code,
        /// What it said.
        detail: String,
    },
    /// Something answered that is no broker, or a newer one.
    #[error("what answers at {url} is no broker that this command understands: {source}")]
    Answer {
        /// Where.
        url: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// Something answered with a status and no problem document.
    #[error("what answers at {url} said {status}, and not as a broker does")]
    Status {
        /// Where.
        url: String,
        /// What it said.
        status: u16,
    },
    /// A file or standard input cannot be read.
    #[error("{name} cannot be read: {source}")]
    Input {
        /// Which.
        name: String,
        /// The system's word.
        source: io::Error,
    },
    /// A line of the input is not what it must be.
    #[error("line {line} of {name}: {problem}")]
    Line {
        /// Where.
        name: String,
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// The input is not an event and no type was given to make it one.
    #[error("{name} is no CloudEvent in JSON")]
    NotAnEvent {
        /// Which.
        name: String,
    },
    /// Publishing stopped on the way.
    #[error("{source}")]
    Stopped {
        /// How many were published before.
        published: u64,
        /// The lines of the batch that was refused.
        lines: (u64, u64),
        /// Why.
        source: Box<CliError>,
    },
    /// An event that the broker returned is none.
    #[error("the event at offset {offset} cannot be read: {source}")]
    Event {
        /// Where.
        offset: u64,
        /// Why.
        source: CloudEventError,
    },
    /// The answer cannot be printed.
    #[error("the output cannot be written: {source}")]
    Output {
        /// The system's word.
        #[from]
        source: io::Error,
    },
    /// The broker does not open.
    #[error("the broker cannot open its data in {}: {}", data_dir.display(), chain(source))]
    Open {
        /// Its folder.
        data_dir: PathBuf,
        /// Why.
        source: Box<BrokerError>,
    },
    /// A schedule that a configuration does not have.
    #[error("there is no schedule `{schedule}` in {}", file.display())]
    NoSchedule {
        /// What was asked for.
        schedule: ScheduleName,
        /// Where it was looked for.
        file: PathBuf,
    },
    /// There is nothing to check.
    #[error("{} is no data folder of a broker: it has no logs", dir.display())]
    NoData {
        /// What was named.
        dir: PathBuf,
    },
    /// The logs cannot be checked.
    #[error("the logs in {} cannot be checked: {}", dir.display(), chain(source))]
    Check {
        /// The data folder.
        dir: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// A backup cannot be made, verified or restored.
    #[error("{}", chain(source))]
    Backup {
        /// Why.
        source: BackupError,
    },
    /// The broker was started again while it made the backup.
    #[error("the broker knows nothing of the backup in {} any more", dir.display())]
    BackupGone {
        /// Where it was to go.
        dir: PathBuf,
    },
    /// Strangers could use the broker.
    #[error("the broker does not start: {source}")]
    Exposed {
        /// How.
        source: Exposed,
    },
    /// The file of the tokens cannot be used.
    #[error("{}", chain(source))]
    Tokens {
        /// Why.
        #[from]
        source: TokensFileError,
    },
    /// The certificate of the listeners cannot be served.
    #[error("the certificate of the listeners cannot be served: {}", source.message())]
    Certificate {
        /// Why.
        source: TlsError,
    },
    /// The logs cannot be repaired.
    #[error("the logs in {} cannot be repaired: {}", dir.display(), chain(source))]
    Repair {
        /// The data folder.
        dir: PathBuf,
        /// Why not.
        source: RepairError,
    },
    /// A folder cannot be tortured.
    #[error("{} cannot be used: {source}", dir.display())]
    Torture {
        /// The folder.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A folder that is somebody's is not tortured.
    #[error("{} has files that are not of `eventail torture`", dir.display())]
    TortureFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// What appends under torture met a loss.
    #[error("{source}")]
    TortureLoss {
        /// Which.
        source: Box<Loss>,
    },
    /// The HTTP listener cannot be.
    #[error("the HTTP listener does not start: {}", chain(source))]
    Http {
        /// Why.
        source: HttpError,
    },
    /// The QUIC listener cannot be.
    #[error("the QUIC listener does not start: {}", chain(source))]
    Quic {
        /// Why.
        source: QuicError,
    },
    /// The broker did not stop in order.
    #[error("the broker did not stop in order: {}", chain(source))]
    Stop {
        /// Why.
        source: BrokerError,
    },
    /// The quickstart did not go as it should.
    #[error("the quickstart did not go as it should: {what}")]
    Quickstart {
        /// What was not right.
        what: &'static str,
    },
    /// Metrics cannot be gathered.
    #[error("metrics cannot be gathered: {source}")]
    Metrics {
        /// Why.
        source: BuildError,
    },
    /// No calls can be taken for a function.
    #[error("no calls can be taken: {source}")]
    RuntimeApi {
        /// Why.
        #[from]
        source: RuntimeApiError,
    },
    /// A pattern that is none.
    #[error("{source}")]
    Pattern {
        /// What is wrong with it, and what would be right.
        source: PatternError,
    },
    /// A text that should be an event and is no JSON object.
    #[error("{source}")]
    EventText {
        /// What is wrong with it.
        source: EventTextError,
    },
    /// A JSON object that should be a CloudEvent.
    #[error("the event has `specversion` and is no CloudEvent: {source}")]
    CloudEvent {
        /// What is wrong with it.
        source: CloudEventError,
    },
    /// Two things from one standard input.
    #[error("standard input can be the pattern or the event, not both")]
    SecondStdin,
    /// A trigger that a configuration does not have.
    #[error("the configuration has no trigger {name:?}")]
    NoTrigger {
        /// Which.
        name: String,
    },
    /// A key for signed requests that is none.
    #[error("{source}")]
    WebhookKey {
        /// What is wrong with it.
        source: VerifyError,
    },
    /// The process cannot do what it needs.
    #[error("the process cannot start: {source}")]
    Runtime {
        /// The system's word.
        source: io::Error,
    },
}

/// What is wrong with a line of NDJSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Json(serde_json::Error),
    /// It is JSON but no CloudEvent.
    #[error("it is no CloudEvent, it has no `specversion`")]
    NotAnEvent,
}

impl CliError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. }
            | Self::Handshake { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. } => Exit::Unreachable,
            Self::Refused { code, .. } if is_absence(*code) => Exit::Negative,
            Self::Refused { .. } | Self::Answer { .. } | Self::Status { .. } => Exit::Refused,
            Self::Stopped { source, .. } => source.exit(),
            // Whoever closed the pipe has seen enough.
            Self::Output { source } if source.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::RuntimeApi { source: RuntimeApiError::Unreachable { .. } | RuntimeApiError::Broken(_) } => {
                Exit::Unreachable
            }
            Self::RuntimeApi { source: RuntimeApiError::Status(_) } => Exit::Refused,
            Self::Request { .. }
            | Self::RuntimeApi { .. }
            | Self::HalfAPair { .. }
            | Self::ServerName { .. } => Exit::Usage,
            _ => Exit::Negative,
        }
    }

    /// What to do next, where that can be told.
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "start one with `eventail serve`, or name another with --url or EVENTAIL_URL".to_owned()
            }
            Self::Exposed { source } => source.help().to_owned(),
            Self::Tokens { source: TokensFileError::Tokens { source: TokensError::Unknown { .. }, .. } } => {
                "`eventail tokens` lists those that exist".to_owned()
            }
            Self::Refused { code: Code::Unauthenticated, .. } => {
                "set EVENTAIL_TOKEN, or name a file with the token: --token-file FILE".to_owned()
            }
            Self::NoRunningFile => "name the configuration to compare with: --against FILE".to_owned(),
            Self::Handshake { source, .. } => return handshake_help(source),
            Self::Broken { source, .. } if chain(source).contains("CertificateRequired") => {
                "it asks for a certificate: show one with --client-cert and --client-key".to_owned()
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "nothing is overwritten: remove what is there, or choose another folder".to_owned()
            }
            Self::Broken { .. } => "ask again; the broker may have been stopped or restarted".to_owned(),
            Self::Answer { .. } | Self::Status { .. } => "is it the HTTP address of a broker?".to_owned(),
            Self::Refused { code: Code::UnknownTopic, .. } => {
                "`eventail topics` lists those that exist".to_owned()
            }
            Self::Refused { code: Code::UnknownTrigger, .. } => {
                "`eventail triggers` lists those that exist".to_owned()
            }
            Self::Refused { code: Code::UnknownReplay, .. } => {
                "`eventail replays` lists those that are known".to_owned()
            }
            Self::Refused { code: Code::UnknownSchedule, .. } => {
                "`eventail schedules` lists those that exist".to_owned()
            }
            Self::Refused { code, .. } if code.is_retryable() => "the same may succeed later".to_owned(),
            Self::NotAnEvent { .. } | Self::Line { problem: LineProblem::NotAnEvent, .. } => {
                "give --type to publish it as the data of an event".to_owned()
            }
            Self::Stopped { published, lines: (first, last), .. } => {
                format!("{published} events were published before; nothing of lines {first} to {last} was")
            }
            Self::TortureFolder { .. } => "name an empty folder, or one that is not there yet".to_owned(),
            Self::Http { source } if source.is_retryable() => {
                "another process listens there; stop it, or choose another address with --http".to_owned()
            }
            Self::Quic { source } if source.is_retryable() => {
                "another process listens there; stop it, or choose another address with --quic".to_owned()
            }
            Self::RuntimeApi { source: RuntimeApiError::NoAddress } => {
                "let a broker start it: make it the `command` of a function in its configuration".to_owned()
            }
            _ => return self.help_with_folders().map(str::to_owned),
        })
    }

    /// What to do about folders that cannot be used.
    fn help_with_folders(&self) -> Option<&'static str> {
        Some(match self {
            Self::Open { source, .. } if matches!(**source, BrokerError::Open(OpenError::Locked { .. })) => {
                "another broker runs on it; stop that one, or choose another folder with --data-dir"
            }
            Self::Backup { source: BackupError::Storage(OpenError::Locked { .. }) } => {
                "a broker runs on it; let that one make the backup, with --url and without --config"
            }
            Self::Backup { source: BackupError::NotEmpty { .. } } => "name a folder that does not exist yet",
            Self::Backup { source: BackupError::DataThere { .. } } => {
                "move what is there away, or name another folder with --data-dir"
            }
            Self::BackupGone { .. } => {
                "it was restarted; the folder is a backup only if it has a manifest.json"
            }
            Self::Check { source: OpenError::Locked { .. }, .. }
            | Self::Repair { source: RepairError::Open(OpenError::Locked { .. }), .. } => {
                "stop the broker that runs on it"
            }
            _ => return None,
        })
    }

    /// Says it on a screen.
    pub(super) fn print(&self, screen: &mut Screen) -> Result<(), Self> {
        if self.exit() == Exit::Done {
            return Ok(());
        }
        if let Self::Config(errors) = self {
            let colours = screen.colours();
            return screen.raw(&errors.render(colours));
        }
        let title = screen.paint(Paint::Failure, "error");
        screen.line(&format!("{title}: {}", super::screen::visible(&self.to_string())))?;
        match self.help() {
            Some(help) => screen.line(&format!("  next: {help}")),
            None => Ok(()),
        }
    }
}

/// What to do about a handshake that failed.
fn handshake_help(error: &io::Error) -> Option<String> {
    let tls = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>())?;
    Some(match tls {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "trust the authority of its certificate: --ca-file, or EVENTAIL_CA_FILE".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "it may speak plain HTTP: try http://".to_owned(),
        rustls::Error::AlertReceived(_) => {
            "it refuses this client: --client-cert and --client-key show a certificate".to_owned()
        }
        _ => return None,
    })
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors tell their cause themselves.
        if !told.contains(&next) {
            told = format!("{told}: {next}");
        }
        cause = error.source();
    }
    told
}

/// Whether a code says that something is not there.
fn is_absence(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound
            | Code::UnknownTopic
            | Code::UnknownTrigger
            | Code::UnknownReplay
            | Code::UnknownSchedule
            | Code::UnknownEvent
            | Code::OffsetTrimmed
    )
}
