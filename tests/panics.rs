//! Panics stay where they happen: of a request, a call on a target and a lane. The program that embeds the broker makes them, by an
//! observer and a target that panic: nothing in the broker itself can be told to.
#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use eventail_broker::config::{Config, TargetOptions, Trigger};
use eventail_broker::http::{HttpOptions, serve};
use eventail_broker::status::{Observation, Observer, TriggerState};
use eventail_broker::{Broker, metrics, panics};
use eventail_tests::{Api, eventually};
use eventail_triggers::outcome::Outcome;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::target::{Answer, BoxFuture, Invocation, Target};
use eventail_wire::Event;
use rand::SeedableRng;
use serde_json::{Value, json};

/// Panics when an event of type `bad.publish` was appended, and when an attempt of the trigger `lane` ended, as long as it is told to.
#[derive(Default)]
struct Saboteur {
    in_lane: AtomicBool,
}

impl Observer for Saboteur {
    fn observe(&self, observation: &Observation) {
        match observation {
            Observation::Appended { event, .. } => {
                assert_ne!(event.event_type(), "bad.publish", "sabotage of a request");
            }
            Observation::Attempted { trigger, .. } if trigger.as_str() == "lane" => {
                assert!(!self.in_lane.load(Ordering::Relaxed), "sabotage of a lane");
            }
            _ => {}
        }
    }
}

/// Panics so many times, and then takes everything.
#[derive(Default)]
struct Panicking {
    left: AtomicUsize,
    taken: AtomicUsize,
}

impl Target for Panicking {
    fn invoke(&self, _: Invocation) -> BoxFuture<'_, Answer> {
        let panics = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(panics.is_err(), "sabotage of a call");
        self.taken.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Outcome::Ack { reply: None }.into() })
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn trigger(target: &Arc<Panicking>) -> Trigger {
    let policy = DeliveryPolicy { backoff_initial_ms: 1, backoff_max_ms: 2, ..DeliveryPolicy::default() };
    let target: Arc<dyn Target> = Arc::<Panicking>::clone(target);
    Trigger { topic: "default".parse().unwrap(), policy, ..Trigger::new(TargetOptions::Handler(target)) }
}

fn event(id: &str, kind: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/test", "type": kind})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_what_it_happened_in_and_nothing_else() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    panics::install();
    let exposition = metrics::install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (called, in_lane) = (Arc::new(Panicking::default()), Arc::new(Panicking::default()));
    let mut config = Config::embedded(folder.path());
    config.triggers.insert("called".parse().unwrap(), trigger(&called));
    config.triggers.insert("lane".parse().unwrap(), trigger(&in_lane));
    let saboteur = Arc::new(Saboteur::default());
    let observer: Arc<dyn Observer> = Arc::<Saboteur>::clone(&saboteur);
    let broker = Broker::builder(config).observer(observer).open().await.unwrap();
    let ids = rand::rngs::SmallRng::seed_from_u64(1);
    let options = HttpOptions { ids, exposition: Some(exposition.clone()) };
    let server = serve(broker.clone(), "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let api = Api::new(server.addr());
    let delivered = |name: &'static str| {
        let broker = broker.clone();
        move || broker.trigger(&name.parse().unwrap()).unwrap().account.delivered
    };
    let (by_called, by_lane) = (delivered("called"), delivered("lane"));

    // A request: it is answered, and so is the next.
    let headers = [("content-type", "application/cloudevents+json")];
    let body = event("1", "bad.publish").to_string().into();
    let answer = api.request(http::Method::POST, "/v1/topics/default/events", &headers, body).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    api.publish("default", &event("2", "good")).await;
    eventually("both deliver both", async || (by_called() == 2 && by_lane() == 2).then_some(())).await;
    assert_eq!(panics_told(&exposition.render()), 1);

    // A call: a failed attempt, that is tried again.
    called.left.store(2, Ordering::Relaxed);
    api.publish("default", &event("3", "good")).await;
    eventually("the third attempt delivers", async || (by_called() == 3).then_some(())).await;
    assert_eq!(panics_told(&exposition.render()), 3);

    // A lane: its trigger stops and says so, and the other one goes on.
    saboteur.in_lane.store(true, Ordering::Relaxed);
    api.publish("default", &event("4", "good")).await;
    let lane = "lane".parse().unwrap();
    eventually("the trigger stops", async || {
        let status = broker.trigger(&lane).unwrap();
        let reason = status.reason.unwrap_or_default();
        (status.state == TriggerState::Stopped && reason.contains("sabotage of a lane")).then_some(())
    })
    .await;
    api.publish("default", &event("5", "good")).await;
    eventually("the other one delivers", async || (by_called() == 5).then_some(())).await;
    assert!(by_lane() < 5, "it delivers nothing while it is stopped");
    api.get("/healthz").await.expect_status(200);

    // It goes on where it is resumed, and nothing is missing.
    saboteur.in_lane.store(false, Ordering::Relaxed);
    api.post("/v1/triggers/lane/resume", &json!({})).await.expect_status(200);
    eventually("nothing is missing", async || {
        let account = broker.trigger(&lane).unwrap().account;
        (account.delivered == 5 && account.pending == 0).then_some(())
    })
    .await;
    assert!(in_lane.taken.load(Ordering::Relaxed) >= 5);

    let told = lines.text();
    assert!(told.contains("something panicked") && told.contains("tests/panics.rs:"), "{told}");
    broker.publish(&"default".parse().unwrap(), vec![plain("6")]).await.unwrap();
    server.shutdown(std::time::Duration::from_secs(10)).await;
    broker.shutdown().await.unwrap();
}

fn plain(id: &str) -> Event {
    Event::builder(id, "/test", "good").build().unwrap()
}

fn panics_told(exposition: &str) -> u64 {
    let line = exposition.lines().find(|line| line.starts_with("eventail_panics_total"));
    line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, count)| count.parse().unwrap())
}
