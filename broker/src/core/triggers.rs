//! Triggers: lanes that a target empties, with a second lane for what is redriven.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwap;
use eventail_triggers::input::Input;
use eventail_triggers::key::KeyPath;
use eventail_triggers::pattern::Pattern;
use eventail_triggers::subscription::{self, Subscription};
use eventail_triggers::target::Target;
use eventail_wire::{Offset, Timestamp, TriggerName};

use super::BrokerError;
use super::feed::Feed;
use super::lane::Lane;
use super::near_misses::NearMisses;
use super::permits::Gate;
use super::topic::Topic;
use crate::config;
use crate::status::{Account, BreakerState, DedupStatus, TriggerState, TriggerStatus};

/// The triggers, by name. Empty until everything that they need is there, and exchanged whole.
#[derive(Default)]
pub(crate) struct Triggers(ArcSwap<BTreeMap<TriggerName, Arc<Trigger>>>);

impl Triggers {
    pub(crate) fn all(&self) -> Vec<Arc<Trigger>> {
        self.0.load().values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &TriggerName) -> Result<Arc<Trigger>, BrokerError> {
        self.0.load().get(name).cloned().ok_or_else(|| BrokerError::UnknownTrigger(name.clone()))
    }

    pub(super) fn load(&self) -> Arc<BTreeMap<TriggerName, Arc<Trigger>>> {
        self.0.load_full()
    }

    pub(super) fn store(&self, all: BTreeMap<TriggerName, Arc<Trigger>>) {
        self.0.store(Arc::new(all));
    }
}

/// A trigger at work, under one configuration.
pub(crate) struct Trigger {
    pub(crate) lane: Arc<Lane>,
    pub(super) options: config::Trigger,
    pub(super) pattern: Option<Pattern>,
    /// What a look at the events that it did not match came to.
    pub(super) near_misses: NearMisses,
    pub(super) topic: Arc<Topic>,
    pub(super) target: Arc<dyn Target>,
    pub(super) target_text: String,
    pub(super) input: Option<Arc<Input>>,
    pub(super) key: Option<KeyPath>,
    /// What its calls need a permit of, if anything.
    pub(super) gate: Option<Arc<Gate>>,
    /// The same with the rate limits, which are asked first.
    pub(super) gates: Arc<[Arc<Gate>]>,
    /// The feed of its topic and its seat there, where the topic has one.
    pub(super) feed: Option<(Arc<Feed>, usize)>,
    pub(super) redrives: OnceLock<Arc<Lane>>,
    /// The lanes of its replays.
    pub(super) replays: Mutex<Vec<Weak<Lane>>>,
    /// What schedules send to it.
    pub(super) scheduled: OnceLock<Arc<Lane>>,
}

impl Trigger {
    pub(crate) async fn pause(&self, reason: &str) -> Result<(), BrokerError> {
        for lane in self.lanes() {
            lane.change(|subscription| subscription.pause(reason.to_owned())).await?;
        }
        for lane in self.replays() {
            lane.change(|subscription| subscription.pause(reason.to_owned())).await?;
        }
        tracing::info!(trigger = %self.lane.trigger, topic = %self.topic.name, reason, "trigger paused");
        Ok(())
    }

    pub(crate) async fn resume(&self) -> Result<(), BrokerError> {
        for lane in self.lanes() {
            lane.change(|subscription| subscription.resume()).await?;
        }
        for lane in self.replays() {
            lane.change(|subscription| subscription.resume()).await?;
        }
        tracing::info!(trigger = %self.lane.trigger, topic = %self.topic.name, "trigger resumed");
        Ok(())
    }

    pub(crate) async fn skip_to(&self, to: Offset) -> Result<(), BrokerError> {
        let end = self.topic.end();
        if to > end {
            return Err(BrokerError::OffsetBeyondEnd { asked: to, end });
        }
        self.lane.change(|subscription| subscription.skip_to(to)).await?;
        tracing::info!(trigger = %self.lane.trigger, topic = %self.topic.name, offset = %to, "trigger skipped");
        Ok(())
    }

    pub(crate) fn status(&self, now: Timestamp) -> TriggerStatus {
        let end = self.topic.end();
        let mut status = self.lane.look(|subscription| self.describe(subscription, end, now));
        let others = [("redrives", self.redrives.get()), ("scheduled runs", self.scheduled.get())];
        for (what, lane) in others.into_iter().filter_map(|(what, lane)| Some((what, lane?))) {
            lane.look(|subscription| {
                let account = account(subscription);
                status.account.matched += account.matched;
                status.account.delivered += account.delivered;
                status.account.dead_lettered += account.dead_lettered;
                status.account.expired += account.expired;
                status.account.deduplicated += account.deduplicated;
                status.account.pending += account.pending;
                status.in_flight += subscription.in_flight() as u64;
                status.retrying += subscription.retrying() as u64;
                if status.state == TriggerState::Running
                    && subscription.state() != subscription::State::Running
                {
                    status.state = state_of(subscription);
                    status.reason = subscription.reason().map(|reason| format!("{what}: {reason}"));
                }
            });
        }
        status
    }

    fn describe(&self, subscription: &Subscription, end: Offset, now: Timestamp) -> TriggerStatus {
        let (breaker, open_until) = match subscription.breaker() {
            subscription::BreakerState::Closed => (BreakerState::Closed, None),
            subscription::BreakerState::Open { until } => (BreakerState::Open, Some(until)),
            subscription::BreakerState::HalfOpen => (BreakerState::HalfOpen, None),
        };
        TriggerStatus {
            name: self.lane.trigger.clone(),
            topic: self.topic.name.clone(),
            target: self.target_text.clone(),
            state: state_of(subscription),
            reason: subscription.reason().map(str::to_owned),
            cursor: subscription.cursor(),
            scanned: subscription.scanned(),
            lag: end.since(subscription.cursor()),
            lag_ms: subscription.oldest_pending_at().map_or(0, |oldest| now.since_ms(oldest)),
            in_flight: subscription.in_flight() as u64,
            retrying: subscription.retrying() as u64,
            breaker,
            held_until: open_until.or(subscription.held_until(now)),
            lost: subscription.lost_events(),
            account: account(subscription),
            last_failure: subscription.last_failure().cloned(),
            concurrency: self.gate.as_ref().and_then(|gate| gate.limiter()),
            budget: None,
            rate_limited: self.lane.rate_wait(),
            dedup: self.options.dedup.as_ref().map(|_| DedupStatus {
                keys: subscription.remembered_keys() as u64,
                evicted: subscription.evicted_keys(),
            }),
            near_miss: self.near_misses.flag(),
        }
    }

    /// Gives it the lane of what is redriven to it. It has none yet: whoever gives one holds `Core::changing`.
    pub(super) fn adopt_redrives(&self, lane: &Arc<Lane>) {
        if self.redrives.set(Arc::clone(lane)).is_err() {
            tracing::error!(trigger = %self.lane.trigger, "a trigger has two lanes of redrives");
        }
    }

    /// The same for the lane of what schedules send to it.
    pub(super) fn adopt_scheduled(&self, lane: &Arc<Lane>) {
        if self.scheduled.set(Arc::clone(lane)).is_err() {
            tracing::error!(trigger = %self.lane.trigger, "a trigger has two lanes of scheduled runs");
        }
    }

    pub(crate) fn scheduled(&self) -> Option<&Arc<Lane>> {
        self.scheduled.get()
    }

    /// What it wants; `None` is everything.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// The same as text.
    pub(crate) fn pattern_text(&self) -> Option<&str> {
        self.options.pattern.as_deref()
    }

    pub(crate) fn redrives(&self) -> Option<&Arc<Lane>> {
        self.redrives.get()
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        std::iter::once(&self.lane).chain(self.redrives.get()).chain(self.scheduled.get())
    }

    /// Ties the lane of a replay to the trigger: what holds the trigger, now or later, holds its replays.
    pub(crate) async fn attach(&self, lane: &Arc<Lane>) -> Result<(), BrokerError> {
        {
            let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
            replays.retain(|lane| lane.strong_count() > 0);
            replays.push(Arc::downgrade(lane));
        }
        // Looked at after it is tied, and the live lane is held first: so no pause is missed.
        let held = self.lane.look(|main| (main.state(), main.reason().unwrap_or_default().to_owned()));
        match held {
            (subscription::State::Paused, reason) => lane.change(|replay| replay.pause(reason)).await,
            (subscription::State::Disabled, reason) => lane.change(|replay| replay.disable(reason)).await,
            (subscription::State::Running | subscription::State::Stopped, _)
                if lane.look(Subscription::state) != subscription::State::Running =>
            {
                lane.change(|replay| replay.resume()).await
            }
            (subscription::State::Running | subscription::State::Stopped, _) => Ok(()),
        }
    }

    /// The lanes of its replays.
    fn replays(&self) -> Vec<Arc<Lane>> {
        let replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        replays.iter().filter_map(Weak::upgrade).collect()
    }
}

fn state_of(subscription: &Subscription) -> TriggerState {
    match subscription.state() {
        subscription::State::Running => TriggerState::Running,
        subscription::State::Paused => TriggerState::Paused,
        subscription::State::Disabled => TriggerState::Disabled,
        subscription::State::Stopped => TriggerState::Stopped,
    }
}

pub(crate) fn account(subscription: &Subscription) -> Account {
    let account = subscription.account();
    Account {
        matched: account.matched,
        delivered: account.delivered,
        dead_lettered: account.dead_lettered,
        expired: account.expired,
        deduplicated: account.deduplicated,
        pending: account.pending,
    }
}
