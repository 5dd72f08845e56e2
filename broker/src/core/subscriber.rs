//! Subscribers: lanes that somebody outside empties, a client or the program that embeds the broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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
const DEAD_LETTER_TOPIC: &str = "dead-letters";
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

/// The subscriptions that somebody uses, by the name of their lane.
#[derive(Default)]
pub(crate) struct Subscribers(Mutex<HashMap<Arc<str>, Weak<Shared>>>);

/// A subscription, shared by its subscribers.
struct Shared {
    core: Weak<Core>,
    lane: Arc<Lane>,
    options: SubscribeOptions,
    graveyard: Graveyard,
}

/// The receiving end of a subscription. Dropping it hands its leases back.
pub struct Subscriber {
    core: Arc<Core>,
    shared: Arc<Shared>,
    leased: Mutex<HashMap<u64, Offset>>,
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
        let start = match options.start {
            StartPosition::Latest => topic.end(),
            StartPosition::Earliest => topic.start(),
            StartPosition::At(time) => topic
                .log
                .offset_at(time)
                .await
                .map_err(|source| BrokerError::Read { log: topic.name.to_string(), source })?,
        };
        let mut all = self.subscribers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = all.get(&name).and_then(Weak::upgrade) {
            if shared.options != options {
                return Err(BrokerError::SubscriptionInUse { name: options.name });
            }
            return Ok(Subscriber { core: Arc::clone(self), shared, leased: Mutex::default() });
        }
        let lane = Lane::open(
            &self.journal,
            LaneOptions {
                name: Arc::clone(&name),
                trigger: options.name.clone(),
                topic: topic.name.clone(),
                log: Arc::clone(&topic.log),
                pattern,
                key: None,
                policy: policy(&options),
                start,
                dead_letter_topic: dead_letter_topic()?,
                redrives: false,
                observer: None,
                seed: self.next_seed(),
            },
        );
        let graveyard = Graveyard { core: Arc::downgrade(self), stop: self.stop.subscribe() };
        let shared = Arc::new(Shared { core: Arc::downgrade(self), lane, options, graveyard });
        all.insert(name, Arc::downgrade(&shared));
        Ok(Subscriber { core: Arc::clone(self), shared, leased: Mutex::default() })
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
            let now = self.core.clock.now();
            for burial in lane.expire_leases(now) {
                self.bury(burial);
            }
            let filled = lane.fill(None).await;
            let mut consignments = Vec::new();
            lane.lease(now, max.max(1), &mut consignments);
            let deliveries = self.deliver(consignments).await;
            if !deliveries.is_empty() {
                return Some(deliveries);
            }
            let due = lane.next_wakeup().map(|at| Duration::from_millis(at.since_ms(now)));
            let due = if filled == Filled::Failed { Some(RETRY) } else { due };
            tokio::select! {
                () = lane.wake().notified() => {}
                changed = durable_end.changed(), if filled == Filled::AtEnd => if changed.is_err() { return None },
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
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
        let endings = outcomes.into_iter().map(|(token, outcome)| (token, Ending::from(outcome)));
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
        // Another subscriber, or this one, may get the next event of a key or a retry.
        self.shared.lane.wake().notify_one();
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
                        lane.stop(&error.to_string());
                        lane.release([lease.token]);
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
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shared.graveyard.bury(&shared.lane, burial).await });
    }

    fn leased(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Offset>> {
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
        let tokens: Vec<u64> = self.leased().drain().map(|(token, _)| token).collect();
        self.shared.lane.release(tokens);
    }
}

impl Drop for Shared {
    /// The last subscriber went: the journal keeps the state for the next one.
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let mut all = core.subscribers.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.lane.name);
        core.journal
            .sleep(&self.lane.name, self.lane.look(eventail_triggers::subscription::Subscription::snapshot));
    }
}
