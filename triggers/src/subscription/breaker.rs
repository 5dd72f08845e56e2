//! Tells an outage from a bad event: counts the distinct events that fail with no success between them. A call with several
//! events counts as the first of them.

use std::collections::BTreeMap;

use eventail_wire::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::BreakerState;
use crate::policy::DeliveryPolicy;

/// A breaker that is open, as it is journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreaker {
    /// When a probe may go.
    pub until: Timestamp,
    /// For how long it was opened: the next time is twice that.
    pub open_ms: u64,
}

/// The failures since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The distinct events, and the attempts that each burnt within the run. Fewer than `breaker_failures`.
    events: Vec<(Offset, u32)>,
    /// Calls that did not reach the target.
    unreachable: u32,
    /// The other events of calls that failed whole: not counted, but what they burnt is given back as well.
    #[serde(default)]
    along: BTreeMap<Offset, u32>,
}

/// Events of one run that are told apart. A policy may ask for so many before it sees an outage; a subscription without a breaker
/// must not remember more.
const EVENTS_MAX: usize = 10_000;
/// The same for those that failed along with others.
const ALONG_MAX: usize = 65_536;

impl Run {
    /// Adds a failure.
    pub(super) fn add(&mut self, offset: Offset, burnt: bool, unreachable: bool) {
        self.unreachable = self.unreachable.saturating_add(u32::from(unreachable));
        let has_room = self.events.len() < EVENTS_MAX;
        match self.events.iter_mut().find(|(other, _)| *other == offset) {
            Some((_, attempts)) => *attempts += u32::from(burnt),
            None if has_room => self.events.push((offset, u32::from(burnt))),
            None => {}
        }
    }

    /// Adds an event that burnt an attempt in a call that another event stands for.
    pub(super) fn add_along(&mut self, offset: Offset) {
        if self.along.len() < ALONG_MAX || self.along.contains_key(&offset) {
            *self.along.entry(offset).or_default() += 1;
        }
    }

    /// Every event, with what it burnt.
    fn into_burnt(self) -> Vec<(Offset, u32)> {
        let mut burnt = self.events;
        burnt.extend(self.along);
        burnt
    }

    /// Whether it is long enough to be an outage.
    fn is_outage(&self, policy: &DeliveryPolicy) -> bool {
        let limit = policy.breaker_failures.max(1);
        self.unreachable >= limit || self.events.len() >= limit as usize
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.along.clear();
        self.unreachable = 0;
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.along.is_empty()
    }
}

/// The breaker of one subscription.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    run: Run,
    open: Option<OpenBreaker>,
    /// The token of the probe that is under way; only while it is open.
    probe: Option<u64>,
}

impl Breaker {
    pub(super) const fn restore(open: Option<OpenBreaker>, run: Run) -> Self {
        Self { run, open, probe: None }
    }

    pub(super) const fn run(&self) -> &Run {
        &self.run
    }

    pub(super) const fn open(&self) -> Option<OpenBreaker> {
        self.open
    }

    pub(super) const fn state(&self) -> BreakerState {
        match (self.open, self.probe) {
            (None, _) => BreakerState::Closed,
            (Some(OpenBreaker { until, .. }), None) => BreakerState::Open { until },
            (Some(_), Some(_)) => BreakerState::HalfOpen,
        }
    }

    /// Which failure in a row an attempt that did not reach the target is, counted from 1.
    pub(super) const fn unreachable_in_a_row(&self) -> u32 {
        self.run.unreachable
    }

    /// Whether a probe failed since the breaker opened.
    pub(super) fn has_failed_probe(&self, policy: &DeliveryPolicy) -> bool {
        self.open.is_some_and(|open| open.open_ms > policy.breaker_open_ms)
    }

    /// A probe goes out.
    pub(super) const fn probe_leased(&mut self, token: u64) {
        self.probe = Some(token);
    }

    /// A lease ended without telling anything of the target; where it was the probe, another one may go.
    pub(super) fn forget_probe(&mut self, token: u64) {
        if self.probe == Some(token) {
            self.probe = None;
        }
    }

    /// The target answered. `true` where the breaker was open and now is closed.
    pub(super) fn answered(&mut self) -> bool {
        self.run.clear();
        self.probe = None;
        self.open.take().is_some()
    }

    /// Whether [`Breaker::answered`] would change anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_none() && self.run.is_empty()
    }

    /// An attempt failed while the breaker was closed. Where that makes an outage, the breaker opens and the run's events
    /// are answered, with the attempts to be given back.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        policy: &DeliveryPolicy,
        failure: (Offset, bool, bool),
    ) -> Option<Vec<(Offset, u32)>> {
        let (offset, burnt, unreachable) = failure;
        self.run.add(offset, burnt, unreachable);
        if !self.run.is_outage(policy) {
            return None;
        }
        let open_ms = policy.breaker_open_ms.min(policy.breaker_open_max_ms).max(1);
        self.open = Some(OpenBreaker { until: now.plus_ms(open_ms), open_ms });
        Some(std::mem::take(&mut self.run).into_burnt())
    }

    /// An event failed along with the one that stands for its call, while the breaker was closed.
    pub(super) fn failed_along(&mut self, offset: Offset) {
        self.run.add_along(offset);
    }

    /// An attempt failed while the breaker was open. `true` where it was the probe: the breaker stays open for twice as
    /// long. Attempts that were under way when it opened say nothing new.
    pub(super) fn failed_while_open(&mut self, now: Timestamp, policy: &DeliveryPolicy, token: u64) -> bool {
        let Some(open) = self.open.filter(|_| self.probe == Some(token)) else { return false };
        let open_ms = open.open_ms.saturating_mul(2).min(policy.breaker_open_max_ms).max(1);
        self.open = Some(OpenBreaker { until: now.plus_ms(open_ms), open_ms });
        self.probe = None;
        true
    }
}
