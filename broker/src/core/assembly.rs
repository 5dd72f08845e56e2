//! Putting triggers together, at the start and at each reload: first everything that may fail, which touches nothing that runs
//! ([`Core::prepare`]), then what cannot ([`Core::install`]).
//!
//! A trigger that changes gets another lane around the subscription that it has, with another driver. The triggers of a topic are
//! exchanged together, whichever of them changed: the feed has one compiled matcher for all of them, and a new feed takes over from the old
//! one where each subscription is. Those of other topics are left alone. What is under way ends under the driver that began it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use eventail_storage::log::Log;
use eventail_triggers::function::{Function, FunctionTarget};
use eventail_triggers::http::{Egress, HttpTarget};
use eventail_triggers::input::Input;
use eventail_triggers::key::{DedupKey, KeyPath};
use eventail_triggers::lambda::LambdaTarget;
use eventail_triggers::pattern::Pattern;
use eventail_triggers::policy::{DeliveryPolicy, Ordering as KeyOrdering};
use eventail_triggers::target::Target;
use eventail_wire::{FunctionName, Offset, TopicName, TriggerName};

use super::feed::Feed;
use super::graveyard::Graveyard;
use super::lane::{Driver, Lane, LaneOptions};
use super::near_misses::NearMisses;
use super::orphans::{lane_name, redrive_lane_name};
use super::permits::{Gate, Seat};
use super::redrive_lanes::redrive_log_name;
use super::replies::Replies;
use super::routing::TopicTarget;
use super::topic::Topic;
use super::triggers::Trigger;
use super::{BrokerError, Core};
use crate::config::{self, Config, TargetOptions, TopicTargetOptions};

/// A configuration that can be installed: all that could fail about it has not.
pub(super) struct Prepared {
    config: Arc<Config>,
    functions: BTreeMap<FunctionName, Arc<Function>>,
    drafts: Vec<Draft>,
}

/// A trigger that is about to be.
pub(super) struct Draft {
    pub(super) name: TriggerName,
    pub(super) options: config::Trigger,
    topic: Arc<Topic>,
    pattern: Option<Pattern>,
    key: Option<KeyPath>,
    dedup_key: Option<DedupKey>,
    target: Arc<dyn Target>,
    target_text: String,
    input: Option<Arc<Input>>,
    start: Offset,
    /// The log of what is redriven to it, where there is one.
    redrive_log: Option<Arc<dyn Log>>,
    /// Whether it runs as it is.
    is_unchanged: bool,
}

/// The triggers of a topic, each with its pattern, as they take their seats.
type Members<'d> = Vec<(Trigger, &'d Draft)>;

impl Core {
    /// Makes everything that a configuration needs and that may fail. Topics that it names are created; nothing else is touched.
    pub(super) async fn prepare(self: &Arc<Self>, config: Arc<Config>) -> Result<Prepared, BrokerError> {
        let running = self.config();
        let functions = self.functions.prepare(&config.functions, &self.clock);
        for name in config.topics.named.keys() {
            self.topic_or_create_under(&config, name).await?;
        }
        let egress = config.egress();
        let has_other_egress = !running.has_same_egress(&config);
        let has_other_hosts = running.hosts != config.hosts;
        let has_other_replies = running.limits.hops_max != config.limits.hops_max;
        let current = self.triggers.load();
        let on_disk = self.store.names()?;
        let mut drafts = Vec::with_capacity(config.triggers.len());
        for (name, options) in &config.triggers {
            let topic = self.open_topics_of(&config, options).await?;
            let pattern = options.pattern.as_deref().map(Pattern::parse).transpose()?;
            let running = current.get(name);
            let known = running.filter(|running| {
                !has_other_egress
                    && running.options.target == options.target
                    && self.is_same_function(&options.target, &functions)
            });
            let (target, target_text) = match known {
                Some(running) => (Arc::clone(&running.target), running.target_text.clone()),
                None => match &options.target {
                    TargetOptions::Topic(routed) => self.topic_target(&config, options, routed).await?,
                    other => make_target(name, other, &egress, &functions)?,
                },
            };
            let redrive_log = match redrive_log_name(name) {
                log if on_disk.contains(&log) => Some(self.open_redrive_log(name).await?),
                _ => None,
            };
            let is_unchanged = known.is_some_and(|running| running.options == *options)
                && !(has_other_replies && options.reply_topic.is_some())
                && !(has_other_hosts && matches!(options.target, TargetOptions::Http(_)));
            drafts.push(Draft {
                start: topic.start_of(&self.journal, &lane_name(&topic.name, name), options.start).await?,
                key: key_path(options)?,
                dedup_key: options.dedup.as_ref().map(|dedup| dedup.key.parse()).transpose()?,
                input: make_input(name, options)?,
                name: name.clone(),
                options: options.clone(),
                topic,
                pattern,
                target,
                target_text,
                redrive_log,
                is_unchanged,
            });
        }
        Ok(Prepared { config, functions, drafts })
    }

    /// Lets a configuration take effect, whole. `self.changing` must be held, and the one that ran be in effect until here.
    pub(super) async fn install(self: &Arc<Self>, prepared: Prepared) {
        let Prepared { config, functions, drafts } = prepared;
        let old = self.triggers.load();
        let before = self.config();
        // A topic that is to hold dead letters does so durably before the first of them.
        self.keep_topics_as(&before, &config).await;
        self.config.store(Arc::clone(&config));
        self.functions.store(functions);
        self.ledger.adopt(&config, self.clock.now());
        let users = drafts.iter().map(|draft| (draft.target.shared_key(), &draft.options.policy));
        self.permits.tune(&function_caps(&config), users);

        let mut by_topic: BTreeMap<&TopicName, Vec<&Draft>> = BTreeMap::new();
        for draft in &drafts {
            by_topic.entry(&draft.topic.name).or_default().push(draft);
        }
        let mut all = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut started = Vec::new();
        for (topic, drafts) in by_topic {
            let running = || old.values().filter(|trigger| trigger.topic.name == *topic);
            if drafts.iter().all(|draft| draft.is_unchanged) && running().count() == drafts.len() {
                for trigger in running() {
                    taken.extend(trigger.lanes().map(|lane| Arc::clone(&lane.name)));
                    all.insert(trigger.lane.trigger.clone(), Arc::clone(trigger));
                }
                continue;
            }
            let members =
                drafts.into_iter().map(|draft| (self.seat(draft, &old, &mut taken), draft)).collect();
            for (trigger, draft) in self.share_feed(members) {
                let trigger = Arc::new(trigger);
                all.insert(draft.name.clone(), Arc::clone(&trigger));
                started.push((trigger, draft));
            }
        }
        let kept: Vec<_> = all.values().filter_map(|trigger| trigger.feed.clone()).collect();
        self.triggers.store(all);
        for (feed, _) in old.values().filter_map(|trigger| trigger.feed.as_ref()) {
            if !kept.iter().any(|(kept, _)| Arc::ptr_eq(kept, feed)) {
                feed.close();
            }
        }
        for (trigger, draft) in started {
            self.drive(&trigger, &trigger.lane, trigger.feed.clone());
            self.take_redrives_up(&trigger, draft.redrive_log.as_ref(), &old, &mut taken).await;
            self.take_scheduled_up(&trigger, &old, &mut taken).await;
        }
        for lane in old.values().flat_map(|trigger| trigger.lanes()) {
            if !taken.contains(&lane.name) {
                self.let_go(lane);
            }
        }
        self.mind_names(&config);
        self.replays.rebind();
        if let Err(error) = self.replace_schedules(&config.schedules).await {
            tracing::warn!(%error, "which schedules there are was not noted; a restart may take them for new");
        }
    }

    /// A trigger with its lane: that of its subscription, if there is one, or a new one.
    fn seat(
        &self,
        draft: &Draft,
        old: &BTreeMap<TriggerName, Arc<Trigger>>,
        taken: &mut BTreeSet<Arc<str>>,
    ) -> Trigger {
        let lane = self.lane_of(draft, old, taken);
        let known = old.get(&draft.name).filter(|old| {
            let is = |trigger: &config::Trigger| (trigger.policy.concurrency, trigger.policy.concurrency_min);
            Arc::ptr_eq(&old.target, &draft.target) && is(&old.options) == is(&draft.options)
        });
        let gate: Option<Arc<Gate>> = match known {
            Some(old) => old.gate.clone(),
            None => self.permits.gate(draft.target.shared_key().as_deref(), &draft.options.policy),
        };
        let leave = self.permits.heed(&format!("target of {}", draft.name), &draft.target);
        let gates = self.paces(draft).into_iter().chain(leave).chain(gate.clone()).collect();
        Trigger {
            lane,
            options: draft.options.clone(),
            pattern: draft.pattern.clone(),
            near_misses: NearMisses::default(),
            topic: Arc::clone(&draft.topic),
            target: Arc::clone(&draft.target),
            target_text: draft.target_text.clone(),
            input: draft.input.clone(),
            key: draft.key.clone(),
            gate,
            gates,
            feed: None,
            redrives: OnceLock::new(),
            replays: Mutex::default(),
            scheduled: OnceLock::new(),
        }
    }

    /// The rate limits that a trigger keeps to: its own, and its host's.
    fn paces(&self, draft: &Draft) -> Vec<Arc<Gate>> {
        let Draft { name, options, .. } = draft;
        let own = options.rate_limit.map(|limit| self.permits.pace(&format!("trigger {name}"), limit));
        let config = self.config();
        let host = match &options.target {
            TargetOptions::Http(http) => config.host_of(&http.url),
            _ => None,
        };
        let limited = host.and_then(|(name, host)| Some((name, host.rate_limit?)));
        let host = limited.map(|(name, limit)| self.permits.pace(&format!("host {name}"), limit));
        own.into_iter().chain(host).collect()
    }

    /// The target that routes into a topic, which is created where there is none.
    async fn topic_target(
        self: &Arc<Self>,
        config: &Config,
        options: &config::Trigger,
        routed: &TopicTargetOptions,
    ) -> Result<(Arc<dyn Target>, String), BrokerError> {
        let topic = self.topic_or_create_under(config, &routed.name).await?;
        if routed.name == options.topic {
            let hops_max = config.limits.hops_max;
            tracing::warn!(topic = %routed.name, hops_max, "a trigger routes a topic into itself: only the hops end it");
        }
        let target = TopicTarget::new(self, topic);
        let text = target.describe();
        Ok((Arc::new(target), text))
    }

    fn lane_of(
        &self,
        draft: &Draft,
        old: &BTreeMap<TriggerName, Arc<Trigger>>,
        taken: &mut BTreeSet<Arc<str>>,
    ) -> Arc<Lane> {
        let topic = &draft.topic.name;
        let name = lane_name(topic, &draft.name);
        let running = |trigger: &TriggerName| old.get(trigger).filter(|old| old.topic.name == *topic);
        let options = self.lane_options(draft, Arc::clone(&name));
        if let Some(running) = running(&draft.name) {
            taken.insert(name);
            return running.lane.exchange(options);
        }
        if let Some(leaving) = self.orphans.take(&name) {
            return leaving.exchange(options);
        }
        let is_gone = |old: &&TriggerName| !self.config.load().triggers.contains_key(*old);
        if let Some(old_name) = draft.options.renamed_from.as_ref().filter(is_gone)
            && !self.journal.knows(&name)
        {
            let old_lane = lane_name(topic, old_name);
            let moved = match running(old_name) {
                Some(running) => Some(Arc::clone(&running.lane)),
                None => self.orphans.take(&old_lane),
            };
            if let Some(moved) = moved {
                tracing::info!(trigger = %draft.name, from = %old_name, topic = %topic, "trigger renamed");
                taken.insert(old_lane);
                return moved.exchange(options);
            }
            if self.journal.rename_dormant(&old_lane, &name) {
                tracing::info!(trigger = %draft.name, from = %old_name, topic = %topic, "trigger renamed");
            }
        }
        Lane::open(&self.journal, options)
    }

    fn lane_options(&self, draft: &Draft, name: Arc<str>) -> LaneOptions {
        LaneOptions {
            name,
            trigger: draft.name.clone(),
            topic: draft.topic.name.clone(),
            log: Arc::clone(&draft.topic.log),
            pattern: draft.pattern.clone(),
            key: draft.key.clone(),
            dedup_key: draft.dedup_key.clone(),
            policy: policy_of(&draft.options),
            start: draft.start,
            dead_letter_topic: draft.options.dead_letter_topic.clone(),
            redrives: false,
            replay: None,
            observer: self.observer.clone(),
            timeline: Some(Arc::clone(&self.timeline)),
            seed: self.next_seed(),
        }
    }

    /// Ties the triggers of a topic to one feed. One alone reads the log as cheaply as a feed would.
    fn share_feed<'d>(self: &Arc<Self>, mut members: Members<'d>) -> Members<'d> {
        let [(first, _), _, ..] = members.as_slice() else { return members };
        let patterns: Vec<_> = members.iter().map(|(_, draft)| draft.pattern.clone()).collect();
        let wakes = members.iter().map(|(trigger, _)| Arc::clone(trigger.lane.wake())).collect();
        let feed = Arc::new(Feed::new(Arc::clone(&first.topic), &patterns, wakes));
        self.tasks.spawn_lane("feed", Arc::clone(&feed).run(self.stop.subscribe()));
        for (seat, (trigger, _)) in members.iter_mut().enumerate() {
            trigger.feed = Some((Arc::clone(&feed), seat));
        }
        members
    }

    pub(super) fn drive(
        self: &Arc<Self>,
        trigger: &Trigger,
        lane: &Arc<Lane>,
        feed: Option<(Arc<Feed>, usize)>,
    ) {
        let driver = self.driver(trigger, lane, feed);
        self.tasks.spawn_lane("trigger", Arc::new(driver).run(self.stop.subscribe()));
    }

    /// What drives a lane of a trigger.
    pub(super) fn driver(
        self: &Arc<Self>,
        trigger: &Trigger,
        lane: &Arc<Lane>,
        feed: Option<(Arc<Feed>, usize)>,
    ) -> Driver {
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
        Driver {
            lane: Arc::clone(lane),
            target: Arc::clone(&trigger.target),
            input: trigger.input.clone(),
            feed,
            replies,
            graveyard: Arc::new(Graveyard { core: Arc::downgrade(self), stop: self.stop.subscribe() }),
            clock: Arc::clone(&self.clock),
            observer: self.observer.clone(),
            seat: (!trigger.gates.is_empty())
                .then(|| Seat::new(&trigger.gates, &trigger.options.policy, Arc::clone(lane.wake()))),
            callbacks: Arc::clone(&self.callbacks),
            ledger: Arc::clone(&self.ledger),
        }
    }

    /// Every topic that a trigger needs; answers the one that it reads. They are made now rather than at the first failure: a trigger that
    /// could not bury its dead must not start.
    async fn open_topics_of(
        &self,
        config: &Config,
        options: &config::Trigger,
    ) -> Result<Arc<Topic>, BrokerError> {
        let topic = self.topic_or_create_under(config, &options.topic).await?;
        self.topic_or_create_under(config, &options.dead_letter_topic).await?;
        if let Some(reply_topic) = &options.reply_topic {
            self.topic_or_create_under(config, reply_topic).await?;
        }
        Ok(topic)
    }

    /// Whether a target that calls a function would call the one that runs.
    fn is_same_function(
        &self,
        target: &TargetOptions,
        functions: &BTreeMap<FunctionName, Arc<Function>>,
    ) -> bool {
        let TargetOptions::Function(options) = target else { return true };
        let (running, new) = (self.functions.get(&options.function), functions.get(&options.function));
        running.zip(new).is_some_and(|(running, new)| Arc::ptr_eq(&running, new))
    }

    /// The options of the lane of what is redriven to a trigger.
    pub(super) fn redrive_options(&self, trigger: &Trigger, log: &Arc<dyn Log>) -> LaneOptions {
        LaneOptions {
            name: redrive_lane_name(&trigger.lane.trigger),
            trigger: trigger.lane.trigger.clone(),
            topic: trigger.topic.name.clone(),
            start: log.status().range.start,
            log: Arc::clone(log),
            pattern: None,
            key: trigger.key.clone(),
            // An operator asked for these again: they are no repeats.
            dedup_key: None,
            policy: trigger.options.policy.clone(),
            dead_letter_topic: trigger.options.dead_letter_topic.clone(),
            redrives: true,
            replay: None,
            observer: self.observer.clone(),
            timeline: Some(Arc::clone(&self.timeline)),
            seed: self.next_seed(),
        }
    }
}

/// A call without an instance would only wait, and its time with it.
fn function_caps(config: &Config) -> BTreeMap<String, usize> {
    let cap = |(name, function): (&FunctionName, &eventail_triggers::function::FunctionOptions)| {
        (FunctionTarget::key_of(name), function.max_instances.max(1))
    };
    config.functions.iter().map(cap).collect()
}

fn make_input(trigger: &TriggerName, options: &config::Trigger) -> Result<Option<Arc<Input>>, BrokerError> {
    let compiled = options.input.as_ref().map(Input::compile).transpose();
    let input = compiled.map_err(|source| BrokerError::Input { trigger: trigger.clone(), source })?;
    Ok(input.map(Arc::new))
}

fn make_target(
    trigger: &TriggerName,
    options: &TargetOptions,
    egress: &Egress,
    functions: &BTreeMap<FunctionName, Arc<Function>>,
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
            let target = FunctionTarget::new(Arc::clone(function), options.payload);
            let text = target.describe();
            Ok((Arc::new(target), text))
        }
        // It is made where topics are.
        TargetOptions::Topic(options) => Err(BrokerError::UnknownTopic(options.name.clone())),
        TargetOptions::Handler(handler) => Ok((Arc::clone(handler), "handler".to_owned())),
        TargetOptions::Http(options) => {
            let target = HttpTarget::new(options.clone(), egress.clone())
                .map_err(|source| BrokerError::Target { trigger: trigger.clone(), source })?;
            let text = target.describe();
            Ok((Arc::new(target), text))
        }
    }
}

/// The trigger's policy with what it says of repeats.
fn policy_of(options: &config::Trigger) -> DeliveryPolicy {
    let dedup_window_ms = options.dedup.as_ref().map_or(0, |dedup| dedup.window_ms);
    DeliveryPolicy { dedup_window_ms, ..options.policy.clone() }
}

fn key_path(options: &config::Trigger) -> Result<Option<KeyPath>, BrokerError> {
    match options.policy.ordering {
        KeyOrdering::None => Ok(None),
        KeyOrdering::Key => Ok(Some(options.key.parse()?)),
    }
}
