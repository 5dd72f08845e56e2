//! A replay under way: its lane is opened and driven until its range is settled, somebody cancels it, or the broker stops.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eventail_triggers::pattern::Pattern;
use eventail_triggers::policy::{DeliveryPolicy, RateLimit};
use eventail_triggers::rate::Bucket;
use eventail_triggers::subscription::State;
use eventail_triggers::target::Target;
use eventail_wire::{Offset, limits};
use tokio::sync::watch;

use super::plan::{Plan, endpoint};
use super::record::{Destination, Outcome, Record};
use super::{Replay, lock, one_off_name, outcome_of};
use crate::core::graveyard::Graveyard;
use crate::core::lane::{Driver, Lane, LaneOptions, ReplayOptions};
use crate::core::routing::TopicTarget;
use crate::core::subscriber::dead_letter_topic;
use crate::core::triggers::Trigger;
use crate::core::{BrokerError, Core};
use crate::status::{ReplayRequest, ReplayState};

/// How long to wait before a record that could not be kept is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The part of a second whose events may go at once.
const BURST_PARTS: f64 = 10.0;

/// What a replay is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on. Another epoch is under another configuration.
    Run {
        epoch: u64,
    },
    Cancel,
}

/// Why a lane was not opened.
enum Hindrance {
    /// It may pass.
    Waits(String),
    /// It stays.
    Fails(String),
}

impl From<BrokerError> for Hindrance {
    fn from(error: BrokerError) -> Self {
        Self::Fails(error.to_string())
    }
}

/// How driving ended.
enum Driven {
    /// Everything is settled, or the target wants no more.
    Over,
    /// The broker stops.
    Stopping,
    /// There is another order.
    Ordered,
}

impl Core {
    /// Keeps a new replay and lets it run.
    pub(super) async fn start_replay(
        self: &Arc<Self>,
        plan: Plan,
        request: &ReplayRequest,
    ) -> Result<Arc<Replay>, BrokerError> {
        if *self.stop.borrow() {
            return Err(BrokerError::ShuttingDown);
        }
        if let Destination::Topic(topic) = &plan.to {
            self.topic_for_publish(topic).await?;
        }
        let mut records = self.replays.records.lock().await;
        let limit = limits::REPLAYS_RUNNING_MAX;
        let all = self.replays.all();
        if all.iter().filter(|replay| !replay.is_over()).count() >= limit {
            return Err(BrokerError::TooManyReplays { limit });
        }
        let created_at = self.clock.now();
        let last = all.last().and_then(|last| u64::from_str_radix(&last.id, 36).ok()).unwrap_or(0);
        let record = Record {
            id: id_of(created_at.0.max(last + 1)),
            trigger: plan.trigger.as_ref().map(|trigger| trigger.lane.trigger.clone()),
            topic: plan.topic.name.clone(),
            to: plan.to,
            pattern: plan.pattern,
            filter: request.filter.clone(),
            start: plan.start,
            end: plan.end,
            per_second: request.per_second,
            created_at,
            state: ReplayState::Running,
            reason: None,
            ended_at: None,
            outcome: None,
        };
        records.keep(&record).await?;
        tracing::info!(
            replay = %record.id, topic = %record.topic, start = %record.start, end = %record.end, target = super::target_text(&record),
            "replay started"
        );
        let replay = Arc::new(Replay::new(record));
        lock(&self.replays.known).insert(replay.id.to_string(), Arc::clone(&replay));
        drop(records);
        self.run_replay(&replay);
        Ok(replay)
    }

    /// Lets every replay go on that a restart interrupted.
    pub(crate) fn start_replays(self: &Arc<Self>) {
        for replay in self.replays.all() {
            if !replay.is_over() {
                tracing::info!(replay = %replay.id, "replay goes on");
                self.run_replay(&replay);
            }
        }
    }

    /// Stops one for good. It is durable when this answers.
    pub(super) async fn cancel_replay(&self, replay: &Replay) -> Result<(), BrokerError> {
        let mut records = self.replays.records.lock().await;
        let record = replay.state().record.clone();
        if record.state.is_final() {
            return Ok(());
        }
        let cancelled = Record { state: ReplayState::Cancelled, ended_at: Some(self.clock.now()), ..record };
        records.keep(&cancelled).await?;
        replay.state().record = cancelled;
        drop(records);
        replay.orders.send_replace(Order::Cancel);
        tracing::info!(replay = %replay.id, "replay cancelled");
        Ok(())
    }

    fn run_replay(self: &Arc<Self>, replay: &Arc<Replay>) {
        let (core, stop, replay) = (Arc::downgrade(self), self.stop.subscribe(), Arc::clone(replay));
        let make = move || run(Weak::clone(&core), stop.clone(), Arc::clone(&replay));
        self.tasks.spawn_lane_again("replay", make);
    }

    /// Opens the lane of a replay, from where it was, and what drives it.
    async fn open_replay(
        self: &Arc<Self>,
        replay: &Replay,
        stop: &watch::Sender<bool>,
    ) -> Result<Driver, Hindrance> {
        let record = replay.state().record.clone();
        let trigger = record.trigger.as_ref().and_then(|name| self.triggers.get(name).ok());
        let patterns = patterns_of(&record)?;
        let graveyard = Arc::new(Graveyard { core: Arc::downgrade(self), stop: stop.subscribe() });
        match (&record.to, trigger) {
            (Destination::Trigger, None) => {
                let name = record.trigger.as_ref().map(ToString::to_string).unwrap_or_default();
                Err(Hindrance::Waits(format!("there is no trigger `{name}` in the configuration")))
            }
            (Destination::Trigger, Some(trigger)) if trigger.lane.topic != record.topic => {
                Err(Hindrance::Waits(format!(
                    "the trigger reads the topic `{}` now, and no longer `{}`",
                    trigger.lane.topic, record.topic
                )))
            }
            (Destination::Trigger, Some(trigger)) => {
                let mut options = self.options_like(&trigger);
                self.as_replay(&mut options, &record, replay, patterns);
                let lane = Lane::open(&self.journal, options);
                trigger.attach(&lane).await?;
                Ok(Driver { graveyard, ..self.driver(&trigger, &lane, None) })
            }
            (to, trigger) => {
                let target = self.one_off_target(to).await?;
                let topic = self.topic(&record.topic)?;
                let mut options = match trigger {
                    // As the trigger would: its order, its retries.
                    Some(trigger) => self.options_like(&trigger),
                    None => LaneOptions {
                        name: Arc::clone(&replay.lane_name),
                        trigger: one_off_name()?,
                        topic: topic.name.clone(),
                        log: Arc::clone(&topic.log),
                        pattern: None,
                        replay: None,
                        key: None,
                        dedup_key: None,
                        policy: DeliveryPolicy::default(),
                        start: record.start,
                        dead_letter_topic: dead_letter_topic()?,
                        redrives: false,
                        observer: self.observer.clone(),
                        timeline: Some(Arc::clone(&self.timeline)),
                        seed: self.next_seed(),
                    },
                };
                options.trigger = one_off_name()?;
                options.topic = topic.name.clone();
                options.log = Arc::clone(&topic.log);
                self.as_replay(&mut options, &record, replay, patterns);
                let lane = Lane::open(&self.journal, options);
                Ok(Driver {
                    lane,
                    target,
                    // What is wanted elsewhere are the events themselves.
                    input: None,
                    feed: None,
                    replies: None,
                    graveyard,
                    clock: Arc::clone(&self.clock),
                    observer: self.observer.clone(),
                    seat: None,
                    callbacks: Arc::clone(&self.callbacks),
                    ledger: Arc::clone(&self.ledger),
                })
            }
        }
    }

    /// The options of the live lane of a trigger, but for its pattern.
    fn options_like(&self, trigger: &Trigger) -> LaneOptions {
        LaneOptions {
            name: Arc::clone(&trigger.lane.name),
            trigger: trigger.lane.trigger.clone(),
            topic: trigger.topic.name.clone(),
            log: Arc::clone(&trigger.topic.log),
            pattern: None,
            replay: None,
            key: trigger.key.clone(),
            // What was delivered before is what a replay is for.
            dedup_key: None,
            policy: trigger.options.policy.clone(),
            start: Offset(0),
            dead_letter_topic: trigger.options.dead_letter_topic.clone(),
            redrives: false,
            observer: self.observer.clone(),
            timeline: Some(Arc::clone(&self.timeline)),
            seed: self.next_seed(),
        }
    }

    /// What makes lane options those of a replay.
    fn as_replay(
        &self,
        options: &mut LaneOptions,
        record: &Record,
        replay: &Replay,
        (pattern, filter): (Option<Pattern>, Option<Pattern>),
    ) {
        options.name = Arc::clone(&replay.lane_name);
        options.pattern = pattern;
        options.start = record.start;
        // All of them are old, and a slow replay must not give up on what a quick one would try again.
        options.policy.max_age_ms = u64::MAX;
        let pace = record.per_second.map(|per_second| Bucket::new(rate(per_second), self.clock.now()));
        options.replay = Some(ReplayOptions {
            id: Arc::clone(&replay.id),
            end: record.end,
            filter,
            pace,
            is_one_off: record.to != Destination::Trigger,
        });
    }

    async fn one_off_target(self: &Arc<Self>, to: &Destination) -> Result<Arc<dyn Target>, Hindrance> {
        match to {
            Destination::Topic(name) => {
                Ok(Arc::new(TopicTarget::new(self, self.topic_or_create(name).await?)))
            }
            Destination::Url(url) => match endpoint(self, url) {
                Ok(target) => Ok(Arc::new(target)),
                Err(error) => Err(Hindrance::Fails(error.to_string())),
            },
            Destination::Trigger => Err(Hindrance::Fails("it has no target of its own".to_owned())),
        }
    }

    /// Keeps how a replay ended, and lets go of its lane.
    async fn end_replay(
        &self,
        replay: &Replay,
        state: ReplayState,
        reason: Option<String>,
        outcome: Outcome,
    ) {
        let mut stop = self.stop.subscribe();
        loop {
            let mut records = self.replays.records.lock().await;
            let mut record = replay.state().record.clone();
            if !record.state.is_final() {
                record.state = state;
                record.reason.clone_from(&reason);
                record.ended_at = Some(self.clock.now());
            }
            record.outcome = Some(outcome.clone());
            let kept = records.keep(&record).await;
            drop(records);
            let Err(error) = kept else {
                let account = outcome.account;
                tracing::info!(
                    replay = %replay.id, state = ?record.state, delivered = account.delivered,
                    dead_lettered = account.dead_lettered, expired = account.expired, lost = outcome.lost, "replay ended"
                );
                let lane = {
                    let mut now = replay.state();
                    now.record = record;
                    now.waits_for = None;
                    now.lane.take()
                };
                if let Some(lane) = lane {
                    lane.sleep();
                }
                self.journal.forget(&replay.lane_name);
                return;
            };
            tracing::error!(replay = %replay.id, %error, "the end of a replay cannot be kept; it is tried again");
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                // After the restart it ends again.
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
    }
}

async fn run(core: Weak<Core>, mut stop: watch::Receiver<bool>, replay: Arc<Replay>) {
    let mut orders = replay.orders.subscribe();
    loop {
        let Some(strong) = core.upgrade() else { return };
        let order = *orders.borrow_and_update();
        let own_stop = watch::Sender::new(false);
        let opened = match order {
            Order::Cancel => {
                let lane = replay.state().lane.clone();
                let outcome = match lane {
                    Some(lane) => lane.look(outcome_of),
                    None => strong.journal.state_of(&replay.lane_name).map_or_else(
                        || outcome_at_start(&replay),
                        |snapshot| super::outcome_of_snapshot(&snapshot),
                    ),
                };
                return strong.end_replay(&replay, ReplayState::Cancelled, None, outcome).await;
            }
            Order::Run { .. } => strong.open_replay(&replay, &own_stop).await,
        };
        drop(strong);
        let driver = match opened {
            Ok(driver) => driver,
            Err(Hindrance::Waits(reason)) => {
                tracing::warn!(replay = %replay.id, reason, "replay waits");
                replay.state().waits_for = Some(reason);
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stopped| *stopped) => return,
                    changed = orders.changed() => if changed.is_err() { return },
                }
                continue;
            }
            Err(Hindrance::Fails(reason)) => {
                let Some(core) = core.upgrade() else { return };
                let outcome = outcome_at_start(&replay);
                return core.end_replay(&replay, ReplayState::Failed, Some(reason), outcome).await;
            }
        };
        let lane = Arc::clone(&driver.lane);
        {
            let mut state = replay.state();
            state.lane = Some(Arc::clone(&lane));
            state.waits_for = None;
        }
        match drive(driver, &own_stop, &mut stop, &mut orders, order).await {
            Driven::Stopping => return,
            Driven::Ordered => {
                lane.sleep();
                continue;
            }
            Driven::Over => {}
        }
        let Some(core) = core.upgrade() else { return };
        let (state, reason, outcome) = lane.look(|lane| {
            let (state, reason) = match lane.state() {
                State::Disabled => (ReplayState::Failed, lane.reason().map(str::to_owned)),
                _ => (ReplayState::Completed, None),
            };
            (state, reason, outcome_of(lane))
        });
        return core.end_replay(&replay, state, reason, outcome).await;
    }
}

async fn drive(
    driver: Driver,
    own_stop: &watch::Sender<bool>,
    stop: &mut watch::Receiver<bool>,
    orders: &mut watch::Receiver<Order>,
    order: Order,
) -> Driven {
    let lane = Arc::clone(&driver.lane);
    let mut driving = pin!(Arc::new(driver).run(own_stop.subscribe()));
    let driven = tokio::select! {
        biased;
        () = &mut driving => return if lane.is_over() { Driven::Over } else { Driven::Stopping },
        _ = stop.wait_for(|stopped| *stopped) => Driven::Stopping,
        _ = orders.wait_for(|now| *now != order) => Driven::Ordered,
    };
    own_stop.send_replace(true);
    driving.await;
    driven
}

/// What a replay came to whose lane cannot be opened.
fn outcome_at_start(replay: &Replay) -> Outcome {
    let start = replay.state().record.start;
    Outcome { cursor: start, scanned: start, ..Outcome::default() }
}

fn patterns_of(record: &Record) -> Result<(Option<Pattern>, Option<Pattern>), Hindrance> {
    let parse = |text: &Option<String>| {
        text.as_deref().map(Pattern::parse).transpose().map_err(|error| Hindrance::Fails(error.to_string()))
    };
    Ok((parse(&record.pattern)?, parse(&record.filter)?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
fn rate(per_second: f64) -> RateLimit {
    RateLimit { per_second, burst: (per_second / BURST_PARTS).clamp(1.0, 1_000_000.0) as u32 }
}

/// A number in base 36: short, and those of the same length sort as the numbers do.
fn id_of(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.extend(char::from_digit(digit, 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_sort_by_time() {
        let (first, second) = (id_of(1_795_000_000_000), id_of(1_795_000_000_001));
        assert_eq!((first.len(), first < second), (8, true));
        assert_eq!(u64::from_str_radix(&first, 36), Ok(1_795_000_000_000));
        assert_eq!(id_of(0), "0");
    }

    #[test]
    fn a_rate_lets_a_tenth_of_a_second_go_at_once() {
        assert_eq!(rate(1000.0).burst, 100);
        assert_eq!(rate(0.5).burst, 1);
    }
}
