//! A subscription against a server that delivers by script.

use std::time::Duration;

use crate::scripted::{Scripted, Stream, code, cut, event};
use bytes::Bytes;
use eventail_client::{
    Client, ClientError, Code, Offset, SubscribeOptions, Subscription, Timestamp, TopicName, TriggerName,
};
use eventail_wire::frame::{
    Credit, DeliveryHeader, Frame, Nack, RawEvents, Reject, Subscribe, Subscribed, Tokens,
};
use quinn::Connection;

fn options() -> SubscribeOptions {
    SubscribeOptions::new(TriggerName::new("mine").unwrap(), TopicName::new("orders").unwrap())
        .credit(10)
        .lease(Duration::from_secs(7))
        .max_attempts(3)
        .pattern("{}")
}

async fn accept(connection: &Connection) -> (Subscribe, Stream) {
    let mut stream = Stream::welcome(connection).await;
    let Frame::Subscribe(request) = stream.frame().await else { panic!("a subscribe was expected") };
    stream.send(Frame::Subscribed(Subscribed { request: request.request })).await;
    (request, stream)
}

async fn subscribe(client: &Client, connection: &Connection) -> (Subscription, Subscribe, Stream) {
    let (subscription, (request, stream)) = tokio::join!(client.subscribe(options()), accept(connection));
    (subscription.unwrap(), request, stream)
}

async fn deliver(stream: &mut Stream, tokens: &[u64]) {
    let headers = tokens.iter().map(|&token| DeliveryHeader {
        token,
        offset: Offset(token * 10),
        appended_at: Timestamp(5),
        attempt: 2,
        deadline: Timestamp(9),
    });
    let events: Vec<Bytes> = tokens.iter().map(|token| event(token).as_bytes().clone()).collect();
    stream.send(Frame::Deliver(headers.collect(), RawEvents::from_events(&events).unwrap())).await;
}

/// Frames until `count` credits came back, credits left out.
async fn outcomes(stream: &mut Stream, count: u32) -> Vec<Frame> {
    let (mut frames, mut credit) = (Vec::new(), 0);
    while credit < count {
        match stream.frame().await {
            Frame::Credit(Credit { deliveries }) => credit += deliveries,
            frame => frames.push(frame),
        }
    }
    frames
}

fn tokens(tokens: &[u64]) -> Tokens {
    Tokens { tokens: tokens.to_vec() }
}

#[tokio::test]
async fn deliveries_come_whole_and_their_outcomes_go_back() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (mut subscription, request, mut stream) = subscribe(&client, &connection).await;
    assert_eq!((request.name.as_str(), request.topic.as_str(), request.credit), ("mine", "orders", 10));
    assert_eq!((request.lease_ms, request.max_attempts, request.pattern.as_deref()), (7_000, 3, Some("{}")));
    deliver(&mut stream, &[1, 2, 3, 4]).await;
    let first = subscription.next().await.unwrap().unwrap();
    assert_eq!((first.event().id(), first.offset(), first.attempt()), ("1", Offset(10), 2));
    assert_eq!((first.appended_at(), first.deadline()), (Timestamp(5), Timestamp(9)));
    first.ack();
    subscription.next().await.unwrap().unwrap().nack_because(Some(Duration::from_millis(30)), "busy");
    subscription.next().await.unwrap().unwrap().reject("never");
    let fourth = subscription.next().await.unwrap().unwrap();
    fourth.extend();
    drop(fourth);
    let frames = outcomes(&mut stream, 4).await;
    for expected in [
        Frame::Ack(tokens(&[1])),
        Frame::Nack(Nack { tokens: vec![2], delay_ms: Some(30), reason: "busy".to_owned() }),
        Frame::Reject(Reject { tokens: vec![3], reason: "never".to_owned() }),
        Frame::Extend(tokens(&[4])),
    ] {
        assert!(frames.contains(&expected), "{expected:?} is not among {frames:?}");
    }
    assert_eq!(frames.len(), 4);
}

#[tokio::test]
async fn a_lost_stream_comes_back_and_what_it_had_delivered_is_void() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (mut subscription, first_request, mut stream) = subscribe(&client, &connection).await;
    deliver(&mut stream, &[1, 2]).await;
    let held = subscription.next().await.unwrap().unwrap();
    cut(&connection);
    let connection = server.connection().await;
    let (again, mut stream) = accept(&connection).await;
    assert_eq!(again, first_request);
    held.ack();
    deliver(&mut stream, &[7]).await;
    let fresh = subscription.next().await.unwrap().unwrap();
    assert_eq!(fresh.event().id(), "7", "a delivery of the lost stream was handed out");
    fresh.ack();
    assert_eq!(outcomes(&mut stream, 1).await, [Frame::Ack(tokens(&[7]))]);
    assert_eq!(subscription.stale_outcomes(), 1);
}

#[tokio::test]
async fn closing_sends_every_outcome_and_waits_for_the_server() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (mut subscription, _, mut stream) = subscribe(&client, &connection).await;
    deliver(&mut stream, &[1, 2]).await;
    subscription.next().await.unwrap().unwrap().ack();
    let serving = async {
        let mut frames = Vec::new();
        while let Some(frame) = stream.frame_or_end().await {
            let is_last = frame == Frame::Goodbye;
            frames.push(frame);
            if is_last {
                break;
            }
        }
        assert!(frames.contains(&Frame::Ack(tokens(&[1]))), "{frames:?}");
        stream.send(Frame::Stale(tokens(&[1]))).await;
        stream.end().await;
    };
    tokio::join!(subscription.close(), serving);
}

#[tokio::test]
async fn a_refused_subscription_says_why() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (refused, ()) = tokio::join!(client.subscribe(options()), async {
        let mut stream = Stream::welcome(&connection).await;
        let Frame::Subscribe(request) = stream.frame().await else { panic!("a subscribe was expected") };
        stream.refused(request.request, Code::UnknownTopic).await;
        stream.end().await;
    });
    assert_eq!(code(refused), Some(Code::UnknownTopic));
}

#[tokio::test]
async fn a_subscription_that_is_refused_when_it_comes_back_ends_with_the_reason() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (mut subscription, _, _stream) = subscribe(&client, &connection).await;
    cut(&connection);
    let connection = server.connection().await;
    let mut stream = Stream::welcome(&connection).await;
    let Frame::Subscribe(request) = stream.frame().await else { panic!("a subscribe was expected") };
    stream.refused(request.request, Code::InvalidName).await;
    let ended = subscription.next().await.unwrap();
    assert_eq!(code(ended), Some(Code::InvalidName));
    assert!(subscription.next().await.is_none());
}

#[tokio::test]
async fn closing_the_client_ends_its_subscriptions() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (mut subscription, _, _stream) = subscribe(&client, &connection).await;
    client.close().await;
    assert!(subscription.next().await.is_none());
    assert!(matches!(client.subscribe(options()).await, Err(ClientError::Closed)));
}
