//! What a function did over a window of time, in the numbers that people ask for.

use eventail_wire::TriggerName;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;

/// Lambda's least memory: a smaller size cannot be chosen there.
const LAMBDA_MEMORY_MB_MIN: u32 = 128;
/// Sizes that are proposed are multiples of this.
const MEMORY_MB_STEP: u32 = 64;
/// So many runs must have said what memory they had before another size is proposed.
const MEMORY_SAMPLES_MIN: u64 = 100;
/// A proposed size has so much more than the most that was used, as a share of it.
const MEMORY_MARGIN: f64 = 0.3;
/// A proposed size is at most this share of the present one: less is not worth the change.
const MEMORY_WORTH: f64 = 0.75;

/// What a function is, by the first word of [`crate::report::Report::function`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// A process of the broker.
    Function,
    /// A function of AWS Lambda.
    Lambda,
    /// An HTTP endpoint.
    Http,
    /// Those that are not told apart because there were too many.
    Others,
}

impl FunctionKind {
    /// The kind of a function.
    #[must_use]
    pub fn of(function: &str) -> Self {
        match function.split_once(' ') {
            Some(("function", _)) => Self::Function,
            Some(("lambda", _)) => Self::Lambda,
            Some(("http", _)) => Self::Http,
            _ => Self::Others,
        }
    }
}

/// What the money stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBasis {
    /// AWS bills it, by the price table.
    Billed,
    /// The function runs here; this is what Lambda would bill for the same runs.
    AsLambdaWouldBill,
    /// Nothing is known of what it costs.
    None,
}

/// One trigger's part in a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerShare {
    /// The trigger; `None` for those who called the function directly.
    pub trigger: Option<TriggerName>,
    /// Its runs.
    pub calls: u64,
    /// Events that they delivered.
    pub events: u64,
    /// Runs that failed, for whatever reason.
    pub failures: u64,
    /// What they cost.
    pub cost: f64,
}

/// What a function did. Times in milliseconds, memory in MiB; a quantile is within 5 % of the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name, without the kind.
    pub name: String,
    /// What it is.
    pub kind: FunctionKind,
    /// Over how long this was summed up.
    pub window_ms: u64,
    /// Runs: calls that the function got to see. Throttles and failed starts are none.
    pub calls: u64,
    /// Events that these calls delivered.
    pub events: u64,
    /// Runs that began with an init.
    pub cold_starts: u64,
    /// Their share of the runs, in percent; absent where there were none.
    pub cold_percent: Option<f64>,
    /// Half of the inits took no longer.
    pub init_p50_ms: Option<f64>,
    /// 99 % of the inits took no longer.
    pub init_p99_ms: Option<f64>,
    /// Half of the runs took no longer, without init.
    pub duration_p50_ms: Option<f64>,
    /// 99 % of the runs took no longer, without init.
    pub duration_p99_ms: Option<f64>,
    /// Half of the runs are billed no more than this.
    pub billed_p50_ms: Option<f64>,
    /// 99 % of the runs are billed no more than this.
    pub billed_p99_ms: Option<f64>,
    /// What is billed for all runs together.
    pub billed_ms: u64,
    /// The same for 1,000 delivered events; absent where none was.
    pub billed_ms_per_1000_events: Option<f64>,
    /// What all runs together cost.
    pub cost: f64,
    /// The same for 1,000 delivered events; absent where none was.
    pub cost_per_1000_events: Option<f64>,
    /// What the money stands for.
    pub cost_basis: CostBasis,
    /// The memory that it may have.
    pub memory_mb: Option<u32>,
    /// The most that a run had.
    pub memory_used_mb: Option<u32>,
    /// A smaller memory size that would do, where enough runs say so and none ran out of memory.
    pub memory_proposed_mb: Option<u32>,
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
    /// Who called it.
    pub triggers: Vec<TriggerShare>,
}

impl Summary {
    /// Of a function (as [`crate::report::Report::function`] names it) by what was counted for each of its triggers.
    #[must_use]
    pub fn of(function: &str, window_ms: u64, shares: &[(Option<&TriggerName>, Bucket)]) -> Self {
        let kind = FunctionKind::of(function);
        let mut sum = Bucket::default();
        shares.iter().for_each(|(_, bucket)| sum.merge(bucket));
        let per_1000 = |amount: f64| (sum.events > 0).then(|| amount * 1000.0 / sum.events as f64);
        let name = match kind {
            FunctionKind::Others => function,
            _ => function.split_once(' ').map_or(function, |(_, name)| name),
        };
        Self {
            name: name.to_owned(),
            kind,
            window_ms,
            calls: sum.calls,
            events: sum.events,
            cold_starts: sum.cold_starts,
            cold_percent: (sum.calls > 0).then(|| 100.0 * sum.cold_starts as f64 / sum.calls as f64),
            init_p50_ms: sum.init.quantile_ms(0.5),
            init_p99_ms: sum.init.quantile_ms(0.99),
            duration_p50_ms: sum.duration.quantile_ms(0.5),
            duration_p99_ms: sum.duration.quantile_ms(0.99),
            billed_p50_ms: sum.billed.quantile_ms(0.5),
            billed_p99_ms: sum.billed.quantile_ms(0.99),
            billed_ms: sum.billed_ms,
            billed_ms_per_1000_events: per_1000(sum.billed_ms as f64),
            cost: sum.cost,
            cost_per_1000_events: per_1000(sum.cost),
            cost_basis: match kind {
                FunctionKind::Function => CostBasis::AsLambdaWouldBill,
                FunctionKind::Lambda => CostBasis::Billed,
                FunctionKind::Http | FunctionKind::Others => CostBasis::None,
            },
            memory_mb: (sum.memory_mb > 0).then_some(sum.memory_mb),
            memory_used_mb: (sum.memory_samples > 0).then_some(sum.memory_used_mb),
            memory_proposed_mb: proposed_memory_mb(kind, &sum),
            errors: sum.errors,
            timeouts: sum.timeouts,
            out_of_memory: sum.out_of_memory,
            throttles: sum.throttles,
            init_errors: sum.init_errors,
            triggers: shares.iter().map(|(trigger, bucket)| share(*trigger, bucket)).collect(),
        }
    }
}

impl Summary {
    /// Its kind and name, as [`crate::report::Report::function`] has them.
    #[must_use]
    pub fn full_name(&self) -> String {
        let kind = match self.kind {
            FunctionKind::Function => "function",
            FunctionKind::Lambda => "lambda",
            FunctionKind::Http => "http",
            FunctionKind::Others => return self.name.clone(),
        };
        format!("{kind} {}", self.name)
    }
}

fn share(trigger: Option<&TriggerName>, bucket: &Bucket) -> TriggerShare {
    TriggerShare {
        trigger: trigger.cloned(),
        calls: bucket.calls,
        events: bucket.events,
        failures: bucket.errors + bucket.timeouts + bucket.out_of_memory,
        cost: bucket.cost,
    }
}

/// A smaller size that has room for the most that was ever used, and a margin.
fn proposed_memory_mb(kind: FunctionKind, sum: &Bucket) -> Option<u32> {
    let least = match kind {
        FunctionKind::Function => MEMORY_MB_STEP,
        FunctionKind::Lambda => LAMBDA_MEMORY_MB_MIN,
        FunctionKind::Http | FunctionKind::Others => return None,
    };
    if sum.out_of_memory > 0 || sum.memory_samples < MEMORY_SAMPLES_MIN || sum.memory_used_mb == 0 {
        return None;
    }
    let wanted = (f64::from(sum.memory_used_mb) * (1.0 + MEMORY_MARGIN)).ceil() as u32;
    let proposed = wanted.checked_next_multiple_of(MEMORY_MB_STEP)?.max(least);
    (f64::from(proposed) <= f64::from(sum.memory_mb) * MEMORY_WORTH).then_some(proposed)
}
