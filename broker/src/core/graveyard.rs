//! Writing dead letters: the letter is durable first, and only then is the event settled.

use std::sync::Arc;
use std::time::Duration;

use eventail_triggers::subscription::DeadLetterOrder;
use eventail_wire::{Event, TopicName};
use tokio::sync::watch;

use super::Core;
use super::lane::Lane;
use super::letter::{self, Origin};
use crate::status::Observation;

/// How long to wait before a dead letter that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A dead letter that has to be written.
pub(crate) struct Burial {
    pub(crate) order: Box<DeadLetterOrder>,
    /// `None` where the event has to be read again.
    pub(crate) event: Option<Event>,
}

/// Writes dead letters, for all lanes.
pub(crate) struct Graveyard {
    pub(crate) core: std::sync::Weak<Core>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Graveyard {
    /// Writes the letter and settles the event; until it can be written the lane is stopped and says so.
    pub(crate) async fn bury(&self, lane: &Arc<Lane>, burial: Burial) {
        let Burial { order, mut event } = burial;
        let mut stop = self.stop.clone();
        loop {
            let Some(core) = self.core.upgrade() else { return };
            if event.is_none() {
                match lane.read_again(order.offset).await {
                    Ok(read) => event = read,
                    Err(error) => {
                        lane.stop(&format!("an event that was given up cannot be read: {error}"));
                        return lane.abandon_burial();
                    }
                }
            }
            let Some(stored) = event.clone() else {
                // Retention took it while it waited: there is nothing left to write, and the event counts as expired.
                return lane.abandon_burial();
            };
            match self.write(&core, lane, &order, stored).await {
                Ok(()) => {
                    lane.buried(order.offset);
                    return;
                }
                Err(error) => {
                    let topic = &lane.dead_letter_topic;
                    lane.stop(&format!("the dead-letter topic `{topic}` cannot be written: {error}"));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                // The event stays unsettled, so it is tried and dead-lettered again after the restart.
                _ = stop.wait_for(|stopped| *stopped) => return lane.abandon_burial(),
            }
        }
    }

    async fn write(
        &self,
        core: &Arc<Core>,
        lane: &Lane,
        order: &DeadLetterOrder,
        stored: Event,
    ) -> Result<(), super::BrokerError> {
        let (event, topic, offset) = lane.unpack(order.offset, stored);
        let origin = Origin { trigger: lane.trigger.clone(), topic, offset };
        let delivery = format!("{}/{}", lane.name, order.offset);
        let letter = letter::write(&event, &origin, &delivery, order)?;
        let dead_letter_topic: &TopicName = &lane.dead_letter_topic;
        let topic = core.topic_or_create(dead_letter_topic).await?;
        let appended = topic.append(std::slice::from_ref(&letter)).await?;
        let Some(at) = appended.first() else { return Ok(()) };
        tracing::warn!(
            id = event.id(), topic = %origin.topic, offset = %origin.offset, correlation_id = event.correlation_id(),
            trigger = %lane.trigger, attempt = order.attempts, reason = ?order.reason, dead_letter = %format_args!("{dead_letter_topic}/{}", at.offset),
            error = %order.response.error, "event dead-lettered"
        );
        lane.metrics.dead_lettered(order.reason);
        let letter = letter::read(dead_letter_topic, at.offset, core.clock.now(), &letter);
        if let Some(letter) = letter
            && let Err(error) = core.letters.note(&letter.summary)
        {
            tracing::warn!(%error, "a dead letter was written, but listings show it only after a restart");
        }
        if let Some(observer) = &core.observer {
            observer.observe(&Observation::DeadLettered {
                trigger: lane.trigger.clone(),
                offset: origin.offset,
                dead_letter_topic: dead_letter_topic.clone(),
                dead_letter_offset: at.offset,
                reason: order.reason,
            });
        }
        Ok(())
    }
}
