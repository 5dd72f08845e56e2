//! The records of the log of delayed events, to bytes and back.
//!
//! ```text
//! held:       u8 1   u32 length of the header (little-endian)   header (MessagePack)   the event's own bytes
//! released:   u8 2   MessagePack: when, and each event's handle and offset
//! cancelled:  u8 3   MessagePack: when, and the handle
//! done:       u8 4   MessagePack: the entry of an event that is held no more and still remembered
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use eventail_storage::log::NewRecord;
use eventail_wire::{Event, HeldId, Offset, Timestamp, TopicName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::book::Entry;

const HELD: u8 = 1;
const RELEASED: u8 = 2;
const CANCELLED: u8 = 3;
const DONE: u8 = 4;

/// What stands before a held event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldHeader {
    /// Its handle. `None` where this is the event's first record, whose offset is the handle.
    pub(super) id: Option<HeldId>,
    /// Where it is to go.
    pub(super) topic: TopicName,
    /// When.
    pub(super) deliver_at: Timestamp,
    /// Since when it is held.
    pub(super) held_at: Timestamp,
    /// How long its topic recognised repeats at that time; 0 where it did not.
    pub(super) window_ms: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Note {
    /// An event is held.
    Held(HeldHeader, Event),
    /// Events were appended to their topics.
    Released { at: Timestamp, events: Vec<(HeldId, Offset)> },
    /// An event was cancelled.
    Cancelled { at: Timestamp, id: HeldId },
    /// What is remembered of an event that is held no more, after its first records went.
    Done(Entry),
}

impl Note {
    /// As a record to be appended.
    pub(super) fn to_record(&self) -> NewRecord {
        let payload = match self {
            Self::Held(header, event) => {
                let header = pack(header);
                let mut out = BytesMut::with_capacity(5 + header.len() + event.as_bytes().len());
                out.put_u8(HELD);
                out.put_u32_le(u32::try_from(header.len()).unwrap_or(u32::MAX));
                out.put_slice(&header);
                out.put_slice(event.as_bytes());
                out.freeze()
            }
            Self::Released { at, events } => tagged(RELEASED, &(at, events)),
            Self::Cancelled { at, id } => tagged(CANCELLED, &(at, id)),
            Self::Done(entry) => tagged(DONE, entry),
        };
        NewRecord { payload, fingerprint: None }
    }

    /// Reads a record; `None` where it is none of ours.
    pub(super) fn read(payload: &Bytes) -> Option<Self> {
        let (&kind, body) = payload.split_first()?;
        match kind {
            HELD => {
                let (length, rest) = body.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let header = unpack(rest.get(..length)?)?;
                let event = Event::from_stored(payload.slice(5 + length..)).ok()?;
                Some(Self::Held(header, event))
            }
            RELEASED => unpack(body).map(|(at, events)| Self::Released { at, events }),
            CANCELLED => unpack(body).map(|(at, id)| Self::Cancelled { at, id }),
            DONE => unpack(body).map(Self::Done),
            _ => None,
        }
    }
}

fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("plain data always encodes into memory")
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

fn tagged(kind: u8, value: &impl Serialize) -> Bytes {
    let mut bytes = vec![kind];
    bytes.extend(pack(value));
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_record_reads_back() {
        let event = Event::builder("1", "/s", "t").json_data("{}").build().unwrap();
        let header = |id| HeldHeader {
            id,
            topic: "orders".parse().unwrap(),
            deliver_at: Timestamp(7),
            held_at: Timestamp(5),
            window_ms: 3,
        };
        let entry = Entry::new(&header(Some(HeldId(4))), &event, HeldId(4), Offset(9));
        for note in [
            Note::Held(header(None), event.clone()),
            Note::Held(header(Some(HeldId(9))), event),
            Note::Released { at: Timestamp(1), events: vec![(HeldId(2), Offset(3)), (HeldId(4), Offset(5))] },
            Note::Cancelled { at: Timestamp(1), id: HeldId(2) },
            Note::Done(entry),
        ] {
            assert_eq!(Note::read(&note.to_record().payload), Some(note));
        }
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Note::read(&Bytes::from(bytes));
        }
    }
}
