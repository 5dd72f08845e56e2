//! The lanes of what schedules send: a trigger that a schedule calls has one, on the topic `schedules`, with the trigger's target and
//! policy. It takes what is meant for its trigger and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eventail_triggers::pattern::Pattern;
use eventail_triggers::subscription;
use eventail_wire::{TopicName, TriggerName};

use super::lane::{Lane, LaneOptions};
use super::triggers::Trigger;
use super::{BrokerError, Core};
use crate::config::{SCHEDULED_FOR_ATTRIBUTE, SCHEDULES_TOPIC};

/// What the lane of what schedules send to a trigger is called in the journal.
fn scheduled_lane_name(trigger: &TriggerName) -> Arc<str> {
    format!("scheduled/{trigger}").into()
}

impl Core {
    /// The lane of what schedules send to a trigger; it is made when it is needed first.
    pub(super) async fn scheduled_lane(
        self: &Arc<Self>,
        name: &TriggerName,
    ) -> Result<Arc<Lane>, BrokerError> {
        if let Some(lane) = self.triggers.get(name)?.scheduled() {
            return Ok(Arc::clone(lane));
        }
        let _changing = self.changing.lock().await;
        let trigger = self.triggers.get(name)?;
        if let Some(lane) = trigger.scheduled() {
            return Ok(Arc::clone(lane));
        }
        self.open_scheduled(&trigger).await
    }

    /// Gives a trigger that was just installed the lane of what schedules sent to it, if it has one.
    pub(super) async fn take_scheduled_up(
        self: &Arc<Self>,
        trigger: &Arc<Trigger>,
        old: &BTreeMap<TriggerName, Arc<Trigger>>,
        taken: &mut BTreeSet<Arc<str>>,
    ) {
        let name = &trigger.lane.trigger;
        let lane_name = scheduled_lane_name(name);
        let running = old.get(name).and_then(|old| old.scheduled()).cloned();
        let taken_up = if let Some(running) = running.or_else(|| self.orphans.take(&lane_name)) {
            taken.insert(lane_name);
            self.scheduled_options(trigger).await.map(|options| {
                let lane = running.exchange(options);
                trigger.adopt_scheduled(&lane);
                self.drive(trigger, &lane, None);
            })
        } else if self.journal.knows(&lane_name) {
            self.open_scheduled(trigger).await.map(drop)
        } else {
            return;
        };
        if let Err(error) = taken_up {
            tracing::warn!(trigger = %name, %error, "what schedules sent to the trigger waits until one sends again");
        }
    }

    async fn open_scheduled(self: &Arc<Self>, trigger: &Arc<Trigger>) -> Result<Arc<Lane>, BrokerError> {
        let lane = Lane::open(&self.journal, self.scheduled_options(trigger).await?);
        // What holds the trigger holds this too.
        let held = trigger.lane.look(|main| (main.state(), main.reason().unwrap_or_default().to_owned()));
        let holding = match held {
            (subscription::State::Paused, reason) => Some(lane.change(|other| other.pause(reason))),
            (subscription::State::Disabled, reason) => Some(lane.change(|other| other.disable(reason))),
            (subscription::State::Running | subscription::State::Stopped, _) => None,
        };
        trigger.adopt_scheduled(&lane);
        self.drive(trigger, &lane, None);
        if let Some(holding) = holding {
            holding.await?;
        }
        Ok(lane)
    }

    async fn scheduled_options(&self, trigger: &Trigger) -> Result<LaneOptions, BrokerError> {
        let topic = self.topic_or_create(&TopicName::new(SCHEDULES_TOPIC)?).await?;
        let name = &trigger.lane.trigger;
        let pattern = serde_json::json!({ SCHEDULED_FOR_ATTRIBUTE: [name] }).to_string();
        Ok(LaneOptions {
            name: scheduled_lane_name(name),
            trigger: name.clone(),
            topic: topic.name.clone(),
            // From its beginning: a run that was sent is found, whatever was noted of the lane.
            start: topic.start(),
            log: Arc::clone(&topic.log),
            pattern: Some(Pattern::parse(&pattern)?),
            replay: None,
            key: trigger.key.clone(),
            dedup_key: None,
            timeline: Some(Arc::clone(&self.timeline)),
            policy: trigger.options.policy.clone(),
            dead_letter_topic: trigger.options.dead_letter_topic.clone(),
            redrives: false,
            observer: self.observer.clone(),
            seed: self.next_seed(),
        })
    }
}
