//! How steps are written: a record of the log is a page of one lane, and an event that was delivered at the first attempt takes four
//! bytes or so of it.
//!
//! ```text
//! page:    u8 format (1)   lane   topic   trigger   varint time   varint offset   steps
//! lane, topic, trigger:    varint length   UTF-8
//! step:    varint kind   varint length of what follows   body
//! body 1 (delivered):      time   varint count   count times: offset   varint microseconds
//! body of all others:      time   offset   MessagePack
//! time, offset:            zigzag varint: the distance from the last one of the page
//! ```
//!
//! A kind that a reader does not know is skipped by its length and told as what it is: its time and offset are known. Kinds from
//! [`LANE_KINDS`] on are about the lane and no event; their offset is 0.

use eventail_wire::{Offset, Timestamp};

use super::step::{Step, StepError};

const FORMAT: u8 = 1;
/// Events that were delivered at the first attempt, side by side.
const DELIVERED: u64 = 1;
/// Where the kinds begin that are about a lane.
pub(super) const LANE_KINDS: u64 = 64;

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct PageWriter {
    bytes: Vec<u8>,
    body: Vec<u8>,
    begun: Option<(Timestamp, Offset)>,
    at: Timestamp,
    offset: Offset,
    steps: u64,
}

/// Whose page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading<'a> {
    pub(super) lane: &'a str,
    pub(super) topic: &'a str,
    pub(super) trigger: &'a str,
}

/// A step with its place in time and its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) at: Timestamp,
    /// `None` where it is about the lane.
    pub(super) offset: Option<Offset>,
    pub(super) step: Step,
}

impl PageWriter {
    /// How long it is.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many steps are in it.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds events that were delivered at the first attempt, each with how many microseconds that took.
    pub(super) fn delivered(&mut self, at: Timestamp, events: impl Iterator<Item = (Offset, u64)>) {
        let mut count = 0;
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut events = events.peekable();
        let Some(&(first, _)) = events.peek() else {
            self.body = body;
            return;
        };
        self.begin(at, first);
        for (offset, took_us) in events {
            put_signed(&mut body, distance(self.offset.0, offset.0));
            put(&mut body, took_us);
            self.offset = offset;
            count += 1;
        }
        let mut head = [0; 2 * VARINT_BYTES_MAX];
        let mut head_len = put_into(&mut head, zigzag(distance(self.at.0, at.0)));
        head_len += put_into(&mut head[head_len..], count);
        self.at = at;
        put(&mut self.bytes, DELIVERED);
        put(&mut self.bytes, (head_len + body.len()) as u64);
        self.bytes.extend_from_slice(&head[..head_len]);
        self.bytes.extend_from_slice(&body);
        self.body = body;
        self.steps += count;
    }

    /// Adds one step.
    pub(super) fn add(&mut self, at: Timestamp, offset: Option<Offset>, step: &Step) {
        let (kind, content) = step.encode();
        let offset = offset.unwrap_or(Offset(0));
        self.begin(at, offset);
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        put_signed(&mut body, distance(self.at.0, at.0));
        if kind >= LANE_KINDS {
            put_signed(&mut body, 0);
        } else {
            put_signed(&mut body, distance(self.offset.0, offset.0));
            self.offset = offset;
        }
        self.at = at;
        body.extend_from_slice(&content);
        put(&mut self.bytes, kind);
        put(&mut self.bytes, body.len() as u64);
        self.bytes.extend_from_slice(&body);
        self.body = body;
        self.steps += 1;
    }

    fn begin(&mut self, at: Timestamp, offset: Offset) {
        if self.begun.is_none() {
            self.begun = Some((at, offset));
            (self.at, self.offset) = (at, offset);
        }
    }

    /// Ends the page and begins the next one; `None` where nothing is in it.
    pub(super) fn take(&mut self, heading: Heading<'_>) -> Option<Vec<u8>> {
        let (at, offset) = self.begun.take()?;
        let steps = std::mem::take(&mut self.bytes);
        self.steps = 0;
        let names = [heading.lane, heading.topic, heading.trigger];
        let mut page = Vec::with_capacity(steps.len() + names.map(str::len).iter().sum::<usize>() + 32);
        page.push(FORMAT);
        for name in names {
            put(&mut page, name.len() as u64);
            page.extend_from_slice(name.as_bytes());
        }
        put(&mut page, at.0);
        put(&mut page, offset.0);
        page.extend_from_slice(&steps);
        Some(page)
    }
}

/// Reads a page: whose it is, and its steps in order. `wanted` says whether a step is worth decoding, by its offset (`None` for one
/// about the lane).
///
/// # Errors
/// Where it is of another format, or cut.
pub(super) fn read<'a>(
    page: &'a [u8],
    mut wanted: impl FnMut(Option<Offset>) -> bool,
    mut found: impl FnMut(Placed),
) -> Result<Heading<'a>, StepError> {
    let mut reader = Reader(page);
    if reader.byte()? != FORMAT {
        return Err(StepError::Format);
    }
    let heading = Heading { lane: reader.text()?, topic: reader.text()?, trigger: reader.text()? };
    let (mut at, mut offset) = (reader.number()?, reader.number()?);
    while !reader.0.is_empty() {
        let kind = reader.number()?;
        let mut body = Reader(reader.bytes()?);
        at = body.moved(at)?;
        if kind == DELIVERED {
            for _ in 0..body.number()? {
                offset = body.moved(offset)?;
                let took_us = body.number()?;
                if wanted(Some(Offset(offset))) {
                    let step = Step::Delivered { took_us };
                    found(Placed { at: Timestamp(at), offset: Some(Offset(offset)), step });
                }
            }
            continue;
        }
        let place = if kind >= LANE_KINDS {
            body.number()?;
            None
        } else {
            offset = body.moved(offset)?;
            Some(Offset(offset))
        };
        if wanted(place) {
            found(Placed { at: Timestamp(at), offset: place, step: Step::decode(kind, body.0) });
        }
    }
    Ok(heading)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, StepError> {
        let (&first, rest) = self.0.split_first().ok_or(StepError::Cut)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u64, StepError> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(StepError::Cut);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(StepError::Cut);
            }
        }
    }

    /// A value that lies at a distance from another one.
    fn moved(&mut self, from: u64) -> Result<u64, StepError> {
        let number = self.number()?;
        let back = (number & 1).wrapping_neg();
        Ok(from.wrapping_add((number >> 1) ^ back))
    }

    fn bytes(&mut self) -> Result<&'a [u8], StepError> {
        let len = usize::try_from(self.number()?).map_err(|_| StepError::Cut)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(StepError::Cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, StepError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| StepError::Cut)
    }
}

/// The most bytes that a number takes.
const VARINT_BYTES_MAX: usize = 10;

fn put(into: &mut Vec<u8>, number: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let len = put_into(&mut bytes, number);
    into.extend_from_slice(&bytes[..len]);
}

#[allow(clippy::cast_possible_truncation, reason = "seven bits are meant")]
fn put_into(into: &mut [u8], mut number: u64) -> usize {
    let mut len = 0;
    while number >= 0x80 {
        into[len] = (number as u8) | 0x80;
        number >>= 7;
        len += 1;
    }
    into[len] = number as u8;
    len + 1
}

fn put_signed(into: &mut Vec<u8>, number: i64) {
    put(into, zigzag(number));
}

/// Small numbers of either sign as small ones without.
#[allow(clippy::cast_sign_loss, reason = "the bits are meant")]
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[allow(clippy::cast_possible_wrap, reason = "it wraps back when it is read")]
const fn distance(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADING: Heading<'_> = Heading { lane: "trigger/orders/ship", topic: "orders", trigger: "ship" };

    fn steps(page: &[u8]) -> Vec<Placed> {
        let mut steps = Vec::new();
        assert_eq!(read(page, |_| true, |placed| steps.push(placed)).unwrap(), HEADING);
        steps
    }

    #[test]
    fn steps_come_back_with_their_times_and_places_in_order() {
        let mut page = PageWriter::default();
        let failed = Step::Redriven { letter_topic: "dead".into(), letter_offset: 3, lane_offset: 4 };
        page.delivered(Timestamp(1_000), [(Offset(7), 250), (Offset(9), 90_000)].into_iter());
        page.add(Timestamp(1_500), Some(Offset(2)), &failed);
        page.add(Timestamp(1_501), None, &Step::Breaker { until: Some(Timestamp(9_000)) });
        page.delivered(Timestamp(1_400), [(Offset(8), 0)].into_iter());
        assert_eq!(page.steps(), 5);
        let bytes = page.take(HEADING).unwrap();
        let placed =
            |at, offset: Option<u64>, step| Placed { at: Timestamp(at), offset: offset.map(Offset), step };
        assert_eq!(
            steps(&bytes),
            [
                placed(1_000, Some(7), Step::Delivered { took_us: 250 }),
                placed(1_000, Some(9), Step::Delivered { took_us: 90_000 }),
                placed(1_500, Some(2), failed),
                placed(1_501, None, Step::Breaker { until: Some(Timestamp(9_000)) }),
                placed(1_400, Some(8), Step::Delivered { took_us: 0 }),
            ]
        );
        assert!(page.take(HEADING).is_none(), "a page is taken once");
    }

    #[test]
    fn an_event_delivered_at_once_takes_few_bytes() {
        let mut page = PageWriter::default();
        for turn in 0..100 {
            let events = (0..100).map(|at| (Offset(5_000_000 + turn * 100 + at), 1_200));
            page.delivered(Timestamp(1_700_000_000_000 + turn), events);
        }
        let bytes = page.take(HEADING).unwrap().len();
        assert!(bytes < 10_000 * 4, "{bytes} for 10,000 events");
    }

    #[test]
    fn a_kind_of_a_later_version_is_told_by_its_number_and_what_follows_is_read() {
        let mut page = PageWriter::default();
        page.add(Timestamp(5), Some(Offset(1)), &Step::Unknown { kind: 40 });
        page.delivered(Timestamp(6), [(Offset(2), 1)].into_iter());
        let steps = steps(&page.take(HEADING).unwrap());
        assert_eq!((&steps[0].step, steps[0].offset), (&Step::Unknown { kind: 40 }, Some(Offset(1))));
        assert_eq!(steps[1].offset, Some(Offset(2)));
    }

    #[test]
    fn a_page_that_is_cut_is_refused_wherever_it_is_cut() {
        let mut page = PageWriter::default();
        page.delivered(Timestamp(1_000), [(Offset(7), 250)].into_iter());
        let bytes = page.take(HEADING).unwrap();
        for end in 0..bytes.len() {
            let cut = read(&bytes[..end], |_| true, |_| {});
            // Behind the heading a page without steps is whole.
            assert!(cut.is_err() || end == bytes.len() - 8 + 1, "{end}: {cut:?}");
        }
        assert!(matches!(read(&[9], |_| true, |_| {}), Err(StepError::Format)));
    }

    proptest! {
        #[test]
        fn whatever_is_delivered_comes_back(events in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..50)) {
            let mut page = PageWriter::default();
            for &(at, offset, took) in &events {
                page.delivered(Timestamp(at), [(Offset(offset), took)].into_iter());
            }
            let read: Vec<_> = steps(&page.take(HEADING).unwrap())
                .into_iter()
                .map(|placed| (placed.at.0, placed.offset.unwrap().0, match placed.step {
                    Step::Delivered { took_us } => took_us,
                    _ => unreachable!(),
                }))
                .collect();
            prop_assert_eq!(read, events);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = vec![FORMAT];
            framed.extend(bytes);
            let _refused = read(&framed, |_| true, |_| {}).is_err();
        }
    }
}
