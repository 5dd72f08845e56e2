//! The ledger: what functions did and cost.

pub mod report_line;

use crate::report::Architecture;

/// What a budget that is spent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetAction {
    /// It says so, in the log and as a metric.
    #[default]
    Warn,
    /// It pauses the trigger until the next day (UTC).
    Pause,
}

/// The money that a trigger may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Dollars (or whatever the prices are in) per day, UTC.
    pub per_day: f64,
    /// What happens when they are spent.
    pub action: BudgetAction,
}

/// Prices of one architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// For one GiB of memory for one second.
    pub gib_second: f64,
    /// For one request.
    pub request: f64,
}

/// The price table. The default is AWS's published on-demand price in us-east-1 (first tier).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// 64-bit x86.
    pub x86: Price,
    /// 64-bit Arm.
    pub arm: Price,
}

impl Prices {
    /// The prices of one architecture.
    #[must_use]
    pub const fn of(&self, architecture: Architecture) -> &Price {
        match architecture {
            Architecture::X86 => &self.x86,
            Architecture::Arm => &self.arm,
        }
    }
}

impl Default for Prices {
    fn default() -> Self {
        // https://aws.amazon.com/lambda/pricing/, us-east-1, first tier, as published in November 2026.
        Self {
            x86: Price { gib_second: 0.000_016_666_7, request: 0.000_000_2 },
            arm: Price { gib_second: 0.000_013_333_4, request: 0.000_000_2 },
        }
    }
}
