//! What a run costs, by a table of prices.

use super::summary::FunctionKind;
use crate::report::{Architecture, Report};

/// The memory that a function has where nobody says: Lambda's least.
const MEMORY_MB_DEFAULT: u32 = 128;

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

    /// What one run costs. Local functions are priced as if they ran on Lambda; an HTTP endpoint costs nothing that is known here,
    /// nor does a run that is not billed.
    #[must_use]
    pub fn cost(&self, report: &Report) -> f64 {
        let Some(billed_ms) = report.billed_ms else { return 0.0 };
        if FunctionKind::of(&report.function) == FunctionKind::Http {
            return 0.0;
        }
        let price = self.of(report.architecture);
        let gib = f64::from(report.memory_mb.unwrap_or(MEMORY_MB_DEFAULT)) / 1024.0;
        price.request + gib * (billed_ms as f64 / 1000.0) * price.gib_second
    }
}

impl Default for Prices {
    fn default() -> Self {
        // https://aws.amazon.com/lambda/pricing/: US East (N. Virginia), on demand, first tier (x86: the first 6 billion GB-seconds
        // a month, arm: the first 7.5 billion), $0.20 per million requests. Taken from accounts of that page of 2024 and May 2026,
        // which agree; check them against the page before money depends on it. The free tier, ephemeral storage and provisioned concurrency are left out.
        Self {
            x86: Price { gib_second: 0.000_016_666_7, request: 0.000_000_2 },
            arm: Price { gib_second: 0.000_013_333_4, request: 0.000_000_2 },
        }
    }
}
