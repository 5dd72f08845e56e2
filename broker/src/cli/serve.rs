//! `eventail serve`: a broker until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tracing::info;

use super::error::CliError;
use super::exit::Exit;
use super::logging::{self, LogFormat, LogLevel};
use super::screen::{Paint, Screen};
use super::server::Server;
use super::signals::Signals;
use super::watch::Reloader;
use crate::config::source::{FileSource, Overrides};
use crate::config::{Config, ConfigSource, DEFAULT_FILE, ListenAt};
use crate::metrics;

const EXAMPLES: &str = "\
Without --config, eventail.toml of the working directory is read if it is there.

The file is read again when it changes, and at SIGHUP; one with errors changes nothing. See `eventail config`.

SIGTERM and SIGINT stop in order: no more requests are taken, attempts under way may end within the
drain time, everything is synced, exit code 0. A second signal ends at once (143 or 130).

Examples:
  eventail serve
  eventail serve --config /etc/eventail/eventail.toml --log-format json
  eventail serve --data-dir /tmp/bus --http 127.0.0.1:0 --quic off
  eventail serve --print-config > eventail.toml";

/// The arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where data goes, in place of what the configuration says
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where HTTP listens: an address and a port, or off
    #[arg(long, value_name = "ADDRESS")]
    http: Option<ListenAt>,
    /// Where QUIC listens: an address and a port, or off
    #[arg(long, value_name = "ADDRESS")]
    quic: Option<ListenAt>,
    /// Do not watch the configuration; SIGHUP and `eventail config reload` still load it again
    #[arg(long)]
    no_watch: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or levels by module
    #[arg(long, env = "EVENTAIL_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: LogLevel,
    /// Print the default configuration with comments, and do nothing else
    #[arg(long)]
    print_config: bool,
}

/// Runs until a signal.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    if arguments.print_config {
        screen.raw(DEFAULT_FILE)?;
        return Ok(Exit::Done);
    }
    let configured = configuration(&arguments)?;
    logging::start(arguments.log_format, &arguments.log_level);
    let runtime = super::server::runtime().map_err(|source| CliError::Runtime { source })?;
    let exit = runtime.block_on(serve(configured, &arguments, screen));
    // Whatever still blocks a thread belongs to a broker that is stopped.
    runtime.shutdown_background();
    exit
}

/// The file, or the defaults where there is none, with what the command line says on top.
fn configuration(arguments: &Arguments) -> Result<(Config, Option<Arc<dyn ConfigSource>>), CliError> {
    let overrides = Overrides {
        data_dir: arguments.data_dir.clone(),
        http: arguments.http.map(|ListenAt(address)| address),
        quic: arguments.quic.map(|ListenAt(address)| address),
    };
    match arguments.config.clone().or_else(FileSource::default_path) {
        Some(file) => {
            let (source, config) = FileSource::open(file, overrides)?;
            Ok((config, Some(Arc::new(source))))
        }
        None => Ok((overrides.over(Config::standalone()), None)),
    }
}

async fn serve(
    (config, source): (Config, Option<Arc<dyn ConfigSource>>),
    arguments: &Arguments,
    screen: &mut Screen,
) -> Result<Exit, CliError> {
    let mut signals = Signals::new().map_err(|source| CliError::Runtime { source })?;
    let exposition = metrics::install().map_err(|source| CliError::Metrics { source })?;
    let data_dir = config.data_dir.clone();
    let server = tokio::select! {
        started = Server::start(config, None, Some(exposition), source) => started?,
        exit = signals.next() => return Ok(exit),
    };
    let reloader = Reloader::new(server.broker().clone(), !arguments.no_watch)
        .map_err(|source| CliError::Runtime { source })?;
    announce(&server, &data_dir, arguments.log_format, screen)?;
    tokio::select! {
        _ = signals.next() => {}
        () = reloader.run() => {}
    }
    info!("stopping; a second signal ends at once");
    tokio::select! {
        stopped = server.stop() => stopped.map_err(|source| CliError::Stop { source })?,
        // Nothing more is waited for, not even other threads of this process.
        exit = signals.next() => std::process::exit(exit as i32),
    }
    info!("stopped");
    Ok(Exit::Done)
}

/// One line that says that it runs, and where.
fn announce(
    server: &Server,
    data_dir: &Path,
    format: LogFormat,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |a| a.to_string());
    let (http, quic, data_dir) = (shown(server.http()), shown(server.quic()), data_dir.display().to_string());
    let version = env!("CARGO_PKG_VERSION");
    if format == LogFormat::Json {
        let fingerprint = server.fingerprint().unwrap_or_default();
        let tls = server.has_tls();
        info!(version, http, tls, quic, fingerprint, data_dir, "ready");
        return Ok(());
    }
    let ready = screen.paint(Paint::Success, "ready");
    let pinned =
        server.fingerprint().map(|print| format!(" (certificate sha256 {print})")).unwrap_or_default();
    let scheme = if server.has_tls() { "https" } else { "http" };
    screen.line(&format!(
        "eventail {version} {ready}: {scheme} {http}, quic {quic}{pinned}, data in {data_dir}"
    ))
}
