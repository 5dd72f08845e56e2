//! The durable part of a subscription as one value, and the replay of journal entries onto it.

use std::collections::BTreeMap;

use eventail_wire::{Offset, Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::breaker::{OpenBreaker, Run};
use super::entry::{CallPart, Entry, Tries};
use super::keys::{Keys, Seen};
use super::ranges::Ranges;
use super::state::State;
use crate::outcome::{Response, RetryClass};

/// Bytes of answers that one snapshot tells. It is one record of the journal: with everything that as many waiting events as
/// may be were answered it could be more than a log takes, and then nothing could be journaled any more.
const RESPONSES_BYTES_MAX: usize = 4 << 20;

/// Everything about a subscription that survives a restart. Leases do not: what was under way is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Everything before is settled or did not match.
    pub cursor: Offset,
    /// What lies beyond the cursor and is settled or did not match.
    pub settled: Ranges,
    /// The events that were tried and not settled.
    pub retries: BTreeMap<Offset, Tries>,
    /// Events that the target took.
    pub delivered: u64,
    /// Events that were given up.
    pub dead_lettered: u64,
    /// Events that expired, and pending ones that retention took, that were passed over or whose stored bytes are damaged.
    pub expired: u64,
    /// Events that retention took, or damage, before they were read.
    pub lost: u64,
    /// Whether it delivers.
    pub state: State,
    /// Why not, if it does not.
    pub reason: Option<String>,
    /// Until when the breaker is open, if it is.
    pub open: Option<OpenBreaker>,
    /// The failures since the last success.
    pub run: Run,
    /// Nothing goes out before, because the target throttles.
    pub held_until: Option<Timestamp>,
    /// Throttles in a row.
    pub throttles: u32,
    /// Repeats that were not delivered.
    #[serde(default)]
    pub deduplicated: u64,
    /// The business keys of delivered events: those of pending ones are found again with the events.
    #[serde(default)]
    pub keys: Keys,
}

impl Snapshot {
    /// The snapshot of a subscription that has seen nothing yet.
    #[must_use]
    pub fn new(start: Offset) -> Self {
        Self { cursor: start, ..Self::default() }
    }

    /// Replays one journal entry. Entries must come once each, in the order in which they were handed out.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Delivered { first, count } => {
                self.delivered += count;
                self.run.clear();
                self.settle(*first, first.plus(*count));
            }
            Entry::Retried { offset, tries } => {
                if self.open.is_none() && tries.class != RetryClass::Throttled {
                    let unreachable = tries.class == RetryClass::Unreachable;
                    self.run.add(*offset, !unreachable, unreachable);
                }
                self.retries.insert(*offset, tries.as_ref().clone());
            }
            Entry::RetriedWithin { offset, tries, part } => {
                if self.open.is_none() {
                    match part {
                        CallPart::Counts => self.run.add(*offset, false, false),
                        CallPart::Along if tries.class.burns() => self.run.add_along(*offset),
                        CallPart::Along | CallPart::Apart => {}
                    }
                }
                self.retries.insert(*offset, tries.as_ref().clone());
            }
            Entry::DeadLettered { offset } => {
                self.dead_lettered += 1;
                self.settle(*offset, offset.plus(1));
            }
            Entry::DeliveredOnce { offset, at, key } => self.delivered_once(*offset, *at, *key),
            Entry::Expired { offset } => {
                self.expired += 1;
                self.settle(*offset, offset.plus(1));
            }
            Entry::Deduplicated { offset } => {
                self.deduplicated += 1;
                self.settle(*offset, offset.plus(1));
            }
            Entry::Answered => self.run.clear(),
            Entry::Breaker { open, given_back } => {
                self.open = *open;
                self.run.clear();
                for back in given_back {
                    if let Some(tries) = self.retries.get_mut(&back.offset) {
                        tries.burnt = tries.burnt.saturating_sub(back.attempts);
                        tries.due = back.due;
                    }
                }
            }
            Entry::Held { until, throttles } => {
                self.held_until = *until;
                self.throttles = *throttles;
            }
            Entry::State { state, reason } => {
                self.state = *state;
                self.reason.clone_from(reason);
            }
            Entry::Skipped { to, expired } => {
                self.expired += expired;
                self.move_to(*to);
            }
            Entry::Lost { start, lost, expired } => {
                self.expired += expired;
                self.lost += lost;
                self.move_to(*start);
            }
            Entry::Damaged { first, next, lost, expired } => {
                self.expired += expired;
                self.lost += lost;
                self.settle(*first, *next);
            }
            Entry::Checkpoint { scanned, pending } => self.checkpoint(*scanned, pending),
        }
    }

    fn delivered_once(&mut self, offset: Offset, at: Timestamp, (high, low): (u64, u64)) {
        self.delivered += 1;
        self.run.clear();
        self.settle(offset, offset.plus(1));
        let key = u128::from(high) << 64 | u128::from(low);
        self.keys.insert(key, Seen { offset, at });
        self.keys.evict(limits::DEDUP_KEYS_MAX);
    }

    /// Forgets what it says of `end` and behind, where the log has nothing: a `buffered` log may lose its last records to a power
    /// cut after they were delivered, and what is appended in their place is new. `true` where there was anything to forget.
    pub fn cut(&mut self, end: Offset) -> bool {
        let reaches_beyond = self.cursor > end
            || self.settled.iter().any(|(_, settled_end)| settled_end > end)
            || self.retries.keys().next_back().is_some_and(|last| *last >= end);
        if reaches_beyond {
            self.cursor = self.cursor.min(end);
            self.settled.remove_from(end);
            self.retries.split_off(&end);
            self.keys.forget_from(end);
            self.run.clear();
        }
        reaches_beyond
    }

    /// Forgets what targets said, but for the status, beyond what is worth keeping. The last answer is kept in any case: it is
    /// what people are told.
    pub fn cut_responses(&mut self) {
        let last = self.retries.iter().max_by_key(|(_, tries)| tries.last_at).map(|(offset, _)| *offset);
        let mut left = RESPONSES_BYTES_MAX;
        for (offset, tries) in &mut self.retries {
            let Response { status, body, error, log } = &tries.response;
            match left.checked_sub(body.len() + error.len() + log.len()) {
                Some(rest) => left = rest,
                None if Some(*offset) == last => {}
                None => tries.response = Response { status: *status, ..Response::default() },
            }
        }
    }

    /// Brings the cursor past what is settled.
    pub(super) fn normalise(&mut self) {
        while let Some(end) = self.settled.end_of(self.cursor) {
            self.cursor = end;
        }
        self.settled.remove_before(self.cursor);
    }

    fn settle(&mut self, start: Offset, end: Offset) {
        while let Some((&offset, _)) = self.retries.range(start..end).next() {
            self.retries.remove(&offset);
        }
        self.settled.insert(start.max(self.cursor), end);
        self.normalise();
    }

    fn move_to(&mut self, to: Offset) {
        self.cursor = self.cursor.max(to);
        self.retries = self.retries.split_off(&self.cursor);
        self.normalise();
    }

    fn checkpoint(&mut self, scanned: Offset, pending: &[Offset]) {
        let mut start = self.cursor;
        for &offset in pending {
            self.settled.insert(start, offset);
            start = start.max(offset.plus(1));
        }
        self.settled.insert(start, scanned);
        self.retries.retain(|offset, _| *offset >= scanned || pending.binary_search(offset).is_ok());
        self.normalise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_lost_its_end_is_read_again_from_there() {
        let mut snapshot = Snapshot::new(Offset(0));
        snapshot.apply(&Entry::Delivered { first: Offset(0), count: 5 });
        snapshot.apply(&Entry::Delivered { first: Offset(7), count: 3 });
        assert!(!snapshot.clone().cut(Offset(10)));
        assert!(snapshot.cut(Offset(8)));
        assert_eq!((snapshot.cursor, snapshot.settled.len()), (Offset(5), 1));
        assert!(snapshot.cut(Offset(3)));
        assert_eq!((snapshot.cursor, snapshot.settled.len()), (Offset(3), 0));
    }
}
