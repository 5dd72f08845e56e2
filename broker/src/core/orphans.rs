//! Triggers that left the configuration: what they have under way ends, and what they have not delivered is kept for
//! [`limits::ORPHAN_KEPT_MS`], so that one which comes back, or is named by `renamed_from`, goes on where it was.
//!
//! A lane that leaves stays awake until nothing of it is under way; then the journal keeps its state, with the time. One that nobody asked
//! for when the broker started is kept from then on. After its time it is forgotten, and the log of what was redriven to it goes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use eventail_triggers::subscription::{self, Snapshot};
use eventail_wire::{Timestamp, TopicName, TriggerName, limits};

use super::lane::Lane;
use super::{Broker, Core};
use crate::config::Config;
use crate::status::{Account, OrphanStatus, TriggerState};

/// What the lane of a trigger is called in the journal. With the topic: offsets of one topic mean nothing in another.
pub(super) fn lane_name(topic: &TopicName, trigger: &TriggerName) -> Arc<str> {
    format!("trigger/{topic}/{trigger}").into()
}

/// What the lane of what is redriven to a trigger is called in the journal.
pub(super) fn redrive_lane_name(trigger: &TriggerName) -> Arc<str> {
    format!("redrive/{trigger}").into()
}

/// Whose lane it is, if it is one of a trigger.
enum Owner {
    Trigger(TopicName, TriggerName),
    Redrives(TriggerName),
}

impl Owner {
    fn of(lane: &str) -> Option<Self> {
        if let Some(trigger) = lane.strip_prefix("redrive/") {
            return Some(Self::Redrives(trigger.parse().ok()?));
        }
        let (topic, trigger) = lane.strip_prefix("trigger/")?.split_once('/')?;
        Some(Self::Trigger(topic.parse().ok()?, trigger.parse().ok()?))
    }

    fn is_in(&self, config: &Config) -> bool {
        match self {
            Self::Trigger(topic, name) => {
                config.triggers.get(name).is_some_and(|trigger| trigger.topic == *topic)
            }
            Self::Redrives(name) => config.triggers.contains_key(name),
        }
    }
}

/// The lanes that leave and still have something under way, by name, with the time at which they left.
#[derive(Default)]
pub(crate) struct Orphans(Mutex<Leaving>);

type Leaving = BTreeMap<Arc<str>, (Arc<Lane>, Timestamp)>;

impl Orphans {
    /// Takes one back that has not gone yet.
    pub(super) fn take(&self, name: &str) -> Option<Arc<Lane>> {
        self.lock().remove(name).map(|(lane, _)| lane)
    }

    fn lock(&self) -> MutexGuard<'_, Leaving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Lets a lane lease nothing any more, and its state sleep when nothing is under way.
    pub(super) fn let_go(self: &Arc<Self>, lane: &Arc<Lane>) {
        tracing::info!(trigger = %lane.trigger, topic = %lane.topic, lane = %lane.name, "a trigger left the configuration; what it has not delivered is kept for 7 days");
        self.orphans.lock().insert(Arc::clone(&lane.name), (Arc::clone(lane), self.clock.now()));
        lane.retire();
        let (core, lane, mut stop) = (Arc::downgrade(self), Arc::clone(lane), self.stop.subscribe());
        self.tasks.spawn_lane("leaving", async move {
            let leave = async {
                at_rest(&lane).await;
                put_to_sleep(&core, &lane).await;
            };
            tokio::select! {
                biased;
                () = leave => {}
                // It is kept awake until its state is written, with those of all the others.
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        });
    }

    /// Carries out what `renamed_from` says of redrives, and notes which lanes nobody has a use for.
    pub(super) fn mind_names(self: &Arc<Self>, config: &Arc<Config>) {
        let now = self.clock.now();
        let is_orphan = |lane: &str| Owner::of(lane).is_some_and(|owner| !owner.is_in(config));
        let orphaned = self.journal.orphan(now, is_orphan);
        for lane in orphaned {
            tracing::info!(lane = %lane, "nothing in the configuration has this state any more; it is kept for 7 days");
        }
        let renames = config.triggers.iter().filter_map(|(new, trigger)| {
            let old = trigger.renamed_from.as_ref().filter(|old| !config.triggers.contains_key(*old))?;
            Some((old.clone(), new.clone()))
        });
        for (old, new) in renames.filter(|(old, _)| self.journal.knows(&redrive_lane_name(old))) {
            let (core, mut stop) = (Arc::downgrade(self), self.stop.subscribe());
            self.tasks.spawn_lane("rename", async move {
                tokio::select! {
                    biased;
                    () = move_when_asleep(&core, &old, &new) => {}
                    _ = stop.wait_for(|stopped| *stopped) => {}
                }
            });
        }
    }

    /// Lets go of what was kept for long enough.
    pub(super) async fn forget_orphans(&self) {
        // While a reload is under way nothing is lost by waiting for the next turn.
        let Ok(_changing) = self.changing.try_lock() else { return };
        let now = self.clock.now();
        let is_due = |since: Timestamp| now.since_ms(since) >= limits::ORPHAN_KEPT_MS;
        for orphan in self.journal.orphans().into_iter().filter(|orphan| is_due(orphan.since)) {
            self.journal.forget(&orphan.name);
            tracing::info!(lane = %orphan.name, "the state of a trigger that is gone was forgotten");
            if let Some(Owner::Redrives(trigger)) = Owner::of(&orphan.name)
                && let Err(error) = self.remove_redrive_log(&trigger).await
            {
                tracing::warn!(%trigger, %error, "what was redriven to a trigger that is gone is still on disk");
            }
        }
    }

    /// Whether something is kept of a trigger that does not run.
    pub(super) fn has_past(&self, topic: &TopicName, trigger: &TriggerName) -> bool {
        let is_running = self.triggers.get(trigger).is_ok_and(|running| running.lane.topic == *topic);
        !is_running && self.journal.knows(&lane_name(topic, trigger))
    }
}

/// Waits until nothing of the lane is under way.
async fn at_rest(lane: &Lane) {
    loop {
        let mut rung = pin!(lane.wake().notified());
        rung.as_mut().enable();
        if lane.is_at_rest() {
            return;
        }
        rung.await;
    }
}

/// Gives the state of a lane at rest to the journal, unless somebody took the lane back.
async fn put_to_sleep(core: &Weak<Core>, lane: &Arc<Lane>) {
    let Some(core) = core.upgrade() else { return };
    let _changing = core.changing.lock().await;
    let mut leaving = core.orphans.lock();
    if leaving.get(&lane.name).is_some_and(|(known, _)| Arc::ptr_eq(known, lane)) {
        lane.sleep();
        if let Some((_, since)) = leaving.remove(&lane.name) {
            core.journal.orphan(since, |name| *name == *lane.name);
        }
    }
}

/// Moves what was redriven to the old name, as soon as nothing of it is under way.
async fn move_when_asleep(core: &Weak<Core>, old: &TriggerName, new: &TriggerName) {
    let lane = {
        let Some(core) = core.upgrade() else { return };
        let leaving = core.orphans.lock();
        leaving.get(&redrive_lane_name(old)).map(|(lane, _)| Arc::clone(lane))
    };
    if let Some(lane) = lane {
        at_rest(&lane).await;
        put_to_sleep(core, &lane).await;
    }
    let Some(core) = core.upgrade() else { return };
    let _changing = core.changing.lock().await;
    if let Err(error) = core.move_redrives(old, new).await {
        tracing::warn!(trigger = %new, from = %old, %error, "what was redriven to the trigger's old name was not moved; it is tried again at the next start");
    }
}

impl Broker {
    /// What is left of triggers that are not in the configuration any more, by topic and name.
    #[must_use]
    pub fn orphaned_triggers(&self) -> Vec<OrphanStatus> {
        let core = &self.core;
        let leaving: Vec<_> = {
            let leaving = core.orphans.lock();
            let of = |(name, (lane, since)): (&Arc<str>, &(Arc<Lane>, Timestamp))| {
                (Arc::clone(name), *since, lane.look(subscription::Subscription::snapshot))
            };
            leaving.iter().map(of).collect()
        };
        let asleep = core.journal.orphans().into_iter().map(|one| (one.name, one.since, one.state));
        let all = leaving.into_iter().chain(asleep);
        all.filter_map(|(name, since, state)| core.describe_orphan(&name, since, &state)).collect()
    }
}

impl Core {
    fn describe_orphan(&self, lane: &str, since: Timestamp, state: &Snapshot) -> Option<OrphanStatus> {
        let Owner::Trigger(topic, name) = Owner::of(lane)? else { return None };
        let end = self.topics.get(&topic).map_or(state.cursor, |topic| topic.end());
        let settled = state.delivered + state.dead_lettered + state.expired + state.deduplicated;
        Some(OrphanStatus {
            name,
            topic,
            orphaned_at: since,
            forgotten_at: since.plus_ms(limits::ORPHAN_KEPT_MS),
            state: match state.state {
                subscription::State::Running => TriggerState::Running,
                subscription::State::Paused => TriggerState::Paused,
                subscription::State::Disabled => TriggerState::Disabled,
                subscription::State::Stopped => TriggerState::Stopped,
            },
            reason: state.reason.clone(),
            cursor: state.cursor,
            lag: end.since(state.cursor),
            retrying: state.retries.len() as u64,
            account: Account {
                matched: settled,
                delivered: state.delivered,
                dead_lettered: state.dead_lettered,
                expired: state.expired,
                deduplicated: state.deduplicated,
                pending: 0,
            },
        })
    }
}
