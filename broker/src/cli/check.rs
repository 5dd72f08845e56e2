//! `eventail check`: a configuration read as `serve` would read it, and all that is wrong with it; with `--probe`, what it needs of
//! the world around it as well.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use eventail_storage::disk_io::OsDisk;
use eventail_wire::Clock;
use serde_json::json;

use super::error::CliError;
use super::exit::Exit;
use super::probe::{self, Probe};
use super::screen::{Paint, Screen, visible};
use super::{Format, Output, block_on};
use crate::auth::exposure;
use crate::clock::SystemClock;
use crate::config::{Config, FILE_NAME};
use crate::rehearsal::{self, TestFailure};

const EXAMPLES: &str = "\
With --probe, hosts of HTTP targets are resolved and connected to, under the same rules of egress and without sending anything; AWS
credentials are looked for; programs, working directories and users of functions are looked up; and the data folder is written to, unless
a broker uses it. Exit code 1 says that something will not work.

Examples:
  eventail check
  eventail check --test
  eventail check --config deploy/eventail.toml && systemctl restart eventail
  eventail check --probe --output json";

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
    /// Only read files (the default)
    #[arg(long, conflicts_with = "probe")]
    offline: bool,
    /// Try targets, credentials, programs and the data folder too
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    output: Output,
}

/// Exit 1 and every error at once, or one line that says what is in the file.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let config = Config::load(&arguments.config)?;
    exposure::check(&config).map_err(|source| CliError::Exposed { source })?;
    let probes = if arguments.probe {
        let path = std::env::var_os("PATH");
        block_on(async { Ok(probe::all(&config, Arc::new(OsDisk), SystemClock.now(), path).await) })?
    } else {
        Vec::new()
    };
    let failures = if arguments.test {
        rehearsal::failures(&config).map_err(|source| CliError::Rehearsal { source })?
    } else {
        Vec::new()
    };
    match arguments.output.output {
        Format::Json => screen.json(&as_json(arguments, &config, &failures, &probes))?,
        Format::Table => {
            screen.line(&summary(arguments, &config, screen))?;
            if arguments.test {
                report_tests(&config, &failures, screen)?;
            }
            for probe in &probes {
                report(probe, screen)?;
            }
        }
    }
    let works = failures.is_empty() && probes.iter().all(|probe| probe.outcome.is_ok());
    Ok(if works { Exit::Done } else { Exit::Negative })
}

fn summary(arguments: &Arguments, config: &Config, screen: &Screen) -> String {
    let ok = screen.paint(Paint::Success, "ok");
    let listener = |address: Option<_>| {
        address.map_or_else(|| "off".to_owned(), |a: std::net::SocketAddr| a.to_string())
    };
    format!(
        "{ok}: {}: {}, {}, {}, http {}, quic {}",
        arguments.config.display(),
        counted(config.topics.named.len() as u64, "topic"),
        counted(config.triggers.len() as u64, "trigger"),
        counted(config.functions.len() as u64, "function"),
        listener(config.http),
        listener(config.quic),
    )
}

/// One line, and the next step where there is one to take.
fn report(probe: &Probe, screen: &mut Screen) -> Result<(), CliError> {
    let tried = format!("{}: {}", probe.subject, probe.what);
    match &probe.outcome {
        Ok(found) => {
            let ok = screen.paint(Paint::Success, "ok");
            screen.line(&format!("{ok}: {}", visible(&format!("{tried}: {found}"))))
        }
        Err(error) => {
            let problem = screen.paint(Paint::Failure, "problem");
            let cause = format!("{tried}: {}", error.text());
            screen.line(&format!("{problem}: {} (next: {})", visible(&cause), error.next()))
        }
    }
}

fn as_json(
    arguments: &Arguments,
    config: &Config,
    failures: &[TestFailure],
    probes: &[Probe],
) -> serde_json::Value {
    let shown = |probe: &Probe| match &probe.outcome {
        Ok(found) => json!({ "subject": probe.subject, "probe": probe.what, "ok": true, "found": found }),
        Err(error) => json!({
            "subject": probe.subject,
            "probe": probe.what,
            "ok": false,
            "problem": error.text(),
            "next": error.next(),
        }),
    };
    json!({
        "config": arguments.config.display().to_string(),
        "topics": config.topics.named.len(),
        "triggers": config.triggers.len(),
        "functions": config.functions.len(),
        "http": config.http,
        "quic": config.quic,
        "tests_failed": failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "probes": probes.iter().map(shown).collect::<Vec<_>>(),
    })
}

/// A line for each test that does not hold, and one for all.
fn report_tests(config: &Config, failures: &[TestFailure], screen: &mut Screen) -> Result<(), CliError> {
    for failure in failures {
        let failed = screen.paint(Paint::Failure, "failed");
        screen.line(&format!("{failed}: {failure}"))?;
    }
    let failed: BTreeSet<&str> = failures.iter().map(|failure| failure.test.as_str()).collect();
    let held = config.tests.len().saturating_sub(failed.len());
    screen.line(&format!("{held} of {} tests hold", config.tests.len()))
}

/// `1 topic`, `2 topics`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
