//! Handles of the metrics of one function and trigger.

use std::sync::atomic::{AtomicU64, Ordering};

use eventail_triggers::ledger::Key;
use eventail_triggers::report::{Report, RunEnd};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::handles::ByLabel;
use super::{
    FUNCTION_BILLED_SECONDS, FUNCTION_COLD_STARTS, FUNCTION_COST, FUNCTION_DURATION_SECONDS,
    FUNCTION_INIT_SECONDS, FUNCTION_INVOCATIONS, FUNCTION_MEMORY_SIZE, FUNCTION_MEMORY_USED,
};

const MEBIBYTE: f64 = 1_048_576.0;
/// Parts of a millionth that costs are added up in: a run may cost less than a millionth.
const PARTS: u64 = 1_000_000;

/// The word of an end.
#[must_use]
const fn end_label(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Error => "error",
        RunEnd::Timeout => "timeout",
        RunEnd::OutOfMemory => "out_of_memory",
        RunEnd::Throttled => "throttled",
        RunEnd::InitError => "init_error",
    }
}

const ENDS: [RunEnd; 6] = [
    RunEnd::Succeeded,
    RunEnd::Error,
    RunEnd::Timeout,
    RunEnd::OutOfMemory,
    RunEnd::Throttled,
    RunEnd::InitError,
];

/// What is counted about one function and trigger since the start. Calls that no trigger made have an empty `trigger`. The ledger bounds
/// how many of these there are.
#[derive(Debug)]
pub struct FunctionMetrics {
    invocations: ByLabel,
    cold_starts: Counter,
    init_seconds: Histogram,
    duration_seconds: Histogram,
    billed_seconds: Counter,
    cost: Counter,
    memory_used: Gauge,
    memory_size: Gauge,
    /// What the two counters of fractions add up to: counters are whole.
    billed_ms: AtomicU64,
    cost_parts: AtomicU64,
}

impl FunctionMetrics {
    /// Makes the handles.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let function = key.function.as_ref();
        let trigger = key.trigger.as_ref().map_or("", |trigger| trigger.as_str());
        let labels = [("function", function.to_owned()), ("trigger", trigger.to_owned())];
        let invocations = ByLabel::new(FUNCTION_INVOCATIONS, &labels, "end", ENDS.map(end_label).into_iter());
        Self {
            invocations,
            cold_starts: counter!(FUNCTION_COLD_STARTS, &labels),
            init_seconds: histogram!(FUNCTION_INIT_SECONDS, &labels),
            duration_seconds: histogram!(FUNCTION_DURATION_SECONDS, &labels),
            billed_seconds: counter!(FUNCTION_BILLED_SECONDS, &labels),
            cost: counter!(FUNCTION_COST, &labels),
            memory_used: gauge!(FUNCTION_MEMORY_USED, &labels),
            memory_size: gauge!(FUNCTION_MEMORY_SIZE, &labels),
            billed_ms: AtomicU64::new(0),
            cost_parts: AtomicU64::new(0),
        }
    }

    /// Counts one call that cost so much, in an hour whose runs had so much memory at most.
    pub fn called(&self, report: &Report, cost: f64, memory_used_mb: u32) {
        self.invocations.add(end_label(report.end), 1);
        if let Some(billed_ms) = report.billed_ms {
            let sum = self.billed_ms.fetch_add(billed_ms, Ordering::Relaxed) + billed_ms;
            self.billed_seconds.absolute(sum / 1000);
        }
        let parts = (cost * 1e6 * PARTS as f64).round() as u64;
        if parts > 0 {
            self.cost.absolute((self.cost_parts.fetch_add(parts, Ordering::Relaxed) + parts) / PARTS);
        }
        if matches!(report.end, RunEnd::Throttled | RunEnd::InitError) {
            return;
        }
        self.duration_seconds.record(report.duration_ms / 1000.0);
        if let Some(init_ms) = report.init_ms {
            self.cold_starts.increment(1);
            self.init_seconds.record(init_ms / 1000.0);
        }
        if memory_used_mb > 0 {
            self.memory_used.set(f64::from(memory_used_mb) * MEBIBYTE);
        }
        if let Some(memory_mb) = report.memory_mb {
            self.memory_size.set(f64::from(memory_mb) * MEBIBYTE);
        }
    }
}
