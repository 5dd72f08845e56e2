//! Redriving and purging dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventail_storage::log::NewRecord;
use eventail_wire::{Offset, TopicName};
use tokio::time::MissedTickBehavior;

use super::letter;
use super::letters::Mark;
use super::redrive_lanes::redrive_log_name;
use super::timeline::Step;
use super::{BrokerError, Core};
use crate::status::{BulkResult, DeadLetterFilter, DeadLetterSummary, Observation, RedriveRequest};

/// Dead letters that are looked up at once.
const PAGE: usize = 500;

/// The most that a rate may be: faster than that is no pace.
const PER_SECOND_MAX: u32 = 1_000_000;

/// The chosen dead letters, page by page, and none that came after the choice: a redrive that fails again makes new ones.
struct Choice {
    filter: DeadLetterFilter,
    ends: BTreeMap<TopicName, Offset>,
    after: Option<(TopicName, Offset)>,
}

impl Choice {
    fn new(core: &Core, filter: &DeadLetterFilter) -> Self {
        let ends = core.topics.all().iter().map(|topic| (topic.name.clone(), topic.end())).collect();
        Self { filter: filter.clone(), ends, after: None }
    }

    /// The next page; empty at the end.
    async fn next(&mut self, core: &Core) -> Result<Vec<DeadLetterSummary>, BrokerError> {
        loop {
            let page = core.letters.list(core, &self.filter, self.after.clone(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(page) };
            self.after = Some((last.topic.clone(), last.offset));
            let is_old = |letter: &DeadLetterSummary| {
                self.ends.get(&letter.topic).is_some_and(|end| letter.offset < *end)
            };
            if !is_old(last) {
                // The rest of this topic is newer still.
                self.after = Some((last.topic.clone(), Offset(u64::MAX)));
            }
            let page: Vec<_> = page.into_iter().filter(is_old).collect();
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }
}

/// Hands the chosen dead letters to their triggers' redrive lanes, not faster than asked for.
pub(super) async fn redrive(core: &Arc<Core>, request: &RedriveRequest) -> Result<BulkResult, BrokerError> {
    let mut pace = request.per_second.filter(|per_second| *per_second > 0).map(|per_second| {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second.min(PER_SECOND_MAX));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    let mut result = BulkResult::default();
    let mut choice = Choice::new(core, &request.filter);
    loop {
        let page = choice.next(core).await?;
        if page.is_empty() {
            return Ok(result);
        }
        result.selected += page.len() as u64;
        for letter in page.iter().filter(|_| !request.dry_run) {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            if *core.stop.borrow() {
                return Err(BrokerError::ShuttingDown);
            }
            match redrive_one(core, letter).await {
                Ok(done) => result.done += u64::from(done),
                Err(error @ (BrokerError::UnknownTrigger(_) | BrokerError::UnknownDeadLetter { .. })) => {
                    tracing::warn!(
                        id = letter.event_id, trigger = %letter.trigger, correlation_id = letter.correlation_id,
                        dead_letter = %format_args!("{}/{}", letter.topic, letter.offset), %error, "dead letter not redriven"
                    );
                    result.failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Redrives one dead letter; `false` where somebody else did, or purged it, since it was chosen.
async fn redrive_one(core: &Arc<Core>, letter: &DeadLetterSummary) -> Result<bool, BrokerError> {
    core.triggers.get(&letter.trigger)?;
    let stored = core.letters.stored(core, &letter.topic, letter.offset).await?;
    if letter::is_of_no_trigger(&stored) {
        // What gave up may have a trigger's name, and still is another one.
        return Err(BrokerError::UnknownTrigger(letter.trigger.clone()));
    }
    let _marking = core.letters.marking().await;
    if core.letters.redriven(&letter.topic, letter.offset)? != Some(letter.redriven) {
        return Ok(false);
    }
    let lane = core.redrive_lane(&letter.trigger).await?;
    let log = redrive_log_name(&letter.trigger);
    let failed = |source| BrokerError::Append { log: log.clone(), source };
    // Durable here before it is marked there: a crash between repeats a redrive and never loses one.
    let record = NewRecord { payload: stored.as_bytes().clone(), fingerprint: None };
    let appended = lane.append(vec![record]).await.map_err(failed)?;
    core.letters.mark(&letter.topic, letter.offset, Mark::Redriven).await?;
    lane.metrics.redriven.increment(1);
    if let (Some(track), Some(at)) = (&lane.track, appended.first()) {
        let (letter_topic, letter_offset) = (letter.topic.to_string(), letter.offset.0);
        let step = Step::Redriven { letter_topic, letter_offset, lane_offset: at.offset.0 };
        track.event(letter.origin_offset, &step);
    }
    tracing::info!(
        id = letter.event_id, topic = %letter.origin_topic, offset = %letter.origin_offset, trigger = %letter.trigger,
        correlation_id = letter.correlation_id, "dead letter redriven"
    );
    if let Some(observer) = &core.observer {
        observer.observe(&Observation::Redriven {
            trigger: letter.trigger.clone(),
            offset: letter.origin_offset,
        });
    }
    Ok(true)
}

/// Takes the chosen dead letters out of sight.
pub(super) async fn purge(
    core: &Arc<Core>,
    filter: &DeadLetterFilter,
    dry_run: bool,
) -> Result<BulkResult, BrokerError> {
    let mut result = BulkResult::default();
    let mut choice = Choice::new(core, filter);
    loop {
        let page = choice.next(core).await?;
        if page.is_empty() {
            return Ok(result);
        }
        result.selected += page.len() as u64;
        for letter in page.iter().filter(|_| !dry_run) {
            let _marking = core.letters.marking().await;
            core.letters.mark(&letter.topic, letter.offset, Mark::Purged).await?;
            if let Ok(trigger) = core.triggers.get(&letter.trigger) {
                trigger.lane.metrics.purged.increment(1);
            }
            result.done += 1;
        }
    }
}
