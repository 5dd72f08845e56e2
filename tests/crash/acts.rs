//! What is done to a broker beside the load of a round, until it is killed: reloads, redrives, replays, events that are held, and a
//! topic whose retention trims it. Each act begins at a random moment, so that the kill comes before, within or after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eventail_tests::events::{event, with_data};
use eventail_tests::{Answer, Api, Home, Server};
use http::{Method, Request};
use http_body_util::Full;
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::load::{Ledger, again, over_http, publish_one};
use crate::scene::Scene;

/// Events of a round on the topic that is redriven and replayed: each of its triggers gets them all.
const SIDE_EVENTS: usize = 30;
const HELD_EVENTS: usize = 12;
/// One of so many is held for long, and cancelled at once.
const CANCELLED_EVERY: usize = 4;
const TRIMMED_EVENTS: usize = 30;
const TRIMMED_BYTES: usize = 30 << 10;

/// What the acts of all rounds know.
#[derive(Debug)]
pub(crate) struct Acts {
    /// The events that are redriven and replayed.
    pub(crate) side: Arc<Ledger>,
    /// The events of the topic with a retention.
    pub(crate) short: Arc<Ledger>,
    /// How often the configuration was changed.
    generation: AtomicU64,
    noted: Mutex<Noted>,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// Events that are held, with their handles.
    pub(crate) held: BTreeMap<String, u64>,
    /// Those of them that were cancelled.
    pub(crate) cancelled: BTreeSet<String>,
    /// Replays by their ids.
    pub(crate) replays: BTreeSet<String>,
}

impl Default for Acts {
    fn default() -> Self {
        let (side, short) = (Ledger::new("side"), Ledger::new("short"));
        Self { side, short, generation: AtomicU64::new(0), noted: Mutex::default() }
    }
}

impl Acts {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn noted(&self) -> Noted {
        self.with(|noted| noted.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Noted) -> T) -> T {
        act(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins the acts of a round, which are chosen by chance. Each waits until the round has come to a random place of its own.
    pub(crate) fn begin(
        self: &Arc<Self>,
        server: &Server,
        home: &Home,
        scene: &Scene,
        (round, ledger, acks): (u64, &Arc<Ledger>, usize),
        dice: &mut SmallRng,
    ) -> JoinSet<()> {
        let (mut tasks, api) = (JoinSet::new(), server.api());
        tasks.spawn(over_http(api, Arc::clone(&self.side), format!("s{round}"), SIDE_EVENTS));
        tasks.spawn(again(api, Arc::clone(&self.side)));
        let begun = ledger.count();
        let mut moment = |probability: f64| {
            let at = begun + dice.random_range(0..acks);
            dice.random_bool(probability).then(|| Arc::clone(ledger).reaches(at))
        };
        if let Some(moment) = moment(0.6) {
            let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
            let (home, tables) = (home.path().to_owned(), reconfigured(home, scene, generation));
            tasks.spawn(async move {
                moment.await;
                reload(api, &home, &tables).await;
            });
        }
        if let Some(moment) = moment(0.5) {
            tasks.spawn(async move {
                moment.await;
                // Whatever of it was done before the kill, the rest is done in the end.
                let redriven = json!({ "trigger": "redriven" });
                let _answer = ask(api, Method::POST, "/v1/dead-letters/redrive", &redriven).await;
            });
        }
        if let Some(moment) = moment(0.3) {
            let acts = Arc::clone(self);
            tasks.spawn(async move {
                moment.await;
                acts.replay(api).await;
            });
        }
        if let Some(moment) = moment(0.6) {
            let acts = Arc::clone(self);
            tasks.spawn(async move {
                moment.await;
                acts.hold(api, round).await;
            });
        }
        if let Some(moment) = moment(0.6) {
            let ledger = Arc::clone(&self.short);
            tasks.spawn(async move {
                moment.await;
                fill(api, &ledger, round).await;
            });
        }
        tasks
    }

    async fn replay(&self, api: Api) {
        let request = json!({ "trigger": "replayed", "from": "earliest" });
        let Some(answer) = ask(api, Method::POST, "/v1/replays", &request).await else { return };
        // Where many rounds were quick, there are as many under way as there may be.
        if answer.status == 429 {
            return;
        }
        let started = answer.expect_status(201).json();
        self.with(|noted| noted.replays.insert(started["id"].as_str().unwrap().to_owned()));
    }

    async fn hold(&self, api: Api, round: u64) {
        for n in 0..HELD_EVENTS {
            let is_far = n % CANCELLED_EVERY == 0;
            let id = if is_far { format!("far{round}-{n}") } else { format!("near{round}-{n}") };
            let mut event = event(&id, "later");
            event["deliverafter"] = if is_far { "1h".into() } else { format!("{}ms", 100 * n).into() };
            let Some(result) = publish_one(api, "later", &event).await else { return };
            let handle = result["held"].as_u64().unwrap();
            self.with(|noted| noted.held.insert(id.clone(), handle));
            if is_far {
                let path = format!("/v1/delayed/{handle}");
                let Some(answer) = ask(api, Method::DELETE, &path, &Value::Null).await else { return };
                assert_eq!(answer.expect_status(200).json()["state"], "cancelled");
                self.with(|noted| noted.cancelled.insert(id));
            }
        }
    }
}

/// The whole text of the configuration after a change, as the next start reads it too if this one is killed before.
fn reconfigured(home: &Home, scene: &Scene, generation: u64) -> String {
    let path = home.path().join("eventail.toml");
    let running = std::fs::read_to_string(&path).unwrap();
    home.set_config("", &scene.tables(generation));
    let changed = std::fs::read_to_string(home.write_config()).unwrap();
    std::fs::write(path, running).unwrap();
    changed
}

/// Puts a configuration in its place, as editors do, and asks for it.
async fn reload(api: Api, home: &std::path::Path, text: &str) {
    let aside = home.join("eventail.toml.new");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(&aside, home.join("eventail.toml")).unwrap();
    if let Some(answer) = ask(api, Method::POST, "/v1/config/reload", &json!({})).await {
        answer.expect_status(200);
    }
}

/// Publishes more than the topic keeps.
async fn fill(api: Api, ledger: &Ledger, round: u64) {
    for n in 0..TRIMMED_EVENTS {
        let id = format!("t{round}-{n}");
        ledger.sent(&id);
        let event = with_data(&id, "short", json!({ "fill": "x".repeat(TRIMMED_BYTES) }));
        let Some(result) = publish_one(api, ledger.topic, &event).await else { return };
        ledger.answered(&id, result["offset"].as_u64().unwrap());
    }
}

/// Asks; `None` where no answer came.
async fn ask(api: Api, method: Method, path: &str, body: &Value) -> Option<Answer> {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    api.send(request.body(Full::new(body)).unwrap()).await.ok()
}
