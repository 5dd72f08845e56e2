//! Events that prove themselves: whoever knows the run and the size can tell from any received data which event it is and
//! whether every byte is right.

use bytes::{Bytes, BytesMut};
use eventail_wire::{Event, EventError};

const DIGITS: usize = 16;
const HEAD: &str = r#"{"n":"0000000000000000","fill":""#;
const TAIL: &str = "\"}";
const NUMBER_AT: usize = 6;
/// The fill of event `n` begins at `n` modulo this, so that neighbours differ in all their bytes.
const TURN: usize = 4096;

/// The events of one run: `n` runs from 0.
#[derive(Clone, Debug)]
pub struct Payloads {
    data_bytes: usize,
    letters: Bytes,
    template: Bytes,
}

impl Payloads {
    /// The events of `run` with `data_bytes` of JSON data each (at least 64).
    ///
    /// # Errors
    /// Where such an event is over the limits.
    pub fn new(run: u64, data_bytes: usize) -> Result<Self, EventError> {
        let data_bytes = data_bytes.max(64);
        let mut state = run.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let letters: Bytes = (0..TURN + data_bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 59) as usize]
            })
            .collect();
        let mut payloads = Self { data_bytes, letters, template: Bytes::new() };
        let template = Event::builder("0".repeat(DIGITS), format!("/bench/{run}"), "bench.event")
            .json_data(payloads.data(0))
            .build()?;
        payloads.template = template.as_bytes().clone();
        Ok(payloads)
    }

    /// The data of event `n`.
    #[must_use]
    pub fn data(&self, n: u64) -> Bytes {
        let mut data = BytesMut::with_capacity(self.data_bytes);
        data.extend_from_slice(HEAD.as_bytes());
        write_digits(&mut data[NUMBER_AT..NUMBER_AT + DIGITS], n);
        data.extend_from_slice(self.fill(n));
        data.extend_from_slice(TAIL.as_bytes());
        data.freeze()
    }

    /// Event `n`, encoded by patching a template: the load must not cost more than what it loads.
    ///
    /// # Panics
    /// Never: the template was built from the same lengths.
    #[must_use]
    pub fn event(&self, n: u64) -> Event {
        const ID_AT: usize = 12;
        let mut bytes = BytesMut::from(&self.template[..]);
        let data_at = bytes.len() - self.data_bytes;
        write_digits(&mut bytes[ID_AT..ID_AT + DIGITS], n);
        write_digits(&mut bytes[data_at + NUMBER_AT..data_at + NUMBER_AT + DIGITS], n);
        let fill_at = data_at + HEAD.len();
        let fill = self.fill(n);
        bytes[fill_at..fill_at + fill.len()].copy_from_slice(fill);
        Event::from_stored(bytes.freeze()).expect("the template is an event of the same lengths")
    }

    /// The id of event `n`.
    #[must_use]
    pub fn id(n: u64) -> String {
        format!("{n:0DIGITS$}")
    }

    /// Which event these data belong to; `None` where any byte is wrong.
    #[must_use]
    pub fn check(&self, data: &[u8]) -> Option<u64> {
        if data.len() != self.data_bytes {
            return None;
        }
        let digits = std::str::from_utf8(&data[NUMBER_AT..NUMBER_AT + DIGITS]).ok()?;
        let n: u64 = digits.parse().ok()?;
        let fill_end = HEAD.len() + self.fill(n).len();
        let right = data[..NUMBER_AT] == HEAD.as_bytes()[..NUMBER_AT]
            && data[NUMBER_AT + DIGITS..HEAD.len()] == HEAD.as_bytes()[NUMBER_AT + DIGITS..]
            && data[HEAD.len()..fill_end] == *self.fill(n)
            && data[fill_end..] == *TAIL.as_bytes();
        right.then_some(n)
    }

    fn fill(&self, n: u64) -> &[u8] {
        let start = usize::try_from(n % TURN as u64).expect("it is below TURN");
        &self.letters[start..start + self.data_bytes - HEAD.len() - TAIL.len()]
    }
}

fn write_digits(place: &mut [u8], mut n: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"[usize::try_from(n % 10).expect("a digit")];
        n /= 10;
    }
}

/// Which events arrived, and how often.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    seen: Vec<u64>,
    /// Events that arrived at least once.
    pub distinct: u64,
    /// Arrivals beyond the first of an event.
    pub repeated: u64,
    /// Arrivals with a wrong byte.
    pub wrong: u64,
}

impl Tally {
    /// Counts an arrival; answers whether it is the first of its event.
    pub fn count(&mut self, n: Option<u64>) -> bool {
        let Some(n) = n else {
            self.wrong += 1;
            return false;
        };
        let Ok(word) = usize::try_from(n / 64) else { return false };
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let bit = 1 << (n % 64);
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        if first {
            self.distinct += 1;
        } else {
            self.repeated += 1;
        }
        first
    }

    /// Whether the same events arrived in another tally.
    #[must_use]
    pub fn has_the_same(&self, other: &Self) -> bool {
        let word = |tally: &Self, at: usize| tally.seen.get(at).copied().unwrap_or_default();
        (0..self.seen.len().max(other.seen.len())).all(|at| word(self, at) == word(other, at))
    }

    /// The first event of `0..count` that did not arrive.
    #[must_use]
    pub fn first_missing(&self, count: u64) -> Option<u64> {
        let has = |n: u64| {
            let word = usize::try_from(n / 64).ok().and_then(|word| self.seen.get(word));
            word.is_some_and(|word| word & (1 << (n % 64)) != 0)
        };
        (0..count).find(|&n| !has(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_proves_itself_and_any_wrong_byte_shows() {
        let payloads = Payloads::new(7, 256).unwrap();
        for n in [0, 1, 4095, 4096, 123_456_789] {
            let event = Event::decode(payloads.event(n).as_bytes().clone()).unwrap();
            assert_eq!(event.id(), Payloads::id(n));
            assert_eq!(event.data_slice(), &payloads.data(n)[..]);
            assert!(serde_json::from_slice::<serde_json::Value>(event.data_slice()).is_ok());
            assert_eq!(payloads.check(event.data_slice()), Some(n));
            for at in 0..256 {
                let mut damaged = event.data_slice().to_vec();
                damaged[at] ^= 1;
                assert_ne!(payloads.check(&damaged), Some(n), "byte {at}");
            }
        }
    }

    #[test]
    fn a_tally_knows_what_is_missing() {
        let mut tally = Tally::default();
        for n in [0, 1, 3, 1, 200] {
            tally.count(Some(n));
        }
        tally.count(None);
        assert_eq!((tally.distinct, tally.repeated, tally.wrong), (4, 1, 1));
        assert_eq!((tally.first_missing(2), tally.first_missing(10)), (None, Some(2)));
        let mut other = Tally::default();
        for n in [200, 3, 1, 0] {
            other.count(Some(n));
        }
        assert!(tally.has_the_same(&other) && other.has_the_same(&tally));
        other.count(Some(1_000));
        assert!(!tally.has_the_same(&other) && !other.has_the_same(&tally));
    }
}
