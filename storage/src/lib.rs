//! The append log of Eventail, and the rebuildable index beside it.
//!
//! [`log`] is the contract that the rest of the broker knows, [`conformance`] what every engine of it must keep, [`disk`] the engine
//! that keeps logs in segment files. [`disk_io`] is the seam to the file system, with a simulated disk for tests. [`index`] holds
//! what is looked up by key and can be rebuilt from the logs.
//!
//! # The disk format
//!
//! ## Limits
//!
//! - An append, as stored, has at most 64 MiB; a log's name at most 200 bytes of letters, digits, `.`, `_` and `-`.
//! - A segment is closed before it would grow past `segment_bytes`, unless a single append is larger than that.
//! - One process has a data folder open at a time: it holds the lock of `.lock`.
//!
//! ## Layout
//!
//! ```text
//! <data folder>/
//!   .lock                          locked while a process has the folder open
//!   .format                        the version of this format: `eventail-logs 1`; a newer one is refused untouched
//!   <log>/
//!     00000000000000000000.log     a segment: batches, one after the other; the name is its first offset
//!     00000000000000000000.idx     its sidecar: where it ends, sparse index of offsets and times
//!     00000000000000041500.log     the newest segment; zeros may be written ahead in it
//!     00000000000000038000.snap    remembered fingerprints of a part of the log
//!   .removed-<log>/                a log whose removal was interrupted; the next start completes it
//! ```
//!
//! All numbers are little endian, all checksums CRC-32C. A **batch** is what a read checks as a whole. It holds one append or
//! several, never a part of one:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | magic `EVB1` |
//! | 4..8 | checksum of everything behind it |
//! | 8..12 | length of the batch, this header included |
//! | 12..16 | number of records |
//! | 16..24 | offset of the first record |
//! | 24..32 | time of the append, milliseconds since 1970; never less than the batch before |
//! | 32..40 | *durable end*: below this offset everything was synced when the batch was written |
//! | 40.. | records: length of the payload (4 bytes), payload |
//!
//! Only segments are the truth. A sidecar or a snapshot that is missing or damaged is made anew from them.
//!
//! ## The life of a record
//!
//! 1. `append` puts it into the queue of the I/O thread (`eventail-storage`). While one group is written and synced, the next one
//!    gathers there.
//! 2. The thread takes what waits, up to 4 MiB, drops what it has seen before, gives out offsets, and encodes batches of about
//!    256 KiB into one buffer per log.
//! 3. One write per log. Small commits write into zeros that an earlier one put there (64 KiB at first, then 256 KiB at a time), so
//!    that the sync commits no metadata of the file system; large ones grow the file. A segment that is full is cut to its data,
//!    synced and given its sidecar, and the next one is created and its name synced before anything is written to it.
//! 4. One `fdatasync` per log whose durability is `sync`. A `buffered` log is answered before it, and synced within
//!    `buffered_sync_ms`.
//! 5. The buffer becomes the newest part of the tail in memory, from which followers read without a copy; the readable end moves;
//!    everybody who waited is answered. Of the tail 8 MiB per log and 64 MiB in all are kept.
//! 6. What is older is read from the files by two threads (`eventail-read`), which check every batch.
//! 7. Retention or a trim removes its segment, oldest first, each removal synced before the next. The newest segment stays.
//!
//! ## What a failure does
//!
//! - **No room** at a write: the segment is cut back to where it stood, and synced; later segments of the same commit are removed. Only
//!   then is the append answered with `Full`. The next append tries again.
//! - **A failed write or sync** poisons the log: appends are refused, nothing is synced again, reads go on. What was not
//!   acknowledged may or may not be there after the next start.
//!
//! ## Recovery
//!
//! Closed segments are believed by their sidecars and read when somebody reads them. The newest one is read through, to the first batch
//! that does not check out: a header that is none, an offset that does not follow, a wrong checksum, a length beyond the end.
//!
//! - It is **corruption** if a valid batch further behind has a durable end above the offset that should have come, or if the
//!   sidecar that the last orderly close wrote counts it: it was safe once. The same holds for any gap between segments. The log opens,
//!   is readable up to there, and refuses appends; nothing on disk is changed. `eventail storage check` reports it.
//! - Otherwise it is a **torn tail**, the rest of a write that nobody was told was safe. It is cut off, with one warning and a count,
//!   so that its bytes can never be taken for records when the file grows again.
//!
//! What was found is synced before the log is used: a killed process may have left it in memory only, and the next batch
//! will say that it is safe.

pub mod conformance;
mod dedup;
pub mod disk;
pub mod disk_io;
pub mod index;
pub mod log;
pub mod metric_names;

pub use disk::{DiskStore, OpenError, OpenReport};
