//! What this machine can do at best, so that our figures have something to stand beside: its disk with a sync for each
//! write, and its loopback with nothing but hyper on both sides.

mod disk;
mod http;

use std::path::Path;
use std::time::Duration;

use crate::report::Figure;

pub use disk::{bandwidth, sync_latency};
pub use http::{ceiling, raw_ceiling};

/// Measures everything, each part for `duration`; files are made in `folder`.
///
/// # Errors
/// Where the folder takes no files or the target does not run.
pub async fn measure(folder: &Path, duration: Duration) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for bytes in [512, 4 << 10, 64 << 10] {
        figures.push(sync_latency(folder, bytes, duration)?);
    }
    figures.push(bandwidth(folder, duration)?);
    for connections in [1, 64, 128] {
        figures.push(ceiling(connections, duration).await?);
    }
    Ok(figures)
}
