//! A load whose every record is known by its log and offset, and the comparison of a reopened store with what was promised.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Clock, Code, Offset};

use super::decisions::Dice;
use super::recorder::Recorder;
use crate::disk::{DiskStore, OpenError};
use crate::disk_io::Disk;
use crate::log::{
    AppendError, Appended, BoxFuture, Deduplication, Durability, Fingerprint, Log, LogOptions, NewRecord,
    ReadError, ReadLimit,
};

/// Fingerprints are remembered for longer than any of this takes.
const WINDOW_MS: u64 = 86_400_000;
const READ_LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20 };
/// Appends between trims, about.
const TRIM_EVERY: u64 = 40;

/// What was said to whoever appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Records below `end` were handed to the log; they may be there.
    Attempted {
        /// Which log.
        log: u32,
        /// Behind the last one.
        end: u64,
    },
    /// Records below `end` are safe.
    Acknowledged {
        /// Which log.
        log: u32,
        /// Behind the last one.
        end: u64,
    },
    /// Records below `before` may go, but only once those below `written` are safe.
    Trimmed {
        /// Which log.
        log: u32,
        /// The first one that has to stay.
        before: u64,
        /// What had been answered by then.
        written: u64,
    },
}

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Decides what goes where, and how large it is.
    pub seed: u64,
    /// Calls of `append`.
    pub appends: u64,
    /// Logs whose appends are answered when they are synced.
    pub sync_logs: u32,
    /// Logs whose appends are answered before.
    pub buffered_logs: u32,
    /// A segment is closed before it would grow past this.
    pub segment_bytes: u64,
    /// Appends that are under way at once.
    pub in_flight: usize,
    /// The most bytes of a record, but for a few large ones.
    pub record_bytes_max: u64,
    /// One of so many records is larger than 128 KiB; 0 for none.
    pub large_one_in: u64,
    /// How often the store is closed and opened again.
    pub restarts: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            appends: 300,
            sync_logs: 2,
            buffered_logs: 1,
            segment_bytes: 16 << 10,
            in_flight: 16,
            record_bytes_max: 1_200,
            large_one_in: 400,
            restarts: 2,
        }
    }
}

/// What is missing or wrong after a power cut or a crash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The store or a log does not open.
    #[error("it does not open: {0}")]
    Open(#[from] OpenError),
    /// A log is gone.
    #[error("log {log} is gone, and {acknowledged} of its records had been acknowledged")]
    Gone {
        /// Which.
        log: u32,
        /// How many had been.
        acknowledged: u64,
    },
    /// Acknowledged records are missing at the end.
    #[error("log {log} ends at {end}, and {acknowledged} records had been acknowledged")]
    Missing {
        /// Which log.
        log: u32,
        /// Where it ends.
        end: u64,
        /// What had been acknowledged.
        acknowledged: u64,
    },
    /// There is more than was ever handed in.
    #[error("log {log} ends at {end}, and only {attempted} records had been handed in")]
    Beyond {
        /// Which log.
        log: u32,
        /// Where it ends.
        end: u64,
        /// What had been handed in.
        attempted: u64,
    },
    /// Records went before what was to take their place was safe, or nobody had let them go.
    #[error("log {log} begins at {start}, which nobody had allowed by then")]
    Begin {
        /// Which log.
        log: u32,
        /// Where it begins.
        start: u64,
    },
    /// A record is not what was appended.
    #[error("log {log}: what is read at {offset} is not what was appended there")]
    Content {
        /// Which log.
        log: u32,
        /// Where.
        offset: u64,
    },
    /// A record that is there cannot be read.
    #[error("log {log} cannot be read: {source}")]
    Read {
        /// Which log.
        log: u32,
        /// Why not.
        source: ReadError,
    },
    /// A power cut was taken for damage.
    #[error("log {log} says that records are lost at {offset}")]
    Damage {
        /// Which log.
        log: u32,
        /// Where.
        offset: u64,
    },
    /// It takes no records.
    #[error("log {log} refuses appends: {code}")]
    Refused {
        /// Which log.
        log: u32,
        /// With which code.
        code: Code,
    },
    /// A repeat was not recognised, or a new record was taken for one.
    #[error("log {log}: the id of offset {offset} was answered with {answered:?}")]
    Repeat {
        /// Which log.
        log: u32,
        /// Whose id.
        offset: u64,
        /// The answer.
        answered: Option<Appended>,
    },
}

/// The record at an offset: it begins with its fingerprint.
#[must_use]
pub fn payload(options: &LoadOptions, log: u32, offset: u64) -> Bytes {
    let place = u64::from(log) << 48 | offset;
    let mut dice = Dice::new(options.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let is_large = options.large_one_in > 0 && dice.next().is_multiple_of(options.large_one_in);
    let length = if is_large { 140_000 } else { dice.below(options.record_bytes_max) };
    // Spread as a hash is; no two places have the same.
    let high = place.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut bytes = (u128::from(high) << 64 | u128::from(place)).to_le_bytes().to_vec();
    let length = 16 + usize::try_from(length).unwrap_or(0);
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn fingerprint_of(payload: &Bytes) -> Option<Fingerprint> {
    payload.first_chunk().map(|bytes| Fingerprint::from_le_bytes(*bytes))
}

fn record(options: &LoadOptions, log: u32, offset: u64) -> NewRecord {
    let payload = payload(options, log, offset);
    NewRecord { fingerprint: fingerprint_of(&payload), payload }
}

impl LoadOptions {
    /// How many logs there are.
    #[must_use]
    pub fn logs(&self) -> u32 {
        self.sync_logs + self.buffered_logs
    }

    fn is_sync(&self, log: u32) -> bool {
        log < self.sync_logs
    }

    fn log_options(&self, log: u32) -> LogOptions {
        let deduplication =
            Deduplication { window_ms: WINDOW_MS, ids_max: 1 << 20, fingerprint: fingerprint_of };
        LogOptions {
            durability: if self.is_sync(log) { Durability::Sync } else { Durability::Buffered },
            buffered_sync_ms: 5,
            segment_bytes: self.segment_bytes,
            deduplication: Some(deduplication),
            ..LogOptions::default()
        }
    }

    fn open_logs(&self, store: &DiskStore) -> Result<Vec<Arc<dyn Log>>, OpenError> {
        (0..self.logs()).map(|log| store.open_or_create(&name(log), self.log_options(log))).collect()
    }
}

fn name(log: u32) -> String {
    format!("log-{log}")
}

struct UnderWay {
    log: u32,
    end: u64,
    answer: BoxFuture<'static, Result<Vec<Appended>, AppendError>>,
}

/// When an answer is a promise that the record is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safe {
    /// From a power cut: where its log says that it answers when it has synced.
    FromPowerCuts,
    /// From the end of the process: always, since what was written outlives it.
    FromKills,
}

struct Load<'a> {
    options: &'a LoadOptions,
    safe: Safe,
    tell: &'a mut dyn FnMut(Promise),
    dice: Dice,
    /// By log: what was handed in, and what was answered.
    attempted: Vec<u64>,
    answered: Vec<u64>,
    under_way: VecDeque<UnderWay>,
}

/// Appends, trims and restarts, and records it all together with what was promised. Answers how many records were acknowledged.
///
/// # Errors
/// The store does not open, or an append fails: what the disk below the recorder says.
pub async fn record_load(
    recorder: &Recorder,
    dir: &Path,
    clock: &Arc<dyn Clock>,
    options: &LoadOptions,
) -> Result<u64, Loss> {
    let mut tell = |promise| recorder.promise(promise);
    let mut acknowledged = 0;
    for life in 0..=options.restarts {
        let lives = options.restarts + 1;
        let appends = options.appends * (life + 1) / lives - options.appends * life / lives;
        let options = LoadOptions { appends, ..*options };
        let disk: Arc<dyn Disk> = Arc::new(recorder.clone());
        acknowledged += run_load(disk, dir, clock, &options, life, Safe::FromPowerCuts, &mut tell).await?;
    }
    Ok(acknowledged)
}

/// One life of a process: goes on where the logs end, appends and trims, and tells every promise before anybody could rely on it.
/// Answers how many records were acknowledged.
///
/// # Errors
/// The store does not open, or an append fails.
pub async fn run_load(
    disk: Arc<dyn Disk>,
    dir: &Path,
    clock: &Arc<dyn Clock>,
    options: &LoadOptions,
    life: u64,
    safe: Safe,
    tell: &mut dyn FnMut(Promise),
) -> Result<u64, Loss> {
    let (store, _) = DiskStore::open(dir, disk, Arc::clone(clock))?;
    let logs = options.open_logs(&store)?;
    let ends: Vec<u64> = logs.iter().map(|log| log.status().range.end.0).collect();
    for (log, &end) in (0..).zip(&ends) {
        tell(Promise::Attempted { log, end });
        // An earlier life trimmed it.
        let start = logs[log as usize].status().range.start.0;
        tell(Promise::Trimmed { log, before: start, written: end });
        // What was found at the start is synced before the log is used.
        tell(Promise::Acknowledged { log, end });
    }
    let mut load = Load {
        options,
        safe,
        tell,
        dice: Dice::new(options.seed ^ life.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        attempted: ends.clone(),
        answered: ends.clone(),
        under_way: VecDeque::new(),
    };
    for _ in 0..options.appends {
        load.append(&logs).await?;
    }
    load.finish(0).await?;
    let acknowledged = load.answered.iter().sum::<u64>() - ends.iter().sum::<u64>();
    store.close();
    Ok(acknowledged)
}

impl Load<'_> {
    async fn append(&mut self, logs: &[Arc<dyn Log>]) -> Result<(), Loss> {
        let log = u32::try_from(self.dice.below(u64::from(self.options.logs()))).unwrap_or(0);
        let index = log as usize;
        let first = self.attempted[index];
        let end = first + 1 + self.dice.below(4);
        let records = (first..end).map(|offset| record(self.options, log, offset)).collect();
        self.attempted[index] = end;
        // Before it is handed in: it may be on the disk before this thread runs again.
        (self.tell)(Promise::Attempted { log, end });
        self.under_way.push_back(UnderWay { log, end, answer: logs[index].append(records) });
        self.finish(self.options.in_flight).await?;
        if self.dice.next().is_multiple_of(TRIM_EVERY) {
            let written = self.answered[index];
            let before = written.saturating_sub(self.dice.below(60));
            (self.tell)(Promise::Trimmed { log, before, written });
            let trimmed = logs[index].trim(Offset(before)).await;
            trimmed.map_err(|error| Loss::Refused { log, code: error.code() })?;
        }
        Ok(())
    }

    /// Waits until no more than `most` appends are under way.
    async fn finish(&mut self, most: usize) -> Result<(), Loss> {
        while self.under_way.len() > most {
            let Some(UnderWay { log, end, answer }) = self.under_way.pop_front() else { break };
            let appended = answer.await.map_err(|error| Loss::Refused { log, code: error.code() })?;
            let last = appended.last().copied();
            if last != Some(Appended { offset: Offset(end - 1), duplicate: false }) {
                return Err(Loss::Repeat { log, offset: end - 1, answered: last });
            }
            self.answered[log as usize] = end;
            if self.safe == Safe::FromKills || self.options.is_sync(log) {
                (self.tell)(Promise::Acknowledged { log, end });
            }
        }
        Ok(())
    }
}

/// What was promised of one log by a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    attempted: u64,
    acknowledged: u64,
    /// What may be gone, and what has to be there if it is.
    trims: Vec<(u64, u64)>,
}

impl Standing {
    /// Takes promises over, by log.
    pub(super) fn note(standings: &mut Vec<Self>, promise: Promise) {
        let (Promise::Attempted { log, .. }
        | Promise::Acknowledged { log, .. }
        | Promise::Trimmed { log, .. }) = promise;
        let index = log as usize;
        if standings.len() <= index {
            standings.resize_with(index + 1, Self::default);
        }
        let standing = &mut standings[index];
        match promise {
            Promise::Attempted { end, .. } => standing.attempted = standing.attempted.max(end),
            Promise::Acknowledged { end, .. } => standing.acknowledged = standing.acknowledged.max(end),
            Promise::Trimmed { before, written, .. } => standing.trims.push((before, written)),
        }
    }
}

/// Opens what is in a folder and compares it with what was promised: every record that is there, and that appends go on behind it.
/// Answers how many records were compared.
///
/// # Errors
/// What is missing or wrong.
pub async fn verify(
    disk: Arc<dyn Disk>,
    dir: &Path,
    clock: Arc<dyn Clock>,
    options: &LoadOptions,
    promises: impl IntoIterator<Item = Promise>,
) -> Result<u64, Loss> {
    let mut standings = Vec::new();
    promises.into_iter().for_each(|promise| Standing::note(&mut standings, promise));
    verify_standings(disk, dir, clock, options, &standings).await
}

pub(super) async fn verify_standings(
    disk: Arc<dyn Disk>,
    dir: &Path,
    clock: Arc<dyn Clock>,
    options: &LoadOptions,
    standings: &[Standing],
) -> Result<u64, Loss> {
    let (store, report) = DiskStore::open(dir, disk, clock)?;
    let mut compared = 0;
    for (log, standing) in (0..).zip(standings) {
        if !report.names.contains(&name(log)) {
            if standing.acknowledged > 0 {
                return Err(Loss::Gone { log, acknowledged: standing.acknowledged });
            }
            continue;
        }
        let opened = store.open_or_create(&name(log), options.log_options(log))?;
        compared += verify_log(&*opened, log, options, standing).await?;
    }
    store.close();
    Ok(compared)
}

async fn verify_log(
    opened: &dyn Log,
    log: u32,
    options: &LoadOptions,
    standing: &Standing,
) -> Result<u64, Loss> {
    let status = opened.status();
    let (start, end) = (status.range.start.0, status.range.end.0);
    if let Some(lost) = status.lost.first() {
        return Err(Loss::Damage { log, offset: lost.first.0 });
    }
    if let Some(code) = status.refusal {
        return Err(Loss::Refused { log, code });
    }
    if end < standing.acknowledged {
        return Err(Loss::Missing { log, end, acknowledged: standing.acknowledged });
    }
    if end > standing.attempted {
        return Err(Loss::Beyond { log, end, attempted: standing.attempted });
    }
    let allowed = |&(before, written): &(u64, u64)| before >= start && written <= end;
    if start > 0 && !standing.trims.iter().any(allowed) {
        return Err(Loss::Begin { log, start });
    }
    let mut next = start;
    while next < end {
        let read =
            opened.read(Offset(next), READ_LIMIT).await.map_err(|source| Loss::Read { log, source })?;
        if read.is_empty() {
            return Err(Loss::Content { log, offset: next });
        }
        for record in read {
            if record.offset != Offset(next) || record.payload != payload(options, log, next) {
                return Err(Loss::Content { log, offset: next });
            }
            next += 1;
        }
    }
    go_on(opened, log, options, start, end).await?;
    Ok(end - start)
}

/// Repeats are recognised, and what was never appended is taken at the end.
async fn go_on(opened: &dyn Log, log: u32, options: &LoadOptions, start: u64, end: u64) -> Result<(), Loss> {
    let mut asked: Vec<u64> = [start, start.midpoint(end), end.saturating_sub(1)].into();
    asked.retain(|offset| (start..end).contains(offset));
    asked.push(end);
    for offset in asked {
        let answered = opened.append(vec![record(options, log, offset)]).await;
        let answered = answered.map_err(|error| Loss::Refused { log, code: error.code() })?.pop();
        if answered != Some(Appended { offset: Offset(offset), duplicate: offset < end }) {
            return Err(Loss::Repeat { log, offset, answered });
        }
    }
    Ok(())
}
