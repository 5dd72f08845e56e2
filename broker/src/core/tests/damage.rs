//! Flipped bits below a broker: what is lost is told, and everything else is served.

use std::path::{Path, PathBuf};

use eventail_storage::disk::{check, repair};
use eventail_storage::disk_io::OsDisk;

use super::*;

const EVENTS: u64 = 60;

/// Small segments, so that most events lie in closed ones; each publish is a batch of its own.
fn small(dir: &tempfile::TempDir, target: Arc<dyn Target>) -> Config {
    let mut config = config(dir, target);
    let mut options = config.topics.defaults.clone();
    options.segment_bytes = 2_048;
    config.topics.named.insert(topic(), options);
    config
}

async fn publish(broker: &Broker, ids: std::ops::Range<u64>) {
    for id in ids {
        broker.publish(&topic(), vec![event(&id.to_string())]).await.unwrap();
    }
}

/// The segments of a log, oldest first.
fn segments(dir: &Path, log: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir.join("logs").join(log)).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    segments.sort();
    segments
}

fn flip(path: &Path, position: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[position] ^= 16;
    std::fs::write(path, bytes).unwrap();
}

/// A topic with events and one flipped bit in its second segment, and the offset that it costs.
async fn damaged(dir: &tempfile::TempDir) -> u64 {
    let mut config = small(dir, Scripted::answering([]));
    config.triggers.clear();
    let broker = Broker::open(config).await.unwrap();
    publish(&broker, 0..EVENTS).await;
    broker.shutdown().await.unwrap();
    let segment = &segments(dir.path(), "orders")[1];
    flip(segment, 100);
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn delivered(target: &Scripted) -> Vec<u64> {
    let mut ids: Vec<u64> = target.seen().iter().map(|seen| seen.event.id().parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// A trigger that comes now gets everything but what is lost, and says so; readers go on behind it.
async fn assert_served(dir: &tempfile::TempDir, lost: u64) {
    let target = Scripted::answering([]);
    let broker = Broker::open(small(dir, target.clone())).await.unwrap();
    eventually("the trigger reads on", async || {
        let status = broker.trigger(&name()).unwrap();
        status.cursor == Offset(EVENTS) && status.account.pending == 0
    })
    .await;
    let expected: Vec<u64> = (0..EVENTS).filter(|id| *id != lost).collect();
    assert_eq!(delivered(&target), expected);
    let status = broker.trigger(&name()).unwrap();
    assert_eq!((status.state, status.lost, status.account.delivered), (TriggerState::Running, 1, EVENTS - 1));
    let told: Vec<_> =
        broker.topic(&topic()).unwrap().lost.iter().map(|lost| (lost.first.0, lost.next.0)).collect();
    assert_eq!(told, [(lost, lost + 1)], "the topic names what is lost");
    let read = broker.read(&topic(), Offset(lost), 5, Duration::ZERO).await.unwrap();
    assert_eq!(read[0].offset, Offset(lost + 1), "a reader goes on behind it");
    assert_eq!(broker.find_event(&(EVENTS - 1).to_string()).await.unwrap().len(), 1);
    assert_eq!(broker.find_event(&lost.to_string()).await.unwrap(), []);
    publish(&broker, EVENTS..EVENTS + 1).await;
    eventually("what comes later is delivered", async || delivered(&target).last() == Some(&EVENTS)).await;
    broker.shutdown().await.unwrap();
    // And it is counted once, over restarts too.
    let target = Scripted::answering([]);
    let broker = Broker::open(small(dir, target.clone())).await.unwrap();
    let status = broker.trigger(&name()).unwrap();
    assert_eq!((status.lost, status.account.delivered, status.lag), (1, EVENTS, 0));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_closed_segment_costs_its_event_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let lost = damaged(&dir).await;
    assert_served(&dir, lost).await;
}

#[tokio::test]
async fn after_a_repair_the_same_is_lost_and_the_same_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let lost = damaged(&dir).await;
    let logs = dir.path().join("logs");
    assert_eq!(repair(&OsDisk, &logs, &dir.path().join("quarantine")).unwrap().len(), 1);
    assert!(check(&OsDisk, &logs).unwrap().iter().all(|log| log.is_sound()));
    assert_served(&dir, lost).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_newest_segment_stops_no_publish() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small(&dir, Scripted::answering([]));
    config.triggers.clear();
    let broker = Broker::open(config.clone()).await.unwrap();
    publish(&broker, 0..5).await;
    broker.shutdown().await.unwrap();
    flip(&segments(dir.path(), "orders")[0], 100);
    let broker = Broker::open(config).await.unwrap();
    publish(&broker, 5..7).await;
    let read = broker.read(&topic(), Offset(0), 10, Duration::ZERO).await.unwrap();
    let offsets: Vec<_> = read.iter().map(|stored| stored.offset.0).collect();
    assert_eq!(offsets, [1, 2, 3, 4, 5, 6]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_event_that_waits_for_a_retry_and_is_damaged_meanwhile_is_counted_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let unwilling = Scripted::answering(std::iter::repeat_n(failed(), 10_000));
    let broker = Broker::open(small(&dir, unwilling)).await.unwrap();
    broker.publish(&topic(), vec![event("0")]).await.unwrap();
    eventually("it fails", async || broker.trigger(&name()).unwrap().retrying > 0).await;
    publish(&broker, 1..EVENTS).await;
    broker.shutdown().await.unwrap();
    flip(&segments(dir.path(), "orders")[0], 100);
    let willing = Scripted::answering([]);
    let broker = Broker::open(small(&dir, willing.clone())).await.unwrap();
    eventually("the others are delivered", async || {
        let status = broker.trigger(&name()).unwrap();
        status.cursor == Offset(EVENTS) && status.account.pending == 0
    })
    .await;
    assert_eq!(delivered(&willing), (1..EVENTS).collect::<Vec<_>>());
    let status = broker.trigger(&name()).unwrap();
    assert_eq!(status.account.expired + status.lost, 1, "{status:?}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn damaged_settlements_may_repeat_deliveries_and_lose_none() {
    for start in [StartPosition::Earliest, StartPosition::Latest] {
        let dir = tempfile::tempdir().unwrap();
        let unwilling = Scripted::answering(std::iter::repeat_n(failed(), 100_000));
        let with_start = |target: Arc<Scripted>| {
            let mut config = small(&dir, target);
            config.triggers.get_mut(&name()).unwrap().start = start;
            config
        };
        let broker = Broker::open(with_start(unwilling)).await.unwrap();
        publish(&broker, 0..20).await;
        broker.shutdown().await.unwrap();
        // Every record of it, one after the other.
        let journal = segments(dir.path(), "_settlements").pop().unwrap();
        let bytes = std::fs::read(&journal).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for position in (50..used).step_by(40) {
            flip(&journal, position);
        }
        let willing = Scripted::answering([]);
        let broker = Broker::open(with_start(willing.clone())).await.unwrap();
        eventually("everything is delivered", async || {
            let mut ids = delivered(&willing);
            ids.dedup();
            ids == (0..20).collect::<Vec<_>>()
        })
        .await;
        broker.shutdown().await.unwrap();
    }
}
