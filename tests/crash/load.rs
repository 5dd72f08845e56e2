//! Publishers over HTTP and QUIC that keep a ledger of what was acknowledged, until the server is killed under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eventail_client::{Client, PublisherOptions};
use eventail_tests::events::keyed;
use eventail_tests::{Api, Server, eventually};
use eventail_wire::Event;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// So many keys, so that order can be lost.
const KEYS: usize = 12;
/// Publishers over HTTP.
const CONNECTIONS: usize = 3;

/// What the publishers to one topic know.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) topic: &'static str,
    state: Mutex<State>,
    counted: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// Where each acknowledged event is.
    acknowledged: BTreeMap<String, u64>,
    /// Sent, and never answered: it may be there or not.
    in_doubt: BTreeSet<String>,
}

impl Ledger {
    pub(crate) fn new(topic: &'static str) -> Arc<Self> {
        Arc::new(Self { topic, state: Mutex::default(), counted: watch::Sender::new(0) })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every acknowledged event with its offset.
    pub(crate) fn acknowledged(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.acknowledged.clone())
    }

    pub(crate) fn sent(&self, id: &str) {
        self.with(|state| state.in_doubt.insert(id.to_owned()));
    }

    pub(crate) fn answered(&self, id: &str, offset: u64) {
        self.with(|state| {
            state.in_doubt.remove(id);
            let known = state.acknowledged.insert(id.to_owned(), offset);
            assert!(
                known.is_none_or(|known| known == offset),
                "{id} was at {known:?} and is now at {offset}"
            );
            self.counted.send_replace(state.acknowledged.len());
        });
    }

    /// Returns when so many events are acknowledged.
    pub(crate) async fn reaches(self: Arc<Self>, count: usize) {
        let mut counted = self.counted.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _reached = counted.wait_for(|counted| *counted >= count).await;
    }

    /// How many events were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.with(|state| state.acknowledged.len())
    }
}

/// The event with this id.
pub(crate) fn event(id: &str) -> Value {
    let number: usize = id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    keyed(id, "load", &format!("key-{}", number % KEYS))
}

/// Publishes from all sides until `acks` more events were acknowledged, then kills the server. `beside` goes on meanwhile, and must end
/// when it gets no answer.
pub(crate) async fn load_until(
    server: Server,
    ledger: &Arc<Ledger>,
    round: u64,
    acks: usize,
    mut beside: JoinSet<()>,
) {
    let goal = ledger.count() + acks;
    let api = server.api();
    let client = server.client().await;
    for number in 0..CONNECTIONS {
        beside.spawn(over_http(api, Arc::clone(ledger), format!("h{round}-{number}"), usize::MAX));
    }
    beside.spawn(over_quic(client.clone(), Arc::clone(ledger), format!("q{round}")));
    beside.spawn(again(api, Arc::clone(ledger)));
    eventually("enough events to be acknowledged", async || (ledger.count() >= goal).then_some(())).await;
    server.kill_9().await;
    client.close().await;
    while let Some(ended) = beside.join_next().await {
        ended.unwrap();
    }
}

/// One after the other, until one is not answered.
pub(crate) async fn over_http(api: Api, ledger: Arc<Ledger>, prefix: String, count: usize) {
    for n in 0..count {
        let id = format!("{prefix}-{n}");
        ledger.sent(&id);
        if !publish(api, &ledger, &id).await {
            return;
        }
    }
}

/// What the kill before left in doubt is sent again under the same id: it must not become a second event.
pub(crate) async fn again(api: Api, ledger: Arc<Ledger>) {
    for id in ledger.with(|state| state.in_doubt.clone()) {
        if !publish(api, &ledger, &id).await {
            return;
        }
    }
}

async fn publish(api: Api, ledger: &Ledger, id: &str) -> bool {
    let Some(result) = publish_one(api, ledger.topic, &event(id)).await else { return false };
    ledger.answered(id, result["offset"].as_u64().unwrap());
    true
}

/// What became of one event; `None` where no answer came.
pub(crate) async fn publish_one(api: Api, topic: &str, event: &Value) -> Option<Value> {
    let request = Request::post(format!("/v1/topics/{topic}/events"))
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(event.to_string())))
        .unwrap();
    let answer = api.send(request).await.ok()?;
    (answer.status != 503).then(|| answer.expect_status(200).json()["results"][0].clone())
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
