//! Segment files, sidecars and what recovery makes of them.

use std::path::Path;
use std::sync::Arc;

use eventail_storage::disk::check;
use eventail_storage::disk_io::{Disk as _, SimDisk};
use eventail_storage::log::{Log, LogOptions, ReadLimit, read_what_is_left};
use eventail_storage::{DiskStore, disk_io};
use eventail_wire::{Clock, Timestamp};

/// Bytes of a batch's header, and of what its checksum does not cover.
const HEADER_BYTES: usize = 40;
const UNCOVERED_BYTES: usize = 8;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

/// Two bytes that say how long the sidecar is (and, by their highest bit, that checksums are to be mended first), the sidecar, and
/// the segment. A check and an opening never fail on bytes, agree on what is there, and what is readable can be read.
pub fn segments(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<2>() else { return };
    let head = u16::from_le_bytes(*head);
    let (sidecar, segment) = rest.split_at(usize::from(head & 0x7fff).min(rest.len()));
    let mut segment = segment.to_vec();
    if head & 0x8000 != 0 {
        mend(&mut segment);
    }
    let disk = SimDisk::new();
    let data = Path::new("/data");
    let log = data.join("log");
    disk.create_dir(data).and_then(|()| disk.create_dir(&log)).expect("a disk in memory has room");
    put(&disk, &log.join(format!("{:020}.log", 0)), &segment);
    if !sidecar.is_empty() {
        put(&disk, &log.join(format!("{:020}.idx", 0)), sidecar);
    }
    let is_forged = head & 0x8000 != 0;
    let checked = match check(&disk, data) {
        Ok(mut checked) => checked.remove(0),
        // Batches that say what cannot be, behind a checksum that is right, are refused as a whole.
        Err(error) => return assert!(is_forged, "bytes are no error: {error}"),
    };
    let (store, _) =
        DiskStore::open(data, Arc::new(disk.clone()), Arc::new(Fixed)).expect("bytes are no error");
    let log = store.open_or_create("log", LogOptions::default()).expect("bytes are no error");
    let status = log.status();
    assert_eq!((status.range.start, status.range.end), (checked.offsets.start, checked.offsets.end));
    assert!(!checked.is_sound() || status.refusal.is_none(), "{checked:?}");
    let read = read_all(&*log);
    store.close();
    // Behind a checksum that was forged, a batch may say another number of records than it has.
    if is_forged {
        return;
    }
    assert_eq!(read, checked.records, "{checked:?}");
    // What was torn is gone now, and what is damaged stays so.
    let again = check(&disk, data).expect("bytes are no error").remove(0);
    assert_eq!(again.torn_tail, None);
    assert_eq!((again.records, again.is_sound()), (checked.records, checked.is_sound()));
}

fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.create(path).expect("a disk in memory has room");
    disk_io::DiskFile::write_all_at(&*file, bytes, 0).expect("a disk in memory has room");
    file.sync_data().expect("a disk in memory has room");
}

fn read_all(log: &dyn Log) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        let (mut from, mut count) = (log.status().range.start, 0);
        loop {
            let limit = ReadLimit { records: 100, bytes: 64 << 10 };
            let records = read_what_is_left(log, from, limit).await.expect("what is lost is passed over");
            let Some(last) = records.last() else { return count };
            let mut least = from;
            for record in &records {
                assert!(record.offset >= least, "{} comes behind {least}", record.offset);
                least = record.offset.plus(1);
            }
            count += records.len() as u64;
            from = last.offset.plus(1);
        }
    })
}

/// Gives every batch that begins where the one before ends the checksum that its bytes have: else nothing behind it would be
/// looked at.
fn mend(segment: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = segment.get(at..at + HEADER_BYTES) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(end) = at.checked_add(length.max(HEADER_BYTES)).filter(|end| *end <= segment.len()) else {
            return;
        };
        let sum = crc32c(&segment[at + UNCOVERED_BYTES..end]);
        segment[at + 4..at + UNCOVERED_BYTES].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}
