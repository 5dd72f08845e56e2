//! Whether a replay can be, and what it is made of: names, places and patterns of a request become what they stand for.

use std::sync::Arc;

use eventail_storage::log::ReadError;
use eventail_triggers::http::{HttpTarget, HttpTargetOptions};
use eventail_triggers::pattern::Pattern;
use eventail_triggers::subscription::State;
use eventail_wire::{Offset, Timestamp, TopicName};

use super::record::Destination;
use crate::config::INVOCATIONS_TOPIC;
use crate::core::topic::Topic;
use crate::core::triggers::Trigger;
use crate::core::{BrokerError, Core};
use crate::status::{ReplayPoint, ReplayRequest};

/// The most that a rate may be: faster than that is no pace.
const PER_SECOND_MAX: f64 = 1_000_000.0;
/// Connections to a target of a replay's own that are kept open while idle.
const IDLE_CONNECTIONS: usize = 16;

/// Why what was asked for is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Neither a trigger nor a topic is given.
    #[error("give the `trigger` whose events are to be replayed, or a `topic` with `to_topic` or `to_url`")]
    NoSource,
    /// Both are given.
    #[error("give either a `trigger` or a `topic`: a trigger has its topic")]
    TwoSources,
    /// A topic is given, and no target.
    #[error(
        "where a `topic` is replayed, give `to_topic` or `to_url`: there is no trigger whose target it could be"
    )]
    NoTarget,
    /// More than one target is given.
    #[error("give either `to_topic` or `to_url`")]
    TwoTargets,
    /// The events would go where they are.
    #[error("`to_topic` is the topic that the events lie in")]
    SameTopic,
    /// The rate is none.
    #[error("`per_second` must be more than 0 and at most 1000000")]
    Rate,
    /// The range ends before it begins.
    #[error("the range ends, at offset {end}, before it begins, at offset {start}")]
    Range {
        /// Where it begins.
        start: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The address is none.
    #[error("`to_url` is no URL such as http://127.0.0.1:8080/path")]
    Url,
    /// The endpoint cannot be called.
    #[error("`to_url`: {0}")]
    Endpoint(#[from] eventail_triggers::http::HttpTargetError),
}

impl ReplayError {
    /// Never: the request has to be another one.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// What a replay is made of.
pub(super) struct Plan {
    pub(super) trigger: Option<Arc<Trigger>>,
    pub(super) topic: Arc<Topic>,
    pub(super) to: Destination,
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// The trigger's, as text.
    pub(super) pattern: Option<String>,
    /// The trigger's and the filter: all must match.
    pub(super) patterns: Vec<Option<Pattern>>,
}

/// Checks a request and looks everything up that it names.
pub(super) async fn plan(core: &Arc<Core>, request: &ReplayRequest) -> Result<Plan, BrokerError> {
    let is_rate = |rate: f64| rate > 0.0 && rate <= PER_SECOND_MAX;
    if request.per_second.is_some_and(|rate| !is_rate(rate)) {
        return Err(ReplayError::Rate.into());
    }
    let trigger = match (&request.trigger, &request.topic) {
        (Some(_), Some(_)) => return Err(ReplayError::TwoSources.into()),
        (None, None) => return Err(ReplayError::NoSource.into()),
        (Some(name), None) => Some(core.triggers.get(name)?),
        (None, Some(_)) => None,
    };
    let topic = match (&trigger, &request.topic) {
        (Some(trigger), _) => core.topic(&trigger.lane.topic)?,
        (None, Some(name)) => core.topic(name)?,
        (None, None) => return Err(ReplayError::NoSource.into()),
    };
    let to = destination(core, request, &topic.name)?;
    if to == Destination::Trigger {
        match &trigger {
            // A dry run delivers nothing: it needs no target, and none that takes events.
            _ if request.dry_run => {}
            Some(trigger) => refuse_paused(trigger)?,
            None => return Err(ReplayError::NoTarget.into()),
        }
    }
    let start = place(core, &topic, request.from).await?;
    let end = place(core, &topic, request.to).await?;
    if start > end {
        return Err(ReplayError::Range { start, end }.into());
    }
    let pattern = trigger.as_ref().and_then(|trigger| trigger.pattern_text().map(str::to_owned));
    let mut patterns = vec![pattern.as_deref().map(Pattern::parse).transpose()?];
    if let Some(filter) = &request.filter {
        patterns.push(Some(Pattern::parse(filter)?));
    }
    Ok(Plan { trigger, topic, to, start, end, pattern, patterns })
}

fn destination(core: &Core, request: &ReplayRequest, source: &TopicName) -> Result<Destination, BrokerError> {
    match (&request.to_topic, &request.to_url) {
        (Some(_), Some(_)) => Err(ReplayError::TwoTargets.into()),
        (Some(topic), None) if topic == source => Err(ReplayError::SameTopic.into()),
        (Some(topic), None) => {
            if topic.as_str() == INVOCATIONS_TOPIC && !core.config().invoke_keys.is_empty() {
                return Err(BrokerError::ReservedTopic(topic.clone()));
            }
            Ok(Destination::Topic(topic.clone()))
        }
        (None, Some(url)) => {
            endpoint(core, url)?;
            Ok(Destination::Url(url.clone()))
        }
        (None, None) => Ok(Destination::Trigger),
    }
}

/// The target behind an address, under the rules of the configuration for where calls may go.
pub(super) fn endpoint(core: &Core, url: &str) -> Result<HttpTarget, ReplayError> {
    let url = url.parse().map_err(|_| ReplayError::Url)?;
    let options = HttpTargetOptions { idle_connections: IDLE_CONNECTIONS, ..HttpTargetOptions::to(url) };
    Ok(HttpTarget::new(options, core.config().egress())?)
}

/// What holds a trigger holds its replays, so one that is held is not begun: nothing would come of it.
fn refuse_paused(trigger: &Trigger) -> Result<(), BrokerError> {
    let (state, reason) =
        trigger.lane.look(|lane| (lane.state(), lane.reason().unwrap_or_default().to_owned()));
    match state {
        State::Paused | State::Disabled => {
            Err(BrokerError::ReplayOfPaused { trigger: trigger.lane.trigger.clone(), reason })
        }
        State::Running | State::Stopped => Ok(()),
    }
}

async fn place(core: &Core, topic: &Topic, point: ReplayPoint) -> Result<Offset, BrokerError> {
    let read_failed = |source| BrokerError::Read { log: topic.name.to_string(), source };
    let time = match point {
        ReplayPoint::Earliest => return Ok(topic.start()),
        ReplayPoint::Latest => return Ok(topic.end()),
        ReplayPoint::Offset(asked) => {
            let (start, end) = (topic.start(), topic.end());
            return match asked {
                asked if asked < start => Err(read_failed(ReadError::Trimmed { asked, start })),
                asked if asked > end => Err(BrokerError::OffsetBeyondEnd { asked, end }),
                asked => Ok(asked),
            };
        }
        ReplayPoint::Time(time) => time,
        ReplayPoint::Age(ms) => Timestamp(core.clock.now().0.saturating_sub(ms)),
    };
    topic.log.offset_at(time).await.map_err(read_failed)
}
