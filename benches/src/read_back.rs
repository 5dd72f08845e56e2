//! Reads every event back from a stopped broker's log and compares it, byte for byte, with what was acknowledged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use eventail_broker::Broker;
use eventail_broker::config::Config;
use eventail_wire::limits::PAGE_EVENTS_MAX;
use eventail_wire::{Offset, TopicName};

use crate::payload::{Payloads, Tally};

/// Opens the data folder with the library and reads the whole topic. Events `0..acknowledged` of the run must be there, each
/// with its data, its id and its own offset.
///
/// # Errors
/// Where anything is missing or differs: a fast wrong answer is a failure.
pub async fn verify(
    data: &Path,
    topic: &TopicName,
    payloads: &Payloads,
    acknowledged: u64,
) -> anyhow::Result<()> {
    let (broker, tally) = read(data, topic, payloads).await?;
    broker.shutdown().await?;
    let missing = tally.first_missing(acknowledged);
    ensure!(missing.is_none(), "event {missing:?} was acknowledged and is not in the log ({tally:?})");
    ensure!(tally.repeated == 0, "{} events are in the log twice", tally.repeated);
    Ok(())
}

/// Reads the whole topic and proves each event.
async fn read(data: &Path, topic: &TopicName, payloads: &Payloads) -> anyhow::Result<(Broker, Tally)> {
    let broker = Broker::open(Config::embedded(data)).await.context("opening the log again")?;
    let mut tally = Tally::default();
    let mut from = Offset(0);
    loop {
        let events = broker.read(topic, from, PAGE_EVENTS_MAX, Duration::ZERO).await?;
        let Some(last) = events.last() else { break };
        from = last.offset.plus(1);
        for stored in &events {
            let n = payloads.check(stored.event.data_slice());
            let named = n.is_some_and(|n| stored.event.id() == Payloads::id(n));
            ensure!(named, "offset {} holds something else: {:?}", stored.offset, stored.event);
            tally.count(n);
        }
    }
    Ok((broker, tally))
}

/// The same where only some events were acknowledged and all others were refused: the topic holds these once each and no other.
///
/// # Errors
/// Where one is missing, there twice, or was refused.
pub async fn verify_chosen(
    data: &Path,
    topic: &TopicName,
    payloads: &Payloads,
    acknowledged: &[u64],
) -> anyhow::Result<()> {
    let (broker, tally) = read(data, topic, payloads).await?;
    broker.shutdown().await?;
    let chosen = acknowledged.iter().fold(Tally::default(), |mut chosen, n| {
        chosen.count(Some(*n));
        chosen
    });
    ensure!(tally.repeated == 0, "{} events are in the log twice", tally.repeated);
    ensure!(
        tally.has_the_same(&chosen),
        "{} events were acknowledged and {} are in the log, or others",
        chosen.distinct,
        tally.distinct
    );
    Ok(())
}
