//! The newest batches of a log, kept in memory for those who follow it.

use std::collections::VecDeque;

use bytes::Bytes;
use eventail_wire::Offset;

use super::batch::{Header, take_records};
use crate::log::{ReadLimit, Record};

/// What one log keeps at most.
pub(crate) const TAIL_BYTES_MAX: usize = 8 << 20;

/// The newest batches, without gaps up to the readable end.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    batches: VecDeque<(Header, Bytes)>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, header: Header, batch: Bytes) {
        self.bytes += batch.len();
        self.batches.push_back((header, batch));
        while self.bytes > TAIL_BYTES_MAX && self.batches.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Lets go of the oldest batch; answers its bytes.
    pub(crate) fn drop_oldest(&mut self) -> usize {
        let bytes = self.batches.pop_front().map_or(0, |(_, batch)| batch.len());
        self.bytes -= bytes;
        bytes
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batches from the one that holds `from` on, as many as a read with this limit can need. `None` where `from` is
    /// not in memory.
    pub(crate) fn batches_from(&self, from: Offset, limit: ReadLimit) -> Option<Vec<(Header, Bytes)>> {
        let first = self.batches.partition_point(|(header, _)| header.end() <= from);
        let (header, _) = self.batches.get(first)?;
        if header.base > from {
            return None;
        }
        let mut records = 0;
        let mut bytes = 0;
        let needed = self.batches.range(first..).take_while(|(header, batch)| {
            let wanted = records < limit.records.max(1) && bytes <= limit.bytes;
            records += usize::try_from(header.end().since(from.max(header.base))).unwrap_or(usize::MAX);
            // Of the first batch an unknown part lies before `from`.
            bytes += if header.base < from { 0 } else { batch.len() };
            wanted
        });
        Some(needed.cloned().collect())
    }
}

/// Takes the records out of the batches that a [`Tail`] gave.
pub(crate) fn records_of(batches: &[(Header, Bytes)], from: Offset, limit: ReadLimit) -> Vec<Record> {
    let mut records = Vec::new();
    let mut bytes = 0;
    for (header, batch) in batches {
        if !take_records(header, batch, from, limit, &mut bytes, &mut records) {
            break;
        }
    }
    records
}
