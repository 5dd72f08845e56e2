//! `eventail storage check` reads every byte of a broker's logs, compares it with its checksum and changes nothing; `eventail storage
//! repair` puts what is damaged aside.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eventail_storage::disk::{Corruption, LogCheck, QUARANTINE, Repair, check, repair};
use eventail_storage::disk_io::OsDisk;

use super::check::counted;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::table::Table;
use super::{Format, Output};

const EXAMPLES: &str = "\
The broker must not be running. Exit code 1 says that stored bytes are damaged, and which offsets that costs. A
write that was cut off by a crash is no damage: the next start drops it, and nothing that was acknowledged as
synced is in it.

A broker serves what is left of a damaged log without any repair, and tells at each start and reading what is
lost. A repair moves the damaged bytes into a folder of their own, for whoever wants to look at them, and leaves a
mark in their place, so that nothing is read over and over again. The offsets of all other events stay.

Examples:
  eventail storage check eventail-data
  eventail storage repair eventail-data --quarantine
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
    /// Put damaged bytes aside, so that the log is whole but for what is lost
    Repair {
        /// A broker's data folder
        dir: PathBuf,
        /// Where the damaged bytes go: a folder beside the logs where none is named
        #[arg(long, required = true, num_args = 0..=1, require_equals = true, value_name = "FOLDER")]
        quarantine: Option<Option<PathBuf>>,
    },
}

/// Does it.
pub(super) fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let format = arguments.output.output;
    match arguments.action {
        Action::Check { dir } => run_check(dir, format, screen),
        Action::Repair { dir, quarantine } => {
            let quarantine = quarantine.flatten().unwrap_or_else(|| dir.join(QUARANTINE));
            run_repair(dir, &quarantine, format, screen)
        }
    }
}

fn logs_of(dir: &Path) -> Result<PathBuf, CliError> {
    let logs = dir.join(LOGS);
    if logs.is_dir() { Ok(logs) } else { Err(CliError::NoData { dir: dir.to_owned() }) }
}

fn run_repair(
    dir: PathBuf,
    quarantine: &Path,
    format: Format,
    screen: &mut Screen,
) -> Result<Exit, CliError> {
    let repairs =
        repair(&OsDisk, &logs_of(&dir)?, quarantine).map_err(|source| CliError::Repair { dir, source })?;
    if format == Format::Json {
        screen.json(&serde_json::json!({ "repairs": repairs }))?;
        return Ok(Exit::Done);
    }
    for Repair { damage, quarantined } in &repairs {
        let where_to = match quarantined {
            Some(path) => format!("the damaged bytes are in {}", path.display()),
            None => "of the bytes nothing was there".to_owned(),
        };
        screen.line(&format!("{}; {where_to}", place(damage)))?;
    }
    screen.line(&format!("{} put aside", counted(repairs.len() as u64, "damaged place")))?;
    Ok(Exit::Done)
}

/// Where damage is, and what it costs.
fn place(damage: &Corruption) -> String {
    let Corruption { file, position, offset, next, what, .. } = damage;
    let last = next.0.saturating_sub(1);
    let offsets = if offset.0 == last {
        format!("offset {last} is")
    } else {
        format!("offsets {offset} to {last} are")
    };
    format!("{file} at byte {position}: {offsets} lost ({what})")
}

fn run_check(dir: PathBuf, format: Format, screen: &mut Screen) -> Result<Exit, CliError> {
    let logs = logs_of(&dir)?;
    let found = check(&OsDisk, &logs).map_err(|source| CliError::Check { dir, source })?;
    let exit = if found.iter().all(LogCheck::is_sound) { Exit::Done } else { Exit::Negative };
    match format {
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
            screen.line(&format!("{title}: {}", place(damage)))?;
        }
        for damage in &log.repaired {
            screen.line(&format!("repaired: {}", place(damage)))?;
        }
        for name in &log.foreign {
            screen.line(&format!("left alone: {}/{name} is no file of a log", log.name))?;
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
