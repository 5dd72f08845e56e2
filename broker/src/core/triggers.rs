//! Triggers: lanes that a target empties, with a second lane for what is redriven.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use eventail_triggers::function::FunctionTarget;
use eventail_triggers::http::{Egress, HttpTarget};
use eventail_triggers::key::KeyPath;
use eventail_triggers::lambda::LambdaTarget;
use eventail_triggers::pattern::Pattern;
use eventail_triggers::policy::Ordering as KeyOrdering;
use eventail_triggers::subscription::{self, Subscription};
use eventail_triggers::target::Target;
use eventail_wire::{Offset, Timestamp, TriggerName};

use super::feed::Feed;
use super::functions::Functions;
use super::graveyard::Graveyard;
use super::lane::{Driver, Lane, LaneOptions};
use super::near_misses::NearMisses;
use super::permits::Gate;
use super::replies::Replies;
use super::topic::Topic;
use super::{BrokerError, Core};
use crate::config::{self, TargetOptions};
use crate::status::{Account, BreakerState, Observer, TriggerState, TriggerStatus};

/// What the internal log of a trigger's redriven dead letters is called.
pub(crate) fn redrive_log_name(trigger: &TriggerName) -> String {
    format!("_redrive.{trigger}")
}

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
}

/// A trigger at work.
pub(crate) struct Trigger {
    pub(crate) lane: Arc<Lane>,
    options: config::Trigger,
    pattern: Option<Pattern>,
    /// What a look at the events that it did not match came to.
    pub(crate) near_misses: NearMisses,
    topic: Arc<Topic>,
    target: Arc<dyn Target>,
    target_text: String,
    /// What its calls need a permit of, if anything.
    gate: Option<Arc<Gate>>,
    redrives: tokio::sync::OnceCell<Arc<Lane>>,
}

impl Core {
    /// Opens every trigger's lane, ties the lanes of a topic to one feed and lets them run.
    pub(crate) async fn start_triggers(self: &Arc<Self>) -> Result<(), BrokerError> {
        let config = self.config();
        let egress = Egress::new(config.egress_allow.iter().copied());
        for (name, function) in &config.functions {
            // A call without an instance would only wait, and its time with it.
            self.permits.cap(&FunctionTarget::key_of(name), function.max_instances.max(1));
        }
        let mut all = BTreeMap::new();
        let mut by_topic: BTreeMap<_, Vec<(Arc<Trigger>, Option<Pattern>)>> = BTreeMap::new();
        for (name, options) in &config.triggers {
            let (trigger, pattern) = self.open_trigger(name, options, &egress).await?;
            let trigger = Arc::new(trigger);
            all.insert(name.clone(), Arc::clone(&trigger));
            by_topic.entry(options.topic.clone()).or_default().push((trigger, pattern));
        }
        let triggers: Vec<_> = all.values().cloned().collect();
        self.triggers.0.store(Arc::new(all));
        for members in by_topic.into_values() {
            self.start_topic(members);
        }
        let on_disk = self.store.names()?;
        for trigger in triggers {
            let log_name = redrive_log_name(&trigger.lane.trigger);
            if on_disk.contains(&log_name) {
                self.redrive_lane(&trigger).await?;
            }
        }
        Ok(())
    }

    /// The lane of what is redriven to a trigger; it is made when it is needed first.
    pub(crate) async fn redrive_lane(
        self: &Arc<Self>,
        trigger: &Arc<Trigger>,
    ) -> Result<Arc<Lane>, BrokerError> {
        let open = || async {
            let log = self
                .open_internal(
                    redrive_log_name(&trigger.lane.trigger),
                    eventail_storage::log::Durability::Sync,
                )
                .await?;
            let lane = Lane::open(
                &self.journal,
                LaneOptions {
                    name: format!("redrive/{}", trigger.lane.trigger).into(),
                    start: log.status().range.start,
                    log,
                    pattern: None,
                    redrives: true,
                    ..trigger.lane_options(self.observer.clone(), self.next_seed())?
                },
            );
            // What holds the trigger holds its redrives.
            let held = trigger.lane.look(|main| (main.state(), main.reason().unwrap_or_default().to_owned()));
            match held {
                (subscription::State::Paused, reason) => {
                    lane.change(|redrives| redrives.pause(reason)).await?
                }
                (subscription::State::Disabled, reason) => {
                    lane.change(|redrives| redrives.disable(reason)).await?
                }
                (subscription::State::Running | subscription::State::Stopped, _) => {}
            }
            self.drive(trigger, &lane, None);
            Ok::<_, BrokerError>(lane)
        };
        trigger.redrives.get_or_try_init(open).await.cloned()
    }

    async fn open_trigger(
        &self,
        name: &TriggerName,
        options: &config::Trigger,
        egress: &Egress,
    ) -> Result<(Trigger, Option<Pattern>), BrokerError> {
        let topic = self.topic_or_create(&options.topic).await?;
        // Both are made now rather than at the first failure: a trigger that could not bury its dead must not start.
        self.topic_or_create(&options.dead_letter_topic).await?;
        if let Some(reply_topic) = &options.reply_topic {
            self.topic_or_create(reply_topic).await?;
        }
        let pattern = options.pattern.as_deref().map(Pattern::parse).transpose()?;
        let (target, target_text) = make_target(name, &options.target, egress, &self.functions)?;
        let gate = self.permits.gate(target.shared_key().as_deref(), &options.policy);
        let start = topic.place_of(options.start).await?;
        let lane = Lane::open(
            &self.journal,
            LaneOptions {
                // With the topic: offsets of one topic mean nothing in another.
                name: format!("trigger/{}/{name}", options.topic).into(),
                trigger: name.clone(),
                topic: topic.name.clone(),
                log: Arc::clone(&topic.log),
                pattern: pattern.clone(),
                key: key_path(options)?,
                policy: options.policy.clone(),
                start,
                dead_letter_topic: options.dead_letter_topic.clone(),
                redrives: false,
                observer: self.observer.clone(),
                timeline: Some(Arc::clone(&self.timeline)),
                seed: self.next_seed(),
            },
        );
        let redrives = tokio::sync::OnceCell::new();
        let trigger = Trigger {
            lane,
            options: options.clone(),
            pattern: pattern.clone(),
            near_misses: NearMisses::default(),
            topic,
            target,
            target_text,
            gate,
            redrives,
        };
        Ok((trigger, pattern))
    }

    fn start_topic(self: &Arc<Self>, members: Vec<(Arc<Trigger>, Option<Pattern>)>) {
        let Some((first, _)) = members.first() else { return };
        // One trigger alone reads the log as cheaply as a feed would.
        let feed = (members.len() > 1).then(|| {
            let patterns: Vec<_> = members.iter().map(|(_, pattern)| pattern.clone()).collect();
            let wakes = members.iter().map(|(trigger, _)| Arc::clone(trigger.lane.wake())).collect();
            Arc::new(Feed::new(Arc::clone(&first.topic), &patterns, wakes))
        });
        if let Some(feed) = &feed {
            self.tasks.spawn_lane("feed", Arc::clone(feed).run(self.stop.subscribe()));
        }
        for (seat, (trigger, _)) in members.iter().enumerate() {
            self.drive(trigger, &trigger.lane, feed.clone().map(|feed| (feed, seat)));
        }
    }

    fn drive(self: &Arc<Self>, trigger: &Trigger, lane: &Arc<Lane>, feed: Option<(Arc<Feed>, usize)>) {
        let config = self.config();
        let replies =
            trigger.options.reply_topic.as_ref().and_then(|name| self.topics.get(name)).map(|topic| {
                Replies {
                    topic,
                    hops_max: config.limits.hops_max,
                    event_bytes_max: config.limits.event_bytes_max,
                    track: lane.track.clone(),
                }
            });
        let driver = Driver {
            lane: Arc::clone(lane),
            target: Arc::clone(&trigger.target),
            feed,
            replies,
            graveyard: Arc::new(Graveyard { core: Arc::downgrade(self), stop: self.stop.subscribe() }),
            clock: Arc::clone(&self.clock),
            observer: self.observer.clone(),
            seat: trigger
                .gate
                .as_ref()
                .map(|gate| gate.seat(&trigger.options.policy, Arc::clone(lane.wake()))),
            callbacks: Arc::clone(&self.callbacks),
            ledger: Arc::clone(&self.ledger),
        };
        self.tasks.spawn_lane("trigger", Arc::new(driver).run(self.stop.subscribe()));
    }
}

impl Trigger {
    pub(crate) async fn pause(&self, reason: &str) -> Result<(), BrokerError> {
        for lane in self.lanes() {
            lane.change(|subscription| subscription.pause(reason.to_owned())).await?;
        }
        tracing::info!(trigger = %self.lane.trigger, topic = %self.topic.name, reason, "trigger paused");
        Ok(())
    }

    pub(crate) async fn resume(&self) -> Result<(), BrokerError> {
        for lane in self.lanes() {
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
        if let Some(redrives) = self.redrives.get() {
            redrives.look(|subscription| {
                let account = account(subscription);
                status.account.matched += account.matched;
                status.account.delivered += account.delivered;
                status.account.dead_lettered += account.dead_lettered;
                status.account.expired += account.expired;
                status.account.pending += account.pending;
                status.in_flight += subscription.in_flight() as u64;
                status.retrying += subscription.retrying() as u64;
                if status.state == TriggerState::Running
                    && subscription.state() != subscription::State::Running
                {
                    status.state = state_of(subscription);
                    status.reason = subscription.reason().map(|reason| format!("redrives: {reason}"));
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
            near_miss: self.near_misses.flag(),
        }
    }

    /// What it wants; `None` is everything.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// The same as text.
    pub(crate) fn pattern_text(&self) -> Option<&str> {
        self.options.pattern.as_deref()
    }

    /// The topic that it reads.
    pub(crate) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(crate) fn redrives(&self) -> Option<&Arc<Lane>> {
        self.redrives.get()
    }

    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        std::iter::once(&self.lane).chain(self.redrives.get())
    }

    fn lane_options(
        &self,
        observer: Option<Arc<dyn Observer>>,
        seed: u64,
    ) -> Result<LaneOptions, BrokerError> {
        Ok(LaneOptions {
            name: Arc::clone(&self.lane.name),
            trigger: self.lane.trigger.clone(),
            topic: self.topic.name.clone(),
            log: Arc::clone(&self.topic.log),
            pattern: None,
            key: key_path(&self.options)?,
            policy: self.options.policy.clone(),
            start: Offset(0),
            dead_letter_topic: self.options.dead_letter_topic.clone(),
            redrives: false,
            observer,
            timeline: self.lane.timeline.clone(),
            seed,
        })
    }
}

fn make_target(
    trigger: &TriggerName,
    options: &TargetOptions,
    egress: &Egress,
    functions: &Functions,
) -> Result<(Arc<dyn Target>, String), BrokerError> {
    match options {
        TargetOptions::Lambda(options) => {
            let target = LambdaTarget::new(options.clone(), egress.clone())
                .map_err(|source| BrokerError::LambdaTarget { trigger: trigger.clone(), source })?;
            let text = target.describe();
            Ok((Arc::new(target), text))
        }
        TargetOptions::Function(options) => {
            let function =
                functions.get(&options.function).ok_or_else(|| BrokerError::UndeclaredFunction {
                    trigger: trigger.clone(),
                    function: options.function.clone(),
                })?;
            let target = FunctionTarget::new(function, options.payload);
            let text = target.describe();
            Ok((Arc::new(target), text))
        }
        TargetOptions::Handler(handler) => Ok((Arc::clone(handler), "handler".to_owned())),
        TargetOptions::Http(options) => {
            let target = HttpTarget::new(options.clone(), egress.clone())
                .map_err(|source| BrokerError::Target { trigger: trigger.clone(), source })?;
            let text = target.describe();
            Ok((Arc::new(target), text))
        }
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

fn account(subscription: &Subscription) -> Account {
    let account = subscription.account();
    Account {
        matched: account.matched,
        delivered: account.delivered,
        dead_lettered: account.dead_lettered,
        expired: account.expired,
        pending: account.pending,
    }
}

fn key_path(options: &config::Trigger) -> Result<Option<KeyPath>, BrokerError> {
    match options.policy.ordering {
        KeyOrdering::None => Ok(None),
        KeyOrdering::Key => Ok(Some(options.key.parse()?)),
    }
}
