//! Going along a timetable: what is due now, what was missed, and what is remembered over a restart.
//!
//! A run that is said to be due stays due until [`Runner::ran`] is told of it, so that nothing is lost between the two; whoever
//! makes it must make a repeat harmless. Runs go in the order of their times and none overtakes another.
//!
//! **Missed** is a run that could not go within [`LATE_MS`] of its time: the broker was down, the machine slept, the clock was set
//! forward. What becomes of it is what [`MissedRuns`] says, and what is left out is counted and told, never silent.
//!
//! **A clock that goes back** makes nothing run twice: up to where it was, runs were made or left out already. Where it goes back
//! by more than [`SET_BACK_MS_MAX`] it was wrong before, and the schedule goes on from the new time.

use std::collections::VecDeque;

use eventail_wire::Timestamp;
use eventail_wire::limits::{SCHEDULE_LATE_MS as LATE_MS, SCHEDULE_SET_BACK_MS_MAX as SET_BACK_MS_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::expression::Timetable;

/// Missed runs that one step looks through, so that no step takes long.
const LOOKED_AT_ONCE: usize = 4_096;

/// What becomes of runs that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedRuns {
    /// They are left out.
    Skip,
    /// One run stands for all: the last of them, or the one that is due just now.
    #[default]
    Once,
    /// All go, one after the other; where there are more than this, the latest.
    All {
        /// How many.
        most: u32,
    },
}

/// How a schedule runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    /// When.
    pub timetable: Timetable,
    /// Each run goes up to so much later, spread evenly.
    pub jitter_ms: u64,
    /// What becomes of missed runs.
    pub missed: MissedRuns,
    /// Whether it runs at all.
    pub enabled: bool,
}

/// What must be kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What was run: a schedule whose timetable is another one begins anew.
    definition: String,
    /// When it began.
    created: Timestamp,
    /// What jitter is drawn from.
    seed: u64,
    /// Every run up to this time was made or left out.
    handled: Timestamp,
    /// The time of the last run that was made.
    last_run: Option<Timestamp>,
    /// When that was made.
    last_run_at: Option<Timestamp>,
    /// Runs that were made.
    runs: u64,
    /// Missed runs that were made later.
    made_up: u64,
    /// Missed runs that were left out.
    skipped: u64,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its time by the timetable, without jitter.
    pub scheduled: Timestamp,
    /// Whether it was missed and is made up for.
    pub missed: bool,
}

/// Missed runs that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The time of the first of them.
    pub first: Timestamp,
    /// The time of the last of them.
    pub last: Timestamp,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this run, and tell [`Runner::ran`].
    Run(Run),
    /// Note the memory, and step again: these were left out.
    Skipped(Skipped),
    /// Note the memory, and step again: the clock was set back, and the schedule goes on from now.
    SetBack {
        /// Up to where it had run.
        from: Timestamp,
    },
    /// Step again soon: there is more to look through.
    Busy,
    /// Nothing before this moment; `None` is nothing ever.
    Wait(Option<Timestamp>),
}

/// A schedule at work.
#[derive(Clone, Debug)]
pub struct Runner {
    options: RunnerOptions,
    memory: Memory,
    /// Runs that are due and were not made yet.
    due: VecDeque<Run>,
    /// Missed runs that were found and may yet be left out.
    missed: VecDeque<Timestamp>,
    /// Those that are left out for sure.
    left_out: Option<Skipped>,
    /// No run is due before: the moment when the one before it was.
    not_before: Timestamp,
}

impl Runner {
    /// A schedule that was never seen before. `seed` is what its jitter is drawn from.
    #[must_use]
    pub fn new(options: RunnerOptions, now: Timestamp, seed: u64) -> Self {
        let memory = Memory {
            definition: definition(&options),
            created: now,
            seed,
            handled: now,
            last_run: None,
            last_run_at: None,
            runs: 0,
            made_up: 0,
            skipped: 0,
        };
        Self::with(options, memory)
    }

    /// A schedule that goes on. Where its timetable is another one than was remembered it begins anew, and nothing was missed.
    #[must_use]
    pub fn resume(options: RunnerOptions, memory: Memory, now: Timestamp) -> Self {
        let definition = definition(&options);
        let mut runner = Self::with(options, memory);
        if runner.memory.definition != definition {
            runner.memory = Memory { definition, created: now, handled: now, ..runner.memory };
        }
        runner
    }

    fn with(options: RunnerOptions, memory: Memory) -> Self {
        let mut runner = Self {
            options,
            memory,
            due: VecDeque::new(),
            missed: VecDeque::new(),
            left_out: None,
            not_before: Timestamp(0),
        };
        runner.not_before = runner.memory.last_run.map_or(Timestamp(0), |run| runner.with_jitter(run));
        runner
    }

    /// What must be kept.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How it runs.
    #[must_use]
    pub const fn options(&self) -> &RunnerOptions {
        &self.options
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Timestamp) -> Step {
        if !self.options.enabled {
            return Step::Wait(None);
        }
        if now.plus_ms(SET_BACK_MS_MAX) < self.memory.handled {
            return self.set_back(now);
        }
        if let Some(run) = self.due.front() {
            return Step::Run(*run);
        }
        self.look_through(now)
    }

    /// A run that was due is made: what it did is durable.
    pub fn ran(&mut self, run: Run, now: Timestamp) {
        if self.due.front() != Some(&run) {
            // The clock was set back meanwhile, and the schedule goes on from elsewhere.
            return;
        }
        self.due.pop_front();
        self.memory.handled = self.memory.handled.max(run.scheduled);
        self.memory.last_run = Some(run.scheduled);
        self.memory.last_run_at = Some(now);
        self.memory.runs += 1;
        self.memory.made_up += u64::from(run.missed);
    }

    /// The next runs that the timetable has, at most `count`, those that are due already among them; without jitter.
    #[must_use]
    pub fn next_runs(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        if !self.options.enabled {
            return Vec::new();
        }
        let waiting = self.due.iter().map(|run| run.scheduled).chain(self.missed.iter().copied());
        let last = waiting.clone().last().unwrap_or(self.memory.handled);
        // What a long downtime left behind is not what comes next.
        let from = last.max(Timestamp(now.0.saturating_sub(LATE_MS + self.options.jitter_ms)));
        let coming = self.options.timetable.runs_after(self.memory.created, from);
        waiting.chain(coming).take(count).collect()
    }

    fn set_back(&mut self, now: Timestamp) -> Step {
        let from = std::mem::replace(&mut self.memory.handled, now);
        self.memory.created = self.memory.created.min(now);
        self.due.clear();
        self.missed.clear();
        self.left_out = None;
        self.not_before = Timestamp(0);
        Step::SetBack { from }
    }

    /// Goes along the timetable from what was handled to what is due now.
    fn look_through(&mut self, now: Timestamp) -> Step {
        let kept = match self.options.missed {
            MissedRuns::Skip => 0,
            MissedRuns::Once => 1,
            MissedRuns::All { most } => most as usize,
        };
        for _ in 0..LOOKED_AT_ONCE {
            let last_left_out = self.left_out.map(|left_out| left_out.last);
            let after = self.missed.back().copied().or(last_left_out).unwrap_or(self.memory.handled);
            let next = self.options.timetable.next_after(self.memory.created, after);
            let due_at = next.map(|next| self.with_jitter(next).max(self.not_before));
            match (next, due_at) {
                (Some(next), Some(due_at)) if due_at <= now => {
                    self.not_before = due_at;
                    if now.since_ms(due_at) <= LATE_MS {
                        return self.decide(Some(next));
                    }
                    self.missed.push_back(next);
                    if self.missed.len() > kept {
                        self.leave_out_first();
                    }
                }
                _ if self.missed.is_empty() && self.left_out.is_none() => return Step::Wait(due_at),
                _ => return self.decide(None),
            }
        }
        Step::Busy
    }

    /// All that was missed is known, and what is due in time if anything is.
    fn decide(&mut self, in_time: Option<Timestamp>) -> Step {
        if in_time.is_some() && self.options.missed == MissedRuns::Once {
            while !self.missed.is_empty() {
                self.leave_out_first();
            }
        }
        let made_up = self.missed.drain(..).map(|scheduled| Run { scheduled, missed: true });
        self.due.extend(made_up);
        self.due.extend(in_time.map(|scheduled| Run { scheduled, missed: false }));
        if let Some(skipped) = self.left_out.take() {
            self.memory.handled = self.memory.handled.max(skipped.last);
            self.memory.skipped += skipped.count;
            return Step::Skipped(skipped);
        }
        self.due.front().map_or(Step::Busy, |run| Step::Run(*run))
    }

    fn leave_out_first(&mut self) {
        let Some(first) = self.missed.pop_front() else { return };
        let left_out = self.left_out.get_or_insert(Skipped { count: 0, first, last: first });
        left_out.count += 1;
        left_out.last = first;
    }

    /// When a run is due: its time and its share of the jitter window, the same whenever it is asked for.
    fn with_jitter(&self, scheduled: Timestamp) -> Timestamp {
        if self.options.jitter_ms == 0 {
            return scheduled;
        }
        let mut digest = Sha256::new();
        digest.update(self.memory.seed.to_be_bytes());
        digest.update(scheduled.0.to_be_bytes());
        let drawn = digest.finalize().iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        scheduled.plus_ms(drawn % self.options.jitter_ms.saturating_add(1))
    }
}

impl Memory {
    /// When the schedule began, or began anew.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// The time of the last run, and when it was made.
    #[must_use]
    pub fn last_run(&self) -> Option<(Timestamp, Timestamp)> {
        self.last_run.zip(self.last_run_at)
    }

    /// Runs that were made.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// Missed runs that were made later.
    #[must_use]
    pub const fn made_up(&self) -> u64 {
        self.made_up
    }

    /// Missed runs that were left out.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn definition(options: &RunnerOptions) -> String {
    let state = if options.enabled { "" } else { " disabled" };
    format!("{}{state}", options.timetable.definition())
}
