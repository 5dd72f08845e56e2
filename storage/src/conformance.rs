//! What every engine of logs must keep, as a suite that an engine's tests run: see [`run`].
//!
//! It asks nothing that is not in the contract of [`crate::log`], and it looks at an engine through that alone. A statement
//! that does not hold panics with what was found.

#![allow(clippy::missing_panics_doc)] // To panic is what a suite is for.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use eventail_wire::{Offset, Timestamp};

use crate::log::{
    AppendError, Appended, BoxFuture, Deduplication, Durability, Fingerprint, Log, LogOptions, NewRecord,
    ReadError, ReadLimit, Record,
};

/// An engine under test.
pub trait Engine {
    /// Opens a log, or creates it.
    fn open(&self, name: &str, options: LogOptions) -> Arc<dyn Log>;

    /// Closes everything and starts anew on what was stored. Logs from before are not used again.
    fn restart(&mut self) -> BoxFuture<'_, ()>;

    /// Moves the clock that the engine was given.
    fn advance_ms(&self, milliseconds: u64);

    /// What that clock shows.
    fn now(&self) -> Timestamp;
}

const LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20 };
const WINDOW_MS: u64 = 60_000;

/// Runs every statement against the engine, each on a log of its own.
pub async fn run(engine: &mut dyn Engine) {
    offsets_are_dense_and_in_the_order_of_appends(engine).await;
    a_read_keeps_its_limits_but_always_makes_progress(engine).await;
    the_end_has_moved_when_an_append_is_answered(engine).await;
    concurrent_appends_stay_whole(engine).await;
    a_repeat_within_the_window_is_answered_with_the_first_offset(engine).await;
    what_was_acknowledged_survives_a_restart(engine).await;
    trimming_lets_go_of_the_oldest_and_says_so(engine).await;
    retention_by_age_and_size_leaves_the_newest(engine).await;
    an_offset_is_found_by_time(engine).await;
    an_append_that_is_too_large_changes_nothing(engine).await;
}

fn plain(payload: &str) -> NewRecord {
    NewRecord { payload: Bytes::copy_from_slice(payload.as_bytes()), fingerprint: None }
}

/// A record whose payload tells its fingerprint.
fn with_id(id: &str) -> NewRecord {
    let payload = Bytes::copy_from_slice(id.as_bytes());
    NewRecord { fingerprint: fingerprint_of(&payload), payload }
}

fn fingerprint_of(payload: &Bytes) -> Option<Fingerprint> {
    Some(
        payload
            .iter()
            .fold(7, |sum: u128, &byte| sum.wrapping_mul(0x1_0000_01b3).wrapping_add(u128::from(byte))),
    )
}

fn deduplicated() -> LogOptions {
    let deduplication = Deduplication { window_ms: WINDOW_MS, ids_max: 1_000, fingerprint: fingerprint_of };
    LogOptions { deduplication: Some(deduplication), ..LogOptions::default() }
}

async fn append(log: &dyn Log, records: Vec<NewRecord>) -> Vec<Appended> {
    log.append(records).await.expect("the append is taken")
}

/// Reads everything from `from` on, from memory where possible as well.
async fn read_all(log: &dyn Log, from: Offset) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = from;
    loop {
        let read = log.read(next, LIMIT).await.expect("the log is readable");
        if let Some(tail) = log.read_tail(next, LIMIT) {
            assert_eq!(tail, read, "memory tells what the log tells");
        }
        let Some(last) = read.last() else { return records };
        next = last.offset.plus(1);
        records.extend(read);
    }
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

async fn offsets_are_dense_and_in_the_order_of_appends(engine: &mut dyn Engine) {
    for (name, durability) in [("order-sync", Durability::Sync), ("order-buffered", Durability::Buffered)] {
        let log = engine.open(name, LogOptions { durability, ..LogOptions::default() });
        assert_eq!(log.name(), name);
        assert_eq!(append(&*log, Vec::new()).await, []);
        assert_eq!(log.status().range, Offset(0)..Offset(0));
        assert_eq!(log.read(Offset(0), LIMIT).await.expect("an empty log is readable"), []);
        let mut expected = Vec::new();
        for round in 0..20_u64 {
            let batch: Vec<_> = (0..=round % 3).map(|place| format!("{round}.{place}")).collect();
            let appended = append(&*log, batch.iter().map(|payload| plain(payload)).collect()).await;
            for (place, appended) in appended.iter().enumerate() {
                let offset = Offset((expected.len() + place) as u64);
                assert_eq!(*appended, Appended { offset, duplicate: false });
            }
            expected.extend(batch);
        }
        let records = read_all(&*log, Offset(0)).await;
        assert_eq!(payloads(&records), expected);
        assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == Offset(offset)));
        assert_eq!(payloads(&read_all(&*log, Offset(17)).await), expected[17..]);
        assert_eq!(log.status().range, Offset(0)..Offset(expected.len() as u64));
        assert_eq!(log.read(Offset(9_999), LIMIT).await.expect("behind the end is nothing"), []);
    }
}

async fn a_read_keeps_its_limits_but_always_makes_progress(engine: &mut dyn Engine) {
    let log = engine.open("limits", LogOptions::default());
    let records = (0..10).map(|number| plain(&format!("{number}").repeat(100))).collect();
    append(&*log, records).await;
    let read = async |records, bytes| {
        let limit = ReadLimit { records, bytes };
        let read = log.read(Offset(2), limit).await.expect("the log is readable");
        assert_eq!(read.first().map(|record| record.offset), Some(Offset(2)));
        if let Some(tail) = log.read_tail(Offset(2), limit) {
            assert_eq!(tail, read);
        }
        read.len()
    };
    assert_eq!(read(3, 1 << 20).await, 3);
    assert_eq!(read(100, 250).await, 2);
    assert_eq!(read(100, 200).await, 2);
    assert_eq!(read(100, 1).await, 1);
    assert_eq!(read(0, 0).await, 1);
    assert_eq!(read(100, 1 << 20).await, 8);
}

async fn the_end_has_moved_when_an_append_is_answered(engine: &mut dyn Engine) {
    let log = engine.open("end", LogOptions::default());
    let mut end = log.durable_end();
    assert_eq!(*end.borrow_and_update(), Offset(0));
    append(&*log, vec![plain("a"), plain("b")]).await;
    assert!(end.has_changed().expect("the log is open"));
    assert_eq!(*end.borrow_and_update(), Offset(2));
    assert_eq!(*log.durable_end().borrow(), Offset(2));
}

async fn concurrent_appends_stay_whole(engine: &mut dyn Engine) {
    let log = engine.open("concurrent", LogOptions::default());
    let appends: Vec<_> = (0..200_u32)
        .map(|number| {
            log.append((0..number % 4 + 1).map(|place| plain(&format!("{number}.{place}"))).collect())
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut answers = Vec::new();
    for append in appends {
        let appended = append.await.expect("the append is taken");
        assert!(appended.windows(2).all(|pair| pair[1].offset == pair[0].offset.plus(1)), "{appended:?}");
        assert!(appended.iter().all(|appended| seen.insert(appended.offset)), "an offset was given twice");
        answers.push(appended);
    }
    let records = read_all(&*log, Offset(0)).await;
    assert_eq!(records.len(), seen.len());
    for (number, appended) in answers.iter().enumerate() {
        for (place, appended) in appended.iter().enumerate() {
            let record = &records[usize::try_from(appended.offset.0).expect("a small offset")];
            assert_eq!(record.payload, format!("{number}.{place}"));
        }
    }
}

async fn a_repeat_within_the_window_is_answered_with_the_first_offset(engine: &mut dyn Engine) {
    let log = engine.open("repeats", deduplicated());
    let first = append(&*log, vec![with_id("a"), with_id("b"), with_id("a")]).await;
    let answers: Vec<_> = first.iter().map(|appended| (appended.offset.0, appended.duplicate)).collect();
    assert_eq!(answers, [(0, false), (1, false), (0, true)]);
    engine.advance_ms(WINDOW_MS);
    let repeat = append(&*log, vec![with_id("b"), with_id("c")]).await;
    assert_eq!((repeat[0].offset, repeat[0].duplicate), (Offset(1), true), "the last moment of the window");
    assert_eq!((repeat[1].offset, repeat[1].duplicate), (Offset(2), false));
    engine.advance_ms(1);
    let late = append(&*log, vec![with_id("b"), with_id("c"), with_id("b")]).await;
    assert_eq!((late[0].offset, late[0].duplicate), (Offset(3), false), "a moment too late");
    assert_eq!((late[1].offset, late[1].duplicate), (Offset(2), true));
    assert_eq!((late[2].offset, late[2].duplicate), (Offset(3), true));
    let unmarked = append(&*log, vec![plain("c"), plain("c")]).await;
    assert!(
        unmarked.iter().all(|appended| !appended.duplicate),
        "without a fingerprint nothing is a duplicate"
    );
    assert_eq!(payloads(&read_all(&*log, Offset(0)).await), ["a", "b", "c", "b", "c", "c"]);
    assert!(log.status().dedup_ids > 0 && log.status().dedup_bytes > 0);
}

async fn what_was_acknowledged_survives_a_restart(engine: &mut dyn Engine) {
    let expected: Vec<_> = (0..300).map(|number| format!("event {number}")).collect();
    let options = LogOptions { segment_bytes: 2_000, ..deduplicated() };
    {
        let log = engine.open("restart", options.clone());
        for ids in expected.chunks(7) {
            append(&*log, ids.iter().map(|id| with_id(id)).collect()).await;
        }
    }
    for _ in 0..2 {
        engine.restart().await;
        let log = engine.open("restart", options.clone());
        assert_eq!(*log.durable_end().borrow(), Offset(300));
        assert_eq!(payloads(&read_all(&*log, Offset(0)).await), expected);
        let repeat = append(&*log, vec![with_id("event 123")]).await;
        assert_eq!(repeat, [Appended { offset: Offset(123), duplicate: true }]);
    }
    let log = engine.open("restart", options);
    assert_eq!(append(&*log, vec![with_id("one more")]).await[0].offset, Offset(300));
}

async fn trimming_lets_go_of_the_oldest_and_says_so(engine: &mut dyn Engine) {
    let options = LogOptions { segment_bytes: 1_000, ..LogOptions::default() };
    let log = engine.open("trim", options.clone());
    for number in 0..100 {
        append(&*log, vec![plain(&format!("{number:04}").repeat(20))]).await;
    }
    let before = log.status();
    let start = log.trim(Offset(50)).await.expect("a log can be trimmed");
    assert!(start > Offset(0) && start <= Offset(50), "{start}");
    assert!(log.status().bytes < before.bytes && log.status().segments < before.segments);
    match log.read(Offset(0), LIMIT).await {
        Err(ReadError::Trimmed { asked: Offset(0), start: told }) => assert_eq!(told, start),
        other => panic!("a trimmed offset is told: {other:?}"),
    }
    assert_eq!(log.read_tail(Offset(0), LIMIT), None);
    assert_eq!(read_all(&*log, start).await.len() as u64, 100 - start.0);
    assert_eq!(log.trim(Offset(10)).await.expect("nothing to do"), start);
    let most = log.trim(Offset(100_000)).await.expect("a log can be trimmed");
    assert!(most < Offset(100), "the segment that is written stays");
    engine.restart().await;
    let log = engine.open("trim", options);
    assert_eq!(log.status().range, most..Offset(100));
    assert_eq!(append(&*log, vec![plain("next")]).await[0].offset, Offset(100));
}

async fn retention_by_age_and_size_leaves_the_newest(engine: &mut dyn Engine) {
    let by_age = LogOptions { segment_bytes: 1_000, retention_age_ms: Some(5_000), ..LogOptions::default() };
    let by_size = LogOptions { segment_bytes: 1_000, retention_bytes: Some(3_000), ..LogOptions::default() };
    for (name, options) in [("retain-age", by_age), ("retain-size", by_size)] {
        let log = engine.open(name, options);
        for number in 0..100 {
            append(&*log, vec![plain(&format!("{number:04}").repeat(20))]).await;
            engine.advance_ms(100);
        }
        let start = log.retain(engine.now()).await.expect("a log can be trimmed");
        assert!(start > Offset(30) && start < Offset(90), "{name}: {start}");
        assert_eq!(log.status().range, start..Offset(100));
        assert_eq!(read_all(&*log, start).await.len() as u64, 100 - start.0);
        assert_eq!(log.retain(engine.now()).await.expect("nothing to do"), start);
        let oldest = log.status().oldest_at.expect("there are records");
        assert_eq!(read_all(&*log, start).await[0].appended_at, oldest);
    }
}

async fn an_offset_is_found_by_time(engine: &mut dyn Engine) {
    let log = engine.open("time", LogOptions { segment_bytes: 1_000, ..LogOptions::default() });
    assert_eq!(log.offset_at(Timestamp(0)).await.expect("an empty log is readable"), Offset(0));
    assert_eq!(log.offset_at(Timestamp::MAX).await.expect("an empty log is readable"), Offset(0));
    let mut times = Vec::new();
    for number in 0..60 {
        if number % 2 == 0 {
            engine.advance_ms(10);
        }
        append(&*log, vec![plain(&format!("{number:04}").repeat(20))]).await;
        times.push(engine.now());
    }
    for wanted in times[0].0 - 1..=times[59].0 + 1 {
        let expected = times.iter().position(|time| time.0 >= wanted).unwrap_or(60) as u64;
        let found = log.offset_at(Timestamp(wanted)).await.expect("the log is readable");
        assert_eq!(found, Offset(expected), "at {wanted}");
    }
    let records = read_all(&*log, Offset(0)).await;
    assert!(records.iter().zip(&times).all(|(record, time)| record.appended_at == *time));
}

async fn an_append_that_is_too_large_changes_nothing(engine: &mut dyn Engine) {
    let log = engine.open("large", LogOptions::default());
    let large = Bytes::from(vec![1; 8 << 20]);
    let records = vec![NewRecord { payload: large.clone(), fingerprint: None }; 40];
    match log.append(records).await {
        Err(AppendError::TooLarge { bytes, bytes_max }) => assert!(bytes > bytes_max),
        other => panic!("an append of 320 MiB is refused: {other:?}"),
    }
    let appended = append(&*log, vec![NewRecord { payload: large.clone(), fingerprint: None }]).await;
    assert_eq!(appended[0].offset, Offset(0));
    assert_eq!(log.read(Offset(0), LIMIT).await.expect("the log is readable")[0].payload, large);
}
