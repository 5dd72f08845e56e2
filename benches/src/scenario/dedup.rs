//! What deduplication costs: the same load with it and without it, in turns, so that both meet the same neighbours.

use super::publish::{Load, publish_over_quic};
use super::{Settings, topics};
use crate::report::{Figure, Goal, median};

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let mut pairs = Vec::new();
    for run in 0..settings.runs {
        let run = u64::try_from(run)?;
        let load = Load { batch: 1, window: 1_024 };
        let with = format!("{}dedup_window = \"10m\"\n", topics(settings));
        let without = format!("{}dedup_window = \"0s\"\n", topics(settings));
        let with = publish_over_quic(settings, load, run, &with).await?.per_second();
        let without = publish_over_quic(settings, load, run, &without).await?.per_second();
        pairs.push((with, without));
    }
    let cost = |pair: &(f64, f64)| 100.0 * (1.0 - pair.0 / pair.1);
    let (with, without) = median(&pairs, cost);
    Ok(vec![Figure {
        durability: settings.durability.as_str(),
        scenario: "dedup".to_owned(),
        what: "cost of deduplication, window 1,024 over QUIC".to_owned(),
        value: cost(&(with, without)),
        unit: "%",
        goal: Goal::AtMost(10.0),
        detail: format!("{with:.0}/s with, {without:.0}/s without"),
    }])
}
