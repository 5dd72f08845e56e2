//! The contract of a log: what an append promises, what a read returns, what may be trimmed. Engines keep it, and nothing
//! above this crate may know how.
//!
//! ```text
//!        start                        durable end        end
//!   trimmed |  readable, safe on disk      |  in flight   |
//!   --------+------------------------------+--------------+----> offsets
//! ```
//!
//! - Offsets are dense: 0, 1, 2 … in the order of appends; a range is half open; the durable end is exclusive.
//! - An append is answered when its promise holds: with [`Durability::Sync`] when its records are synced to disk, with
//!   [`Durability::Buffered`] when they are written (they are synced soon after). A batch is written whole and in order.
//! - A read returns only records below the durable end (for `Buffered`: below what was written), in order, without gaps. Where stored
//!   bytes are damaged it ends before them, and the next one says which offsets are lost and where reading goes on.
//! - After a failed write or sync the log is poisoned: appends are refused until it is opened anew; reads go on.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Code, Offset, Timestamp};
use tokio::sync::watch;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// When an append is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the records were written and synced. The default.
    #[default]
    Sync,
    /// After the write; the sync follows within [`LogOptions::buffered_sync_ms`].
    Buffered,
}

/// What decides whether a record was seen before; 128 bits, so that a chance collision need not be feared.
pub type Fingerprint = u128;

/// How a log behaves. Everything here may differ from one open to the next.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// When appends are answered.
    pub durability: Durability,
    /// How long a buffered write may stay unsynced.
    pub buffered_sync_ms: u64,
    /// A segment is closed when it would grow past this.
    pub segment_bytes: u64,
    /// Records older than this may go, whole segments at a time. `None` keeps them.
    pub retention_age_ms: Option<u64>,
    /// The oldest segments may go while the log holds more than this. `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// Publishes are deduplicated where this is set.
    pub deduplication: Option<Deduplication>,
}

/// How publishes are deduplicated.
#[derive(Clone, Copy, Debug)]
pub struct Deduplication {
    /// How long a fingerprint is remembered after its record was appended. Exact: a repeat that comes later is new.
    pub window_ms: u64,
    /// How many are remembered at most; past it the oldest are forgotten early, which is counted.
    pub ids_max: usize,
    /// Computes the fingerprint of a stored payload, to rebuild the memory from the log.
    pub fingerprint: fn(&Bytes) -> Option<Fingerprint>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            buffered_sync_ms: 50,
            segment_bytes: 128 << 20,
            retention_age_ms: None,
            retention_bytes: None,
            deduplication: None,
        }
    }
}

/// A record to be appended.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// What is stored, opaque to the log.
    pub payload: Bytes,
    /// Its fingerprint; `None` stores it whatever came before.
    pub fingerprint: Option<Fingerprint>,
}

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its offset, or the first one's where it is a duplicate.
    pub offset: Offset,
    /// Whether it was seen before, and so was not stored again.
    pub duplicate: bool,
}

/// A record as read. The payload shares the bytes of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// When it was appended, by the log's clock.
    pub appended_at: Timestamp,
    /// What was stored.
    pub payload: Bytes,
}

/// How much one read may return; at least one record comes, be it larger than `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// What can be told of a log at a moment.
#[derive(Clone, Debug, Default)]
pub struct LogStatus {
    /// Readable offsets.
    pub range: Range<Offset>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// When the oldest record was appended; `None` where there is none.
    pub oldest_at: Option<Timestamp>,
    /// Why appends are refused, if they are.
    pub refusal: Option<Code>,
    /// Remembered fingerprints.
    pub dedup_ids: u64,
    /// The bytes that they take.
    pub dedup_bytes: u64,
    /// Records that are known to be lost, in order. Damage that nobody has met yet is not among them.
    pub lost: Vec<LostRecords>,
}

/// Records that are lost because stored bytes are damaged or missing. Their offsets are not given to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecords {
    /// The first of them.
    pub first: Offset,
    /// The first offset behind them.
    pub next: Offset,
    /// The file, with the log's folder.
    pub file: String,
    /// Where in it the damage begins.
    pub position: u64,
    /// What did not fit.
    pub what: &'static str,
}

/// Why an append failed. None of its records is readable now; whether they come back when the log is opened anew is
/// certain only for [`AppendError::Full`] and [`AppendError::TooLarge`]: they do not.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// There is no room on the disk. Nothing that was acknowledged is lost; the log takes writes again when there is room.
    #[error("the disk is full")]
    Full,
    /// An earlier write or sync failed, so nothing more is taken until the log is opened anew.
    #[error("the log refuses writes since a write or sync failed: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<std::io::Error>,
    },
    /// The records of one append are larger together than a log takes at once.
    #[error("an append takes {bytes} bytes and may take {bytes_max}")]
    TooLarge {
        /// Their size as stored.
        bytes: usize,
        /// The most that is taken.
        bytes_max: usize,
    },
    /// The log was closed before the answer; the records may or may not be there.
    #[error("the log was closed")]
    Closed,
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset lies before what was kept.
    #[error("offset {asked} is gone: the log begins at {start}")]
    Trimmed {
        /// What was asked for.
        asked: Offset,
        /// The first readable offset.
        start: Offset,
    },
    /// Stored bytes are damaged, and these records are lost. All others can be read: go on at `next`.
    #[error(
        "{file} is corrupt at byte {position}: offsets {offset} to {next} (not included) are lost ({what})"
    )]
    Corrupt {
        /// The file's name.
        file: String,
        /// Where the damage begins in it.
        position: u64,
        /// The first offset that was asked for and cannot be read.
        offset: Offset,
        /// The first offset behind it that can be, or the readable end.
        next: Offset,
        /// What did not fit.
        what: &'static str,
    },
    /// The disk refused.
    #[error("{file} cannot be read: {cause}")]
    Io {
        /// The file's name.
        file: String,
        /// The system's word.
        cause: Arc<std::io::Error>,
    },
    /// The log was closed.
    #[error("the log was closed")]
    Closed,
}

impl AppendError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Full => Code::StorageFull,
            Self::Poisoned { .. } => Code::StoragePoisoned,
            Self::TooLarge { .. } => Code::BatchTooLarge,
            Self::Closed => Code::ShuttingDown,
        }
    }

    /// Whether the same append may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl ReadError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Trimmed { .. } => Code::OffsetTrimmed,
            Self::Corrupt { .. } => Code::StorageCorrupt,
            Self::Io { .. } => Code::Internal,
            Self::Closed => Code::ShuttingDown,
        }
    }

    /// Whether the same read may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

/// One append log. Shared by everyone who writes to it or reads from it.
pub trait Log: Send + Sync + 'static {
    /// Its name: a topic's, or one that begins with `_` for a log of the broker's own.
    fn name(&self) -> &str;

    /// Appends the records in order and answers where each went; see the module for what the answer promises. An empty
    /// batch is answered at once.
    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'static, Result<Vec<Appended>, AppendError>>;

    /// The durable end, to be watched.
    fn durable_end(&self) -> watch::Receiver<Offset>;

    /// Records from `from` on. Empty at the durable end.
    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'static, Result<Vec<Record>, ReadError>>;

    /// The same, answered at once where the records are still in memory; `None` where they are not.
    fn read_tail(&self, from: Offset, limit: ReadLimit) -> Option<Vec<Record>>;

    /// The first offset whose record was appended at or after `time`; the durable end where there is none yet.
    fn offset_at(&self, time: Timestamp) -> BoxFuture<'static, Result<Offset, ReadError>>;

    /// Lets go of records before `before` where whole segments allow it; answers the new start.
    fn trim(&self, before: Offset) -> BoxFuture<'static, Result<Offset, AppendError>>;

    /// Applies the retention as of `now`; answers the new start.
    fn retain(&self, now: Timestamp) -> BoxFuture<'static, Result<Offset, AppendError>>;

    /// What can be told of it now.
    fn status(&self) -> LogStatus;
}

/// Reads records from `from` on, and goes on behind those that are lost: for whoever has no account to keep of them. The log itself has
/// told of each.
///
/// # Errors
/// As [`Log::read`], but never [`ReadError::Corrupt`].
pub async fn read_what_is_left(
    log: &dyn Log,
    from: Offset,
    limit: ReadLimit,
) -> Result<Vec<Record>, ReadError> {
    let mut next = from;
    loop {
        if let Some(records) = log.read_tail(next, limit) {
            return Ok(records);
        }
        match log.read(next, limit).await {
            Err(ReadError::Corrupt { next: behind, .. }) => next = behind,
            outcome => return outcome,
        }
    }
}
