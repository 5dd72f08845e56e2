//! Waits for a target that throttles: the whole subscription, and longer with each throttle in a row.

use eventail_wire::Timestamp;
use rand::rngs::SmallRng;

use super::backoff;
use crate::policy::DeliveryPolicy;

/// The hold of one subscription.
#[derive(Debug, Default)]
pub(super) struct Hold {
    until: Option<Timestamp>,
    throttles: u32,
    /// Counts holds. A throttle of an attempt that was leased before the present hold is of the same burst.
    epoch: u32,
}

impl Hold {
    pub(super) const fn restore(until: Option<Timestamp>, throttles: u32) -> Self {
        Self { until, throttles, epoch: 0 }
    }

    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    pub(super) const fn throttles(&self) -> u32 {
        self.throttles
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// An attempt that was leased in `epoch` was throttled. `true` where the hold changed.
    pub(super) fn throttled(
        &mut self,
        now: Timestamp,
        policy: &DeliveryPolicy,
        lease_epoch: u32,
        after_ms: Option<u64>,
        rng: &mut SmallRng,
    ) -> bool {
        // `Retry-After: 0` tells nothing that would keep us from asking too soon again.
        let after_ms = after_ms.filter(|after_ms| *after_ms > 0);
        let same_burst = lease_epoch != self.epoch;
        if same_burst && after_ms.is_none() {
            return false;
        }
        if !same_burst {
            self.throttles = self.throttles.saturating_add(1);
            self.epoch = self.epoch.wrapping_add(1);
        }
        let until = now.plus_ms(backoff::hold_ms(policy, self.throttles, after_ms, rng));
        if same_burst && self.until.is_some_and(|held| held >= until) {
            return false;
        }
        self.until = Some(self.until.map_or(until, |held| held.max(until)));
        true
    }

    /// An attempt that was leased in `epoch` was taken. `true` where the next hold is a first one again.
    pub(super) const fn answered(&mut self, lease_epoch: u32) -> bool {
        if self.throttles == 0 || lease_epoch != self.epoch {
            return false;
        }
        self.throttles = 0;
        true
    }
}
