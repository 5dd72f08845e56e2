//! The client library against the real broker: publish, subscribe, lose the connection.

use std::time::Duration;

use eventail_client::{
    Client, ClientOptions, Delivery, Offset, PublisherOptions, Start, SubscribeOptions, Subscription,
};
use eventail_tests::events::wire_event;
use eventail_tests::{Home, Receiver, eventually};

use crate::support::{at_rest, count, trigger};

fn options(name: &str) -> SubscribeOptions {
    SubscribeOptions::new(name.parse().unwrap(), "orders".parse().unwrap()).start(Start::Earliest)
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(30), subscription.next());
    next.await.expect("a delivery in time").expect("the subscription goes on").expect("a delivery")
}

#[tokio::test]
async fn acks_come_in_order_and_a_trigger_delivers_what_came_by_quic() {
    let receiver = Receiver::start().await;
    let home = Home::new(&trigger("ship", &receiver.url("/"), ""));
    let server = home.start().await;
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    let mut handles = Vec::new();
    for n in 0..500 {
        handles.push(publisher.publish(wire_event(&n.to_string(), "order.created")).await.unwrap());
    }
    for (n, handle) in handles.into_iter().enumerate() {
        let ack = handle.await.unwrap();
        assert_eq!((ack.offset(), ack.is_duplicate()), (Some(Offset(n as u64)), false));
    }
    let again = publisher.publish_batch(vec![wire_event("7", "x"), wire_event("new", "x")]).await.unwrap();
    let acks: Vec<_> = again.await.unwrap().iter().map(|ack| (ack.offset(), ack.is_duplicate())).collect();
    assert_eq!(acks, [(Some(Offset(7)), true), (Some(Offset(500)), false)]);
    receiver.wait_for(501).await;
    assert_eq!(count(&at_rest(server.api(), "ship", 501).await, "delivered"), 501);
    publisher.close().await.unwrap();
    client.close().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_published_one_behind_the_other_keeps_its_order_also_into_a_new_topic() {
    let home = Home::new("");
    let server = home.start().await;
    let client = server.client().await;
    for round in 0..20 {
        let topic = format!("new-{round}").parse().unwrap();
        let options = PublisherOptions::default().batch(4, 1 << 20);
        let publisher = client.publisher(topic, options).await.unwrap();
        let mut handles = Vec::new();
        for n in 0..100 {
            handles.push(publisher.publish(wire_event(&n.to_string(), "t")).await.unwrap());
        }
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap().offset(), Some(Offset(n as u64)), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_publisher_goes_on_after_a_kill_and_makes_no_second_event() {
    let home = Home::new("");
    let server = home.start().await;
    // The same address again: a client reconnects to where it was told to.
    let address = server.quic();
    let text = std::fs::read_to_string(home.path().join("eventail.toml")).unwrap();
    let fixed = text.replace("quic = \"127.0.0.1:0\"", &format!("quic = \"{address}\""));
    let options = ClientOptions::pinned(address.to_string(), server.fingerprint().parse().unwrap());
    let options = options.idle_timeout(Duration::from_secs(2), Duration::from_millis(500));
    let client = Client::connect(options).await.unwrap();
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    let mut handles = Vec::new();
    for n in 0..200 {
        handles.push(publisher.publish(wire_event(&n.to_string(), "t")).await.unwrap());
    }
    server.kill_9().await;
    for n in 200..400 {
        handles.push(publisher.publish(wire_event(&n.to_string(), "t")).await.unwrap());
    }
    let server = home.start_as(&fixed).await;
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.unwrap().offset(), Some(Offset(n as u64)));
    }
    assert_eq!(server.api().get_json("/v1/topics/orders").await["end"], 400);
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn a_subscription_redelivers_what_was_nacked_or_not_settled() {
    let home = Home::new("");
    let server = home.start().await;
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    for n in 0..3 {
        publisher.publish(wire_event(&n.to_string(), "t")).await.unwrap().await.unwrap();
    }
    let mut subscription = client.subscribe(options("worker").lease(Duration::from_secs(3))).await.unwrap();
    let mut of_two = None;
    for _ in 0..3 {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.attempt(), 1);
        match delivery.event().id() {
            "0" => delivery.ack(),
            "1" => delivery.nack(Some(Duration::from_millis(50))),
            _ => of_two = Some(delivery),
        }
    }
    let again = next(&mut subscription).await;
    assert_eq!((again.event().id(), again.attempt()), ("1", 2));
    again.ack();
    // The lease of the third runs out; what is then said about it is too late.
    let late = next(&mut subscription).await;
    assert_eq!(late.event().id(), "2");
    of_two.unwrap().ack();
    eventually("the stale outcome to be told", async || (subscription.stale_outcomes() > 0).then_some(()))
        .await;
    late.ack();
    publisher.publish(wire_event("last", "t")).await.unwrap().await.unwrap();
    let last = next(&mut subscription).await;
    assert_eq!(last.event().id(), "last");
    last.ack();
    subscription.close().await;
    client.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_subscription_keeps_its_place_over_a_restart() {
    let home = Home::new("");
    let server = home.start().await;
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    for n in 0..10 {
        publisher.publish(wire_event(&n.to_string(), "t")).await.unwrap().await.unwrap();
    }
    let mut subscription = client.subscribe(options("worker").credit(4)).await.unwrap();
    for _ in 0..6 {
        next(&mut subscription).await.ack();
    }
    subscription.close().await;
    client.close().await;
    server.stop().await;

    let server = home.start().await;
    let client = server.client().await;
    let mut subscription = client.subscribe(options("worker")).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut subscription).await;
        ids.push(delivery.event().id().to_owned());
        delivery.ack();
    }
    assert_eq!(ids, ["6", "7", "8", "9"]);
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused() {
    let home = Home::new("");
    let server = home.start().await;
    let options = ClientOptions::pinned(server.quic().to_string(), "00".repeat(32).parse().unwrap());
    let error = Client::connect(options).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}
