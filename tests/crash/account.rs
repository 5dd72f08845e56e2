//! What must hold after all the kills.

use std::collections::{BTreeMap, HashMap, HashSet};

use eventail_tests::{Api, Received, Receiver, until, within};
use serde_json::Value;

use crate::is_poison;
use crate::load::{Ledger, event};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
const MAX_ATTEMPTS: u32 = 4;

/// Reads the whole topic: every acknowledged event is at its offset, whole, and none is there twice. Answers the ids in
/// the order of the log.
pub(crate) async fn assert_all_read_back(api: Api, ledger: &Ledger) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let path = format!("/v1/topics/{}/events?from={}&limit=1000", ledger.topic, ids.len());
        let page = api.get_json(&path).await;
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        for stored in events {
            let id = stored["event"]["id"].as_str().unwrap().to_owned();
            assert_eq!(stored["offset"].as_u64(), Some(ids.len() as u64), "offsets have no gaps");
            assert_eq!(stored["event"]["data"], event(&id)["data"], "{id}");
            ids.push(id);
        }
    }
    let distinct: HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "an event is in the log twice");
    for (id, offset) in ledger.acknowledged() {
        let there = usize::try_from(offset).ok().and_then(|offset| ids.get(offset));
        assert_eq!(there, Some(&id), "{id} was acknowledged at offset {offset}");
    }
    ids
}

/// Every event of the topic ended at the trigger's target or in its dead letters, and the account says so.
pub(crate) async fn assert_account(api: Api, trigger: &str, ids: &[String]) {
    let matched = ids.len() as u64;
    let settled = |status: &Value| {
        let of = |name: &str| status["account"][name].as_u64();
        of("matched") == Some(matched) && of("pending") == Some(0)
    };
    let what = format!("{trigger} to settle {matched} events");
    let status = until(&what, settled, async || api.trigger(trigger).await).await;
    let of = |name: &str| status["account"][name].as_u64().unwrap();
    let poison = poison(ids).len() as u64;
    assert_eq!((of("dead_lettered"), of("expired")), (poison, 0), "{status}");
    assert_eq!(of("delivered"), matched - poison, "{status}");
}

/// The same, and what the target and the dead letters have agrees after so many kills.
pub(crate) async fn assert_all_settled(
    api: Api,
    receiver: &Receiver,
    trigger: &str,
    ids: &[String],
    kills: u64,
) {
    assert_account(api, trigger, ids).await;
    let poison = poison(ids);
    let letters = all_dead_letters(api, trigger).await;
    let lettered: HashSet<&str> = letters.iter().map(|letter| letter["event_id"].as_str().unwrap()).collect();
    assert_eq!(lettered, poison.iter().map(|id| id.as_str()).collect(), "{trigger}'s dead letters");
    // A kill between the dead letter and its journal entry may write it twice, which is no more often than there were kills.
    assert!(letters.len() as u64 <= poison.len() as u64 + kills, "{} dead letters", letters.len());

    let requests = requests_of(receiver, trigger);
    assert_attempts_survived(trigger, ids, &requests);
    if trigger == "keyed" {
        assert_order_of_keys(&requests);
    }
}

fn poison(ids: &[String]) -> HashSet<&String> {
    ids.iter().filter(|id| is_poison(number(id))).collect()
}

/// What came for a trigger, whose path is its name.
pub(crate) fn requests_of(receiver: &Receiver, trigger: &str) -> Vec<Received> {
    let path = format!("/{trigger}");
    receiver.received().into_iter().filter(|request| request.path == path).collect()
}

/// The attempts of each event count up and never fall back, whatever was killed between them; each delivery has one id.
fn assert_attempts_survived(trigger: &str, ids: &[String], requests: &[Received]) {
    assert_attempts_grow(trigger, ids, requests);
    let mut deliveries: HashMap<&str, &str> = HashMap::new();
    for request in requests {
        let (id, delivery) = (request.id(), request.header("webhook-id"));
        assert_eq!(*deliveries.entry(id).or_insert(delivery), delivery, "{id} had several delivery ids");
    }
    let distinct: HashSet<&&str> = deliveries.values().collect();
    assert_eq!(distinct.len(), deliveries.len(), "two events had the same delivery id");
}

/// The attempts of each event count up and never fall back.
pub(crate) fn assert_attempts_grow(trigger: &str, ids: &[String], requests: &[Received]) {
    let mut by_event: HashMap<&str, Vec<u32>> = HashMap::new();
    for request in requests {
        let attempt = request.header("eventail-attempt").parse().unwrap();
        by_event.entry(request.id()).or_default().push(attempt);
    }
    for id in ids {
        let numbers = by_event.get(id.as_str()).unwrap_or_else(|| panic!("{trigger} never got {id}"));
        assert!(numbers.is_sorted(), "{trigger}'s attempts at {id} fell back: {numbers:?}");
        let last = *numbers.last().unwrap();
        assert!(last <= MAX_ATTEMPTS, "{trigger} tried {id} too often: {numbers:?}");
        assert!(!is_poison(number(id)) || last == MAX_ATTEMPTS, "{trigger} gave {id} up early: {numbers:?}");
    }
}

/// The first deliveries of a key's events come in the order of the log.
fn assert_order_of_keys(requests: &[Received]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = HashSet::new();
    for request in requests {
        if !seen.insert(request.id()) {
            continue;
        }
        let offset: u64 = request.header("eventail-offset").parse().unwrap();
        let before = last.insert(request.header("ce-partitionkey"), offset);
        assert!(before.is_none_or(|before| before < offset), "offset {offset} came after {before:?}");
    }
}

/// Everything that was ever acknowledged is still known as a duplicate.
pub(crate) async fn assert_repeats_are_recognised(api: Api, ledger: &Ledger) {
    let acknowledged: Vec<(String, u64)> = ledger.acknowledged().into_iter().collect();
    for part in acknowledged.chunks(1000) {
        let events: Vec<Value> = part.iter().map(|(id, _)| event(id)).collect();
        let expected: Vec<(u64, bool)> = part.iter().map(|(_, offset)| (*offset, true)).collect();
        assert_eq!(api.publish_all(ledger.topic, &events).await, expected);
    }
}

/// What a user can see, without what only time changes.
pub(crate) async fn observable(api: Api, ids: &[String], beside: &[String]) -> Vec<Value> {
    let mut seen = Vec::new();
    for mut topic in api.get_json("/v1/topics").await["topics"].as_array().unwrap().clone() {
        // Files are zeroed ahead; how far is not observable by purpose.
        topic["bytes"] = Value::Null;
        // Ids are told from the log: those of events that retention took since the last start are gone after the next one.
        if topic["start"] != 0 {
            topic["dedup_ids"] = Value::Null;
            topic["dedup_bytes"] = Value::Null;
        }
        seen.push(topic);
    }
    for mut trigger in api.get_json("/v1/triggers").await["triggers"].as_array().unwrap().clone() {
        trigger["lag_ms"] = Value::Null;
        seen.push(trigger);
    }
    for trigger in ["all", "keyed"].into_iter().chain(beside.iter().map(String::as_str)) {
        seen.extend(all_dead_letters(api, trigger).await);
    }
    for page in ["/v1/replays?limit=1000", "/v1/delayed?limit=1000"] {
        seen.push(api.get_json(page).await);
    }
    for id in ids.iter().step_by(37) {
        let what = format!("the place of {id}");
        let place = within(PATIENCE, &what, async || {
            let answer = api.get(&format!("/v1/events/{id}")).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        seen.push(place);
    }
    seen
}

pub(crate) async fn all_dead_letters(api: Api, trigger: &str) -> Vec<Value> {
    let (mut letters, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get_json(&format!("/v1/dead-letters?trigger={trigger}&limit=500{after}")).await;
        letters.extend(page["dead_letters"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F")),
            None => return letters,
        }
    }
}

pub(crate) fn number(id: &str) -> usize {
    id.rsplit('-').next().unwrap().parse().unwrap()
}
