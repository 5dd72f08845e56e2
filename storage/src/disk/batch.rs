//! A batch: what one or several appends look like on disk, and how a record is found in it.
//!
//! ```text
//!  0  magic "EVB1"
//!  4  CRC-32C of everything behind it, from byte 8 to the end of the batch
//!  8  length of the batch in bytes, this header included
//! 12  number of records
//! 16  offset of the first record
//! 24  time of the append, milliseconds since 1970
//! 32  the offset below which everything was synced when this batch was written
//! 40  the records: length of the payload (4 bytes), payload; one after the other
//! ```
//!
//! A tombstone stands where a repair put damaged bytes aside. It has the same header with the magic "EVL1", counts the records that
//! are lost, and its checksum covers the header alone: what lies behind it up to its length is nothing.
//!
//! All numbers are little endian. This file knows bytes, not files.

use bytes::{Bytes, BytesMut};
use eventail_wire::{Offset, Timestamp};

use crate::log::{ReadLimit, Record};

/// The first bytes of every batch; the last digit is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"EVB1";
/// The first bytes of a tombstone.
pub(crate) const TOMBSTONE_MAGIC: [u8; 4] = *b"EVL1";
/// The header's length.
pub(crate) const HEADER_BYTES: usize = 40;
/// What a record takes besides its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 4;
/// The longest batch. Larger ones are refused when written, so a length above it is not a length.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 20;

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The whole batch in bytes.
    pub(crate) bytes: usize,
    pub(crate) records: u32,
    pub(crate) base: Offset,
    pub(crate) appended_at: Timestamp,
    /// What was known to be synced when the batch was written.
    pub(crate) durable_end: Offset,
    /// Whether it is a tombstone: its records are lost.
    pub(crate) is_tombstone: bool,
    checksum: u32,
}

impl Header {
    /// Reads a header; `None` where the bytes cannot be one. Says nothing yet about the checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let is_tombstone = bytes[..4] == TOMBSTONE_MAGIC;
        if bytes[..4] != MAGIC && !is_tombstone {
            return None;
        }
        let length = usize::try_from(u32_at(bytes, 8)).ok()?;
        let header = Self {
            bytes: length,
            records: u32_at(bytes, 12),
            base: Offset(u64_at(bytes, 16)),
            appended_at: Timestamp(u64_at(bytes, 24)),
            durable_end: Offset(u64_at(bytes, 32)),
            is_tombstone,
            checksum: u32_at(bytes, 4),
        };
        if is_tombstone {
            return (header.records > 0 && length >= HEADER_BYTES).then_some(header);
        }
        let least = usize::try_from(header.records)
            .ok()?
            .checked_mul(RECORD_HEADER_BYTES)?
            .checked_add(HEADER_BYTES)?;
        (header.records > 0 && (least..=BATCH_BYTES_MAX).contains(&length)).then_some(header)
    }

    /// How many bytes its checksum covers, those before the checksum included: the whole batch, or the header of a tombstone.
    pub(crate) fn checked_bytes(&self) -> usize {
        if self.is_tombstone { HEADER_BYTES } else { self.bytes }
    }

    /// Whether the [`Header::checked_bytes`] have the checksum that the header names.
    pub(crate) fn matches(&self, checked: &[u8]) -> bool {
        checked.len() == self.checked_bytes() && checksum(&checked[8..]) == self.checksum
    }

    /// The offset behind the last record.
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(u64::from(self.records))
    }
}

/// The bytes that a batch of such payloads takes.
pub(crate) fn encoded_bytes(payload_bytes: impl Iterator<Item = usize>) -> usize {
    payload_bytes
        .fold(HEADER_BYTES, |sum, bytes| sum.saturating_add(bytes).saturating_add(RECORD_HEADER_BYTES))
}

/// Writes batches one after the other into one buffer: the records first, the header when the batch is whole.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    start: usize,
    records: u32,
}

impl BatchBuilder {
    /// Begins a batch at the end of the buffer.
    pub(crate) fn begin(buffer: &mut BytesMut) -> Self {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; HEADER_BYTES]);
        Self { start, records: 0 }
    }

    pub(crate) fn push(&mut self, buffer: &mut BytesMut, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a record is within BATCH_BYTES_MAX");
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(payload);
        self.records += 1;
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn bytes(&self, buffer: &BytesMut) -> usize {
        buffer.len() - self.start
    }

    /// Writes the header and its checksum.
    pub(crate) fn finish(
        self,
        buffer: &mut BytesMut,
        base: Offset,
        appended_at: Timestamp,
        durable_end: Offset,
    ) -> Header {
        let batch = &mut buffer[self.start..];
        let length = u32::try_from(batch.len()).expect("a batch is within BATCH_BYTES_MAX");
        batch[..4].copy_from_slice(&MAGIC);
        batch[8..12].copy_from_slice(&length.to_le_bytes());
        batch[12..16].copy_from_slice(&self.records.to_le_bytes());
        batch[16..24].copy_from_slice(&base.0.to_le_bytes());
        batch[24..32].copy_from_slice(&appended_at.0.to_le_bytes());
        batch[32..40].copy_from_slice(&durable_end.0.to_le_bytes());
        let checksum = checksum(&batch[8..]);
        batch[4..8].copy_from_slice(&checksum.to_le_bytes());
        let (bytes, records) = (batch.len(), self.records);
        Header { bytes, records, base, appended_at, durable_end, is_tombstone: false, checksum }
    }
}

/// The header that stands for `records` lost ones from `base` on, and for `bytes` bytes of the file.
pub(crate) fn tombstone(
    bytes: u32,
    records: u32,
    base: Offset,
    appended_at: Timestamp,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&TOMBSTONE_MAGIC);
    header[8..12].copy_from_slice(&bytes.to_le_bytes());
    header[12..16].copy_from_slice(&records.to_le_bytes());
    header[16..24].copy_from_slice(&base.0.to_le_bytes());
    header[24..32].copy_from_slice(&appended_at.0.to_le_bytes());
    // Its records were synced once, or nobody would know of them.
    header[32..40].copy_from_slice(&base.0.to_le_bytes());
    let checksum = checksum(&header[8..]);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Takes records from `from` on out of a batch until the limit is reached or the batch is used up; answers whether more
/// may be added. At least one record comes where `records` is still empty.
pub(crate) fn take_records(
    header: &Header,
    batch: &Bytes,
    from: Offset,
    limit: ReadLimit,
    taken_bytes: &mut usize,
    records: &mut Vec<Record>,
) -> bool {
    let mut at = HEADER_BYTES;
    let mut offset = header.base;
    while let Some(length) = batch.get(at..).and_then(|rest| rest.first_chunk()) {
        let Ok(length) = usize::try_from(u32::from_le_bytes(*length)) else { break };
        let start = at + RECORD_HEADER_BYTES;
        at = start.saturating_add(length);
        if at > batch.len() {
            break;
        }
        if offset >= from {
            if records.len() >= limit.records.max(1)
                || (!records.is_empty() && *taken_bytes + length > limit.bytes)
            {
                return false;
            }
            *taken_bytes += length;
            records.push(Record { offset, appended_at: header.appended_at, payload: batch.slice(start..at) });
        }
        offset = offset.plus(1);
    }
    true
}

/// CRC-32C (Castagnoli), as SSE 4.2 has it.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a 32-bit checksum")
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_records() -> (Header, Bytes) {
        let mut buffer = BytesMut::new();
        let mut builder = BatchBuilder::begin(&mut buffer);
        builder.push(&mut buffer, b"first");
        builder.push(&mut buffer, b"");
        let header = builder.finish(&mut buffer, Offset(7), Timestamp(1_000), Offset(5));
        (header, buffer.freeze())
    }

    #[test]
    fn a_batch_reads_back_as_written() {
        let (written, batch) = two_records();
        let header = Header::decode(&batch).unwrap();
        assert_eq!(header, written);
        assert!(header.matches(&batch));
        assert_eq!((header.base, header.end(), header.durable_end), (Offset(7), Offset(9), Offset(5)));
        let limit = ReadLimit { records: 9, bytes: 99 };
        let mut records = Vec::new();
        assert!(take_records(&header, &batch, Offset(0), limit, &mut 0, &mut records));
        let read: Vec<_> = records.iter().map(|record| (record.offset.0, &record.payload[..])).collect();
        assert_eq!(read, [(7, &b"first"[..]), (8, &b""[..])]);
        assert_eq!(batch.len(), encoded_bytes([5, 0].into_iter()));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (_, batch) = two_records();
        for bit in 0..batch.len() * 8 {
            let mut damaged = batch.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = Header::decode(&damaged).is_none_or(|header| !header.matches(&damaged));
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn a_limit_below_one_record_still_gives_one() {
        let (header, batch) = two_records();
        let mut records = Vec::new();
        let limit = ReadLimit { records: 0, bytes: 0 };
        assert!(!take_records(&header, &batch, Offset(7), limit, &mut 0, &mut records));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].offset, Offset(7));
    }
}
