//! Log lines: to standard error, for people or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::screen::Screen;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One readable line each
    #[default]
    Human,
    /// One JSON object each
    Json,
}

/// What is logged: a level, or levels by module as `tracing` has them.
#[derive(Clone, Debug)]
pub(super) struct LogLevel(String);

impl std::str::FromStr for LogLevel {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        EnvFilter::builder().parse(text).map(|_| Self(text.to_owned()))
    }
}

/// Sends the log lines of this process to standard error. A second call does nothing: a process has one log.
pub(super) fn start(format: LogFormat, level: &LogLevel) {
    let filter = EnvFilter::new(&level.0);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => {
            let colours = std::io::stderr().is_terminal() && Screen::stderr().colours();
            lines.with_ansi(colours).with_target(false).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log is set up already");
    }
}
