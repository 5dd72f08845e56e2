//! What is told of an event, through a whole broker.

use eventail_triggers::outcome::{Outcome, Response, RetryClass};
use eventail_triggers::policy::DedupPolicy;

use super::*;
use crate::core::timeline::{HELD_BYTES_MAX, TIMELINE_LOG};
use crate::status::{EventTimeline, StepTold, StoryOutcome, TimelineRequest, TriggerStory, Via, WaitsFor};

async fn timeline(broker: &Broker, id: &str) -> EventTimeline {
    let request = TimelineRequest { id: id.to_owned(), topic: Some(topic()), ..TimelineRequest::default() };
    let mut told = broker.timeline(&request).await.unwrap();
    assert_eq!(told.events.len(), 1, "{told:?}");
    told.events.remove(0)
}

async fn story(broker: &Broker, id: &str) -> TriggerStory {
    let mut triggers = timeline(broker, id).await.triggers;
    assert_eq!(triggers.len(), 1, "{triggers:?}");
    triggers.remove(0)
}

/// The outcomes of attempts, each with whether it was of a redrive.
fn attempts(story: &TriggerStory) -> Vec<(u32, &str, Via)> {
    let of = |step: &'_ crate::status::TimelineStep| match &step.step {
        StepTold::Attempt { attempt, .. } => Some((*attempt, step.via)),
        _ => None,
    };
    let outcomes = story.steps.iter().filter_map(|step| match &step.step {
        StepTold::Attempt { outcome, .. } => Some(outcome.as_str()),
        _ => None,
    });
    let places = story.steps.iter().filter_map(of);
    places.zip(outcomes).map(|((attempt, via), outcome)| (attempt, outcome, via)).collect()
}

fn server_error() -> Outcome {
    let response = Response {
        status: Some(500),
        body: "out of \u{1b}paper".into(),
        error: "HTTP 500".into(),
        ..Response::default()
    };
    Outcome::Retry { class: RetryClass::Failed, after_ms: None, response }
}

#[tokio::test]
async fn a_delivery_a_repeat_and_a_miss_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    let other = Event::builder("9", "/shop", "order.shipped").build().unwrap();
    broker.publish(&topic(), vec![event("1"), other]).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let told = timeline(&broker, "1").await;
    assert_eq!((told.offset, told.duplicates.len(), told.source.as_str()), (Offset(0), 1, "/shop"));
    let delivered = &told.triggers[0];
    assert_eq!((delivered.outcome, delivered.matches), (StoryOutcome::Delivered, Some(true)));
    assert_eq!(attempts(delivered), [(1, "delivered", Via::Live)]);

    eventually("the other one is read", async || broker.trigger(&name()).unwrap().scanned == Offset(2)).await;
    let missed = story(&broker, "9").await;
    let miss = missed.miss.unwrap();
    assert_eq!(
        (missed.outcome, missed.matches, miss.path.as_str()),
        (StoryOutcome::NotMatched, Some(false), "type")
    );
    assert_eq!(
        (miss.expected.as_str(), miss.found.as_deref()),
        (r#"["order.created"]"#, Some("\"order.shipped\""))
    );
    assert!(missed.because.contains("order.shipped") && missed.steps.is_empty(), "{}", missed.because);

    let nobody = TimelineRequest { id: "nobody".to_owned(), ..TimelineRequest::default() };
    assert!(broker.timeline(&nobody).await.unwrap().events.is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn retries_a_dead_letter_and_its_redrive_are_told_in_order_also_after_a_restart_without_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let script = [server_error(), rejected(), server_error()];
    let target = Scripted::answering(script);
    let broker = Broker::open(config(&dir, target.clone())).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let told = story(&broker, "1").await;
    assert_eq!(told.outcome, StoryOutcome::DeadLettered, "{told:?}");
    assert!(told.because.contains("dead-letters/0"), "{}", told.because);
    let first = told.steps.iter().find(|step| matches!(step.step, StepTold::Attempt { .. })).unwrap();
    let StepTold::Attempt { status, error, response, next_at, .. } = &first.step else { unreachable!() };
    assert_eq!((*status, error.as_str(), response.as_str()), (Some(500), "HTTP 500", "out of \u{1b}paper"));
    assert!(next_at.is_some());

    broker.redrive(&RedriveRequest::default()).await.unwrap();
    settled(&broker, 2).await;
    // The letter is marked a moment after its delivery is settled.
    eventually("the redrive to be told", async || {
        story(&broker, "1").await.outcome == StoryOutcome::Delivered
    })
    .await;
    let whole = story(&broker, "1").await;
    assert_eq!(
        attempts(&whole),
        [
            (1, "failed", Via::Live),
            (2, "rejected", Via::Live),
            (1, "failed", Via::Redrive),
            (2, "delivered", Via::Redrive)
        ]
    );
    assert!(whole.steps.iter().any(|step| matches!(step.step, StepTold::Redriven { .. })));
    // The dead letter has the event's id, and says what it is.
    let all = TimelineRequest { id: "1".to_owned(), ..TimelineRequest::default() };
    let events = broker.timeline(&all).await.unwrap().events;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].dead_letter_of.as_ref().unwrap().offset, Offset(0));
    broker.shutdown().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();

    let broker = Broker::open(config(&dir, target)).await.unwrap();
    assert_eq!(story(&broker, "1").await, whole);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_holds_an_event_is_told_while_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let away = Outcome::Retry {
        class: RetryClass::Throttled,
        after_ms: Some(60_000),
        response: Response::default(),
    };
    let broker = Broker::open(config(&dir, Scripted::answering([away]))).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    eventually("the target throttled", async || broker.trigger(&name()).unwrap().held_until.is_some()).await;
    let held = story(&broker, "1").await;
    assert_eq!((held.outcome, attempts(&held)), (StoryOutcome::Pending, vec![(1, "throttled", Via::Live)]));
    assert!(held.held.unwrap().until.is_some() && held.because.contains("throttles"), "{}", held.because);
    assert!(held.steps.iter().any(|step| matches!(step.step, StepTold::Throttled { until: Some(_) })));

    broker.pause_trigger(&name(), "the printer moves").await.unwrap();
    broker.publish(&topic(), vec![event("2")]).await.unwrap();
    eventually("it is read", async || broker.trigger(&name()).unwrap().account.pending == 2).await;
    let waits = story(&broker, "2").await;
    assert_eq!((waits.outcome, waits.waits_for), (StoryOutcome::Pending, Some(WaitsFor::Turn)));
    assert!(waits.because.contains("the printer moves"), "{}", waits.because);

    broker.skip_trigger_to(&name(), Offset(2)).await.unwrap();
    let skipped = story(&broker, "2").await;
    assert_eq!(skipped.outcome, StoryOutcome::Skipped, "{skipped:?}");
    assert!(matches!(skipped.steps.last().unwrap().step, StepTold::Skipped { to: Offset(2) }));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_outage_is_told_with_the_probe_that_ended_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Scripted::answering([failed(), failed()]));
    let policy = &mut config.triggers.get_mut(&name()).unwrap().policy;
    (policy.breaker_failures, policy.breaker_open_ms) = (2, 5);
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), vec![event("1"), event("2")]).await.unwrap();
    settled(&broker, 2).await;
    let mut steps = story(&broker, "1").await.steps;
    steps.extend(story(&broker, "2").await.steps);
    let has = |wanted: fn(&StepTold) -> bool| steps.iter().any(|step| wanted(&step.step));
    assert!(has(|step| matches!(step, StepTold::Breaker { until: Some(_) })), "{steps:?}");
    assert!(has(|step| matches!(step, StepTold::Breaker { until: None })), "{steps:?}");
    assert!(has(|step| matches!(step, StepTold::Attempt { is_probe: true, .. })), "{steps:?}");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_event_that_expired_and_one_that_repeats_a_business_key_are_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Scripted::answering([]));
    let key = "$.data.order".to_owned();
    config.triggers.get_mut(&name()).unwrap().dedup = Some(DedupPolicy { key, window_ms: 60_000 });
    let broker = Broker::open(config).await.unwrap();
    let order = |id: &str, order: u32| {
        Event::builder(id, "/shop", "order.created").json_data(format!(r#"{{"order":{order}}}"#))
    };
    let late = order("3", 2).extension("expirytime", "2001-01-01T00:00:00Z").build().unwrap();
    let [first, again] = ["1", "2"].map(|id| order(id, 1).build().unwrap());
    broker.publish(&topic(), vec![first, again, late]).await.unwrap();
    settled(&broker, 3).await;
    let mut told = Vec::new();
    for id in ["1", "2", "3"] {
        let story = story(&broker, id).await;
        let of_event = |step: &StepTold| matches!(step, StepTold::Expired | StepTold::Deduplicated);
        let steps = story.steps.into_iter().map(|step| step.step).filter(of_event);
        told.push((story.outcome, steps.collect::<Vec<_>>()));
    }
    assert_eq!(
        told,
        [
            (StoryOutcome::Delivered, vec![]),
            (StoryOutcome::Deduplicated, vec![StepTold::Deduplicated]),
            (StoryOutcome::Expired, vec![StepTold::Expired])
        ]
    );
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn events_are_found_in_whole_blocks_and_behind_them_and_anew_when_the_index_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, Scripted::answering([]));
    let assert_found = async |broker: &Broker| {
        for at in [0, 1_023, 1_024, 2_047, 2_048, 2_099] {
            let found = broker.find_event(&format!("e{at}")).await.unwrap();
            let places: Vec<_> = found.iter().map(|place| (place.topic.as_str(), place.offset.0)).collect();
            let wanted = [("other", 0), ("orders", at)];
            let wanted = if at == 2_048 { &wanted[..] } else { &wanted[1..] };
            assert!(
                places.len() == wanted.len() && wanted.iter().all(|one| places.contains(one)),
                "{places:?}"
            );
        }
        assert!(broker.find_event("e2100").await.unwrap().is_empty());
    };
    let broker = Broker::open(config.clone()).await.unwrap();
    broker.publish(&"other".parse().unwrap(), vec![event("e2048")]).await.unwrap();
    for from in (0..2_100).step_by(700) {
        let events = (from..from + 700).map(|at| event(&format!("e{at}"))).collect();
        broker.publish(&topic(), events).await.unwrap();
        // It takes the end up that it finds, and later ones go on from there.
        assert_eq!(broker.find_event("e5").await.unwrap().len(), 1);
    }
    assert_found(&broker).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    let again = Broker::open(config.clone()).await.unwrap();
    assert_found(&again).await;
    again.shutdown().await.unwrap();
    drop(again);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let anew = Broker::open(config).await.unwrap();
    assert_found(&anew).await;
    anew.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_reply_is_told_where_its_cause_is_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let reply = Event::builder("r", "/printer", "order.printed").build().unwrap();
    let mut config = config(&dir, Scripted::answering([Outcome::Ack { reply: Some(reply) }]));
    config.triggers.get_mut(&name()).unwrap().reply_topic = Some("replies".parse().unwrap());
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let told = story(&broker, "1").await;
    let replied = StepTold::Replied { topic: "replies".into(), offset: Offset(0), id: "r".into() };
    assert!(told.steps.iter().any(|step| step.step == replied), "{told:?}");
    let request = TimelineRequest { id: "r".to_owned(), ..TimelineRequest::default() };
    let caused = broker.timeline(&request).await.unwrap().events.remove(0);
    assert_eq!((caused.causation_id.as_deref(), caused.triggers.len()), (Some("1"), 0));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_event_of_before_the_trigger_and_one_of_a_trigger_that_is_gone_are_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut without = config(&dir, Scripted::answering([]));
    let mut trigger = without.triggers.remove(&name()).unwrap();
    let broker = Broker::open(without.clone()).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    broker.shutdown().await.unwrap();
    drop(broker);

    trigger.start = StartPosition::Latest;
    let mut with = without.clone();
    with.triggers.insert(name(), trigger);
    let broker = Broker::open(with).await.unwrap();
    broker.publish(&topic(), vec![event("2")]).await.unwrap();
    settled(&broker, 1).await;
    assert_eq!(story(&broker, "1").await.outcome, StoryOutcome::BeforeStart);
    broker.shutdown().await.unwrap();
    drop(broker);

    let broker = Broker::open(without).await.unwrap();
    let gone = story(&broker, "2").await;
    assert_eq!((gone.outcome, gone.is_configured, gone.matches), (StoryOutcome::Delivered, false, None));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_events_are_told_apart_over_all_blocks() {
    let dir = tempfile::tempdir().unwrap();
    // The hundredth of them is refused.
    let script = (0..10_000).map(|at| if at == 99 { rejected() } else { Outcome::Ack { reply: None } });
    let broker = Broker::open(config(&dir, Scripted::answering(script))).await.unwrap();
    for batch in 0..10 {
        let events = (0..1_000).map(|at| event(&format!("e{}", batch * 1_000 + at))).collect();
        broker.publish(&topic(), events).await.unwrap();
    }
    settled(&broker, 10_000).await;
    let mut outcomes = Vec::new();
    for at in [0, 511, 512, 5_000, 9_999] {
        outcomes.push(story(&broker, &format!("e{at}")).await.outcome);
    }
    let letter = broker.dead_letters(&DeadLetterFilter::default(), None, 1).await.unwrap().remove(0);
    outcomes.push(story(&broker, &letter.event_id).await.outcome);
    assert_eq!(outcomes.pop(), Some(StoryOutcome::DeadLettered));
    assert!(
        outcomes.iter().filter(|outcome| **outcome == StoryOutcome::Delivered).count() >= 4,
        "{outcomes:?}"
    );
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_timeline_that_is_turned_off_costs_nothing_and_tells_what_is_so_now() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Scripted::answering([]));
    config.timeline.enabled = false;
    let broker = Broker::open(config).await.unwrap();
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    let request = TimelineRequest { id: "1".to_owned(), ..TimelineRequest::default() };
    let told = broker.timeline(&request).await.unwrap();
    assert_eq!((told.is_kept, told.events[0].triggers[0].outcome), (false, StoryOutcome::Settled));
    broker.shutdown().await.unwrap();
    assert!(!dir.path().join("logs").join(TIMELINE_LOG).exists());
}

#[tokio::test]
async fn what_the_log_does_not_keep_up_with_is_dropped_and_deliveries_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(config(&dir, Scripted::answering([]))).await.unwrap();
    let timeline = &broker.core.timeline;
    let track = timeline.track(&"trigger/orders/x".into(), &topic(), &"x".parse().unwrap()).unwrap();
    let step =
        crate::core::timeline::Step::State { state: "running".into(), reason: Some("x".repeat(60_000)) };
    // Nobody writes between these: this test has one thread, and nothing is awaited.
    for _ in 0..HELD_BYTES_MAX / 60_000 + 10 {
        track.lane(&step);
    }
    assert!(timeline.held_bytes() < HELD_BYTES_MAX + 70_000, "{}", timeline.held_bytes());
    broker.publish(&topic(), vec![event("1")]).await.unwrap();
    settled(&broker, 1).await;
    story(&broker, "1").await;
    assert_eq!(timeline.held_bytes(), 0, "and what was taken is written");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_trigger_that_nearly_matches_is_flagged_with_the_field_until_it_matches() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Scripted::answering([]));
    let pattern = r#"{"type":["order.created"],"data":{"country":["DE"]}}"#;
    config.triggers.get_mut(&name()).unwrap().pattern = Some(pattern.to_owned());
    let broker = Broker::open(config).await.unwrap();
    let of = |id: &str, country: &str| {
        let data = format!(r#"{{"country":"{country}"}}"#);
        Event::builder(id, "/shop", "order.created").json_data(data).build().unwrap()
    };
    broker.publish(&topic(), vec![of("1", "de"), of("2", "de")]).await.unwrap();
    broker.core.look_for_near_misses().await;
    let near = broker.trigger(&name()).unwrap().near_miss.unwrap();
    assert_eq!((near.examined, near.events, near.miss.path.as_str()), (2, 2, "data.country"));
    assert_eq!((near.miss.expected.as_str(), near.miss.found.as_deref()), (r#"["DE"]"#, Some("\"de\"")));
    broker.publish(&topic(), vec![of("3", "DE"), of("4", "de")]).await.unwrap();
    broker.core.look_for_near_misses().await;
    assert_eq!(broker.trigger(&name()).unwrap().near_miss, None);
    broker.shutdown().await.unwrap();
}
