//! What keeps events and calls back: rate limits of triggers and of hosts, and the business keys that repeats are told by.

use std::collections::BTreeMap;

use eventail_triggers::key::DedupKey;
use eventail_triggers::policy::{DedupPolicy, RateLimit};
use http::uri::Authority;

use super::amount::Count;
use super::model::HostOptions;
use super::problem::Problem;
use super::reader::{Reader, Section};
use super::schema;
use super::units::Duration;

/// Less than one call in eleven days is no rate.
const PER_SECOND_LEAST: f64 = 1e-6;
/// Faster than that is no limit.
const PER_SECOND_MOST: f64 = 1e6;
/// The same.
const BURST_MOST: u64 = 1_000_000;
/// The shortest window.
const WINDOW_LEAST: Duration = Duration::from_ms(1);
/// Keys are remembered so long, within their limit.
const WINDOW_MOST: Duration = Duration::from_secs(7 * 86_400);

/// Reads `[hosts]`.
pub(super) fn read_hosts(reader: &mut Reader<'_>, root: &Section<'_>) -> BTreeMap<String, HostOptions> {
    let mut hosts = BTreeMap::new();
    let Some(found) = root.get("hosts") else { return hosts };
    for entry in found.entries(reader) {
        let authority = entry.key.parse::<Authority>().ok();
        let name = authority.filter(|authority| !authority.as_str().contains('@'));
        if name.is_none() {
            reader.note(Problem::HostName { name: entry.key.clone() }, &entry.key_span);
        }
        let Some(table) = entry.table(reader) else { continue };
        let path = format!("hosts.{:?}", entry.key);
        let section = Section::new(reader, path, entry.key_span.clone(), table, schema::HOST);
        let options = HostOptions { rate_limit: read_rate_limit(reader, &section) };
        if name.is_some() {
            hosts.insert(entry.key.to_ascii_lowercase(), options);
        }
    }
    hosts
}

/// Reads `rate_limit` of a trigger or host.
pub(super) fn read_rate_limit(reader: &mut Reader<'_>, owner: &Section<'_>) -> Option<RateLimit> {
    let section = owner.section(reader, "rate_limit", schema::RATE_LIMIT)?;
    if section.get("per_second").is_none() {
        reader.note(Problem::MissingKey { key: "per_second", section: section.title() }, &section.span);
    }
    let per_second = section.number(reader, "per_second", PER_SECOND_LEAST..=PER_SECOND_MOST);
    let burst = section.amount(reader, "burst", Count(1)..=Count(BURST_MOST));
    let burst = burst.and_then(|burst| u32::try_from(burst).ok());
    per_second.map(|per_second| RateLimit { per_second, burst: burst.unwrap_or(1) })
}

/// Reads `dedup` of a trigger.
pub(super) fn read_dedup(reader: &mut Reader<'_>, trigger: &Section<'_>) -> Option<DedupPolicy> {
    let section = trigger.section(reader, "dedup", schema::DEDUP)?;
    for key in schema::DEDUP.iter().copied().filter(|key| section.get(key).is_none()) {
        reader.note(Problem::MissingKey { key, section: section.title() }, &section.span);
    }
    let key = section.parsed(reader, "key", |text| {
        let checked: Result<DedupKey, _> = text.parse();
        checked.map(|_| text.to_owned()).map_err(|source| Problem::KeyPath { source })
    });
    let window_ms = section.amount(reader, "window", WINDOW_LEAST..=WINDOW_MOST);
    Some(DedupPolicy { key: key?, window_ms: window_ms? })
}
