//! The bodies of frames as values. On the wire each is one MessagePack array of its fields in this order.

use serde::{Deserialize, Serialize};

use crate::{Code, Offset, Timestamp};

/// Opens a stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that the client speaks.
    pub version: u32,
    /// What the client calls itself, for the server's log.
    pub client: String,
    /// What says who the client is and what it may do. Whoever has it may do the same, so it never prints. Where there is none the
    /// field is left out, as clients do that know of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("version", &self.version)
            .field("client", &self.client)
            .field("has_token", &self.token.is_some())
            .finish()
    }
}

/// What the server takes from this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLimits {
    /// Bytes of one event.
    pub event_bytes_max: u64,
    /// Events of one publish.
    pub batch_events_max: u64,
    /// Bytes of the events of one publish.
    pub batch_bytes_max: u64,
    /// Bytes of one frame, its length not counted.
    pub frame_bytes_max: u64,
    /// Deliveries that one subscription may be owed.
    pub credit_max: u32,
}

/// Answers a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that the server speaks.
    pub version: u32,
    /// What the server calls itself.
    pub server: String,
    /// What it takes.
    pub limits: PeerLimits,
}

/// What stands before the events of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishHeader {
    /// Names the publish on its stream; answers carry it. Each is one more than the one before.
    pub request: u64,
    /// The topic.
    pub topic: String,
}

/// Events with consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRun {
    /// The offset of the first.
    pub offset: Offset,
    /// How many.
    pub count: u32,
    /// Whether they were there already.
    pub duplicate: bool,
}

/// Answers a publish: its events are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Which publish.
    pub request: u64,
    /// Where each event is, in the order of the publish.
    pub runs: Vec<ResultRun>,
}

impl Published {
    /// How many events the runs tell of.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.count)).sum()
    }

    /// The place of each event, and whether it was there already.
    pub fn results(&self) -> impl Iterator<Item = (Offset, bool)> + '_ {
        self.runs
            .iter()
            .flat_map(|run| (0..u64::from(run.count)).map(|behind| (run.offset.plus(behind), run.duplicate)))
    }
}

/// Folds single results into runs.
#[must_use]
pub fn result_runs(results: impl IntoIterator<Item = (Offset, bool)>) -> Vec<ResultRun> {
    let mut runs: Vec<ResultRun> = Vec::new();
    for (offset, duplicate) in results {
        match runs.last_mut() {
            Some(run)
                if run.duplicate == duplicate
                    && run.offset.0.checked_add(u64::from(run.count)) == Some(offset.0)
                    && run.count < u32::MAX =>
            {
                run.count += 1;
            }
            _ => runs.push(ResultRun { offset, count: 1, duplicate }),
        }
    }
    runs
}

/// Answers a publish, subscribe or callback: it was not done, and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which publish, subscribe or callback.
    pub request: u64,
    /// The stable code.
    pub code: Code,
    /// What was wrong, for people.
    pub message: String,
    /// When a retry makes sense, where the server can tell.
    pub retry_after_ms: Option<u64>,
}

/// Where a subscription without a past begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With what comes after it was made.
    #[default]
    Latest,
    /// With the oldest event there is.
    Earliest,
    /// With the first event appended at or after this time.
    At(Timestamp),
}

/// Asks for deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Names this request on its stream.
    pub request: u64,
    /// The subscription; its state is durable under this name.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// A pattern as JSON text; everything where absent.
    pub pattern: Option<String>,
    /// Where a subscription without a past begins.
    pub start: Start,
    /// How long a delivery is leased before it is delivered again.
    pub lease_ms: u64,
    /// Attempts before an event is dead-lettered; 0 means without end.
    pub max_attempts: u32,
    /// Deliveries that the server may send before more credit comes.
    pub credit: u32,
}

/// Answers a subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Which subscribe.
    pub request: u64,
}

/// Allows more deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// How many more.
    pub deliveries: u32,
}

/// One delivery, without its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryHeader {
    /// Names the lease on this stream; goes back with the outcome.
    pub token: u64,
    /// The place of the event.
    pub offset: Offset,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// Which try this is, counted from 1.
    pub attempt: u32,
    /// When the lease ends, by the server's clock.
    pub deadline: Timestamp,
}

/// Deliveries by their tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Which.
    pub tokens: Vec<u64>,
}

/// Deliveries to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Which.
    pub tokens: Vec<u64>,
    /// The delay that the subscriber wants at least; the subscription's backoff where absent.
    pub delay_ms: Option<u64>,
    /// Why, for people; kept with the dead letter.
    pub reason: String,
}

/// Deliveries to be given up: they are dead-lettered at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Which.
    pub tokens: Vec<u64>,
    /// Why, for people; kept with the dead letter.
    pub reason: String,
}

/// What a target says about an event that it took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackAction {
    /// It is done.
    Ack,
    /// It is to be tried again.
    Nack {
        /// Not before this many milliseconds; by the trigger's backoff where absent.
        after_ms: Option<u64>,
        /// Why, for people; kept with the dead letter.
        reason: String,
    },
    /// It is to be given up: it is dead-lettered at once.
    Reject {
        /// Why, for people; kept with the dead letter.
        reason: String,
    },
    /// The target needs longer.
    Extend {
        /// The lease ends this many milliseconds from now, at most [`crate::limits::LEASE_MS_MAX`]; the trigger's timeout from
        /// now where absent.
        by_ms: Option<u64>,
    },
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackOutcome {
    /// The event is delivered.
    Delivered,
    /// It will be tried again.
    Retry {
        /// Not before this.
        at: Timestamp,
    },
    /// It is given up and kept as a dead letter.
    DeadLettered,
    /// The lease lasts longer.
    Extended {
        /// Its new end, by the server's clock.
        deadline: Timestamp,
    },
    /// The target's own answer was not read yet. The callback is applied if that answer is that the target took the event over,
    /// and forgotten if it is another.
    Kept,
}

/// Tells what became of an event that a target took over.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBack {
    /// Names this request on its stream.
    pub request: u64,
    /// The token that came with the event. Whoever has it may settle the event, so it never prints.
    pub token: String,
    /// What the target says.
    pub action: CallbackAction,
}

impl std::fmt::Debug for CallBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallBack")
            .field("request", &self.request)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// Answers a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledBack {
    /// Which callback.
    pub request: u64,
    /// What became of it.
    pub outcome: CallbackOutcome,
}

/// Why the server ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// What was wrong, for people.
    pub message: String,
}
