//! Writing dead letters: the letter is durable first, and only then is the event settled.

use std::sync::Arc;
use std::time::Duration;

use eventail_storage::log::ReadLimit;
use eventail_triggers::outcome::Response;
use eventail_triggers::subscription::DeadLetterOrder;
use eventail_wire::{Event, TopicName};
use tokio::sync::watch;

use super::lane::{Lane, Unpacked};
use super::letter::{self, Origin};
use super::timeline::Step;
use super::{BrokerError, Core};
use crate::panics::contained;
use crate::status::Observation;

/// How long to wait before a dead letter that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A dead letter that has to be written.
pub(crate) struct Burial {
    pub(crate) order: Box<DeadLetterOrder>,
    /// `None` where the event has to be read again.
    pub(crate) event: Option<Event>,
}

/// What came of trying.
enum Burying {
    Done,
    /// There is no event, or no broker, any more.
    Nothing,
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
            let failure = match contained(self.try_once(lane, &order, &mut event)).await {
                Ok(Ok(Burying::Done)) => return lane.buried(order.offset),
                Ok(Ok(Burying::Nothing)) => return lane.abandon_burial(),
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            let topic = lane.dead_letter_topic();
            lane.stop_for_burial(&format!("a dead letter cannot be written to `{topic}`: {failure}"));
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                // The event stays unsettled, so it is tried and dead-lettered again after the restart.
                _ = stop.wait_for(|stopped| *stopped) => return lane.abandon_burial(),
            }
        }
    }

    async fn try_once(
        &self,
        lane: &Lane,
        order: &DeadLetterOrder,
        event: &mut Option<Event>,
    ) -> Result<Burying, BrokerError> {
        let Some(core) = self.core.upgrade() else { return Ok(Burying::Nothing) };
        if event.is_none() {
            let read_failed = |source| BrokerError::Read { log: lane.topic.to_string(), source };
            *event = lane.read_again(order.offset).await.map_err(read_failed)?;
        }
        // Retention took it while it waited: there is nothing left to write, and the event counts as expired.
        let Some(stored) = event.clone() else { return Ok(Burying::Nothing) };
        self.write(&core, lane, order, stored).await.map(|()| Burying::Done)
    }

    async fn write(
        &self,
        core: &Arc<Core>,
        lane: &Lane,
        order: &DeadLetterOrder,
        stored: Event,
    ) -> Result<(), BrokerError> {
        let Unpacked { event, topic, offset, replay } = lane.unpack(order.offset, stored);
        let origin = Origin { trigger: lane.trigger.clone(), topic, offset, replay };
        let delivery = format!("{}/{}", lane.name, order.offset);
        let letter = match letter::write(&event, &origin, &delivery, order) {
            Ok(letter) => letter,
            // The response is what may be too much; the event is what must not be lost.
            Err(_) => {
                let bare = DeadLetterOrder { response: Response::default(), ..order.clone() };
                letter::write(&event, &origin, &delivery, &bare)?
            }
        };
        let dead_letter_topic: &TopicName = &lane.dead_letter_topic();
        let topic = core.topic_or_create(dead_letter_topic).await?;
        let appended = topic.append(std::slice::from_ref(&letter)).await?;
        let Some(at) = appended.first() else { return Ok(()) };
        tracing::warn!(
            id = event.id(), topic = %origin.topic, offset = %origin.offset, correlation_id = event.correlation_id(),
            trigger = %lane.trigger, attempt = order.attempts, reason = ?order.reason, dead_letter = %format_args!("{dead_letter_topic}/{}", at.offset),
            error = %order.response.error, "event dead-lettered"
        );
        lane.metrics.dead_lettered(order.reason);
        // What the log has of it, which after a crash may be an earlier letter: the index must hold what it would hold if
        // it were rebuilt.
        let limit = ReadLimit { records: 1, bytes: 1 };
        let stored = match topic.log.read_tail(at.offset, limit) {
            Some(stored) => stored,
            None => topic.log.read(at.offset, limit).await.unwrap_or_default(),
        };
        let letter = stored.into_iter().next().and_then(|record| {
            let letter = Event::from_stored(record.payload).ok()?;
            letter::read(dead_letter_topic, record.offset, record.appended_at, &letter)
        });
        if let Some(letter) = letter
            && let Err(error) = core.letters.note(&letter.summary)
        {
            tracing::warn!(%error, "a dead letter was written, but listings show it only after a restart");
        }
        if let Some(track) = &lane.track {
            let (topic, reason) = (dead_letter_topic.to_string(), Some(order.reason));
            track.event(origin.offset, &Step::DeadLettered { topic, offset: at.offset.0, reason });
        }
        if let Some(observer) = &core.observer {
            observer.observe(&Observation::DeadLettered {
                trigger: lane.trigger.clone(),
                offset: origin.offset,
                dead_letter_topic: dead_letter_topic.clone(),
                dead_letter_offset: at.offset,
                reason: order.reason,
                replay: origin.replay,
            });
        }
        Ok(())
    }
}
