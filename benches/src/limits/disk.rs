//! The disk: what a write with its `fdatasync` costs on a file whose blocks were written before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::latencies::Latencies;
use crate::report::{Figure, Goal};
use crate::requests::nanoseconds;

const FILE_BYTES: u64 = 256 << 20;
const GROUP_BYTES: usize = 1 << 20;

/// Writes of `bytes`, each followed by `fdatasync`, one after the other.
///
/// # Errors
/// What the disk says.
pub fn sync_latency(folder: &Path, bytes: usize, duration: Duration) -> anyhow::Result<Figure> {
    let (count, elapsed, latencies) = write_and_sync(folder, bytes, duration)?;
    let detail = latencies.summary().text();
    Ok(Figure {
        durability: "sync",
        scenario: "limits".to_owned(),
        what: format!("write + fdatasync of {bytes} bytes, written before"),
        value: count / elapsed.as_secs_f64(),
        unit: "/s",
        goal: Goal::None,
        detail,
    })
}

/// Groups of 1 MiB, each followed by `fdatasync`.
///
/// # Errors
/// What the disk says.
pub fn bandwidth(folder: &Path, duration: Duration) -> anyhow::Result<Figure> {
    let (count, elapsed, latencies) = write_and_sync(folder, GROUP_BYTES, duration)?;
    Ok(Figure {
        durability: "sync",
        scenario: "limits".to_owned(),
        what: "sequential write, fdatasync each 1 MiB".to_owned(),
        value: count / elapsed.as_secs_f64(),
        unit: "MiB/s",
        goal: Goal::None,
        detail: latencies.summary().text(),
    })
}

fn write_and_sync(
    folder: &Path,
    bytes: usize,
    duration: Duration,
) -> anyhow::Result<(f64, Duration, Latencies)> {
    let file = zeroed_file(folder)?;
    let block = vec![0x5a; bytes];
    let step = u64::try_from(bytes)?;
    let (mut at, mut count, mut latencies) = (0, 0.0, Latencies::default());
    let start = Instant::now();
    while start.elapsed() < duration {
        if at + step > FILE_BYTES {
            at = 0;
        }
        let begin = Instant::now();
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        latencies.record_ns(nanoseconds(begin.elapsed()));
        at += step;
        count += 1.0;
    }
    Ok((count, start.elapsed(), latencies))
}

/// A file whose blocks are all written, so that a sync commits no metadata.
fn zeroed_file(folder: &Path) -> anyhow::Result<File> {
    let file = tempfile::tempfile_in(folder).context("a file to measure with")?;
    let zeros = vec![0; GROUP_BYTES];
    for group in 0..FILE_BYTES / GROUP_BYTES as u64 {
        file.write_all_at(&zeros, group * GROUP_BYTES as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}
