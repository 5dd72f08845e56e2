//! `eventail check`: a configuration read as `serve` would read it, and all that is wrong with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use crate::config::{Config, FILE_NAME};
use crate::rehearsal;

const EXAMPLES: &str = "\
Examples:
  eventail check
  eventail check --test
  eventail check --config deploy/eventail.toml && systemctl restart eventail";

/// The arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(long, short, default_value = FILE_NAME, value_name = "FILE")]
    config: PathBuf,
    /// Run the `[[tests]]` that it has as well
    #[arg(long)]
    test: bool,
}

/// Exit 1 and every error at once, or one line that says what is in the file.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let config = Config::load(&arguments.config)?;
    let ok = screen.paint(Paint::Success, "ok");
    let listener = |address: Option<_>| {
        address.map_or_else(|| "off".to_owned(), |a: std::net::SocketAddr| a.to_string())
    };
    screen.line(&format!(
        "{ok}: {}: {}, {}, {}, http {}, quic {}",
        arguments.config.display(),
        counted(config.topics.named.len() as u64, "topic"),
        counted(config.triggers.len() as u64, "trigger"),
        counted(config.functions.len() as u64, "function"),
        listener(config.http),
        listener(config.quic),
    ))?;
    if arguments.test { run_tests(&config, screen) } else { Ok(Exit::Done) }
}

/// A line for each test that does not hold, and one for all.
fn run_tests(config: &Config, screen: &mut Screen) -> Result<Exit, CliError> {
    let failures = rehearsal::failures(config).map_err(|source| CliError::Rehearsal { source })?;
    for failure in &failures {
        let failed = screen.paint(Paint::Failure, "failed");
        screen.line(&format!("{failed}: {failure}"))?;
    }
    let failed: BTreeSet<&str> = failures.iter().map(|failure| failure.test.as_str()).collect();
    let held = config.tests.len().saturating_sub(failed.len());
    screen.line(&format!("{held} of {} hold", counted(config.tests.len() as u64, "test")))?;
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Negative })
}

/// `1 topic`, `2 topics`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
