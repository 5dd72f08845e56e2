//! What is known of replays durably: the internal log `_replays`, in which the last record of an id is the one that counts.
//!
//! A record is synced before anyone is told of what it says. When the log has grown far beyond what it says, everything is
//! written again and what lies before goes. Where a replay is within its range is not here: that is its lane's, in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use eventail_storage::log::{Log, NewRecord, ReadLimit, read_what_is_left};
use eventail_triggers::outcome::Response;
use eventail_wire::{Offset, Timestamp, TopicName, TriggerName};
use serde::{Deserialize, Serialize};

use crate::core::BrokerError;
use crate::status::{Account, ReplayState};

/// The name of the internal log.
pub(crate) const REPLAYS_LOG: &str = "_replays";
/// Records beyond this are too many for so few replays: everything is written again.
const RECORDS_PER_REPLAY: usize = 8;
/// As many records are never too many.
const RECORDS_MIN: usize = 1_024;

/// Where the events of a replay go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Destination {
    /// To the target of the trigger.
    Trigger,
    /// Into a topic.
    Topic(TopicName),
    /// To an HTTP endpoint. Its query may hold a secret: it is not shown.
    Url(String),
}

/// What came of a replay by the time it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) account: Account,
    pub(super) cursor: Offset,
    pub(super) scanned: Offset,
    pub(super) lost: u64,
    pub(super) last_failure: Option<Response>,
}

/// A replay as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) trigger: Option<TriggerName>,
    pub(super) topic: TopicName,
    pub(super) to: Destination,
    /// The trigger's pattern when it was started: what is selected does not change on the way.
    pub(super) pattern: Option<String>,
    pub(super) filter: Option<String>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) per_second: Option<f64>,
    pub(super) created_at: Timestamp,
    pub(super) state: ReplayState,
    pub(super) reason: Option<String>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
}

/// The log, with what tells when it has to be written again.
pub(super) struct Records {
    log: Arc<dyn Log>,
    written: usize,
}

impl Records {
    /// Reads back what was kept.
    pub(super) async fn open(log: Arc<dyn Log>) -> Result<(Self, BTreeMap<String, Record>), BrokerError> {
        let read_failed = |source| BrokerError::Read { log: REPLAYS_LOG.to_owned(), source };
        let mut known = BTreeMap::new();
        let mut written = 0;
        let mut from = log.status().range.start;
        loop {
            let limit = ReadLimit { records: 1024, bytes: 4 << 20 };
            let records = read_what_is_left(log.as_ref(), from, limit).await.map_err(read_failed)?;
            let Some(last) = records.last() else { return Ok((Self { log, written }, known)) };
            from = last.offset.plus(1);
            written += records.len();
            for record in &records {
                match rmp_serde::from_slice::<Record>(&record.payload) {
                    Ok(replay) => drop(known.insert(replay.id.clone(), replay)),
                    // A replay that cannot be understood is no reason not to start.
                    Err(error) => {
                        tracing::error!(offset = %record.offset, %error, "a record of a replay cannot be read and is passed over");
                    }
                }
            }
        }
    }

    /// Keeps a record; it is synced when this answers.
    pub(super) async fn keep(&mut self, record: &Record) -> Result<(), BrokerError> {
        self.append(vec![encode(record)]).await
    }

    /// Writes these again, as all that there is, where the log has grown far beyond them.
    pub(super) async fn compact(&mut self, known: impl Fn() -> Vec<Record>) -> Result<(), BrokerError> {
        if self.written < RECORDS_MIN {
            return Ok(());
        }
        let known = known();
        if self.written < known.len() * RECORDS_PER_REPLAY {
            return Ok(());
        }
        let begin = *self.log.durable_end().borrow();
        if !known.is_empty() {
            self.append(known.iter().map(encode).collect()).await?;
        }
        self.written = known.len();
        let trimmed = self.log.trim(begin).await;
        trimmed.map(drop).map_err(append_failed)
    }

    async fn append(&mut self, records: Vec<NewRecord>) -> Result<(), BrokerError> {
        let count = records.len();
        self.log.append(records).await.map_err(append_failed)?;
        self.written += count;
        Ok(())
    }
}

fn append_failed(source: eventail_storage::log::AppendError) -> BrokerError {
    BrokerError::Append { log: REPLAYS_LOG.to_owned(), source }
}

fn encode(record: &Record) -> NewRecord {
    // With names, so that a later version can add some.
    let payload = rmp_serde::to_vec_named(record).expect("plain data always encodes into memory");
    NewRecord { payload: Bytes::from(payload), fingerprint: None }
}

#[cfg(test)]
mod tests {
    use eventail_storage::DiskStore;
    use eventail_storage::disk_io::OsDisk;
    use eventail_storage::log::LogOptions;
    use eventail_triggers::subscription::Snapshot;
    use tokio::sync::watch;

    use super::super::{Replays, lane_name};
    use super::*;
    use crate::core::journal::{JOURNAL_LOG, Journal};

    fn record(id: &str, state: ReplayState) -> Record {
        Record {
            id: id.to_owned(),
            trigger: "ship".parse().ok(),
            topic: "orders".parse().unwrap(),
            to: Destination::Url("http://127.0.0.1/".to_owned()),
            pattern: None,
            filter: Some("{}".to_owned()),
            start: Offset(1),
            end: Offset(2),
            per_second: Some(0.5),
            created_at: Timestamp(1),
            state,
            reason: None,
            ended_at: None,
            outcome: Some(Outcome::default()),
        }
    }

    #[tokio::test]
    async fn what_was_kept_with_the_end_counts_more_than_a_journal_that_came_less_far() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(crate::clock::SystemClock);
        let (store, _) = DiskStore::open(dir.path(), Arc::new(OsDisk), clock).unwrap();
        let log = store.open_or_create(REPLAYS_LOG, LogOptions::default()).unwrap();
        let (mut records, _) = Records::open(Arc::clone(&log)).await.unwrap();
        let ended = Outcome { cursor: Offset(2), scanned: Offset(2), ..Outcome::default() };
        let completed = Record { outcome: Some(ended.clone()), ..record("a", ReplayState::Completed) };
        let cancelled = Record { outcome: None, ..record("b", ReplayState::Cancelled) };
        records.keep(&completed).await.unwrap();
        records.keep(&cancelled).await.unwrap();
        // As a kill leaves it that came before the last settlements were written.
        let settlements = store.open_or_create(JOURNAL_LOG, LogOptions::default()).unwrap();
        let (journal, task) = Journal::open(Arc::clone(&settlements)).await.unwrap();
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(task.run(stop.subscribe()));
        for record in [&completed, &cancelled] {
            journal.hand_over_snapshot(&lane_name(record).into(), Snapshot::new(Offset(1)));
        }
        journal.written().await.unwrap();
        stop.send_replace(true);
        task.await.unwrap();

        let (journal, _task) = Journal::open(settlements).await.unwrap();
        let replays = Replays::open(log, &journal).await.unwrap();
        let cursor_of = |id: &str| replays.get(id).unwrap().status().cursor;
        assert_eq!((cursor_of("a"), cursor_of("b")), (Offset(2), Offset(1)));
        assert!(!journal.knows(&lane_name(&completed)) && !journal.knows(&lane_name(&cancelled)));
        store.close();
    }

    #[tokio::test]
    async fn the_last_record_counts_and_a_log_that_grew_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(crate::clock::SystemClock);
        let (store, _) = DiskStore::open(dir.path(), Arc::new(OsDisk), clock).unwrap();
        let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
        let log = store.open_or_create(REPLAYS_LOG, options).unwrap();
        let (mut records, known) = Records::open(Arc::clone(&log)).await.unwrap();
        assert!(known.is_empty());
        let running = record("a", ReplayState::Running);
        let many: Vec<NewRecord> = (0..RECORDS_MIN).map(|_| encode(&running)).collect();
        records.append(many).await.unwrap();
        records.keep(&record("a", ReplayState::Completed)).await.unwrap();
        let (_, known) = Records::open(Arc::clone(&log)).await.unwrap();
        assert_eq!(known["a"], record("a", ReplayState::Completed));
        records.compact(|| vec![record("a", ReplayState::Completed)]).await.unwrap();
        let range = log.status().range;
        assert!(range.end.since(range.start) < RECORDS_MIN as u64, "{range:?}");
        let (_, known) = Records::open(log).await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known["a"], record("a", ReplayState::Completed));
        store.close();
    }
}
