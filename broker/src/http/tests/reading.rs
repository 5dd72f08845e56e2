//! Reading: pages, waiting, places.

use http::Method;

use super::super::server::Drained;
use super::support::{DRAIN, Served};
use crate::config::Config;

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let served = Served::start().await;
    for index in 0..7 {
        served.publish("default", &format!("e-{index}")).await.ok(200);
    }
    let mut seen = Vec::new();
    let mut next = 0;
    loop {
        let page = served.get(&format!("/v1/topics/default/events?from={next}&limit=3")).await.ok(200);
        assert_eq!(page["end"], 7);
        let events = page["events"].as_array().unwrap().clone();
        if events.is_empty() {
            assert_eq!(page["next"], next);
            break;
        }
        assert!(events.len() <= 3);
        seen.extend(events.iter().map(|item| item["event"]["id"].as_str().unwrap().to_owned()));
        next = page["next"].as_u64().unwrap();
    }
    assert_eq!(seen, (0..7).map(|index| format!("e-{index}")).collect::<Vec<_>>());

    let at =
        served.get("/v1/topics/default/events?limit=1").await.ok(200)["events"][0]["appended_at"].clone();
    let from_time =
        served.get(&format!("/v1/topics/default/events?from={}", at.as_str().unwrap())).await.ok(200);
    assert_eq!(from_time["events"][0]["offset"], 0);
    let latest = served.get("/v1/topics/default/events?from=latest").await.ok(200);
    assert_eq!((latest["events"].as_array().unwrap().len(), &latest["next"]), (0, &7.into()));
    served.stop().await;
}

#[tokio::test]
async fn a_read_waits_for_what_comes() {
    let served = Served::start().await;
    let mut waiting = served.client().await;
    let target = "/v1/topics/default/events?from=latest&wait=30s";
    let reading = tokio::spawn(async move { waiting.ask(Method::GET, target, &[], "").await });
    // Events that came before the read was taken up do not end it, so they come until it ends.
    let mut published = 0;
    while !reading.is_finished() {
        served.publish("default", &format!("w-{published}")).await.ok(200);
        published += 1;
    }
    let page = reading.await.unwrap().ok(200);
    assert!(!page["events"].as_array().unwrap().is_empty(), "{page}");
    served.stop().await;
}

#[tokio::test]
async fn a_stop_ends_those_who_wait() {
    let served = Served::start().await;
    let mut client = served.client().await;
    client.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    let waiting = tokio::spawn(async move {
        client.ask(Method::GET, "/v1/topics/default/events?from=latest&wait=60s", &[], "").await
    });
    // Asked on another connection, so that the waiting one has surely been taken up when the stop begins.
    served.get("/healthz").await.ok(200);
    let Served { server, broker, folder } = served;
    assert_eq!(server.shutdown(DRAIN).await, Drained { cut: 0 });
    broker.shutdown().await.unwrap();
    drop(folder);
    let answered = waiting.await;
    if let Ok(answer) = answered {
        assert_eq!(answer.ok(200)["events"].as_array().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem() {
    let served = Served::start().await;
    for (target, status, code, detail) in [
        ("/v1/topics/absent/events", 404, "unknown_topic", "absent"),
        ("/v1/topics/-x/events", 400, "invalid_name", "'-'"),
        ("/v1/topics/default/events?from=soon", 400, "invalid_parameter", "\"soon\""),
        ("/v1/topics/default/events?from=-1", 400, "invalid_parameter", "\"-1\""),
        ("/v1/topics/default/events?limit=0", 400, "invalid_parameter", "from 1 to 1000"),
        ("/v1/topics/default/events?wait=10", 400, "invalid_parameter", "10s"),
        (
            "/v1/topics/default/events?wait=61s",
            400,
            "invalid_parameter",
            "61000 is more than the limit of 60000",
        ),
        ("/v1/topics/default/events?form=1", 400, "invalid_parameter", "\"form\""),
        ("/v1/events/nobody", 404, "unknown_event", "nobody"),
        ("/v1/events/x?y=1", 400, "invalid_parameter", "\"y\""),
    ] {
        let said = served.get(target).await.problem(status, code);
        assert!(said.contains(detail), "{target}: {said}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_event_is_found_by_its_id_wherever_it_is() {
    let served = Served::start().await;
    served.publish("default", "x%2F1").await.ok(200);
    served.publish("other", "x%2F1").await.ok(200);
    let found = served.get("/v1/events/x%2F1").await.ok(200);
    let mut topics: Vec<&str> =
        found["places"].as_array().unwrap().iter().map(|place| place["topic"].as_str().unwrap()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["default", "other"]);
    served.stop().await;
}

#[tokio::test]
async fn what_retention_took_is_gone_and_the_answer_says_what_is_kept() {
    let small_segments = |config: &mut Config| config.topics.defaults.segment_bytes = 16 << 10;
    let served = Served::start_with(small_segments).await;
    let target = "/v1/topics/default/events?type=t&source=/s";
    for _ in 0..60 {
        served.ask(Method::POST, target, &[], &"x".repeat(1_000)).await.ok(200);
    }
    let folder = served.stop().await;
    let served = Served::start_in(folder, |config| {
        small_segments(config);
        config.topics.defaults.retention_bytes = Some(1);
    })
    .await;
    // Retention goes on while the test looks, a segment at a time, until one is left.
    let start = loop {
        let topic = served.get("/v1/topics/default").await.ok(200);
        if topic["segments"] == 1 {
            break topic["start"].as_u64().unwrap();
        }
    };
    let said = served.get("/v1/topics/default/events?from=0").await.problem(410, "offset_trimmed");
    assert!(said.contains(&format!("kept is {start}")), "{said}");
    let page = served.get("/v1/topics/default/events?from=earliest&limit=1").await.ok(200);
    assert_eq!(page["events"][0]["offset"], start);
    served.stop().await;
}
