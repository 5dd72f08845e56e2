//! `eventail storage check`: every byte of a broker's logs read and compared with its checksum, and nothing changed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eventail_storage::disk::{LogCheck, check};
use eventail_storage::disk_io::OsDisk;

use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::table::Table;
use super::{Format, Output};

const EXAMPLES: &str = "\
The broker must not be running. Exit code 1 says that stored bytes are damaged. A write that was cut off by a
crash is no damage: the next start drops it, and nothing that was acknowledged as synced is in it.

Examples:
  eventail storage check eventail-data
  eventail storage check eventail-data --output json";

/// The folder of the logs in a broker's data folder.
pub(super) const LOGS: &str = "logs";

/// The arguments of `storage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read everything and tell what is damaged
    Check {
        /// A broker's data folder
        dir: PathBuf,
    },
}

/// Does it.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let Action::Check { dir } = arguments.action;
    let logs = dir.join(LOGS);
    if !logs.is_dir() {
        return Err(CliError::NoData { dir });
    }
    let found = check(&OsDisk, &logs).map_err(|source| CliError::Check { dir, source })?;
    let exit = if found.iter().all(LogCheck::is_sound) { Exit::Done } else { Exit::Negative };
    match arguments.output.output {
        Format::Json => screen.json(&serde_json::json!({ "logs": found }))?,
        Format::Table => report(&found, screen)?,
    }
    Ok(exit)
}

fn report(found: &[LogCheck], screen: &mut Screen) -> Result<(), CliError> {
    let mut table = Table::new(&["LOG", "RECORDS", "START", "END", "BYTES", "SEGMENTS", "STATE"]);
    for log in found {
        let state = match (log.is_sound(), &log.torn_tail) {
            (false, _) => "DAMAGED",
            (true, Some(_)) => "sound, last write cut off",
            (true, None) => "sound",
        };
        table.row(vec![
            log.name.clone(),
            log.records.to_string(),
            log.offsets.start.to_string(),
            log.offsets.end.to_string(),
            log.bytes.to_string(),
            log.segments.to_string(),
            state.to_owned(),
        ]);
    }
    table.print(screen, "There are no logs.")?;
    for log in found {
        for damage in &log.corruptions {
            let title = screen.paint(Paint::Failure, "damaged");
            screen.line(&format!(
                "{title}: {} at byte {}: offset {} cannot be read ({})",
                damage.file, damage.position, damage.offset, damage.what
            ))?;
        }
        if let Some(torn) = &log.torn_tail {
            screen.line(&format!(
                "cut off: {} at byte {}, in what would have been offset {}",
                torn.file, torn.position, torn.offset
            ))?;
        }
    }
    let damaged = found.iter().filter(|log| !log.is_sound()).count();
    let bytes: u64 = found.iter().map(|log| log.bytes).sum();
    screen.line(&format!("{}, {bytes} bytes read, {damaged} damaged", counted(found.len() as u64, "log")))
}
