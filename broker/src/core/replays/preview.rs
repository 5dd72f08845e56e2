//! Counting what a replay would deliver, without delivering anything.

use eventail_storage::log::{ReadError, ReadLimit};
use eventail_triggers::pattern::{Matcher, Scratch};
use eventail_wire::Event;

use super::plan::Plan;
use crate::core::{BrokerError, Core};
use crate::status::{ReplayPreview, TypeCount};

/// What one read takes at most.
const READ_LIMIT: ReadLimit = ReadLimit { records: 1024, bytes: 4 << 20 };
/// Types that are told apart; what comes after is counted together.
const TYPES_MAX: usize = 200;

/// Reads the range and counts.
pub(super) async fn preview(core: &Core, plan: &Plan) -> Result<ReplayPreview, BrokerError> {
    let matcher = Matcher::new(&plan.patterns);
    let (mut scratch, mut matched) = (Scratch::default(), Vec::new());
    let mut preview = ReplayPreview {
        topic: plan.topic.name.clone(),
        start: plan.start,
        end: plan.end,
        scanned: 0,
        selected: 0,
        bytes: 0,
        first_at: None,
        last_at: None,
        by_type: std::collections::BTreeMap::new(),
    };
    let log = &plan.topic.log;
    let mut from = plan.start;
    while from < plan.end {
        if *core.stop.borrow() {
            return Err(BrokerError::ShuttingDown);
        }
        let records = match log.read(from, READ_LIMIT).await {
            Ok(records) => records,
            // Retention went on meanwhile.
            Err(ReadError::Trimmed { start, .. }) => {
                from = start;
                continue;
            }
            // The replay will not deliver what is lost either.
            Err(ReadError::Corrupt { next, .. }) => {
                from = next;
                continue;
            }
            Err(source) => return Err(BrokerError::Read { log: plan.topic.name.to_string(), source }),
        };
        let Some(last) = records.last() else { break };
        from = last.offset.plus(1);
        for record in records.iter().filter(|record| record.offset < plan.end) {
            preview.scanned += 1;
            let Ok(event) = Event::from_stored(record.payload.clone()) else { continue };
            matcher.matches(&event, &mut scratch, &mut matched);
            if matched.len() < plan.patterns.len() {
                continue;
            }
            let bytes = record.payload.len() as u64;
            preview.selected += 1;
            preview.bytes += bytes;
            preview.first_at = preview.first_at.or(Some(record.appended_at));
            preview.last_at = Some(record.appended_at);
            let kind = event.event_type();
            let is_told = preview.by_type.contains_key(kind) || preview.by_type.len() < TYPES_MAX;
            let count: &mut TypeCount =
                preview.by_type.entry(if is_told { kind.to_owned() } else { String::new() }).or_default();
            count.events += 1;
            count.bytes += bytes;
        }
        tokio::task::consume_budget().await;
    }
    Ok(preview)
}
