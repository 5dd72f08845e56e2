//! Goes through a record, cuts the power at many moments in many ways, and opens what is left.

use std::path::Path;
use std::sync::Arc;

use eventail_wire::Clock;

use super::decisions::{Decisions, Dice};
use super::load::{LoadOptions, Loss, Standing, verify_standings};
use super::trace::{Step, Trace};
use super::world::World;
use crate::disk_io::{Disk, SimDisk};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Decides where the power fails and what survives.
    pub seed: u64,
    /// States that are built and opened, about. Where fewer are possible all of them are.
    pub states: u64,
    /// Where no more changes than this are undecided at a cut, all of its states are tried.
    pub exhaustive_max: usize,
    /// States that are drawn at each other cut.
    pub draws: u64,
    /// After so many losses it ends.
    pub losses_max: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { seed: 1, states: 1_000, exhaustive_max: 6, draws: 4, losses_max: 5 }
    }
}

/// What was tried, and what was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Moments at which the power failed.
    pub cuts: u64,
    /// Of those, moments of which every possible state was tried.
    pub exhausted: u64,
    /// States that were opened.
    pub states: u64,
    /// Records that were compared.
    pub records: u64,
    /// What was lost, with the step of the trace behind which the power failed.
    pub losses: Vec<(usize, Loss)>,
}

/// Tries a record. `go_on` is asked before each cut, with what was found so far.
pub async fn check(
    trace: &Trace,
    load: &LoadOptions,
    options: &CheckOptions,
    clock: &Arc<dyn Clock>,
    go_on: &mut dyn FnMut(&CheckReport) -> bool,
) -> CheckReport {
    let mut dice = Dice::new(options.seed);
    let mut world = World::default();
    let mut standings = Vec::new();
    let mut report = CheckReport::default();
    let cuts = (options.states / options.draws.max(1)).max(1);
    let chances = (trace.steps.len() as u64).div_ceil(cuts).max(1);
    for (at, step) in trace.steps.iter().enumerate() {
        world.step(at, step);
        if let Step::Promise(promise) = step {
            Standing::note(&mut standings, *promise);
        }
        // The last moment is always one: everything was promised by then.
        if at + 1 < trace.steps.len() && !dice.next().is_multiple_of(chances) {
            continue;
        }
        if !go_on(&report) {
            break;
        }
        report.cuts += 1;
        let exhaustive = world.undecided() <= options.exhaustive_max;
        report.exhausted += u64::from(exhaustive);
        let mut draws = options.draws;
        let mut decisions = if exhaustive { Decisions::each() } else { Decisions::drawn(dice.next()) };
        loop {
            let found = open(&world, &mut decisions, load, &standings, clock).await;
            report.states += 1;
            match found {
                Ok(records) => report.records += records,
                Err(loss) => report.losses.push((at, loss)),
            }
            if report.losses.len() >= options.losses_max {
                return report;
            }
            draws = draws.saturating_sub(1);
            match (exhaustive, draws) {
                (true, _) if decisions.advance() => {}
                (false, 1..) => decisions = Decisions::drawn(dice.next()),
                _ => break,
            }
        }
    }
    report
}

async fn open(
    world: &World,
    decisions: &mut Decisions,
    load: &LoadOptions,
    standings: &[Standing],
    clock: &Arc<dyn Clock>,
) -> Result<u64, Loss> {
    let root = Path::new("/data");
    let disk = SimDisk::new();
    let remains = world.cut(decisions);
    remains.write(&disk, root).map_err(|cause| crate::OpenError::Io { path: root.to_owned(), cause })?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    verify_standings(disk, root, Arc::clone(clock), load, standings).await
}
