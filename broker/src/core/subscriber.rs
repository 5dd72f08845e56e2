//! Subscribers: lanes that somebody outside empties, a client or the program that embeds the broker.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use eventail_triggers::outcome::Outcome;
use eventail_triggers::pattern::Pattern;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::subscription::Ending;
use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName, limits};

use super::graveyard::{Burial, Graveyard};
use super::lane::{Consignment, Filled, Lane, LaneOptions};
use super::{BrokerError, Core};
use crate::config::StartPosition;

/// Where a subscriber's events go that it refused or failed too often.
pub(crate) const DEAD_LETTER_TOPIC: &str = "dead-letters";
/// The least time after which a subscriber that waits looks again.
const LEASE_LOOK_MS_MIN: u64 = 100;
/// How long to wait before a log that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeOptions {
    /// The subscription's name; its state is durable under it.
    pub name: TriggerName,
    /// The topic.
    pub topic: TopicName,
    /// A pattern as JSON text; everything where absent.
    pub pattern: Option<String>,
    /// Where a subscription without a past begins.
    pub start: StartPosition,
    /// How long a delivery is leased before it is redelivered.
    pub lease_ms: u64,
    /// Deliveries at most before one is dead-lettered; 0 means without end.
    pub max_attempts: u32,
}

/// One delivery to a subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names the lease; goes back with the outcome.
    pub token: u64,
    /// The place of the event.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Which try this is.
    pub attempt: u32,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// The event.
    pub event: Event,
}

/// The subscriptions that somebody uses, by the name of their lane. A lane wakes and sleeps under this lock, so that it is never
/// there twice.
#[derive(Default)]
pub(crate) struct Subscribers(Mutex<HashMap<Arc<str>, InUse>>);

struct InUse {
    shared: Arc<Shared>,
    users: usize,
}

/// A subscription, shared by its subscribers.
struct Shared {
    lane: Arc<Lane>,
    options: SubscribeOptions,
    graveyard: Graveyard,
}

/// Keeps a lane awake. When the last one goes, the journal keeps the lane's state for the next subscriber.
struct Use {
    core: Weak<Core>,
    shared: Arc<Shared>,
}

impl Use {
    fn new(core: &Arc<Core>, all: &mut HashMap<Arc<str>, InUse>, shared: Arc<Shared>) -> Self {
        let entry = all.entry(Arc::clone(&shared.lane.name));
        entry.or_insert_with(|| InUse { shared: Arc::clone(&shared), users: 0 }).users += 1;
        Self { core: Arc::downgrade(core), shared }
    }

    fn again(&self, core: &Arc<Core>) -> Self {
        Self::new(core, &mut core.subscribers.lock(), Arc::clone(&self.shared))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let mut all = core.subscribers.lock();
        let Some(in_use) = all.get_mut(&self.shared.lane.name) else { return };
        in_use.users -= 1;
        if in_use.users == 0 {
            all.remove(&self.shared.lane.name);
            self.shared.lane.sleep();
        }
    }
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, InUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving end of a subscription. Dropping it hands its leases back.
pub struct Subscriber {
    core: Arc<Core>,
    leased: Mutex<BTreeMap<u64, Offset>>,
    shared: Arc<Shared>,
    /// Goes last: the lane sleeps when its leases are back.
    lane_use: Use,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        options: SubscribeOptions,
    ) -> Result<Subscriber, BrokerError> {
        if *self.stop.borrow() {
            return Err(BrokerError::ShuttingDown);
        }
        let topic = self.topic_for_publish(&options.topic).await?;
        let name: Arc<str> = format!("subscriber/{}/{}", options.topic, options.name).into();
        let pattern = options.pattern.as_deref().map(Pattern::parse).transpose()?;
        let start = topic.start_of(&self.journal, &name, options.start).await?;
        let dead_letter_topic = dead_letter_topic()?;
        let mut all = self.subscribers.lock();
        let shared = match all.get(&name) {
            Some(in_use) if in_use.shared.options != options => {
                return Err(BrokerError::SubscriptionInUse { name: options.name });
            }
            Some(in_use) => Arc::clone(&in_use.shared),
            None => {
                let limit = limits::SUBSCRIPTIONS_MAX;
                if !self.journal.knows(&name) && self.journal.lanes() >= limit {
                    return Err(BrokerError::TooManySubscriptions { name: options.name, limit });
                }
                let lane = Lane::open(
                    &self.journal,
                    LaneOptions {
                        name,
                        trigger: options.name.clone(),
                        topic: topic.name.clone(),
                        log: Arc::clone(&topic.log),
                        pattern,
                        key: None,
                        dedup_key: None,
                        policy: policy(&options),
                        start,
                        dead_letter_topic,
                        redrives: false,
                        replay: None,
                        observer: None,
                        timeline: None,
                        seed: self.next_seed(),
                    },
                );
                let graveyard = Graveyard { core: Arc::downgrade(self), stop: self.stop.subscribe() };
                Arc::new(Shared { lane, options, graveyard })
            }
        };
        let lane_use = Use::new(self, &mut all, Arc::clone(&shared));
        drop(all);
        Ok(Subscriber { core: Arc::clone(self), leased: Mutex::default(), shared, lane_use })
    }
}

/// Where dead letters of subscribers go.
pub(crate) fn dead_letter_topic() -> Result<TopicName, BrokerError> {
    Ok(TopicName::new(DEAD_LETTER_TOPIC)?)
}

/// A subscriber decides by itself what it takes and how fast, so there is neither breaker nor age; a nack says when to try again.
fn policy(options: &SubscribeOptions) -> DeliveryPolicy {
    DeliveryPolicy {
        concurrency: limits::CREDIT_MAX as usize,
        timeout_ms: options.lease_ms,
        max_attempts: if options.max_attempts == 0 { u32::MAX } else { options.max_attempts },
        max_age_ms: u64::MAX,
        breaker_failures: u32::MAX,
        ..DeliveryPolicy::default()
    }
}

impl Subscriber {
    /// The next deliveries, at least one and at most `max`. Waits for them; `None` when the broker stops.
    pub async fn next(&self, max: usize) -> Option<Vec<Delivery>> {
        let lane = Arc::clone(&self.shared.lane);
        let mut stop = self.core.stop.subscribe();
        let mut durable_end = lane.durable_end();
        loop {
            if *stop.borrow_and_update() {
                return None;
            }
            durable_end.borrow_and_update();
            // Listening before looking: what rings in between is heard.
            let mut rung = pin!(lane.wake().notified());
            rung.as_mut().enable();
            let now = self.core.clock.now();
            for burial in lane.expire_leases(now) {
                self.bury(burial);
            }
            let filled = lane.fill(now, None).await;
            let mut consignments = Vec::new();
            lane.lease(now, max.max(1), &mut consignments);
            let deliveries = self.deliver(consignments).await;
            if !deliveries.is_empty() {
                return Some(deliveries);
            }
            // Leases of the others run out too, and only who looks notices; so nobody waits for longer than a lease.
            let most = Duration::from_millis(self.shared.options.lease_ms.max(LEASE_LOOK_MS_MIN));
            let due = lane.next_wakeup().map_or(most, |at| Duration::from_millis(at.since_ms(now)).min(most));
            let due = if filled == Filled::Failed || lane.refusal().is_some() { RETRY } else { due };
            tokio::select! {
                biased;
                () = &mut rung => {}
                changed = durable_end.changed(), if filled == Filled::AtEnd => if changed.is_err() { return None },
                () = tokio::time::sleep(due) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Settles deliveries; answers the tokens whose lease no longer stood.
    ///
    /// # Errors
    /// None now; a settlement that cannot be journaled stops further deliveries instead.
    pub async fn settle(&self, outcomes: Vec<(u64, Outcome)>) -> Result<Vec<u64>, BrokerError> {
        let tokens: Vec<u64> = outcomes.iter().map(|(token, _)| *token).collect();
        let endings = outcomes.into_iter().map(|(token, outcome)| (token, Ending::from(outcome.cut())));
        let (settled, burials) = self.shared.lane.settle(self.core.clock.now(), endings);
        {
            let mut leased = self.leased();
            for token in &tokens {
                leased.remove(token);
            }
        }
        for burial in burials {
            self.bury(burial);
        }
        // Another subscriber, or this one, may get what there is room for now, or a retry.
        self.shared.lane.ring();
        Ok(tokens
            .into_iter()
            .zip(settled)
            .filter(|(_, settled)| settled.is_none())
            .map(|(token, _)| token)
            .collect())
    }

    /// Prolongs leases to the subscription's lease time from now; answers the tokens whose lease no longer stood.
    ///
    /// # Errors
    /// None now.
    pub async fn extend(&self, tokens: Vec<u64>) -> Result<Vec<u64>, BrokerError> {
        Ok(self.shared.lane.extend(self.core.clock.now(), &tokens, self.shared.options.lease_ms))
    }

    async fn deliver(&self, consignments: Vec<Consignment>) -> Vec<Delivery> {
        let lane = &self.shared.lane;
        let mut unclaimed =
            Unclaimed { lane, tokens: consignments.iter().map(|one| one.lease.token).collect() };
        if let Err(error) = lane.attempts_are_journaled(consignments.iter().map(|one| &one.lease)).await {
            tracing::error!(trigger = %lane.trigger, topic = %lane.topic, %error, "nothing is redelivered");
            return Vec::new();
        }
        let mut deliveries = Vec::with_capacity(consignments.len());
        for Consignment { lease, event } in consignments {
            let event = match event {
                Some(event) => event,
                None => match lane.read_again(lease.offset).await {
                    Ok(Some(event)) => event,
                    Ok(None) => {
                        lane.lose_before(
                            self.core.topic(&lane.topic).map_or(Offset(0), |topic| topic.start()),
                        );
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(trigger = %lane.trigger, topic = %lane.topic, offset = %lease.offset, %error, "an event cannot be read");
                        // It is tried again when its lease runs out: at once would be in a loop.
                        unclaimed.tokens.retain(|token| *token != lease.token);
                        continue;
                    }
                },
            };
            deliveries.push(Delivery {
                token: lease.token,
                offset: lease.offset,
                appended_at: lease.appended_at,
                attempt: lease.attempt,
                deadline: lease.deadline,
                event,
            });
        }
        unclaimed.tokens.clear();
        self.leased().extend(deliveries.iter().map(|delivery| (delivery.token, delivery.offset)));
        deliveries
    }

    fn bury(&self, burial: Burial) {
        let lane_use = self.lane_use.again(&self.core);
        tokio::spawn(async move {
            let shared = &lane_use.shared;
            shared.graveyard.bury(&shared.lane, burial).await;
        });
    }

    fn leased(&self) -> MutexGuard<'_, BTreeMap<u64, Offset>> {
        self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leases that were taken and not handed on yet; they go back if whoever waits for them goes.
struct Unclaimed<'a> {
    lane: &'a Lane,
    tokens: Vec<u64>,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.tokens.is_empty() {
            self.lane.release(self.tokens.drain(..));
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let tokens: Vec<u64> = std::mem::take(&mut *self.leased()).into_keys().collect();
        self.shared.lane.release(tokens);
    }
}
