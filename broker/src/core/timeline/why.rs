//! Answering why: finds the event, gathers what is known of it, and lets [`super::story`] tell it.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventail_storage::log::ReadLimit;
use eventail_triggers::pattern::Explanation;
use eventail_wire::{Event, Timestamp, TopicName};

use super::story::{Facts, Present, Stands, tell};
use super::{Found, Step};
use crate::config::SCHEDULED_FOR_ATTRIBUTE;
use crate::core::lane::Lane;
use crate::core::triggers::Trigger;
use crate::core::{Broker, BrokerError, Core, letter};
use crate::status::{
    DeadLetterOrigin, EventPlace, EventTimeline, EventTimelines, StoryOutcome, TimelineRequest, TriggerStory,
};

/// Events with the same id that are told at once.
const EVENTS_MAX: usize = 20;
/// Repeats of a publish that are told.
const DUPLICATES_MAX: usize = 100;

impl Broker {
    /// Everything that is known of the events with an id: where each came in, and what became of it at every trigger, and why. What
    /// was put down until now is written before it answers.
    ///
    /// # Errors
    /// Where the index or a log cannot be read. An id that nobody knows is no error: the answer has no events.
    pub async fn timeline(&self, request: &TimelineRequest) -> Result<EventTimelines, BrokerError> {
        self.timeline_where(request, |_| true).await
    }

    /// The same, of those topics whose events who asks may read.
    pub(crate) async fn timeline_where(
        &self,
        request: &TimelineRequest,
        may_read: impl Fn(&TopicName) -> bool,
    ) -> Result<EventTimelines, BrokerError> {
        let core = &self.core;
        let mut places = core.lookup.find(core, &request.id).await?;
        places.retain(|place| {
            may_read(&place.topic)
                && request.topic.as_ref().is_none_or(|topic| place.topic == *topic)
                && request.source.as_ref().is_none_or(|source| place.source == *source)
        });
        let events_left_out = places.len().saturating_sub(EVENTS_MAX);
        places.truncate(EVENTS_MAX);
        let mut events = Vec::with_capacity(places.len());
        for place in &places {
            events.extend(core.tell_event(place, request.trigger.as_deref()).await?);
        }
        Ok(EventTimelines {
            id: request.id.clone(),
            is_kept: core.timeline.is_kept(),
            events,
            events_left_out,
        })
    }
}

impl Core {
    /// `None` where retention took the event meanwhile.
    async fn tell_event(
        &self,
        place: &EventPlace,
        only: Option<&str>,
    ) -> Result<Option<EventTimeline>, BrokerError> {
        let topic = self.topic(&place.topic)?;
        let read_failed = |source| BrokerError::Read { log: topic.name.to_string(), source };
        let limit = ReadLimit { records: 1, bytes: 1 };
        let record = match topic.log.read_tail(place.offset, limit) {
            Some(records) => records,
            None if place.offset < topic.start() => return Ok(None),
            None => topic.log.read(place.offset, limit).await.map_err(read_failed)?,
        };
        let Some(record) = record.into_iter().next() else { return Ok(None) };
        let Ok(event) = Event::from_stored(record.payload) else { return Ok(None) };
        let mut steps = self.timeline.of_event(&topic.name, place.offset).await?;
        let now = self.clock.now();
        let lanes = self.timeline.of_lanes(&topic.name, record.appended_at).await?;
        let mut duplicates: Vec<Timestamp> =
            steps.extract_if(.., |found| found.step == Step::Duplicate).map(|found| found.at).collect();
        duplicates.truncate(DUPLICATES_MAX);
        let origin = letter::origin_of(&event).map(|origin| DeadLetterOrigin {
            trigger: origin.trigger.to_string(),
            topic: origin.topic,
            offset: origin.offset,
        });
        Ok(Some(EventTimeline {
            topic: place.topic.clone(),
            offset: place.offset,
            appended_at: record.appended_at,
            source: event.source().to_owned(),
            event_type: event.event_type().to_owned(),
            correlation_id: event.correlation_id().to_owned(),
            causation_id: event.attribute("causationid").map(str::to_owned),
            dead_letter_of: origin,
            duplicates,
            triggers: self.tell_triggers(place, &event, steps, lanes, only, now),
        }))
    }

    fn tell_triggers(
        &self,
        place: &EventPlace,
        event: &Event,
        steps: Vec<Found>,
        lanes: Vec<Found>,
        only: Option<&str>,
        now: Timestamp,
    ) -> Vec<TriggerStory> {
        let (mut steps, mut lanes) = (by_trigger(steps), by_trigger(lanes));
        let mut stories = Vec::new();
        for trigger in self.triggers.all() {
            let name = trigger.lane.trigger.as_str();
            let lane = lane_of(&trigger, event, place).filter(|_| only.is_none_or(|only| only == name));
            let Some(lane) = lane else {
                steps.remove(name).into_iter().for_each(drop);
                continue;
            };
            let steps = steps.remove(name).unwrap_or_default();
            let present = present(&trigger, lane, event, place, &steps, now);
            stories.push(tell(Facts {
                trigger: name,
                offset: place.offset,
                steps,
                lane: lanes.remove(name).unwrap_or_default(),
                now: Some(present),
            }));
        }
        // Triggers that are gone, and had to do with it.
        for (name, steps) in steps.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)) {
            let lane = lanes.remove(&name).unwrap_or_default();
            stories.push(tell(Facts { trigger: &name, offset: place.offset, steps, lane, now: None }));
        }
        stories.sort_by(|a, b| {
            let rank = |story: &TriggerStory| story.outcome == StoryOutcome::NotMatched;
            (rank(a), &a.trigger).cmp(&(rank(b), &b.trigger))
        });
        stories
    }
}

fn by_trigger(found: Vec<Found>) -> BTreeMap<String, Vec<Found>> {
    let mut all: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for one in found.into_iter().filter(|one| !one.trigger.is_empty()) {
        all.entry(one.trigger.clone()).or_default().push(one);
    }
    all
}

/// The lane of a trigger that the event is for: its own, or the one of what schedules send it.
fn lane_of<'a>(trigger: &'a Trigger, event: &Event, place: &EventPlace) -> Option<&'a Arc<Lane>> {
    let is_sent = event.attribute(SCHEDULED_FOR_ATTRIBUTE) == Some(trigger.lane.trigger.as_str());
    let scheduled = trigger.scheduled().filter(|lane| is_sent && lane.topic == place.topic);
    scheduled.or_else(|| Some(&trigger.lane).filter(|lane| lane.topic == place.topic))
}

fn present(
    trigger: &Arc<Trigger>,
    lane: &Arc<Lane>,
    event: &Event,
    place: &EventPlace,
    steps: &[Found],
    now: Timestamp,
) -> Present {
    let stands = lane.look(|subscription| Stands::of(subscription, place.offset, now));
    let redriven_at = steps.iter().rev().find_map(|found| match found.step {
        Step::Redriven { lane_offset, .. } => Some(eventail_wire::Offset(lane_offset)),
        _ => None,
    });
    let redriven = redriven_at
        .zip(trigger.redrives())
        .map(|(offset, lane)| lane.look(|subscription| Stands::of(subscription, offset, now)));
    // What a schedule sent is meant for the trigger, whatever its pattern says.
    let pattern = trigger.pattern().filter(|_| Arc::ptr_eq(lane, &trigger.lane));
    let miss = pattern.and_then(|pattern| match pattern.explain(event) {
        Explanation::Match => None,
        Explanation::NoMatch(miss) => Some(miss.into()),
    });
    Present { matches: miss.is_none(), miss, stands, redriven }
}
