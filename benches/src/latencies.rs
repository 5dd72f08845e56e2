//! Latencies in a histogram, and what is told of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Collects latencies from 1 ns to 10 minutes with three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// What is told of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// 999 of 1,000 are at most this.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are valid");
        Self { histogram }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record_ns(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// Adds one that was told in milliseconds.
    pub fn record_ms(&mut self, milliseconds: f64) {
        let duration = Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default();
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another collection.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// What can be told.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let at = |quantile: f64| milliseconds(self.histogram.value_at_quantile(quantile));
        Summary {
            count: self.histogram.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(self.histogram.max()),
        }
    }
}

impl Summary {
    /// `p50 0.12 ms, p99 …` for the table.
    #[must_use]
    pub fn text(&self) -> String {
        format!("p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms", self.p50_ms, self.p99_ms, self.p999_ms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
