//! The journal of settlements: an internal log that says what became of every delivery.
//!
//! Each record holds entries of one lane, or a lane's whole state (a snapshot). A lane hands its entries over while it
//! holds its own lock, and this task appends them in the order in which they came, so that replaying the log ends in the
//! state that the lane had. When enough was written every lane adds a snapshot, and what lies before the first of them goes.
//!
//! The log is `buffered`: a `kill -9` loses nothing that was handed over and written, a power cut may repeat the last few
//! deliveries, which is what *at least once* allows. While the journal cannot be written no lane delivers ([`Journal::refusal`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use eventail_storage::log::{AppendError, Log, NewRecord, ReadLimit, read_what_is_left};
use eventail_triggers::subscription::{Entry, Keys, Snapshot};
use eventail_wire::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::error::BrokerError;
use crate::panics::contained;

/// The name of the internal log.
pub(crate) const JOURNAL_LOG: &str = "_settlements";
/// Segments of the journal: small, so that old ones go soon.
pub(crate) const JOURNAL_SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes after which every lane writes a snapshot; twice the last snapshot's if that is more.
const SNAPSHOT_EVERY_BYTES: u64 = 8 << 20;
/// Bytes that one append of a snapshot takes: far below what a batch of the log can hold.
const APPEND_BYTES: usize = 4 << 20;
/// Business keys in one record, of some 40 bytes each.
const KEYS_MAX: usize = 50_000;
/// Hand-overs that may wait before lanes stop delivering.
const BACKLOG_MAX: u64 = 65_536;
/// Hand-overs that go into one append.
const GATHER_MAX: usize = 1024;
/// How long entries that nobody waits for are gathered: each append wakes the log's thread, which costs more than a delivery does
/// else. A `kill -9` within it repeats what was delivered in it, as *at least once* allows.
const GATHER_FOR: std::time::Duration = std::time::Duration::from_millis(1);
/// How long the journal waits after a refused write before it tries a whole snapshot.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
enum JournalRecord<'a> {
    Entries(Cow<'a, str>, Vec<Entry>),
    Snapshot(Cow<'a, str>, Box<Snapshot>),
    /// Nobody has a use for the lane since then. The next snapshot takes that back.
    Orphaned(Cow<'a, str>, Timestamp),
    /// The lane has no state any more.
    Forgotten(Cow<'a, str>),
    /// Business keys of the lane's next snapshot, which are too many for one record.
    Keys(Cow<'a, str>, Keys),
}

enum Message {
    Entries(Arc<str>, Vec<Entry>, Option<oneshot::Sender<Result<(), AppendError>>>),
    Snapshot(Arc<str>, Box<Snapshot>),
    Keys(Arc<str>, Keys),
    Orphaned(Arc<str>, Timestamp),
    Forgotten(Arc<str>),
    SnapshotAll(oneshot::Sender<Result<(), AppendError>>),
    /// Answered when everything that came before it is written.
    Barrier(oneshot::Sender<Result<(), AppendError>>),
}

impl Message {
    /// Whether somebody waits until it is written.
    const fn is_awaited(&self) -> bool {
        match self {
            Self::Entries(_, _, done) => done.is_some(),
            Self::Snapshot(..) | Self::Keys(..) | Self::Orphaned(..) | Self::Forgotten(_) => false,
            Self::SnapshotAll(_) | Self::Barrier(_) => true,
        }
    }
}

/// Something whose state the journal keeps.
pub(crate) trait Journaled: Send + Sync {
    /// Calls `write` with the state, under the lock under which entries are handed over too.
    fn with_snapshot(&self, write: &mut dyn FnMut(Snapshot));

    /// The same, and under that lock takes another name, under which entries are handed over from then on.
    fn renamed(&self, name: &Arc<str>, write: &mut dyn FnMut(Snapshot));
}

/// The way into the journal.
pub(crate) struct Journal {
    sender: mpsc::UnboundedSender<Message>,
    backlog: AtomicU64,
    failing: AtomicU64,
    /// Told when somebody waits for what was handed over.
    awaited: Notify,
    registry: Mutex<Registry>,
    has_gaps: bool,
}

/// Every lane that has a state: it is in exactly one of the two, so that no snapshot misses one or has it twice. Its lock comes
/// before those of the lanes.
#[derive(Default)]
struct Registry {
    awake: BTreeMap<Arc<str>, Weak<dyn Journaled>>,
    /// States of lanes that no one uses now; they are kept for when somebody does.
    dormant: BTreeMap<Arc<str>, Snapshot>,
    /// Since when nobody has a use for a lane, for those among the dormant ones of which that is known.
    orphans: BTreeMap<Arc<str>, Timestamp>,
}

/// A lane that nobody has a use for.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    pub(crate) name: Arc<str>,
    pub(crate) since: Timestamp,
    pub(crate) state: Snapshot,
}

impl Journal {
    /// Replays the log.
    pub(crate) async fn open(log: Arc<dyn Log>) -> Result<(Arc<Self>, JournalTask), BrokerError> {
        let Replay { states: dormant, orphans, .. } = replay(log.as_ref()).await?;
        let has_gaps = !log.status().lost.is_empty();
        if has_gaps {
            tracing::error!(
                log = JOURNAL_LOG,
                "settlements are damaged: what was delivered may be delivered again, and what has no state begins at the start of its topic"
            );
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let journal = Arc::new(Self {
            sender,
            backlog: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            awaited: Notify::new(),
            registry: Mutex::new(Registry { awake: BTreeMap::new(), dormant, orphans }),
            has_gaps,
        });
        let task =
            JournalTask { log, journal: Arc::clone(&journal), receiver, written: 0, snapshot_bytes: 0 };
        Ok((journal, task))
    }

    /// A lane's state, to go on from it. The lane is dormant until it is registered.
    pub(crate) fn state_of(&self, lane: &str) -> Option<Snapshot> {
        lock(&self.registry).dormant.get(lane).cloned()
    }

    /// Takes a lane up: from now on it tells its state itself. Its first state is handed over at once, since entries are replayed
    /// onto a state.
    pub(crate) fn register(&self, lane: &Arc<str>, journaled: &Arc<impl Journaled + 'static>) {
        let weak: Weak<dyn Journaled> = Arc::<_>::downgrade(journaled) as Weak<dyn Journaled>;
        let mut registry = lock(&self.registry);
        registry.dormant.remove(lane);
        registry.orphans.remove(lane);
        registry.awake.insert(Arc::clone(lane), weak);
        journaled.with_snapshot(&mut |snapshot| self.hand_over_snapshot(lane, snapshot));
    }

    /// Gives a lane's state back when nobody uses the lane any more.
    pub(crate) fn sleep(&self, lane: &Arc<str>, journaled: &impl Journaled) {
        let mut registry = lock(&self.registry);
        registry.awake.remove(lane);
        journaled.with_snapshot(&mut |snapshot| drop(registry.dormant.insert(Arc::clone(lane), snapshot)));
    }

    /// Gives a lane that is used another name, which must have no state; what was written under the old one is forgotten.
    pub(crate) fn rename(&self, old: &Arc<str>, new: &Arc<str>, journaled: &Arc<impl Journaled + 'static>) {
        let weak: Weak<dyn Journaled> = Arc::<_>::downgrade(journaled) as Weak<dyn Journaled>;
        let mut registry = lock(&self.registry);
        registry.awake.remove(old);
        registry.awake.insert(Arc::clone(new), weak);
        // The state first: a crash between leaves it twice, and one of them nobody asks for.
        journaled.renamed(new, &mut |snapshot| self.hand_over_snapshot(new, snapshot));
        self.send(Message::Forgotten(Arc::clone(old)));
    }

    /// Gives the state of a lane that nobody uses another name. `false` where there is none, or the new name has one.
    pub(crate) fn rename_dormant(&self, old: &str, new: &Arc<str>) -> bool {
        let mut registry = lock(&self.registry);
        if registry.awake.contains_key(new) || registry.dormant.contains_key(new) {
            return false;
        }
        let Some((old, state)) = registry.dormant.remove_entry(old) else { return false };
        registry.orphans.remove(&old);
        self.hand_over_snapshot(new, state.clone());
        registry.dormant.insert(Arc::clone(new), state);
        self.send(Message::Forgotten(old));
        true
    }

    /// Notes of every lane that nobody uses and `is_meant`, and of which it was not known, that nobody has a use for it since now.
    /// Answers their names.
    pub(crate) fn orphan(&self, now: Timestamp, is_meant: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut registry = lock(&self.registry);
        let Registry { dormant, orphans, .. } = &mut *registry;
        let new: Vec<_> = dormant
            .keys()
            .filter(|name| !orphans.contains_key(*name) && is_meant(name))
            .map(Arc::clone)
            .collect();
        for name in &new {
            orphans.insert(Arc::clone(name), now);
            self.send(Message::Orphaned(Arc::clone(name), now));
        }
        new
    }

    /// The lanes that nobody has a use for, by name.
    pub(crate) fn orphans(&self) -> Vec<Orphan> {
        let registry = lock(&self.registry);
        let mut orphans: Vec<_> = registry
            .orphans
            .iter()
            .filter_map(|(name, &since)| {
                let state = registry.dormant.get(name)?.clone();
                Some(Orphan { name: Arc::clone(name), since, state })
            })
            .collect();
        orphans.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        orphans
    }

    /// Lets go of the state of a lane that nobody uses. `false` where somebody does, or there is none.
    pub(crate) fn forget(&self, lane: &str) -> bool {
        let mut registry = lock(&self.registry);
        registry.orphans.remove(lane);
        let Some((name, _)) = registry.dormant.remove_entry(lane) else { return false };
        self.send(Message::Forgotten(name));
        true
    }

    /// Lets go of the states of those lanes that nobody uses and that are over.
    pub(crate) fn forget_all(&self, is_over: impl Fn(&str) -> bool) {
        let over: Vec<Arc<str>> =
            lock(&self.registry).dormant.keys().filter(|name| is_over(name)).map(Arc::clone).collect();
        for name in over {
            self.forget(&name);
        }
    }

    /// Whether a lane of this name may have had a state that is damaged: where it begins without one, it would pass over what it had
    /// not delivered.
    pub(crate) fn may_have_lost(&self, lane: &str) -> bool {
        self.has_gaps && !self.knows(lane)
    }

    /// Whether a lane of this name has a state.
    pub(crate) fn knows(&self, lane: &str) -> bool {
        let registry = lock(&self.registry);
        registry.awake.contains_key(lane) || registry.dormant.contains_key(lane)
    }

    /// Lanes that have a state, used or not.
    pub(crate) fn lanes(&self) -> usize {
        let registry = lock(&self.registry);
        registry.awake.len() + registry.dormant.len()
    }

    /// Hands entries over. Call it under the lock of the state that they are about.
    pub(crate) fn hand_over(&self, lane: &Arc<str>, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.send(Message::Entries(Arc::clone(lane), entries, None));
        }
    }

    /// Hands a lane's whole state over. Call it under the same lock.
    pub(crate) fn hand_over_snapshot(&self, lane: &Arc<str>, mut snapshot: Snapshot) {
        // The snapshot comes behind its keys: where a crash leaves these alone, the one before still holds.
        while snapshot.keys.len() > KEYS_MAX {
            self.send(Message::Keys(Arc::clone(lane), snapshot.keys.split_first(KEYS_MAX)));
        }
        self.send(Message::Snapshot(Arc::clone(lane), Box::new(snapshot)));
    }

    /// Hands entries over and answers when they are written.
    pub(crate) fn write(
        &self,
        lane: &Arc<str>,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<(), BrokerError>> + use<> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Entries(Arc::clone(lane), entries, Some(done)));
        answered(answer)
    }

    /// Answers when everything that was handed over before is written.
    pub(crate) fn written(&self) -> impl Future<Output = Result<(), BrokerError>> + use<> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Barrier(done));
        answered(answer)
    }

    /// Writes every lane's state; answers when it is written.
    pub(crate) fn snapshot_all(&self) -> impl Future<Output = Result<(), BrokerError>> + use<> {
        let (done, answer) = oneshot::channel();
        self.send(Message::SnapshotAll(done));
        answered(answer)
    }

    /// Has every lane hand its state over. Dormant states go the same way, so that they come behind the last entries of their lane.
    fn ask_for_snapshots(&self) {
        let mut registry = lock(&self.registry);
        registry.awake.retain(|_, lane| lane.strong_count() > 0);
        for (lane, state) in &registry.dormant {
            self.hand_over_snapshot(lane, state.clone());
            if let Some(&since) = registry.orphans.get(lane) {
                self.send(Message::Orphaned(Arc::clone(lane), since));
            }
        }
        for (name, lane) in &registry.awake {
            if let Some(lane) = lane.upgrade() {
                lane.with_snapshot(&mut |state| self.hand_over_snapshot(name, state));
            }
        }
    }

    /// Why nothing may be delivered now, if so.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.failing.load(Ordering::Relaxed) > 0 {
            return Some("the journal of settlements cannot be written");
        }
        (self.backlog.load(Ordering::Relaxed) > BACKLOG_MAX).then_some("the journal of settlements is behind")
    }

    fn send(&self, message: Message) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        let is_awaited = message.is_awaited();
        if self.sender.send(message).is_err() {
            tracing::error!("the journal task is gone; settlements are no longer kept");
            self.failing.fetch_add(1, Ordering::Relaxed);
        }
        if is_awaited {
            self.awaited.notify_one();
        }
    }
}

async fn answered(answer: oneshot::Receiver<Result<(), AppendError>>) -> Result<(), BrokerError> {
    let failed = |source| BrokerError::Append { log: JOURNAL_LOG.to_owned(), source };
    answer.await.unwrap_or(Err(AppendError::Closed)).map_err(failed)
}

/// The task that owns the log.
pub(crate) struct JournalTask {
    log: Arc<dyn Log>,
    journal: Arc<Journal>,
    receiver: mpsc::UnboundedReceiver<Message>,
    written: u64,
    snapshot_bytes: u64,
}

impl JournalTask {
    /// Appends what is handed over until `stop` is set and nothing waits. Where that panics, nothing is delivered until a whole snapshot is
    /// written: what was being appended then is not known.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut is_known = true;
        while let Err(error) = contained(self.keep(&mut stop, is_known)).await {
            tracing::error!(%error, "the journal of settlements begins anew");
            self.journal.failing.store(1, Ordering::Relaxed);
            is_known = false;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn keep(&mut self, stop: &mut watch::Receiver<bool>, is_known: bool) {
        if !is_known {
            self.snapshot_until_written(stop).await;
        }
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = self.receiver.recv_many(&mut messages, GATHER_MAX) => if received == 0 { return },
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
            if !messages.iter().any(Message::is_awaited) {
                self.gather(&mut messages, stop).await;
            }
            self.journal.backlog.fetch_sub(messages.len() as u64, Ordering::Relaxed);
            let outcome = self.append(&mut messages).await;
            if outcome.is_err() || self.written > SNAPSHOT_EVERY_BYTES.max(2 * self.snapshot_bytes) {
                self.snapshot_until_written(stop).await;
            }
        }
    }

    /// Waits for more, unless somebody waits for what there is.
    async fn gather(&mut self, messages: &mut Vec<Message>, stop: &mut watch::Receiver<bool>) {
        tokio::select! {
            biased;
            () = self.journal.awaited.notified() => {}
            () = tokio::time::sleep(GATHER_FOR) => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        while messages.len() < GATHER_MAX
            && let Ok(message) = self.receiver.try_recv()
        {
            messages.push(message);
        }
    }

    async fn append(&mut self, messages: &mut Vec<Message>) -> Result<(), AppendError> {
        let mut records = Vec::with_capacity(messages.len());
        let mut waiting = Vec::new();
        let mut snapshots_wanted = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Entries(lane, entries, done) => {
                    records.push(encode(&JournalRecord::Entries((&*lane).into(), entries)));
                    waiting.extend(done);
                }
                Message::Snapshot(lane, snapshot) => {
                    records.push(encode(&JournalRecord::Snapshot((&*lane).into(), snapshot)));
                }
                Message::Keys(lane, keys) => {
                    records.push(encode(&JournalRecord::Keys((&*lane).into(), keys)));
                }
                Message::Orphaned(lane, since) => {
                    records.push(encode(&JournalRecord::Orphaned((&*lane).into(), since)));
                }
                Message::Forgotten(lane) => {
                    records.push(encode(&JournalRecord::Forgotten((&*lane).into())));
                }
                Message::SnapshotAll(done) => snapshots_wanted.push(done),
                Message::Barrier(done) => waiting.push(done),
            }
        }
        self.written += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        let outcome = self.log.append(records).await.map(|_| ());
        for done in waiting {
            // Whoever asked may have gone; the entries are written all the same.
            drop(done.send(outcome.clone()));
        }
        if let Err(error) = &outcome {
            tracing::error!(%error, "the journal of settlements cannot be written; no trigger delivers until it can");
        }
        for done in snapshots_wanted {
            let written = self.snapshot().await;
            drop(done.send(written));
        }
        outcome
    }

    /// After a refused write only a whole snapshot makes the log true again.
    async fn snapshot_until_written(&mut self, stop: &mut watch::Receiver<bool>) {
        while let Err(error) = self.snapshot().await {
            self.journal.failing.store(1, Ordering::Relaxed);
            tracing::error!(%error, "no snapshot of the settlements can be written");
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
        self.journal.failing.store(0, Ordering::Relaxed);
    }

    async fn snapshot(&mut self) -> Result<(), AppendError> {
        let begin = *self.log.durable_end().borrow();
        self.journal.ask_for_snapshots();
        let mut records = Vec::new();
        let mut waiting = Vec::new();
        // What waits is in order: a lane's entries from before its snapshot, the snapshot, its entries from after.
        while let Ok(message) = self.receiver.try_recv() {
            self.journal.backlog.fetch_sub(1, Ordering::Relaxed);
            match message {
                Message::Entries(lane, entries, done) => {
                    records.push(encode(&JournalRecord::Entries((&*lane).into(), entries)));
                    waiting.extend(done);
                }
                Message::Snapshot(lane, state) => {
                    records.push(encode(&JournalRecord::Snapshot((&*lane).into(), state)));
                }
                Message::Keys(lane, keys) => {
                    records.push(encode(&JournalRecord::Keys((&*lane).into(), keys)));
                }
                Message::Orphaned(lane, since) => {
                    records.push(encode(&JournalRecord::Orphaned((&*lane).into(), since)));
                }
                Message::Forgotten(lane) => {
                    records.push(encode(&JournalRecord::Forgotten((&*lane).into())));
                }
                Message::SnapshotAll(done) | Message::Barrier(done) => waiting.push(done),
            }
        }
        let outcome = self.append_in_parts(records).await;
        for done in waiting {
            drop(done.send(outcome.clone()));
        }
        outcome?;
        self.written = 0;
        self.log.trim(begin).await.map(|_| ())
    }

    /// Appends any number of records, in order. A failure half-way leaves a log that is replayed to an earlier state of some lanes,
    /// and the whole is tried again.
    async fn append_in_parts(&mut self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        let (mut part, mut part_bytes, mut bytes) = (Vec::new(), 0, 0);
        for record in records {
            if part_bytes + record.payload.len() > APPEND_BYTES && !part.is_empty() {
                self.log.append(std::mem::take(&mut part)).await?;
                part_bytes = 0;
            }
            part_bytes += record.payload.len();
            bytes += record.payload.len() as u64;
            part.push(record);
        }
        self.snapshot_bytes = bytes;
        self.log.append(part).await.map(|_| ())
    }
}

fn encode(record: &JournalRecord<'_>) -> NewRecord {
    let payload = rmp_serde::to_vec(record).expect("plain data always encodes into memory");
    NewRecord { payload: Bytes::from(payload), fingerprint: None }
}

/// What the records of the journal come to, one after the other.
#[derive(Debug, Default)]
struct Replay {
    states: BTreeMap<Arc<str>, Snapshot>,
    /// Keys that came before the snapshot that they belong to.
    ahead: BTreeMap<Arc<str>, Keys>,
    /// Since when nobody has a use for a lane, where that was noted.
    orphans: BTreeMap<Arc<str>, Timestamp>,
}

impl Replay {
    fn apply(&mut self, record: &[u8]) -> Result<(), rmp_serde::decode::Error> {
        match rmp_serde::from_slice::<JournalRecord<'_>>(record)? {
            JournalRecord::Keys(lane, keys) => self.ahead.entry((&*lane).into()).or_default().extend(&keys),
            JournalRecord::Snapshot(lane, mut state) => {
                self.orphans.remove(&*lane);
                if let Some(mut keys) = self.ahead.remove(&*lane) {
                    keys.extend(&state.keys);
                    state.keys = keys;
                }
                self.states.insert((&*lane).into(), *state);
            }
            JournalRecord::Orphaned(lane, since) => drop(self.orphans.insert((&*lane).into(), since)),
            JournalRecord::Forgotten(lane) => {
                self.orphans.remove(&*lane);
                self.states.remove(&*lane);
            }
            JournalRecord::Entries(lane, entries) => {
                let state = self.states.entry((&*lane).into()).or_default();
                entries.iter().for_each(|entry| state.apply(entry));
            }
        }
        Ok(())
    }
}

async fn replay(log: &dyn Log) -> Result<Replay, BrokerError> {
    let read_failed = |source| BrokerError::Read { log: JOURNAL_LOG.to_owned(), source };
    let mut replay = Replay::default();
    let mut from = log.status().range.start;
    loop {
        let limit = ReadLimit { records: 4096, bytes: 4 << 20 };
        let records = read_what_is_left(log, from, limit).await.map_err(read_failed)?;
        let Some(last) = records.last() else {
            replay.states.values_mut().for_each(Snapshot::cut_responses);
            return Ok(replay);
        };
        from = last.offset.plus(1);
        for record in &records {
            let applied = replay.apply(&record.payload);
            applied.map_err(|source| BrokerError::Journal { offset: record.offset, source })?;
        }
    }
}

/// The states that these records of a journal come to, up to the first that is none: for the fuzz targets.
pub(crate) fn replayed(records: &[&[u8]]) -> Vec<Snapshot> {
    let mut replay = Replay::default();
    let _first_bad = records.iter().try_for_each(|record| replay.apply(record));
    replay.states.into_values().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_storage::DiskStore;
    use eventail_storage::disk_io::OsDisk;
    use eventail_storage::log::{Durability, LogOptions};
    use eventail_wire::Offset;

    struct Lane(Mutex<Snapshot>);

    impl Journaled for Lane {
        fn with_snapshot(&self, write: &mut dyn FnMut(Snapshot)) {
            write(lock(&self.0).clone());
        }

        fn renamed(&self, _: &Arc<str>, write: &mut dyn FnMut(Snapshot)) {
            self.with_snapshot(write);
        }
    }

    struct Rig {
        store: DiskStore,
        journal: Arc<Journal>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Rig {
        async fn open(dir: &std::path::Path) -> Self {
            let clock = Arc::new(crate::clock::SystemClock);
            let (store, _) = DiskStore::open(dir, Arc::new(OsDisk), clock).unwrap();
            let options = LogOptions { durability: Durability::Buffered, ..LogOptions::default() };
            let log = store.open_or_create(JOURNAL_LOG, options).unwrap();
            let (journal, task) = Journal::open(log).await.unwrap();
            let stop = watch::Sender::new(false);
            let task = tokio::spawn(task.run(stop.subscribe()));
            Self { store, journal, stop, task }
        }

        async fn close(self) {
            self.stop.send_replace(true);
            self.task.await.unwrap();
            self.store.close();
        }
    }

    fn delivered(first: u64) -> Entry {
        Entry::Delivered { first: Offset(first), count: 1 }
    }

    #[tokio::test]
    async fn a_snapshot_larger_than_a_batch_of_the_log_is_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(dir.path()).await;
        // 36 lanes of 2 MiB: more than the 64 MiB that one append may have.
        let reason = Some("x".repeat(2 << 20));
        let lanes: Vec<_> = (0..36)
            .map(|number| {
                let name: Arc<str> = format!("lane-{number}").into();
                let state = Snapshot { reason: reason.clone(), ..Snapshot::new(Offset(number)) };
                let lane = Arc::new(Lane(Mutex::new(state)));
                rig.journal.register(&name, &lane);
                lane
            })
            .collect();
        rig.journal.snapshot_all().await.unwrap();
        assert_eq!(rig.journal.refusal(), None);
        rig.close().await;
        drop(lanes);
        let rig = Rig::open(dir.path()).await;
        for number in 0..36 {
            let state = rig.journal.state_of(&format!("lane-{number}")).unwrap();
            assert_eq!((state.cursor, &state.reason), (Offset(number), &reason));
        }
        rig.close().await;
    }

    #[tokio::test]
    async fn entries_of_a_lane_that_fell_asleep_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(dir.path()).await;
        let name: Arc<str> = "lane".into();
        let lane = Arc::new(Lane(Mutex::new(Snapshot::new(Offset(0)))));
        rig.journal.register(&name, &lane);
        for first in 0..3 {
            lock(&lane.0).apply(&delivered(first));
            rig.journal.hand_over(&name, vec![delivered(first)]);
        }
        // Nothing was awaited: the entries still wait when the dormant state is asked for.
        rig.journal.sleep(&name, &*lane);
        rig.journal.snapshot_all().await.unwrap();
        let asleep = lock(&lane.0).clone();
        rig.close().await;
        let rig = Rig::open(dir.path()).await;
        assert_eq!(rig.journal.state_of(&name), Some(asleep));
        rig.close().await;
    }

    #[tokio::test]
    async fn a_lane_with_as_many_long_answers_as_may_wait_is_written() {
        use eventail_triggers::outcome::{Response, RetryClass};
        use eventail_triggers::policy::DeliveryPolicy;
        use eventail_triggers::subscription::{Ending, Subscription};
        use eventail_wire::{Timestamp, limits};

        struct Waiting(Mutex<Subscription>);
        impl Journaled for Waiting {
            fn with_snapshot(&self, write: &mut dyn FnMut(Snapshot)) {
                write(lock(&self.0).snapshot());
            }

            fn renamed(&self, _: &Arc<str>, write: &mut dyn FnMut(Snapshot)) {
                self.with_snapshot(write);
            }
        }

        let response = Response {
            body: "b".repeat(limits::RESPONSE_SNIPPET_BYTES_MAX),
            error: "e".repeat(limits::RESPONSE_SNIPPET_BYTES_MAX),
            log: "l".repeat(limits::LOG_TAIL_BYTES_MAX),
            ..Response::default()
        };
        let policy = DeliveryPolicy { breaker_failures: u32::MAX, ..DeliveryPolicy::default() };
        let waiting_max = policy.parked_max;
        let mut subscription = Subscription::new(policy, Offset(0), 1);
        let mut leases = Vec::new();
        for offset in 0.. {
            if subscription.room() == 0 {
                break;
            }
            subscription.offer(Timestamp(0), Offset(offset), Timestamp(0), None, 1);
            subscription.lease(Timestamp(0), usize::MAX, &mut leases);
            for lease in leases.drain(..) {
                let response = response.clone();
                let ending = Ending::Retry { class: RetryClass::Failed, after_ms: Some(60_000), response };
                subscription.settle(Timestamp(0), lease.token, ending, &mut Vec::new()).unwrap();
            }
        }
        assert!(subscription.retrying() >= waiting_max);
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(dir.path()).await;
        let name: Arc<str> = "lane".into();
        let lane = Arc::new(Waiting(Mutex::new(subscription)));
        rig.journal.register(&name, &lane);
        rig.journal.snapshot_all().await.unwrap();
        assert_eq!(rig.journal.refusal(), None);
        rig.close().await;
        let rig = Rig::open(dir.path()).await;
        let state = rig.journal.state_of(&name).unwrap();
        assert_eq!(state.retries.len(), lock(&lane.0).retrying());
        let again = Subscription::restore(DeliveryPolicy::default(), state, 1);
        assert_eq!(again.last_failure(), Some(&response), "what people are told is kept");
        rig.close().await;
    }
}
