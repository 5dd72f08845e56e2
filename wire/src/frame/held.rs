//! The answer to a publish of which some events are held until their time. On the wire it is one MessagePack array of its
//! fields in this order.

use serde::{Deserialize, Serialize};

use super::{ResultRun, result_runs};
use crate::{HeldId, Offset, Placed, Timestamp};

/// One event that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldResult {
    /// Its place in the publish, from 0.
    pub index: u32,
    /// Its handle.
    pub id: HeldId,
    /// Its time.
    pub deliver_at: Timestamp,
    /// Whether it was held already, or was and is remembered.
    pub duplicate: bool,
}

/// Answers a publish: its events are durable, and some of them are held until their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which publish.
    pub request: u64,
    /// Where the events are that are not held, in the order of the publish.
    pub runs: Vec<ResultRun>,
    /// Those that are held, in the order of the publish.
    pub held: Vec<HeldResult>,
}

impl Held {
    /// The answer that tells of these, in the order of the publish.
    #[must_use]
    pub fn new(request: u64, placed: &[Placed]) -> Self {
        let mut held = Vec::new();
        let appended = (0..).zip(placed).filter_map(|(index, placed)| match *placed {
            Placed::Appended { offset, duplicate } => Some((offset, duplicate)),
            Placed::Held { id, deliver_at, duplicate } => {
                held.push(HeldResult { index, id, deliver_at, duplicate });
                None
            }
        });
        let runs = result_runs(appended);
        Self { request, runs, held }
    }

    /// What became of each of the publish's `events`, in their order; `None` where the answer does not tell of exactly so many.
    #[must_use]
    pub fn results(&self, events: usize) -> Option<Vec<Placed>> {
        let appended: u64 = self.runs.iter().map(|run| u64::from(run.count)).sum();
        // Before anything is made: a run of four thousand million events is a few bytes.
        if appended.checked_add(self.held.len() as u64) != Some(events as u64) {
            return None;
        }
        let places = |run: &ResultRun| {
            let (first, duplicate) = (run.offset, run.duplicate);
            (0..u64::from(run.count)).map(move |behind| (Offset::plus(first, behind), duplicate))
        };
        let mut appended = self.runs.iter().flat_map(places);
        let mut held = self.held.iter().peekable();
        let results = (0..events)
            .map_while(|index| match held.next_if(|held| held.index as usize == index) {
                Some(&HeldResult { id, deliver_at, duplicate, .. }) => {
                    Some(Placed::Held { id, deliver_at, duplicate })
                }
                None => appended.next().map(|(offset, duplicate)| Placed::Appended { offset, duplicate }),
            })
            .collect::<Vec<_>>();
        (results.len() == events).then_some(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn placed() -> impl Strategy<Value = Placed> {
        prop_oneof![
            (0u64..8, any::<bool>())
                .prop_map(|(offset, duplicate)| Placed::Appended { offset: Offset(offset), duplicate }),
            (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(id, at, duplicate)| Placed::Held {
                id: HeldId(id),
                deliver_at: Timestamp(at),
                duplicate
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_answer_tells_what_it_was_made_of(placed in proptest::collection::vec(placed(), 0..20)) {
            let held = Held::new(1, &placed);
            prop_assert_eq!(held.results(placed.len()), Some(placed.clone()));
            prop_assert_eq!(held.results(placed.len() + 1), None);
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_its_publish_is_none() {
        let run = |count| ResultRun { offset: Offset(0), count, duplicate: false };
        let held = |index| HeldResult { index, id: HeldId(1), deliver_at: Timestamp(2), duplicate: false };
        let answer = |runs: &[ResultRun], held: &[HeldResult]| Held {
            request: 1,
            runs: runs.into(),
            held: held.into(),
        };
        assert!(answer(&[run(1)], &[held(0)]).results(2).is_some());
        assert!(answer(&[run(1)], &[held(5)]).results(2).is_none(), "an index beyond the publish");
        assert!(answer(&[], &[held(1), held(0)]).results(2).is_none(), "not in order");
        assert!(answer(&[], &[held(0), held(0)]).results(2).is_none(), "twice the same");
        assert!(answer(&[run(u32::MAX), run(u32::MAX)], &[]).results(2).is_none(), "far too many");
    }
}
