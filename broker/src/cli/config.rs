//! `eventail config`: what the broker runs with, what a reload would change, and the reload.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::config::Config;
use crate::status::{ConfigStatus, ReloadPlan, ReloadReport};

const EXAMPLES: &str = "\
The broker reads its file again by itself when it changes, and at SIGHUP. A file with errors changes nothing: the last good
configuration stays in effect, and `config status` shows the errors.

Examples:
  eventail config status
  eventail config plan
  eventail config reload
  eventail config plan --config new.toml --from eventail.toml";

const PLAN_HELP: &str = "\
Without --config, the broker compares what it runs with and the file that it was started from, as it is now. With --config and
--from two files are compared, and no broker is asked: what is kept of triggers that left before is not known then.";

/// The arguments of `config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what the broker runs with and what was wrong with the last reload (the default)
    Status,
    /// Show what a reload would change
    #[command(after_help = PLAN_HELP)]
    Plan {
        /// The new file; it is compared with --from
        #[arg(long, short, value_name = "FILE", requires = "from")]
        config: Option<PathBuf>,
        /// The old file
        #[arg(long, value_name = "FILE", requires = "config")]
        from: Option<PathBuf>,
    },
    /// Let the broker read its file again now
    Reload {
        /// Only show what it would change
        #[arg(long)]
        plan: bool,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let is_json = arguments.output.output == Format::Json;
    match arguments.action.unwrap_or(Action::Status) {
        Action::Status => {
            let answer: Value = api.get("/v1/config").await?;
            if is_json {
                screen.json(&answer)?;
            } else {
                status(&api.understand(answer)?, screen)?;
            }
        }
        Action::Plan { config: Some(new), from: Some(old) } => {
            let plan = ReloadPlan::between(&Config::load(old)?, &Config::load(new)?);
            if is_json {
                screen.json(&json!(plan))?;
            } else {
                changes(&plan, screen)?;
            }
        }
        Action::Plan { .. } | Action::Reload { plan: true } => {
            let answer: Value = api.get("/v1/config/plan").await?;
            if is_json {
                screen.json(&answer)?;
            } else {
                changes(&api.understand(answer)?, screen)?;
            }
        }
        Action::Reload { plan: false } => {
            let answer: Value = api.post("/v1/config/reload", &json!({})).await?;
            if is_json {
                screen.json(&answer)?;
            } else {
                let report: ReloadReport = api.understand(answer)?;
                changes(&report.plan, screen)?;
            }
        }
    }
    Ok(Exit::Done)
}

fn status(status: &ConfigStatus, screen: &mut Screen) -> Result<(), CliError> {
    let reloads =
        format!("{}, {} refused, since the start", counted(status.reloads, "reload"), status.failures);
    let mut told = vec![
        ("file", status.file.clone().unwrap_or_else(|| "none".to_owned())),
        ("hash", status.hash.clone().unwrap_or_default()),
        ("in effect since", status.loaded_at.to_string()),
        ("reloads", reloads),
        ("at next start", status.needs_restart.join(", ")),
        ("last error", status.last_error.as_ref().map_or_else(String::new, |error| error.at.to_string())),
    ];
    if let Some(tls) = &status.tls {
        let reloads = format!("{}, {} refused", counted(tls.reloads, "time"), tls.failures);
        told.push(("certificate ends", tls.expires_at.to_string()));
        told.push(("its sha256", tls.fingerprint.clone()));
        told.push(("loaded again", reloads));
    }
    facts(screen, &told)?;
    if let Some(error) = status.tls.as_ref().and_then(|tls| tls.last_error.as_ref()) {
        screen.line(&format!("\nThe certificate was refused at {}: {}", error.at, error.message))?;
    }
    if let Some(error) = &status.last_error {
        screen.line("")?;
        screen.line(&error.message)?;
    }
    Ok(())
}

fn changes(plan: &ReloadPlan, screen: &mut Screen) -> Result<(), CliError> {
    let mut table = Table::new(&["WHAT", "NAME", "CHANGE", "KEYS", "EFFECT"]);
    for change in &plan.changes {
        let action = match &change.from {
            Some(old) => format!("{} from {old}", change.action.as_str()),
            None => change.action.as_str().to_owned(),
        };
        let effect = if change.needs_restart { "at the next start" } else { "at once" };
        table.row(vec![
            change.part.as_str().to_owned(),
            change.name.clone(),
            action,
            change.keys.join(", "),
            effect.to_owned(),
        ]);
    }
    table.print(screen, "Nothing changes.")
}
