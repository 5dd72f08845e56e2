//! Letting events go when their time has come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eventail_storage::log::{Appended, ReadLimit};
use eventail_wire::{Event, HeldId, Offset, Timestamp, TopicName};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Delayed;
use super::book::Entry;
use super::note::Note;
use crate::core::{BrokerError, Core};

/// How long to sleep at most: the wall clock may be set forward meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a topic is left alone that did not take its events.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of events that one release reads at once, and appends to one topic at once.
const RELEASE_BYTES: u64 = 4 << 20;
/// Released events that one record of the log tells of: each changes a few rows of the index, and a record is applied as a whole.
const NOTED_AT_ONCE: usize = 32;

/// What came of a release.
#[derive(Default)]
pub(super) struct Release {
    pub(super) released: Vec<(HeldId, Appended)>,
    /// Topics that did not take their events.
    pub(super) refused_by: Vec<TopicName>,
    /// The last thing that stood in the way.
    pub(super) failure: Option<BrokerError>,
}

/// How long to sleep until something is due, or may be.
fn pause(now: Timestamp, next: Timestamp) -> Duration {
    Duration::from_millis(next.since_ms(now)).min(LOOK_EVERY)
}

/// Lets events go from now on.
pub(in crate::core) fn start(core: &Arc<Core>) {
    let (weak, stop) = (Arc::downgrade(core), core.stop.subscribe());
    core.tasks.spawn_lane_again("delayed", move || run(Weak::clone(&weak), stop.clone()));
}

async fn run(weak: Weak<Core>, mut stop: watch::Receiver<bool>) {
    let mut left_alone: HashMap<TopicName, Instant> = HashMap::new();
    while !*stop.borrow() {
        let Some(core) = weak.upgrade() else { return };
        left_alone.retain(|_, until| *until > Instant::now());
        let pause = core.release_due(&mut left_alone).await.unwrap_or_else(|error| {
            tracing::error!(%error, "events whose time has come are held back; it is tried again");
            RETRY
        });
        let has_more = core.delayed.tidy(core.clock.now()).await;
        let pause = if has_more { Duration::ZERO } else { pause };
        let wake = core.delayed.wake.notified();
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = wake => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

impl Core {
    /// Releases what is due, at most as much as one release takes, and answers how long to sleep then.
    async fn release_due(
        self: &Arc<Self>,
        left_alone: &mut HashMap<TopicName, Instant>,
    ) -> Result<Duration, BrokerError> {
        let delayed = &self.delayed;
        // Also what was written by somebody who did not stay for the answer.
        delayed.catch_up().await?;
        if delayed.totals().waiting == 0 {
            delayed.next_at.store(u64::MAX, Ordering::Release);
            delayed.told_next_at.store(u64::MAX, Ordering::Release);
            // Somebody may have come between; whoever does rings.
            return Ok(if delayed.totals().waiting == 0 { LOOK_EVERY } else { Duration::ZERO });
        }
        let now = self.clock.now();
        let without: HashSet<TopicName> = left_alone.keys().cloned().collect();
        let limit = delayed.tuning.release_events;
        // Set before the book is asked: whoever holds an event meanwhile sets an earlier one and rings.
        delayed.next_at.store(u64::MAX, Ordering::Release);
        let (due, next) = delayed.ask(move |book| book.due(now, limit, &without)).await?;
        let next = next.unwrap_or(Timestamp::MAX);
        delayed.next_at.fetch_min(next.0, Ordering::AcqRel);
        if due.is_empty() {
            delayed.told_next_at.store(next.0, Ordering::Release);
            return Ok(pause(now, next));
        }
        let release = self.release(&due).await;
        if let Some(error) = release.failure {
            tracing::error!(%error, "events whose time has come are held back; it is tried again");
            if release.refused_by.is_empty() {
                return Ok(RETRY);
            }
        }
        left_alone.extend(release.refused_by.into_iter().map(|topic| (topic, Instant::now() + RETRY)));
        Ok(pause(self.clock.now(), next))
    }

    /// Appends events to their topics and notes it. What is held no more is passed over.
    pub(super) async fn release(self: &Arc<Self>, ids: &[HeldId]) -> Release {
        let mut release = Release::default();
        if let Err(error) = self.try_release(ids, &mut release).await {
            release.failure = Some(error);
        }
        release
    }

    async fn try_release(self: &Arc<Self>, ids: &[HeldId], release: &mut Release) -> Result<(), BrokerError> {
        let delayed = &self.delayed;
        let _deciding = delayed.deciding.lock().await;
        delayed.catch_up().await?;
        let asked = ids.to_vec();
        let entries = delayed
            .ask(move |book| asked.iter().map(|id| book.entry(*id)).collect::<Result<Vec<_>, _>>())
            .await?;
        let mut by_topic: BTreeMap<TopicName, Vec<Entry>> = BTreeMap::new();
        for entry in entries.into_iter().flatten().filter(Entry::is_held) {
            by_topic.entry(entry.event.topic.clone()).or_default().push(entry);
        }
        for (topic, entries) in by_topic {
            for part in parts(&entries) {
                match self.release_part(&topic, part).await {
                    Ok(released) => release.released.extend(released),
                    Err(error) => {
                        tracing::debug!(%topic, %error, events = part.len(), "a topic did not take events whose time has come");
                        release.failure = Some(error);
                        release.refused_by.push(topic.clone());
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn release_part(
        self: &Arc<Self>,
        topic: &TopicName,
        entries: &[Entry],
    ) -> Result<Vec<(HeldId, Appended)>, BrokerError> {
        let delayed = &self.delayed;
        let events = delayed.events_of(entries).await?;
        let topic = self.topic_or_create(topic).await?;
        // They kept the limits when they were published; one that was lowered since must not lose them.
        let appended = self.append_taken(&topic, &events).await?;
        let now = self.clock.now();
        let released: Vec<_> = entries.iter().map(|entry| entry.event.id).zip(appended).collect();
        let noted = |part: &[(HeldId, Appended)]| part.iter().map(|(id, at)| (*id, at.offset)).collect();
        let notes =
            released.chunks(NOTED_AT_ONCE).map(|part| Note::Released { at: now, events: noted(part) });
        delayed.append(&notes.collect::<Vec<_>>()).await?;
        delayed.catch_up().await?;
        for entry in entries {
            delayed.metrics.released(now.since_ms(entry.event.deliver_at));
        }
        tracing::debug!(topic = %topic.name, events = entries.len(), "events released whose time has come");
        Ok(released)
    }
}

impl Delayed {
    /// The events of these entries, in their order. Records that lie side by side are read together.
    async fn events_of(&self, entries: &[Entry]) -> Result<Vec<Event>, BrokerError> {
        let mut places: Vec<Offset> = entries.iter().map(|entry| entry.place).collect();
        places.sort_unstable();
        let mut found: HashMap<Offset, Event> = HashMap::with_capacity(places.len());
        while let Some(&first) = places.iter().find(|place| !found.contains_key(place)) {
            let run = places.iter().skip_while(|place| **place < first).zip(0..);
            let records = run.take_while(|(place, behind)| **place == first.plus(*behind)).count();
            let bytes = usize::try_from(RELEASE_BYTES).unwrap_or(usize::MAX);
            for record in self.read(first, ReadLimit { records, bytes }).await? {
                if let Some(Note::Held(_, event)) = Note::read(&record.payload) {
                    found.insert(record.offset, event);
                }
            }
            if !found.contains_key(&first) {
                return Err(BrokerError::DelayedRecord { offset: first });
            }
        }
        let missing = |entry: &Entry| BrokerError::DelayedRecord { offset: entry.place };
        entries.iter().map(|entry| found.get(&entry.place).cloned().ok_or_else(|| missing(entry))).collect()
    }
}

/// Cuts entries into parts of so many bytes that they are appended at once, each of one entry at least.
fn parts(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut bytes = 0;
    entries.chunk_by(move |before, after| {
        bytes += before.event.bytes;
        let fits = bytes + after.event.bytes <= RELEASE_BYTES;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sleeps_past_what_is_due_or_for_longer_than_a_second() {
        let pause = |now, next| pause(Timestamp(now), Timestamp(next)).as_millis();
        assert_eq!(pause(1_000, 1_250), 250);
        assert_eq!(pause(1_000, 900), 0, "what is late goes at once");
        assert_eq!(pause(1_000, 60_000), 1_000, "the wall clock may be set meanwhile");
        assert_eq!(pause(1_000, u64::MAX), 1_000);
    }
}
