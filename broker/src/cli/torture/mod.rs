//! `eventail torture`: tries on a user's own disk what a crash and a power cut leave of acknowledged events.
//!
//! - It writes into a folder that is empty, or that an earlier run left behind, and refuses every other one.
//! - A crash is a real one: a process of its own appends, and is killed with SIGKILL. A power cut cannot be had by software: the calls
//!   that the engine made on this disk are recorded, and every state that a disk may be in between two syncs is built and opened.
//! - What no program can see is whether the disk keeps what it says is synced. What speaks against it is told: a file system in
//!   memory, syncs that take no time.

mod crash;
mod folder;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use eventail_storage::disk_io::OsDisk;
use eventail_storage::power_cut::{CheckOptions, LoadOptions, Omit, Recorder, check, record_load};
use eventail_wire::Clock;

use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::{Format, Output};
use crate::clock::SystemClock;
use folder::Folder;
use report::Report;

const EXAMPLES: &str = "\
Each round kills a process that appends, reads everything back, records what the engine writes and syncs, and
tries many of the states that a power cut may leave. Exit code 1 says that something acknowledged was lost; the
folder is then kept as it is. A run takes some megabytes of disk.

Examples:
  eventail torture /var/lib/eventail-torture
  eventail torture ./torture --rounds 200 --seed 7
  eventail torture ./torture --seconds 600 --output json";

/// States of power cuts that each round opens, about.
const STATES_PER_ROUND: u64 = 250;

/// The arguments of `torture`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// An empty folder on the disk to be tried, or one of an earlier run; it is created where there is none
    dir: PathBuf,
    /// How many rounds
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,
    /// No further round begins after so many seconds
    #[arg(long, value_name = "COUNT")]
    seconds: Option<u64>,
    /// Decides what is appended, when it is killed and what a power cut takes
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Be the process that appends until it is killed
    #[arg(long, hide = true)]
    append: bool,
    #[command(flatten)]
    output: Output,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    if arguments.append {
        return crash::append(&arguments.dir, arguments.seed).await;
    }
    let folder = Folder::claim(&arguments.dir)?;
    let started = Instant::now();
    let mut report = Report::new(&folder, arguments.seed);
    let mut progress = Progress { is_shown: arguments.output.output == Format::Table };
    for round in 0..arguments.rounds {
        let seed = arguments.seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        crash::round(&folder, seed, &mut report).await?;
        if !report.is_lost() {
            power_cut(&folder, seed, &mut report).await?;
        }
        report.rounds += 1;
        report.seconds = started.elapsed().as_secs_f64();
        progress.tell(&report, arguments.rounds)?;
        let is_over = arguments.seconds.is_some_and(|most| started.elapsed() >= Duration::from_secs(most));
        if report.is_lost() || is_over {
            break;
        }
    }
    match arguments.output.output {
        Format::Json => screen.json(&report.to_json())?,
        Format::Table => report.print(screen)?,
    }
    if report.is_lost() {
        return Ok(Exit::Negative);
    }
    folder.tidy()?;
    Ok(Exit::Done)
}

/// Records what the engine does on this disk, and tries what a power cut would leave of it.
async fn power_cut(folder: &Folder, seed: u64, report: &mut Report) -> Result<(), CliError> {
    let dir = folder.fresh("power-cut")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let load = LoadOptions { seed, ..LoadOptions::default() };
    let recorder = Recorder::new(Arc::new(OsDisk), &dir, Omit::Nothing);
    let recorded = record_load(&recorder, &dir, &clock, &load).await;
    report.sync_times.extend(recorder.sync_times());
    match recorded {
        Ok(acknowledged) => report.power_cuts.acknowledged += acknowledged,
        Err(loss) => {
            report.lose("while it was appended to", &loss);
            return Ok(());
        }
    }
    let trace = recorder.take();
    let options = CheckOptions { seed, states: STATES_PER_ROUND, ..CheckOptions::default() };
    let found = check(&trace, &load, &options, &clock, &mut |_| true).await;
    report.power_cuts.add(&trace, &found);
    for (step, loss) in &found.losses {
        report.lose(&format!("where the power failed behind call {step}, with seed {seed}"), loss);
    }
    Ok(())
}

/// One line on standard error, over and over.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn tell(&mut self, report: &Report, rounds: u64) -> Result<(), CliError> {
        let mut screen = Screen::stderr();
        self.is_shown = self.is_shown && screen.is_terminal();
        if !self.is_shown {
            return Ok(());
        }
        let end = if report.rounds == rounds || report.is_lost() { "\n" } else { "" };
        screen.raw(&format!("\r{}\u{1b}[K{end}", report.progress(rounds)))?;
        screen.flush()
    }
}

#[cfg(test)]
mod tests;
