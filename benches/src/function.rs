//! The bench function as the harness sees it: its table in a configuration, and what it wrote down of the events that it got.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::payload::Tally;

/// Where the processes write how long they took before they asked for their first call, in nanoseconds.
pub const INIT_FILE: &str = "init";

/// What the function is called.
pub const NAME: &str = "bench";

/// One event that a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub n: u64,
    /// When, on the clock of all processes.
    pub at_ns: u64,
}

impl Arrival {
    /// The bytes of one.
    pub const BYTES: usize = 16;

    /// As it stands in a process's file.
    #[must_use]
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.n.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (n, at_ns) = bytes.split_at_checked(8)?;
        Some(Self {
            n: u64::from_le_bytes(n.try_into().ok()?),
            at_ns: u64::from_le_bytes(at_ns.try_into().ok()?),
        })
    }
}

/// The events of one run, as the processes of the function proved them.
#[derive(Debug)]
pub struct FunctionRun {
    folder: tempfile::TempDir,
    binary: PathBuf,
    run: u64,
    data_bytes: usize,
}

/// What all processes together got.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Which events, and how often.
    pub tally: Tally,
    /// The first arrival.
    pub first_ns: u64,
    /// The last one.
    pub last_ns: u64,
    /// How many processes got any.
    pub processes: usize,
}

impl FunctionRun {
    /// A run in a folder of its own in `parent`, with the function that was built beside this program.
    ///
    /// # Errors
    /// Where the folder cannot be made or the binary is missing.
    pub fn new(parent: &Path, run: u64, data_bytes: usize) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("bench_function");
        ensure!(
            binary.exists(),
            "{} is missing: build it with the same profile (cargo build --release -p eventail-benches --bins)",
            binary.display()
        );
        let folder =
            tempfile::TempDir::with_prefix_in("eventail-bench-function-", std::path::absolute(parent)?)?;
        Ok(Self { folder, binary, run, data_bytes })
    }

    /// The program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// What it must find in its environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("BENCH_RUN", self.run.to_string()),
            ("BENCH_DATA_BYTES", self.data_bytes.to_string()),
            ("BENCH_ARRIVALS", self.folder.path().display().to_string()),
        ]
    }

    /// The function's table, with more keys.
    #[must_use]
    pub fn table(&self, keys: &str) -> String {
        self.table_as(NAME, keys)
    }

    /// The same under another name.
    #[must_use]
    pub fn table_as(&self, name: &str, keys: &str) -> String {
        let variables = self.environment().map(|(name, value)| format!("{name} = {value:?}")).join(", ");
        let command = self.binary.display().to_string();
        format!("[functions.{name}]\ncommand = [{command:?}]\nenvironment = {{ {variables} }}\n{keys}\n")
    }

    /// What the processes took before they asked for their first call.
    ///
    /// # Errors
    /// Where none wrote it.
    pub fn own_inits_ns(&self) -> anyhow::Result<Vec<u64>> {
        let bytes = std::fs::read(self.folder.path().join(INIT_FILE)).context("what the inits took")?;
        let number = |chunk: &[u8]| chunk.try_into().ok().map(u64::from_le_bytes);
        Ok(bytes.chunks_exact(8).filter_map(number).collect())
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.folder.path())?;
        let paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        Ok(paths.into_iter().filter(|path| !path.ends_with(INIT_FILE)).collect())
    }

    /// Waits until so many events arrived, and proves that each did exactly once.
    ///
    /// # Errors
    /// Where one does not arrive, or arrives twice.
    pub async fn exactly(&self, count: u64, patience: Duration) -> anyhow::Result<Arrived> {
        let begun = Instant::now();
        loop {
            let mut bytes = 0;
            for file in self.files()? {
                bytes += std::fs::metadata(file)?.len();
            }
            if bytes >= count * Arrival::BYTES as u64 {
                break;
            }
            let arrived = bytes / Arrival::BYTES as u64;
            ensure!(begun.elapsed() < patience, "only {arrived} of {count} arrived in {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let arrived = self.arrived()?;
        let Tally { distinct, repeated, .. } = arrived.tally;
        ensure!(
            distinct == count && repeated == 0,
            "{distinct} of {count} arrived, {repeated} of them again"
        );
        Ok(arrived)
    }

    /// What arrived so far.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn arrived(&self) -> anyhow::Result<Arrived> {
        let mut arrived = Arrived { first_ns: u64::MAX, ..Arrived::default() };
        for file in self.files()? {
            let bytes = std::fs::read(file)?;
            arrived.processes += usize::from(!bytes.is_empty());
            for arrival in bytes.chunks_exact(Arrival::BYTES).filter_map(Arrival::decode) {
                arrived.tally.count(Some(arrival.n));
                arrived.first_ns = arrived.first_ns.min(arrival.at_ns);
                arrived.last_ns = arrived.last_ns.max(arrival.at_ns);
            }
        }
        Ok(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_read_as_it_was_written() {
        let arrival = Arrival { n: 7, at_ns: 123_456_789_012 };
        assert_eq!(Arrival::decode(&arrival.encode()), Some(arrival));
    }
}
