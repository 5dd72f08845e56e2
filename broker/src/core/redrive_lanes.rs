//! The lanes of what is redriven: each trigger has one as soon as something was redriven to it, on a log of its own, with the trigger's
//! target and policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eventail_storage::log::{Durability, Log, NewRecord, ReadLimit, read_what_is_left};
use eventail_triggers::subscription;
use eventail_wire::{Offset, TriggerName};

use super::lane::Lane;
use super::orphans::redrive_lane_name;
use super::triggers::Trigger;
use super::{BrokerError, Core, blocking};

/// What one read of a log that is moved takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 1 << 20 };

/// What the internal log of a trigger's redriven dead letters is called.
pub(crate) fn redrive_log_name(trigger: &TriggerName) -> String {
    format!("_redrive.{trigger}")
}

impl Core {
    /// The lane of what is redriven to a trigger; it is made when it is needed first.
    pub(crate) async fn redrive_lane(self: &Arc<Self>, name: &TriggerName) -> Result<Arc<Lane>, BrokerError> {
        if let Some(lane) = self.triggers.get(name)?.redrives() {
            return Ok(Arc::clone(lane));
        }
        let _changing = self.changing.lock().await;
        self.redrive_lane_unchanged(name).await
    }

    /// The same for who holds `self.changing`, so that the lane is that of the trigger as it runs.
    async fn redrive_lane_unchanged(self: &Arc<Self>, name: &TriggerName) -> Result<Arc<Lane>, BrokerError> {
        let trigger = self.triggers.get(name)?;
        if let Some(lane) = trigger.redrives() {
            return Ok(Arc::clone(lane));
        }
        let log = self.open_redrive_log(name).await?;
        self.open_redrives(&trigger, &log).await
    }

    pub(super) async fn open_redrive_log(&self, name: &TriggerName) -> Result<Arc<dyn Log>, BrokerError> {
        self.open_internal(redrive_log_name(name), Durability::Sync).await
    }

    /// Gives a trigger that was just installed the lane of what is redriven to it, if it has one.
    pub(super) async fn take_redrives_up(
        self: &Arc<Self>,
        trigger: &Arc<Trigger>,
        log: Option<&Arc<dyn Log>>,
        old: &BTreeMap<TriggerName, Arc<Trigger>>,
        taken: &mut BTreeSet<Arc<str>>,
    ) {
        let name = &trigger.lane.trigger;
        let Some(log) = log else { return };
        let lane_name = redrive_lane_name(name);
        let running = old.get(name).and_then(|old| old.redrives()).cloned();
        if let Some(running) = running.or_else(|| self.orphans.take(&lane_name)) {
            taken.insert(lane_name);
            let lane = running.exchange(self.redrive_options(trigger, log));
            trigger.adopt_redrives(&lane);
            self.drive(trigger, &lane, None);
        } else if let Err(error) = self.open_redrives(trigger, log).await {
            tracing::warn!(trigger = %name, %error, "what holds the trigger does not hold its redrives yet");
        }
    }

    async fn open_redrives(
        self: &Arc<Self>,
        trigger: &Arc<Trigger>,
        log: &Arc<dyn Log>,
    ) -> Result<Arc<Lane>, BrokerError> {
        let lane = Lane::open(&self.journal, self.redrive_options(trigger, log));
        // What holds the trigger holds its redrives.
        let held = trigger.lane.look(|main| (main.state(), main.reason().unwrap_or_default().to_owned()));
        let holding = match held {
            (subscription::State::Paused, reason) => Some(lane.change(|redrives| redrives.pause(reason))),
            (subscription::State::Disabled, reason) => Some(lane.change(|redrives| redrives.disable(reason))),
            (subscription::State::Running | subscription::State::Stopped, _) => None,
        };
        trigger.adopt_redrives(&lane);
        self.drive(trigger, &lane, None);
        if let Some(holding) = holding {
            holding.await?;
        }
        Ok(lane)
    }

    /// Hands what was redriven to a trigger that is gone, and was not delivered, to the one that it is called now. A crash on the way
    /// repeats some of it and loses nothing. `self.changing` must be held.
    pub(super) async fn move_redrives(
        self: &Arc<Self>,
        old: &TriggerName,
        new: &TriggerName,
    ) -> Result<(), BrokerError> {
        let lane_name = redrive_lane_name(old);
        let Some(state) = self.journal.state_of(&lane_name) else { return Ok(()) };
        let log = self.open_redrive_log(old).await?;
        let lane = self.redrive_lane_unchanged(new).await?;
        let read_failed = |source| BrokerError::Read { log: redrive_log_name(old), source };
        let append_failed = |source| BrokerError::Append { log: redrive_log_name(new), source };
        let range = log.status().range;
        let mut from: Offset = state.cursor.max(range.start);
        let mut moved = 0;
        while from < range.end {
            let records = read_what_is_left(log.as_ref(), from, READ_LIMIT).await.map_err(read_failed)?;
            let Some(last) = records.last() else { break };
            from = last.offset.plus(1);
            let unsettled =
                records.into_iter().filter(|record| state.settled.end_of(record.offset).is_none());
            let pending: Vec<_> =
                unsettled.map(|record| NewRecord { payload: record.payload, fingerprint: None }).collect();
            moved += pending.len();
            if !pending.is_empty() {
                lane.append(pending).await.map_err(append_failed)?;
            }
        }
        self.journal.forget(&lane_name);
        self.remove_redrive_log(old).await?;
        tracing::info!(trigger = %new, from = %old, moved, "what was redriven was moved to the trigger's new name");
        Ok(())
    }

    pub(super) async fn remove_redrive_log(&self, trigger: &TriggerName) -> Result<(), BrokerError> {
        let (store, name) = (Arc::clone(&self.store), redrive_log_name(trigger));
        blocking::run(store.may_block(), move || store.remove(&name)).await??;
        Ok(())
    }
}
