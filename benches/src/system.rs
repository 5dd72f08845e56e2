//! What the system knows of a process and of this one: memory, descriptors, threads, children, limits.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::process::resident_bytes;

/// Raises the number of files that this process and those that it starts may have open, as far as it may.
///
/// # Errors
/// Where `wanted` is more than that.
pub fn raise_descriptors(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).with_context(|| {
        format!("{wanted} open files are needed and {:?} allowed (ulimit -n)", limit.maximum)
    })
}

/// What a process has at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open files.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Processes that it started and that live.
    pub children: u64,
}

impl Holdings {
    /// Asks the system.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{process}");
        let tasks = std::fs::read_dir(format!("{folder}/task"))?;
        let (mut threads, mut children) = (0, 0);
        for task in tasks {
            threads += 1;
            // A thread may end between the two.
            let path = task?.path().join("children");
            children +=
                std::fs::read_to_string(path).map_or(0, |text| text.split_whitespace().count() as u64);
        }
        let descriptors = std::fs::read_dir(format!("{folder}/fd"))?.count() as u64;
        Ok(Self { resident_bytes: resident_bytes(process)?, descriptors, threads, children })
    }
}

/// How much the second of each pair grows with the first, by least squares.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = f64::from(u32::try_from(points.len()).unwrap_or(u32::MAX)).max(1.0);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let products: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let squares: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { products / squares }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_files_and_memory() {
        let holdings = Holdings::of(std::process::id()).unwrap();
        assert!(
            holdings.resident_bytes > 0 && holdings.threads > 0 && holdings.descriptors > 2,
            "{holdings:?}"
        );
    }

    #[test]
    fn the_slope_is_that_of_the_nearest_line() {
        let close = |points: &[(f64, f64)], expected: f64| (slope(points) - expected).abs() < 1e-9;
        assert!(close(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)], 2.0));
        assert!(close(&[(0.0, 1.0), (1.0, 3.0), (2.0, 1.0)], 0.0));
        assert!(close(&[(3.0, 1.0)], 0.0) && close(&[], 0.0));
    }
}
