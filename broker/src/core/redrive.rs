//! Redriving and purging dead letters.

use std::sync::Arc;
use std::time::Duration;

use eventail_storage::log::NewRecord;
use eventail_wire::{Offset, TopicName};
use tokio::time::MissedTickBehavior;

use super::letters::Mark;
use super::triggers::redrive_log_name;
use super::{BrokerError, Core};
use crate::status::{BulkResult, DeadLetterFilter, DeadLetterSummary, Observation, RedriveRequest};

/// Dead letters that are looked up at once.
const PAGE: usize = 500;

/// Hands the chosen dead letters to their triggers' redrive lanes, not faster than asked for.
pub(super) async fn redrive(core: &Arc<Core>, request: &RedriveRequest) -> Result<BulkResult, BrokerError> {
    let mut pace = request.per_second.filter(|per_second| *per_second > 0).map(|per_second| {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    let mut result = BulkResult::default();
    let mut after = None;
    loop {
        let page = core.letters.list(core, &request.filter, after.clone(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(result) };
        after = Some((last.topic.clone(), last.offset));
        result.selected += page.len() as u64;
        if request.dry_run {
            continue;
        }
        for letter in &page {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            if *core.stop.borrow() {
                return Err(BrokerError::ShuttingDown);
            }
            match redrive_one(core, letter).await {
                Ok(()) => result.done += 1,
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

async fn redrive_one(core: &Arc<Core>, letter: &DeadLetterSummary) -> Result<(), BrokerError> {
    let trigger = core.triggers.get(&letter.trigger)?;
    let stored = core.letters.stored(core, &letter.topic, letter.offset).await?;
    let lane = core.redrive_lane(trigger).await?;
    let log = redrive_log_name(&letter.trigger);
    let failed = |source| BrokerError::Append { log: log.clone(), source };
    // Durable here before it is marked there: a crash between repeats a redrive and never loses one.
    let record = NewRecord { payload: stored.as_bytes().clone(), fingerprint: None };
    lane.append(vec![record]).await.map_err(failed)?;
    core.letters.mark(&letter.topic, letter.offset, Mark::Redriven).await?;
    lane.metrics.redriven.increment(1);
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
    Ok(())
}

/// Takes the chosen dead letters out of sight.
pub(super) async fn purge(
    core: &Arc<Core>,
    filter: &DeadLetterFilter,
    dry_run: bool,
) -> Result<BulkResult, BrokerError> {
    let mut result = BulkResult::default();
    let mut after: Option<(TopicName, Offset)> = None;
    loop {
        let page = core.letters.list(core, filter, after.clone(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(result) };
        after = Some((last.topic.clone(), last.offset));
        result.selected += page.len() as u64;
        if dry_run {
            continue;
        }
        for letter in &page {
            core.letters.mark(&letter.topic, letter.offset, Mark::Purged).await?;
            if let Ok(trigger) = core.triggers.get(&letter.trigger) {
                trigger.lane.metrics.purged.increment(1);
            }
            result.done += 1;
        }
    }
}
