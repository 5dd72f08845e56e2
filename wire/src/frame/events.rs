//! Encoded events behind a frame's header: a run of bytes that is walked once to check it, and then only sliced.

use bytes::Bytes;

/// The length before each event.
pub(super) const EVENT_PREFIX_BYTES: usize = 4;

/// The events of a publish or deliver frame, each `u32` little-endian length and as many bytes, one behind the other.
///
/// The lengths fit; what is between them was not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawEvents {
    bytes: Bytes,
    count: usize,
}

impl RawEvents {
    /// Lays events side by side.
    ///
    /// It copies; the hot path is [`super::FrameBuffer::push_publish`]. `None` where an event is longer than a `u32` tells.
    #[must_use]
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a Bytes>) -> Option<Self> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for event in events {
            bytes.extend_from_slice(&u32::try_from(event.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(event);
            count += 1;
        }
        Some(Self { bytes: bytes.into(), count })
    }

    /// Takes bytes where their lengths fit.
    pub(super) fn parse(bytes: Bytes) -> Option<Self> {
        let (mut rest, mut count) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (prefix, behind) = rest.split_first_chunk::<EVENT_PREFIX_BYTES>()?;
            let length = usize::try_from(u32::from_le_bytes(*prefix)).ok()?;
            rest = behind.get(length..)?;
            count += 1;
        }
        Some(Self { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All bytes, the lengths included.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Bytes of the events alone.
    #[must_use]
    pub const fn events_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.count * EVENT_PREFIX_BYTES)
    }

    /// Each event, sharing the frame's bytes.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let prefix = self.bytes.get(at..)?.first_chunk::<EVENT_PREFIX_BYTES>()?;
            let begin = at + EVENT_PREFIX_BYTES;
            at = begin.checked_add(usize::try_from(u32::from_le_bytes(*prefix)).ok()?)?;
            (at <= self.bytes.len()).then(|| self.bytes.slice(begin..at))
        })
    }
}
