//! Publishers over HTTP and QUIC that keep a ledger of what was acknowledged, until the server is killed under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use std::sync::Arc;

use bytes::Bytes;
use eventail_client::{Client, PublisherOptions};
use eventail_tests::events::keyed;
use eventail_tests::{Api, Server, eventually};
use eventail_wire::Event;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

/// So many keys, so that order can be lost.
const KEYS: usize = 12;
/// Publishers over HTTP.
const CONNECTIONS: usize = 3;

/// What the publishers know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where each acknowledged event is.
    acknowledged: BTreeMap<String, u64>,
    /// Sent, and never answered: it may be there or not.
    in_doubt: BTreeSet<String>,
}

impl Ledger {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every acknowledged event with its offset.
    pub(crate) fn acknowledged(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.acknowledged.clone())
    }

    fn sent(&self, id: &str) {
        self.with(|state| state.in_doubt.insert(id.to_owned()));
    }

    fn answered(&self, id: &str, offset: u64) {
        self.with(|state| {
            state.in_doubt.remove(id);
            let known = state.acknowledged.insert(id.to_owned(), offset);
            assert!(
                known.is_none_or(|known| known == offset),
                "{id} was at {known:?} and is now at {offset}"
            );
        });
    }

    fn count(&self) -> usize {
        self.with(|state| state.acknowledged.len())
    }
}

/// The event with this id.
pub(crate) fn event(id: &str) -> Value {
    let number: usize = id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    keyed(id, "load", &format!("key-{}", number % KEYS))
}

/// Publishes from all sides until `acks` more events were acknowledged, then kills the server.
pub(crate) async fn load_until(server: Server, ledger: &Arc<Ledger>, round: u64, acks: usize) {
    let goal = ledger.count() + acks;
    let api = server.api();
    let client = server.client().await;
    let mut publishers = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        publishers.spawn(over_http(api, Arc::clone(ledger), format!("h{round}-{number}")));
    }
    publishers.spawn(over_quic(client.clone(), Arc::clone(ledger), format!("q{round}")));
    publishers.spawn(again(api, Arc::clone(ledger)));
    eventually("enough events to be acknowledged", async || (ledger.count() >= goal).then_some(())).await;
    server.kill_9().await;
    client.close().await;
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
}

/// One after the other, until one is not answered.
async fn over_http(api: Api, ledger: Arc<Ledger>, prefix: String) {
    for n in 0.. {
        let id = format!("{prefix}-{n}");
        ledger.sent(&id);
        if !publish(api, &ledger, &id).await {
            return;
        }
    }
}

/// What the kill before left in doubt is sent again under the same id: it must not become a second event.
async fn again(api: Api, ledger: Arc<Ledger>) {
    for id in ledger.with(|state| state.in_doubt.clone()) {
        if !publish(api, &ledger, &id).await {
            return;
        }
    }
}

async fn publish(api: Api, ledger: &Ledger, id: &str) -> bool {
    let request = Request::post("/v1/topics/load/events")
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(event(id).to_string())))
        .unwrap();
    let Ok(answer) = api.send(request).await else { return false };
    if answer.status == 503 {
        return false;
    }
    let (offset, _) = eventail_tests::http::results(&answer.expect_status(200))[0];
    ledger.answered(id, offset);
    true
}

/// Many at once, until one is not answered.
async fn over_quic(client: Client, ledger: Arc<Ledger>, prefix: String) {
    let options = PublisherOptions::default().window(32, 1 << 20);
    let Ok(publisher) = client.publisher("load".parse().unwrap(), options).await else { return };
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let answers = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            while let Some((id, handle)) = receiver.recv().await {
                let handle: eventail_client::PublishHandle = handle;
                let id: String = id;
                match handle.await {
                    Ok(ack) => ledger.answered(&id, ack.offset().map_or(u64::MAX, |at| at.0)),
                    Err(_) => return,
                }
            }
        }
    });
    for n in 0.. {
        let id = format!("{prefix}-{n}");
        ledger.sent(&id);
        let Ok(handle) = publisher.publish(wire_event(&id)).await else { break };
        if sender.send((id, handle)).is_err() {
            break;
        }
    }
    drop(sender);
    answers.await.unwrap();
}

fn wire_event(id: &str) -> Event {
    let json = event(id);
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    Event::builder(text("id"), text("source"), text("type"))
        .extension("partitionkey", text("partitionkey"))
        .json_data(json["data"].to_string())
        .build()
        .unwrap()
}
