//! One hour of one function and trigger.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use crate::report::{Report, RunEnd};

/// What was counted. As an array on disk: fields are only ever added at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// Runs: calls that the function got to see. Throttles and failed starts are none.
    pub calls: u64,
    /// Events that these calls delivered.
    pub events: u64,
    /// Runs that began with an init.
    pub cold_starts: u64,
    /// Runs that ended with an error of the function, or a crash.
    pub errors: u64,
    /// Runs that did not end in time.
    pub timeouts: u64,
    /// Runs that took more memory than they may have.
    pub out_of_memory: u64,
    /// Calls that were refused because there were too many.
    pub throttles: u64,
    /// Calls for which the function could not be started.
    pub init_errors: u64,
    /// How long inits took.
    pub init: Histogram,
    /// How long runs took, without init.
    pub duration: Histogram,
    /// What was billed for a run.
    pub billed: Histogram,
    /// All of it, in milliseconds.
    pub billed_ms: u64,
    /// What it cost.
    pub cost: f64,
    /// The memory that the function may have, as the last run had it, in MiB; 0 where nobody said.
    pub memory_mb: u32,
    /// The most that a run had, in MiB.
    pub memory_used_mb: u32,
    /// Runs that said how much they had.
    pub memory_samples: u64,
}

impl Bucket {
    /// Adds one call, which delivered so many events and cost so much.
    pub fn add(&mut self, report: &Report, events: u32, cost: f64) {
        match report.end {
            RunEnd::Throttled => self.throttles += 1,
            RunEnd::InitError => self.init_errors += 1,
            RunEnd::Succeeded => self.calls += 1,
            RunEnd::Error => {
                self.calls += 1;
                self.errors += 1;
            }
            RunEnd::Timeout => {
                self.calls += 1;
                self.timeouts += 1;
            }
            RunEnd::OutOfMemory => {
                self.calls += 1;
                self.out_of_memory += 1;
            }
        }
        self.cost += cost;
        if let Some(billed_ms) = report.billed_ms {
            self.billed_ms = self.billed_ms.saturating_add(billed_ms);
            self.billed.record(billed_ms as f64);
        }
        if matches!(report.end, RunEnd::Throttled | RunEnd::InitError) {
            return;
        }
        self.events += u64::from(events);
        self.duration.record(report.duration_ms);
        if let Some(init_ms) = report.init_ms {
            self.cold_starts += 1;
            self.init.record(init_ms);
        }
        self.memory_mb = report.memory_mb.unwrap_or(self.memory_mb);
        if let Some(memory_used_mb) = report.memory_used_mb {
            self.memory_used_mb = self.memory_used_mb.max(memory_used_mb);
            self.memory_samples += 1;
        }
    }

    /// Adds all that a later one counted.
    pub fn merge(&mut self, later: &Self) {
        self.calls += later.calls;
        self.events += later.events;
        self.cold_starts += later.cold_starts;
        self.errors += later.errors;
        self.timeouts += later.timeouts;
        self.out_of_memory += later.out_of_memory;
        self.throttles += later.throttles;
        self.init_errors += later.init_errors;
        self.init.merge(&later.init);
        self.duration.merge(&later.duration);
        self.billed.merge(&later.billed);
        self.billed_ms = self.billed_ms.saturating_add(later.billed_ms);
        self.cost += later.cost;
        if later.memory_mb > 0 {
            self.memory_mb = later.memory_mb;
        }
        self.memory_used_mb = self.memory_used_mb.max(later.memory_used_mb);
        self.memory_samples += later.memory_samples;
    }
}
