//! Every metric of this crate: its name, unit and meaning, in one place. Labels are bounded: `log` is a log's name.

use metrics::Unit;

/// A metric as it is described to the exporter.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// What it means.
    pub help: &'static str,
    /// What kind it is.
    pub kind: Kind,
}

/// What kind a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is a distribution.
    Histogram,
}

/// Records appended.
pub const APPENDED_RECORDS: &str = "eventail_storage_appended_records_total";
/// Bytes appended, as stored.
pub const APPENDED_BYTES: &str = "eventail_storage_appended_bytes_total";
/// Records that one write and sync carried.
pub const GROUP_RECORDS: &str = "eventail_storage_group_records";
/// How long a sync took.
pub const SYNC_SECONDS: &str = "eventail_storage_sync_seconds";
/// Torn tails cut off.
pub const TORN_TAILS: &str = "eventail_storage_torn_tails_total";
/// Logs that refuse writes after a failed write or sync.
pub const POISONED_LOGS: &str = "eventail_storage_poisoned_logs";
/// Logs with damaged bytes.
pub const CORRUPT_LOGS: &str = "eventail_storage_corrupt_logs";
/// Records that are lost in damaged bytes.
pub const LOST_RECORDS: &str = "eventail_storage_lost_records_total";
/// Appends refused for want of room.
pub const FULL: &str = "eventail_storage_full_total";
/// Fingerprints remembered.
pub const DEDUP_IDS: &str = "eventail_storage_dedup_ids";
/// What they take.
pub const DEDUP_BYTES: &str = "eventail_storage_dedup_bytes";
/// Fingerprints forgotten before their time.
pub const DEDUP_FORGOTTEN: &str = "eventail_storage_dedup_forgotten_total";
/// Records that were seen before.
pub const DUPLICATES: &str = "eventail_storage_duplicates_total";
/// Times that the rebuildable index was found unusable.
pub const INDEX_RESETS: &str = "eventail_storage_index_resets_total";

/// All of them.
pub const ALL: &[Description] = &[
    counter(APPENDED_RECORDS, Unit::Count, "records appended, by log"),
    counter(APPENDED_BYTES, Unit::Bytes, "bytes appended as stored, by log"),
    histogram(GROUP_RECORDS, Unit::Count, "records that one write and sync carried"),
    histogram(SYNC_SECONDS, Unit::Seconds, "how long a sync of a segment took"),
    counter(TORN_TAILS, Unit::Count, "half-written tails cut off when a log was opened"),
    gauge(POISONED_LOGS, Unit::Count, "logs that refuse writes after a failed write or sync"),
    gauge(CORRUPT_LOGS, Unit::Count, "logs in which stored bytes are damaged"),
    counter(LOST_RECORDS, Unit::Count, "records found lost in damaged bytes since the start, by log"),
    counter(FULL, Unit::Count, "appends refused because the disk is full, by log"),
    gauge(DEDUP_IDS, Unit::Count, "remembered fingerprints, by log"),
    gauge(DEDUP_BYTES, Unit::Bytes, "memory of remembered fingerprints, by log"),
    counter(
        DEDUP_FORGOTTEN,
        Unit::Count,
        "fingerprints forgotten within their window because of the cap, by log",
    ),
    counter(DUPLICATES, Unit::Count, "records refused as duplicates, by log"),
    counter(INDEX_RESETS, Unit::Count, "times that the rebuildable index was unusable and begun anew"),
];

/// Describes them to the recorder that is installed.
pub fn describe() {
    for description in ALL {
        let Description { name, unit, help, kind } = *description;
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Description {
    Description { name, unit, help, kind: Kind::Counter }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Description {
    Description { name, unit, help, kind: Kind::Gauge }
}

const fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Description {
    Description { name, unit, help, kind: Kind::Histogram }
}
