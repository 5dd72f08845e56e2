//! A process that appends, its end by SIGKILL, and what it had promised.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use eventail_storage::disk_io::OsDisk;
use eventail_storage::power_cut::{LoadOptions, Promise, Safe, run_load, verify};
use eventail_wire::Clock;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;

use super::super::error::CliError;
use super::super::exit::Exit;
use super::folder::Folder;
use super::report::Report;
use crate::clock::SystemClock;

/// How long the process may take until its first acknowledged append.
const START_MAX: Duration = Duration::from_secs(60);
/// It appends for at most so long before it is killed.
const LIFE_MS_MAX: u64 = 300;
/// Promises on their way from the process.
const PROMISES_MAX: usize = 4_096;

fn load() -> LoadOptions {
    // The content of a record depends on the seed: all lives have the same one, or nothing could be compared.
    LoadOptions { seed: 1, appends: u64::MAX, ..LoadOptions::default() }
}

/// Appends to the logs of a claimed folder until it is killed, or nobody reads what it promises.
pub(super) async fn append(dir: &Path, seed: u64) -> Result<Exit, CliError> {
    if !Folder::is_claimed(dir) {
        return Err(CliError::TortureFolder { dir: dir.to_owned() });
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut tell = |promise| {
        // Whole lines, each at once: what was written to a pipe outlives the process.
        if std::io::stdout().write_all(line_of(promise).as_bytes()).is_err() {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    let logs = Folder::crash(dir);
    let ended = run_load(Arc::new(OsDisk), &logs, &clock, &load(), seed, Safe::FromKills, &mut tell).await;
    match ended {
        Ok(_) => Ok(Exit::Done),
        Err(source) => Err(CliError::TortureLoss { source: Box::new(source) }),
    }
}

fn line_of(promise: Promise) -> String {
    match promise {
        Promise::Attempted { log, end } => format!("+ {log} {end}\n"),
        Promise::Acknowledged { log, end } => format!("= {log} {end}\n"),
        Promise::Trimmed { log, before, written } => format!("- {log} {before} {written}\n"),
    }
}

/// The promise of a whole line; the last one may have been cut off by the kill, and was not made then.
fn promise_of(line: &str) -> Option<Promise> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let (kind, log) = (words.next()?, words.next()?.parse().ok()?);
    let mut number = || words.next()?.parse().ok();
    Some(match kind {
        "+" => Promise::Attempted { log, end: number()? },
        "=" => Promise::Acknowledged { log, end: number()? },
        "-" => Promise::Trimmed { log, before: number()?, written: number()? },
        _ => return None,
    })
}

/// One life: started, killed, and everything that it had promised looked for.
pub(super) async fn round(folder: &Folder, seed: u64, report: &mut Report) -> Result<(), CliError> {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut child = spawn(folder.dir(), seed)?;
    let promises = listen(&mut child, Duration::from_millis(dice.random_range(0..LIFE_MS_MAX))).await;
    let failed = |source| CliError::Torture { dir: folder.dir().to_owned(), source };
    let status = child.wait().map_err(failed)?;
    if status.code().is_some() {
        report.lose_text(format!(
            "the process that appends ended by itself, with {status}; its message stands above"
        ));
        return Ok(());
    }
    let acknowledged = acknowledged(&promises);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = Folder::crash(folder.dir());
    match verify(Arc::new(OsDisk), &dir, clock, &load(), promises).await {
        Ok(records) => {
            report.crashes.kills += 1;
            report.crashes.acknowledged += acknowledged;
            report.crashes.records += records;
        }
        Err(loss) => report.lose(&format!("after a kill, with seed {seed}"), &loss),
    }
    Ok(())
}

/// Records that were acknowledged in one life.
fn acknowledged(promises: &[Promise]) -> u64 {
    let mut ends: Vec<(u32, u64, u64)> = Vec::new();
    for promise in promises {
        let Promise::Acknowledged { log, end } = *promise else { continue };
        match ends.iter_mut().find(|(of, ..)| *of == log) {
            Some((_, _, last)) => *last = end,
            None => ends.push((log, end, end)),
        }
    }
    ends.iter().map(|(_, first, last)| last - first).sum()
}

fn spawn(dir: &Path, seed: u64) -> Result<Child, CliError> {
    let program = std::env::current_exe().map_err(|source| CliError::Runtime { source })?;
    Command::new(program)
        .arg("torture")
        .arg(dir)
        .args(["--append", "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| CliError::Torture { dir: dir.to_owned(), source })
}

/// Reads what the process promises, lets it live for a while from its first append on, kills it, and reads the rest.
async fn listen(child: &mut Child, life: Duration) -> Vec<Promise> {
    let mut promises = Vec::new();
    let Some(output) = child.stdout.take() else { return promises };
    let (sender, mut receiver) = mpsc::channel(PROMISES_MAX);
    let reading = std::thread::spawn(move || {
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        while matches!(lines.read_line(&mut line), Ok(1..)) {
            let Some(promise) = promise_of(&line) else { return };
            if sender.blocking_send(promise).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut kill_at = tokio::time::Instant::now() + START_MAX;
    let mut is_killed = false;
    let mut attempts = 0;
    loop {
        tokio::select! {
            promise = receiver.recv() => match promise {
                Some(promise) => {
                    promises.push(promise);
                    // The first ones tell what was there; then it appends.
                    attempts += u32::from(matches!(promise, Promise::Attempted { .. }));
                    if attempts == LoadOptions::default().logs() + 1 {
                        kill_at = tokio::time::Instant::now() + life;
                    }
                }
                None => break,
            },
            () = tokio::time::sleep_until(kill_at), if !is_killed => {
                is_killed = true;
                // One that has ended already needs no kill; how it ended is looked at next.
                let _ended_before = child.kill();
            }
        }
    }
    drop(reading.join());
    promises
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_come_through_a_pipe_and_half_a_line_is_none() {
        let promises = [
            Promise::Attempted { log: 1, end: 20 },
            Promise::Acknowledged { log: 2, end: 3 },
            Promise::Trimmed { log: 0, before: 7, written: 9 },
        ];
        for promise in promises {
            let line = line_of(promise);
            assert_eq!(promise_of(&line), Some(promise));
            // What is cut off could be another number.
            assert_eq!(promise_of(&line[..line.len() - 1]), None);
        }
        assert_eq!(acknowledged(&[promises[1], Promise::Acknowledged { log: 2, end: 8 }]), 5);
    }
}
