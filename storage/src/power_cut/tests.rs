//! The engine on real files loses nothing to a power cut, and the check notices where it would.

use std::sync::Arc;

use eventail_wire::{Clock, Timestamp};

use super::*;
use crate::disk_io::OsDisk;

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

/// A load on real files, as it was recorded.
async fn recorded(load: &LoadOptions, omit: Omit) -> (Trace, u64) {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let recorder = Recorder::new(Arc::new(OsDisk), dir.path(), omit);
    let acknowledged = record_load(&recorder, dir.path(), &clock, load).await.unwrap();
    (recorder.take(), acknowledged)
}

async fn checked(trace: &Trace, load: &LoadOptions, options: &CheckOptions) -> CheckReport {
    let clock: Arc<dyn Clock> = Arc::new(Still);
    check(trace, load, options, &clock, &mut |_| true).await
}

#[tokio::test]
async fn no_power_cut_loses_what_was_acknowledged() {
    for seed in 0..2 {
        let load = LoadOptions { seed, ..LoadOptions::default() };
        let (trace, acknowledged) = recorded(&load, Omit::Nothing).await;
        assert!(acknowledged > 500 && trace.syncs() > 50, "{acknowledged}, {}", trace.syncs());
        let report =
            checked(&trace, &load, &CheckOptions { seed, states: 400, ..CheckOptions::default() }).await;
        assert!(report.losses.is_empty(), "seed {seed}: {:?}", report.losses);
        assert!(report.cuts > 60 && report.states > 200 && report.records > 10_000, "{report:?}");
    }
}

#[tokio::test]
async fn of_a_short_history_every_possible_state_is_whole() {
    let load = LoadOptions {
        appends: 14,
        sync_logs: 1,
        buffered_logs: 0,
        segment_bytes: 600,
        record_bytes_max: 150,
        large_one_in: 0,
        in_flight: 2,
        restarts: 1,
        ..LoadOptions::default()
    };
    let (trace, _) = recorded(&load, Omit::Nothing).await;
    let options = CheckOptions { states: u64::MAX, draws: 64, exhaustive_max: 9, ..CheckOptions::default() };
    let report = checked(&trace, &load, &options).await;
    assert!(report.losses.is_empty(), "{:?}", report.losses);
    assert_eq!(report.cuts, trace.len() as u64, "the power fails behind every call");
    assert!(report.exhausted * 2 > report.cuts, "{report:?}");
}

#[tokio::test]
async fn a_disk_that_drops_the_syncs_of_files_is_found_out() {
    let load = LoadOptions::default();
    let (trace, _) = recorded(&load, Omit::FileSyncs).await;
    let report = checked(&trace, &load, &CheckOptions::default()).await;
    assert!(!report.losses.is_empty(), "{report:?}");
}

#[tokio::test]
async fn a_disk_that_drops_the_syncs_of_folders_is_found_out() {
    let load = LoadOptions::default();
    let (trace, _) = recorded(&load, Omit::FolderSyncs).await;
    let report = checked(&trace, &load, &CheckOptions::default()).await;
    assert!(!report.losses.is_empty(), "{report:?}");
}

#[tokio::test]
async fn remembered_ids_that_were_written_beside_the_log_are_those_of_the_log() {
    // Enough for several files of remembered ids, which are written by another thread.
    let load = LoadOptions {
        appends: 16_000,
        sync_logs: 1,
        buffered_logs: 0,
        segment_bytes: 512 << 10,
        record_bytes_max: 8,
        large_one_in: 0,
        in_flight: 256,
        ..LoadOptions::default()
    };
    let (trace, acknowledged) = recorded(&load, Omit::Nothing).await;
    assert!(acknowledged > 30_000);
    let options = CheckOptions { states: 48, ..CheckOptions::default() };
    let report = checked(&trace, &load, &options).await;
    assert!(report.losses.is_empty(), "{:?}", report.losses);
}
