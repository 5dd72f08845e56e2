//! Real input: every payload of GitHub's webhooks goes in, lies in the log and reaches a target byte for byte.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use eventail_client::{PublisherOptions, Start, SubscribeOptions};
use eventail_tests::github::{Payload, payloads};
use eventail_tests::{Home, Receiver};
use eventail_wire::Event;
use http::Method;

use crate::support::{at_rest, count, trigger, trigger_to};

fn id(payload: &Payload) -> String {
    format!("{}-{}-{}", payload.server, payload.name, payload.number)
}

fn event_type(payload: &Payload) -> String {
    format!("com.github.{}", payload.name)
}

fn cloud_event(payload: &Payload) -> Event {
    let source = format!("https://{}/octokit", payload.server);
    let builder = Event::builder(id(payload), source, event_type(payload));
    builder.json_data(payload.body.clone()).build().unwrap()
}

/// Half go in by HTTP in binary mode, half by QUIC.
#[tokio::test]
async fn every_payload_comes_back_byte_for_byte_from_the_log_and_at_the_target() {
    let receiver = Receiver::start().await;
    let pulls =
        trigger("pulls", &receiver.url("/pulls"), r#"pattern = { type = ["com.github.pull_request"] }"#);
    let all = trigger_to("all", &receiver.url("/all"), "concurrency = 32", "");
    let home = Home::new(&format!("{all}{pulls}"));
    let server = home.start().await;
    let payloads = payloads();
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        if number % 2 == 0 {
            publisher.publish(cloud_event(payload)).await.unwrap().await.unwrap();
            continue;
        }
        let (id, event_type) = (id(payload), event_type(payload));
        let source = format!("https://{}/octokit", payload.server);
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id.as_str()),
            ("ce-source", source.as_str()),
            ("ce-type", event_type.as_str()),
            ("content-type", "application/json"),
        ];
        let path = "/v1/topics/orders/events";
        server.api().request(Method::POST, path, &headers, payload.body.clone()).await.expect_status(200);
    }
    let wanted: HashMap<String, Bytes> =
        payloads.iter().map(|payload| (id(payload), payload.body.clone())).collect();
    assert_eq!(wanted.len(), payloads.len());

    // From the log.
    let options = SubscribeOptions::new("reader".parse().unwrap(), "orders".parse().unwrap());
    let mut subscription = client.subscribe(options.start(Start::Earliest)).await.unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        let delivery = tokio::time::timeout(Duration::from_secs(30), subscription.next());
        let delivery = delivery.await.expect("in time").unwrap().unwrap();
        assert_eq!(delivery.offset().0, number as u64);
        assert_eq!(delivery.event(), &cloud_event(payload), "{}", id(payload));
        delivery.ack();
    }

    // At the targets.
    let total = payloads.len() as u64;
    let status = at_rest(server.api(), "all", total).await;
    assert_eq!(count(&status, "delivered"), total);
    let pull_requests = payloads.iter().filter(|payload| payload.name == "pull_request").count();
    at_rest(server.api(), "pulls", pull_requests as u64).await;
    let mut seen = HashMap::new();
    for request in receiver.received() {
        assert_eq!(request.body, wanted[request.id()], "{}", request.id());
        *seen.entry(request.path.clone()).or_insert(0) += 1;
    }
    assert_eq!((seen["/all"], seen["/pulls"]), (payloads.len(), pull_requests));
    server.stop().await;
}
