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
//! A **tombstone** (magic `EVL1`) stands where a repair put damaged bytes aside. It has the same header, counts the records that are
//! lost, and its checksum covers the header alone.
//!
//! Only segments are the truth. A sidecar or a snapshot that is missing or damaged is made anew from them.
//!
//! A version that writes another format reads all earlier ones: `fixtures/` has a folder as each of them wrote it. An earlier version
//! does not read a later one; it takes what it does not know for damage.
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
//! - It is **damage** if a valid batch further behind has a durable end above the offset that should have come, or if the
//!   sidecar that the last orderly close wrote counts it: it was safe once. The same holds for any gap between segments.
//! - Otherwise it is a **torn tail**, the rest of a write that nobody was told was safe. It is cut off, with one warning and a count,
//!   so that its bytes can never be taken for records when the file grows again.
//!
//! Damage costs the records of the damaged batch and no others. Reading goes on at the next batch that checks out, appends go on at the
//! end, and nothing on disk is changed. What is lost is logged once as an error, counted (`eventail_storage_lost_records_total`), named
//! in [`log::LogStatus::lost`], and told to every reader that meets it ([`log::ReadError::Corrupt`]), who must count it as lost.
//! `eventail storage check` finds all of it; `eventail storage repair --quarantine` puts the bytes aside and leaves a tombstone.
//!
//! | what happened | what it costs | what is told |
//! | --- | --- | --- |
//! | a torn tail: half a batch that was not synced | nothing acknowledged as synced | a warning, a count; `check` says *cut off* |
//! | a flipped bit in the header, length or payload of a batch | that batch | the damage, its offsets |
//! | a zeroed block, foreign bytes in a segment | the batches that it touches | the same |
//! | a closed segment cut short | what was cut off | the same |
//! | the newest segment cut short after an orderly close | what was cut off | the same |
//! | the newest segment cut short, not closed in order | what was cut off | nothing: it looks as if it had never been written |
//! | a closed segment missing in the middle | its records | the same as damage |
//! | the newest segments missing, their sidecars there | their records; their offsets are not given out again | the same |
//! | the oldest segments missing | their records | nothing: it looks as if retention had taken them |
//! | a sidecar missing, damaged or foreign | a longer start; of the newest segment, the proof of its end | a warning, `check` |
//! | remembered ids (`.snap`) missing, damaged or foreign | a longer start | a warning |
//! | a file that is none of the engine's | nothing, it is left alone | `check` names it |
//! | a failed or short write, a failed sync | nothing acknowledged; the log is poisoned until the next start | an error, the refusal |
//! | the index cut short, flipped, foreign or missing | a rebuilding from the logs; the damaged folder is kept aside | a warning, a count |
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
pub mod power_cut;

pub use disk::{DiskStore, OpenError, OpenReport};
