//! What was tried, what came of it, and what can be said of the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use eventail_storage::power_cut::{CheckReport, Loss, Trace};
use serde_json::{Value, json};

use super::super::check::counted;
use super::super::error::CliError;
use super::super::screen::{Paint, Screen};
use super::super::table::facts;
use super::folder::Folder;

/// Half of all syncs of a disk that writes take longer. What is quicker has not written.
const SYNC_PLAUSIBLE: Duration = Duration::from_micros(25);
/// File systems that are in memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// File systems of other machines, which may answer before anything is on a disk.
const REMOTE: [&str; 6] = ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "virtiofs"];

/// What the kills came to.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    pub(super) kills: u64,
    pub(super) acknowledged: u64,
    pub(super) records: u64,
}

/// What the power cuts came to.
#[derive(Debug, Default)]
pub(super) struct PowerCuts {
    pub(super) acknowledged: u64,
    calls: u64,
    syncs: u64,
    cuts: u64,
    exhausted: u64,
    states: u64,
    records: u64,
}

impl PowerCuts {
    pub(super) fn add(&mut self, trace: &Trace, found: &CheckReport) {
        self.calls += trace.len() as u64;
        self.syncs += trace.syncs();
        self.cuts += found.cuts;
        self.exhausted += found.exhausted;
        self.states += found.states;
        self.records += found.records;
    }
}

#[derive(Debug)]
pub(super) struct Report {
    dir: PathBuf,
    /// The type of its file system, where the system tells.
    file_system: Option<String>,
    seed: u64,
    pub(super) rounds: u64,
    pub(super) seconds: f64,
    pub(super) crashes: Crashes,
    pub(super) power_cuts: PowerCuts,
    pub(super) sync_times: Vec<Duration>,
    losses: Vec<String>,
}

impl Report {
    pub(super) fn new(folder: &Folder, seed: u64) -> Self {
        let dir = folder.dir().to_owned();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            file_system: file_system_of(&mounts, &dir),
            dir,
            seed,
            rounds: 0,
            seconds: 0.0,
            crashes: Crashes::default(),
            power_cuts: PowerCuts::default(),
            sync_times: Vec::new(),
            losses: Vec::new(),
        }
    }

    pub(super) fn lose(&mut self, when: &str, loss: &Loss) {
        self.lose_text(format!("{loss} ({when})"));
    }

    pub(super) fn lose_text(&mut self, text: String) {
        self.losses.push(text);
    }

    pub(super) fn is_lost(&self) -> bool {
        !self.losses.is_empty()
    }

    /// How far it is.
    pub(super) fn progress(&self, rounds: u64) -> String {
        let Self { crashes, power_cuts, losses, .. } = self;
        format!(
            "round {} of {rounds}: {}, {} states of power cuts, {} records compared, {}",
            self.rounds,
            counted(crashes.kills, "kill"),
            power_cuts.states,
            crashes.records + power_cuts.records,
            if losses.is_empty() { "nothing lost".to_owned() } else { format!("{} LOST", losses.len()) }
        )
    }

    /// How long so many of a hundred syncs took at most.
    fn sync_time(&self, percent: usize) -> Duration {
        let mut times = self.sync_times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// What speaks against the disk, or the file system, keeping what it says is synced.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let kind = self.file_system.as_deref().unwrap_or_default();
        if IN_MEMORY.contains(&kind) {
            doubts.push(format!(
                "{kind} is in memory: a power cut takes everything in it, and what one leaves cannot be tried there; name a folder \
                 on the disk that will have the data"
            ));
        }
        if REMOTE.contains(&kind) {
            doubts.push(format!(
                "{kind} is on another machine: what is synced is as safe as that one keeps it"
            ));
        }
        let median = self.sync_time(50);
        // In memory there is nothing to write.
        if !IN_MEMORY.contains(&kind) && !self.sync_times.is_empty() && median < SYNC_PLAUSIBLE {
            doubts.push(format!(
                "half of all syncs took {} or less: no disk writes so fast, unless it has a cache that outlives a power cut",
                shown(median)
            ));
        }
        doubts
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { crashes, power_cuts, .. } = self;
        let micros = |percent| u64::try_from(self.sync_time(percent).as_micros()).unwrap_or(u64::MAX);
        json!({
            "dir": self.dir,
            "file_system": self.file_system,
            "seed": self.seed,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "crashes": {
                "kills": crashes.kills,
                "acknowledged_events": crashes.acknowledged,
                "compared_events": crashes.records,
            },
            "power_cuts": {
                "acknowledged_events": power_cuts.acknowledged,
                "recorded_calls": power_cuts.calls,
                "recorded_syncs": power_cuts.syncs,
                "cuts": power_cuts.cuts,
                "exhausted_cuts": power_cuts.exhausted,
                "states": power_cuts.states,
                "compared_events": power_cuts.records,
            },
            "sync_us": {
                "count": self.sync_times.len(),
                "p50": micros(50),
                "p90": micros(90),
                "p99": micros(99),
                "max": micros(100),
            },
            "doubts": self.doubts(),
            "losses": self.losses,
        })
    }

    pub(super) fn print(&self, screen: &mut Screen) -> Result<(), CliError> {
        let Self { crashes, power_cuts, .. } = self;
        let times = [50, 90, 99, 100].map(|percent| shown(self.sync_time(percent)));
        let [p50, p90, p99, most] = times;
        facts(
            screen,
            &[
                ("folder", self.dir.display().to_string()),
                ("file system", self.file_system.clone().unwrap_or_else(|| "unknown".to_owned())),
                ("rounds", format!("{} in {:.1} s, from seed {}", self.rounds, self.seconds, self.seed)),
                (
                    "killed",
                    format!(
                        "{}: {} events acknowledged, {} compared",
                        counted(crashes.kills, "time"),
                        crashes.acknowledged,
                        crashes.records
                    ),
                ),
                (
                    "power cuts",
                    format!(
                        "{} in {} states; of {} every possible one",
                        power_cuts.cuts, power_cuts.states, power_cuts.exhausted
                    ),
                ),
                (
                    "",
                    format!(
                        "{} calls and {} syncs recorded, {} events acknowledged, {} compared",
                        power_cuts.calls, power_cuts.syncs, power_cuts.acknowledged, power_cuts.records
                    ),
                ),
                ("a sync takes", format!("{p50} (half), {p90} (90 %), {p99} (99 %), {most} (the longest)")),
            ],
        )?;
        screen.line("")?;
        for loss in &self.losses {
            let title = screen.paint(Paint::Failure, "lost");
            screen.line(&format!("{title}: {loss}"))?;
        }
        for doubt in self.doubts() {
            let title = screen.paint(Paint::Failure, "doubt");
            screen.line(&format!("{title}: {doubt}"))?;
        }
        self.conclude(screen)
    }

    fn conclude(&self, screen: &mut Screen) -> Result<(), CliError> {
        if self.is_lost() {
            return screen.line(&format!(
                "The promise was broken. The folder is kept: {} has what was found.",
                self.dir.display()
            ));
        }
        let nothing = screen.paint(Paint::Success, "Nothing that was acknowledged was lost.");
        let word = if self.doubts().is_empty() {
            "As far as a program can see, this disk keeps its word; only pulling the plug proves it."
        } else {
            "Whether this disk keeps what it says is synced is in doubt."
        };
        screen.line(&format!("{nothing} {word}"))
    }
}

fn shown(time: Duration) -> String {
    // Part of one is one: nothing takes no time.
    let micros = time.as_nanos().div_ceil(1_000).max(1);
    if micros < 1_000 { format!("{micros} us") } else { format!("{:.1} ms", time.as_secs_f64() * 1e3) }
}

/// The type of the file system that a folder is on, by the longest mount point above it.
fn file_system_of(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // Spaces in it are written as `\040`.
        let point = words.next()?.replace("\\040", " ");
        dir.starts_with(&point).then_some((point.len(), words.next()?))
    });
    // Of two mounts in one place the later one is seen.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &str, sync: Duration) -> Report {
        Report {
            dir: "/x".into(),
            file_system: Some(kind.to_owned()),
            seed: 1,
            rounds: 1,
            seconds: 1.0,
            crashes: Crashes::default(),
            power_cuts: PowerCuts::default(),
            sync_times: vec![sync; 3],
            losses: Vec::new(),
        }
    }

    #[test]
    fn memory_is_told_as_what_it_is_and_no_sync_takes_no_time() {
        let doubts = report("tmpfs", Duration::from_nanos(300)).doubts();
        assert_eq!(doubts.len(), 1, "{doubts:?}");
        assert!(doubts[0].contains("cannot be tried there"), "{doubts:?}");
        let doubts = report("ext4", Duration::from_nanos(300)).doubts();
        assert!(doubts[0].starts_with("half of all syncs took 1 us or less"), "{doubts:?}");
        assert!(report("ext4", Duration::from_millis(3)).doubts().is_empty());
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /srv/my\\040disk xfs rw 0 0\n";
        assert_eq!(file_system_of(mounts, Path::new("/tmp/x")).as_deref(), Some("tmpfs"));
        assert_eq!(file_system_of(mounts, Path::new("/tmpfile")).as_deref(), Some("ext4"));
        assert_eq!(file_system_of(mounts, Path::new("/srv/my disk/x")).as_deref(), Some("xfs"));
        assert_eq!(file_system_of("", Path::new("/")), None);
    }
}
