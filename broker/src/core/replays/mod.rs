//! Replays: a bounded part of a topic, delivered once more beside the live events.
//!
//! A replay is a lane of its own on the topic's log: it has a cursor, retries, dead letters, a breaker and an order per key of its
//! own, and shares with the live lane only what the target is called by (its permits). So it survives a restart as any lane
//! does, and the live lane notices nothing of it but the load on the target. What is replayed is fixed when it is started: the
//! range of offsets, the trigger's pattern and the filter. Where it goes, and how often it is tried, is what the trigger's
//! configuration says at the time; the age of an event gives up on nothing, since all of them are old.
//!
//! It promises:
//! - Each event of the range that is selected is delivered, dead-lettered, or counted as expired or lost where retention took it
//!   first, at least once; then the replay is over by itself.
//! - Deliveries are marked as replayed and carry an id of their own, the same on every attempt and over restarts: a target that
//!   deduplicates takes the event once for each replay.
//! - What holds a trigger (a pause, a budget that is spent) holds its replays. One whose trigger is not in the configuration
//!   waits for it.
//! - Not more than [`limits::REPLAYS_RUNNING_MAX`] are under way; those that ended are told for [`limits::REPLAYS_KEPT_MS`].
//!
//! It must not touch the live lane, its cursor or its account.

mod plan;
mod preview;
mod record;
mod running;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_storage::log::Log;
use eventail_triggers::subscription::{self, Snapshot, Subscription};
use eventail_wire::{Timestamp, TriggerName, limits};
use tokio::sync::watch;

use super::journal::Journal;
use super::lane::Lane;
use super::{Broker, BrokerError};
use crate::status::{Account, ReplayPreview, ReplayRequest, ReplayState, ReplayStatus, ReplayTotals};

pub use plan::ReplayError;
pub(crate) use record::REPLAYS_LOG;
use record::{Destination, Outcome, Record, Records};
use running::Order;

/// How the names of lanes begin that replay to a trigger's own target.
const LANE_PREFIX: &str = "replay/";
/// How the names of lanes begin that replay to a target of their own.
pub(crate) const ONE_OFF_LANE_PREFIX: &str = "replay-to/";

/// Every replay that is under way, or ended not long ago.
pub(crate) struct Replays {
    /// By id, which is by age.
    known: Mutex<BTreeMap<String, Arc<Replay>>>,
    /// Held while one is started or a record is kept.
    records: tokio::sync::Mutex<Records>,
    /// What the replays came to that are not known any more, for counters that must not go back.
    forgotten: Mutex<Account>,
}

/// One replay.
pub(crate) struct Replay {
    id: Arc<str>,
    lane_name: Arc<str>,
    orders: watch::Sender<Order>,
    state: Mutex<State>,
}

struct State {
    record: Record,
    /// While it is under way.
    lane: Option<Arc<Lane>>,
    /// What it waits for where it has no lane.
    waits_for: Option<String>,
}

impl Replays {
    /// Reads back what was kept. A replay that was cancelled and stopped before it was kept what it came to is taken for what its lane
    /// had come to; states of lanes in the journal that belong to no replay that goes on are forgotten.
    pub(crate) async fn open(log: Arc<dyn Log>, journal: &Journal) -> Result<Self, BrokerError> {
        let (mut records, kept) = Records::open(log).await?;
        let mut known = BTreeMap::new();
        for (id, mut record) in kept {
            let lane_name = lane_name(&record);
            // What was kept with the end is all of it; the journal may have come less far, since nobody waits for it.
            if record.state.is_final()
                && record.outcome.is_none()
                && let Some(snapshot) = journal.state_of(&lane_name)
            {
                record.outcome = Some(outcome_of_snapshot(&snapshot));
                records.keep(&record).await?;
            }
            known.insert(id, Arc::new(Replay::new(record)));
        }
        let goes_on =
            |name: &str| known.values().any(|replay| *replay.lane_name == *name && !replay.is_over());
        journal.forget_all(|name| {
            [LANE_PREFIX, ONE_OFF_LANE_PREFIX].iter().any(|prefix| name.starts_with(prefix)) && !goes_on(name)
        });
        Ok(Self {
            known: Mutex::new(known),
            records: tokio::sync::Mutex::new(records),
            forgotten: Mutex::default(),
        })
    }

    fn get(&self, id: &str) -> Result<Arc<Replay>, BrokerError> {
        lock(&self.known).get(id).cloned().ok_or_else(|| BrokerError::UnknownReplay { id: id.to_owned() })
    }

    fn all(&self) -> Vec<Arc<Replay>> {
        lock(&self.known).values().cloned().collect()
    }

    /// The lanes of those that are under way.
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.all().iter().filter_map(|replay| replay.state().lane.clone()).collect()
    }

    /// Lets every replay that is under way begin anew where it is, under the configuration as it is now.
    pub(crate) fn rebind(&self) {
        for replay in self.all() {
            replay.orders.send_modify(|order| {
                if let Order::Run { epoch } = order {
                    *epoch += 1;
                }
            });
        }
    }

    /// Forgets those that ended long ago, and the oldest where there are too many; keeps the log in proportion.
    pub(crate) async fn tidy(&self, now: Timestamp) {
        {
            let mut known = lock(&self.known);
            let mut over: Vec<(Timestamp, String)> = known
                .values()
                .filter_map(|replay| Some((replay.state().record.ended_at?, replay.id.to_string())))
                .collect();
            over.sort_unstable();
            let too_many = over.len().saturating_sub(limits::REPLAYS_KEPT_MAX);
            for (at, (ended_at, id)) in over.into_iter().enumerate() {
                if (at < too_many || now.since_ms(ended_at) > limits::REPLAYS_KEPT_MS)
                    && let Some(replay) = known.remove(&id)
                {
                    add(&mut lock(&self.forgotten), replay.status().account);
                }
            }
        }
        let mut records = self.records.lock().await;
        let all = || self.all().iter().map(|replay| replay.state().record.clone()).collect();
        if let Err(error) = records.compact(all).await {
            tracing::warn!(%error, "the log of replays is kept as it is for now");
        }
    }

    /// What all replays that were ever told came to.
    fn totals(&self) -> Account {
        let mut totals = *lock(&self.forgotten);
        for replay in self.all() {
            add(&mut totals, replay.status().account);
        }
        totals
    }
}

impl Replay {
    fn new(record: Record) -> Self {
        Self {
            id: record.id.as_str().into(),
            lane_name: lane_name(&record).into(),
            orders: watch::Sender::new(Order::Run { epoch: 0 }),
            state: Mutex::new(State { record, lane: None, waits_for: None }),
        }
    }

    fn is_over(&self) -> bool {
        self.state().record.state.is_final()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn status(&self) -> ReplayStatus {
        let state = self.state();
        let record = &state.record;
        let lane = state.lane.as_ref();
        let outcome = match (lane, &record.outcome) {
            (_, Some(outcome)) => outcome.clone(),
            (Some(lane), None) => lane.look(outcome_of),
            (None, None) => Outcome { cursor: record.start, scanned: record.start, ..Outcome::default() },
        };
        let held = lane.and_then(|lane| {
            lane.look(|lane| match lane.state() {
                subscription::State::Running => None,
                _ => Some(lane.reason().unwrap_or_default().to_owned()),
            })
        });
        let held = held.or_else(|| state.waits_for.clone());
        let (in_flight, retrying) =
            lane.map_or((0, 0), |lane| lane.look(|lane| (lane.in_flight() as u64, lane.retrying() as u64)));
        ReplayStatus {
            id: record.id.clone(),
            trigger: record.trigger.clone(),
            topic: record.topic.clone(),
            target: target_text(record),
            filter: record.filter.clone(),
            start: record.start,
            end: record.end,
            per_second: record.per_second,
            created_at: record.created_at,
            state: if !record.state.is_final() && held.is_some() {
                ReplayState::Paused
            } else {
                record.state
            },
            reason: record.reason.clone().or(held),
            ended_at: record.ended_at,
            cursor: outcome.cursor.min(record.end),
            unread: record.end.since(outcome.scanned),
            in_flight,
            retrying,
            lost: outcome.lost,
            account: outcome.account,
            last_failure: outcome.last_failure,
        }
    }
}

impl Broker {
    /// Delivers a part of a topic once more, beside the live events. Answers when the replay is durably begun; it goes on by
    /// itself, also over a restart.
    ///
    /// # Errors
    /// A request that is no replay, a trigger that is paused, as many replays as there may be, or a log that cannot be written.
    pub async fn start_replay(&self, request: &ReplayRequest) -> Result<ReplayStatus, BrokerError> {
        let plan = plan::plan(&self.core, request).await?;
        let replay = self.core.start_replay(plan, request).await?;
        Ok(replay.status())
    }

    /// Counts what a replay would deliver.
    ///
    /// # Errors
    /// As [`Broker::start_replay`], and where the topic cannot be read.
    pub async fn preview_replay(&self, request: &ReplayRequest) -> Result<ReplayPreview, BrokerError> {
        let plan = plan::plan(&self.core, &ReplayRequest { dry_run: true, ..request.clone() }).await?;
        preview::preview(&self.core, &plan).await
    }

    /// Every replay that is under way or ended within the last days, the oldest first.
    #[must_use]
    pub fn replays(&self) -> Vec<ReplayStatus> {
        self.core.replays.all().iter().map(|replay| replay.status()).collect()
    }

    /// One replay.
    ///
    /// # Errors
    /// Where there is none of this id.
    pub fn replay(&self, id: &str) -> Result<ReplayStatus, BrokerError> {
        Ok(self.core.replays.get(id)?.status())
    }

    /// Stops a replay for good: attempts that are under way end, and nothing more goes out. One that is over stays as it is.
    ///
    /// # Errors
    /// Where there is none of this id, or it cannot be kept that it was stopped.
    pub async fn cancel_replay(&self, id: &str) -> Result<ReplayStatus, BrokerError> {
        let replay = self.core.replays.get(id)?;
        self.core.cancel_replay(&replay).await?;
        Ok(replay.status())
    }

    /// How many replays are under way, and what all of them came to, ended ones included.
    #[must_use]
    pub fn replay_totals(&self) -> ReplayTotals {
        let replays = &self.core.replays;
        let running = replays.all().iter().filter(|replay| !replay.is_over()).count() as u64;
        ReplayTotals { running, account: replays.totals() }
    }
}

fn add(total: &mut Account, account: Account) {
    total.matched += account.matched;
    total.delivered += account.delivered;
    total.dead_lettered += account.dead_lettered;
    total.expired += account.expired;
    total.pending += account.pending;
}

fn lane_name(record: &Record) -> String {
    let prefix = if record.to == Destination::Trigger { LANE_PREFIX } else { ONE_OFF_LANE_PREFIX };
    format!("{prefix}{}", record.id)
}

/// On whose behalf a replay without a trigger's target delivers. One name for all: names are labels of metrics.
fn one_off_name() -> Result<TriggerName, BrokerError> {
    Ok(TriggerName::new("replay")?)
}

fn target_text(record: &Record) -> String {
    match (&record.to, &record.trigger) {
        (Destination::Trigger, Some(trigger)) => format!("trigger {trigger}"),
        (Destination::Trigger, None) => String::new(),
        (Destination::Topic(topic), _) => format!("topic {topic}"),
        // Without what may be a secret.
        (Destination::Url(url), _) => format!("http {}", url.split(['?', '#']).next().unwrap_or_default()),
    }
}

fn outcome_of(lane: &Subscription) -> Outcome {
    Outcome {
        account: super::triggers::account(lane),
        cursor: lane.cursor(),
        scanned: lane.scanned(),
        lost: lane.lost_events(),
        last_failure: lane.last_failure().cloned(),
    }
}

/// What a lane came to that nobody drives any more.
fn outcome_of_snapshot(snapshot: &Snapshot) -> Outcome {
    outcome_of(&Subscription::restore(
        eventail_triggers::policy::DeliveryPolicy::default(),
        snapshot.clone(),
        0,
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
