//! A publisher against a server that answers, refuses and dies by script.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::scripted::{Scripted, Stream, code, cut, event, large_event};
use eventail_client::{
    ClientError, Code, HeldId, Offset, PublishAck, PublisherOptions, Timestamp, TopicName,
};
use eventail_wire::frame::{Fault, Frame, Held};

fn topic() -> TopicName {
    TopicName::new("orders").unwrap()
}

fn is_pending<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

macro_rules! publisher {
    ($client:expr, $connection:expr, $options:expr) => {{
        let (publisher, stream) =
            tokio::join!($client.publisher(topic(), $options), Stream::welcome(&$connection));
        (publisher.unwrap(), stream)
    }};
}

#[tokio::test]
async fn each_event_learns_its_own_offset() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let (one, two) = (publisher.publish(event(1)).await.unwrap(), publisher.publish(event(2)).await.unwrap());
    let batch = publisher.publish_batch(vec![event(3), event(4)]).await.unwrap();
    let mut offset = 10;
    for (request, ids) in stream.publishes(4).await {
        stream.published(request, offset, ids.len()).await;
        offset += ids.len() as u64;
    }
    assert_eq!(
        (one.await.unwrap().offset(), two.await.unwrap().offset()),
        (Some(Offset(10)), Some(Offset(11)))
    );
    let batch: Vec<_> = batch.await.unwrap().iter().filter_map(PublishAck::offset).collect();
    assert_eq!(batch, [Offset(12), Offset(13)]);
    assert!(publisher.publish_batch(Vec::new()).await.unwrap().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_held_learns_its_handle_and_its_time() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let batch = publisher.publish_batch(vec![event(1), event(2), event(3)]).await.unwrap();
    let (request, _) = stream.publish().await;
    let appended = |offset| PublishAck::Appended { offset: Offset(offset), duplicate: false };
    let held = PublishAck::Held { id: HeldId(7), deliver_at: Timestamp(1_000), duplicate: true };
    let placed = [appended(5), held, appended(6)];
    stream.send(Frame::Held(Held::new(request, &placed))).await;
    assert_eq!(batch.await.unwrap(), placed);
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_after_the_connection_is_lost() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default().batch(1, 1));
    let handles = [
        publisher.publish(event("a")).await.unwrap(),
        publisher.publish(event("b")).await.unwrap(),
        publisher.publish(event("c")).await.unwrap(),
    ];
    let first = stream.publishes(3).await;
    assert_eq!(first.iter().flat_map(|(_, ids)| ids).collect::<Vec<_>>(), ["a", "b", "c"]);
    // The server has appended all of them, and told of one, when it dies.
    stream.published(first[0].0, 0, 1).await;
    let [a, b, c] = handles;
    assert_eq!(a.await.unwrap().offset(), Some(Offset(0)));
    cut(&connection);
    let connection = server.connection().await;
    let mut stream = Stream::welcome(&connection).await;
    let again = stream.publishes(2).await;
    assert_eq!(again, [(1, vec!["b".to_owned()]), (2, vec!["c".to_owned()])]);
    stream.published(1, 1, 1).await;
    stream.published(2, 2, 1).await;
    assert_eq!((b.await.unwrap().offset(), c.await.unwrap().offset()), (Some(Offset(1)), Some(Offset(2))));
}

#[tokio::test]
async fn after_a_refusal_for_the_time_being_all_goes_again_in_order_from_the_refused_request() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default().batch(1, 1));
    let mut handles = Vec::new();
    for id in 1..=3 {
        handles.push(publisher.publish(event(id)).await.unwrap());
    }
    stream.publishes(3).await;
    stream.published(1, 0, 1).await;
    stream.refused(2, Code::Overloaded).await;
    stream.refused(3, Code::Overloaded).await;
    assert_eq!(stream.publishes(2).await, [(2, vec!["2".to_owned()]), (3, vec!["3".to_owned()])]);
    stream.published(2, 1, 1).await;
    stream.published(3, 2, 1).await;
    for (offset, handle) in (0..).zip(handles) {
        assert_eq!(handle.await.unwrap().offset(), Some(Offset(offset)));
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_its_turn_waits_and_its_event_is_not_sent_again() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default().batch(1, 1));
    let first = publisher.publish(event(1)).await.unwrap();
    let mut second = pin!(publisher.publish(event(2)).await.unwrap());
    stream.publishes(2).await;
    stream.refused(1, Code::StorageFull).await;
    stream.published(2, 0, 1).await;
    assert_eq!(stream.publish().await, (1, vec!["1".to_owned()]));
    assert!(is_pending(&mut second), "the second answer came before the first");
    stream.published(1, 1, 1).await;
    assert_eq!(
        (first.await.unwrap().offset(), second.await.unwrap().offset()),
        (Some(Offset(1)), Some(Offset(0)))
    );
}

#[tokio::test]
async fn a_refusal_for_good_fails_its_events_and_no_others() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default().batch(1, 1));
    let (one, two) = (publisher.publish(event(1)).await.unwrap(), publisher.publish(event(2)).await.unwrap());
    stream.publishes(2).await;
    stream.refused(1, Code::UnknownTopic).await;
    stream.published(2, 0, 1).await;
    assert_eq!(code(one.await), Some(Code::UnknownTopic));
    assert_eq!(two.await.unwrap().offset(), Some(Offset(0)));
}

#[tokio::test]
async fn what_the_server_would_not_take_fails_alone_and_is_not_sent() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let large = publisher.publish(large_event(1, 20_000)).await.unwrap();
    let batch = publisher.publish_batch((0..101).map(event).collect()).await.unwrap();
    let bytes = publisher.publish_batch((0..6).map(|id| large_event(id, 9_000)).collect()).await.unwrap();
    let fine = publisher.publish(event("fine")).await.unwrap();
    assert_eq!(stream.publish().await, (1, vec!["fine".to_owned()]));
    stream.published(1, 0, 1).await;
    assert!(matches!(large.await, Err(ClientError::EventTooLarge { limit: 10_000, .. })));
    assert!(matches!(
        batch.await,
        Err(ClientError::BatchTooLarge { value: 101, limit: 100, unit: "events" })
    ));
    assert!(matches!(bytes.await, Err(ClientError::BatchTooLarge { limit: 50_000, unit: "bytes", .. })));
    assert_eq!(fine.await.unwrap().offset(), Some(Offset(0)));
}

#[tokio::test]
async fn publishing_waits_for_room_in_the_window() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) =
        publisher!(client, connection, PublisherOptions::default().window(2, 1 << 20));
    let first = publisher.publish(event(1)).await.unwrap();
    let _second = publisher.publish(event(2)).await.unwrap();
    let mut third = pin!(publisher.publish(event(3)));
    let (mut request, mut ids) = (0, 0);
    while ids < 2 {
        assert!(is_pending(&mut third), "a third event found room in a window of two");
        let publish = stream.publish().await;
        (request, ids) = (publish.0, ids + publish.1.len());
    }
    for answered in 1..=request {
        stream.published(answered, answered, if request == 1 { 2 } else { 1 }).await;
    }
    first.await.unwrap();
    let _third = third.await.unwrap();
}

#[tokio::test]
async fn lingering_gathers_one_frame_and_flush_does_not_wait_for_it() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let options = PublisherOptions::default().linger(Duration::from_secs(3600)).batch(3, 1 << 20);
    let (publisher, mut stream) = publisher!(client, connection, options);
    for id in 1..=4 {
        drop(publisher.publish(event(id)).await.unwrap());
    }
    assert_eq!(stream.publish().await.1, ["1", "2", "3"]);
    let flushing = publisher.flush();
    let serving = async {
        assert_eq!(stream.publish().await, (2, vec!["4".to_owned()]));
        stream.published(1, 0, 3).await;
        stream.published(2, 3, 1).await;
    };
    let (flushed, ()) = tokio::join!(flushing, serving);
    flushed.unwrap();
}

#[tokio::test]
async fn closing_answers_everything_and_says_goodbye() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let other = publisher.clone();
    let handle = publisher.publish(event(1)).await.unwrap();
    let (closed, ()) = tokio::join!(publisher.close(), async {
        let (request, _) = stream.publish().await;
        stream.published(request, 7, 1).await;
    });
    closed.unwrap();
    assert_eq!(handle.await.unwrap().offset(), Some(Offset(7)));
    assert!(matches!(other.publish(event(2)).await, Err(ClientError::Closed)));
    drop(other);
    assert_eq!(stream.frame().await, Frame::Goodbye);
    stream.end().await;
}

#[tokio::test]
async fn after_the_servers_goodbye_nothing_is_sent_until_there_is_a_new_stream() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let first = publisher.publish(event(1)).await.unwrap();
    let (request, _) = stream.publish().await;
    stream.send(Frame::Goodbye).await;
    stream.published(request, 0, 1).await;
    first.await.unwrap();
    let second = publisher.publish(event(2)).await.unwrap();
    stream.end().await;
    cut(&connection);
    let connection = server.connection().await;
    let mut stream = Stream::welcome(&connection).await;
    assert_eq!(stream.publish().await, (1, vec!["2".to_owned()]));
    stream.published(1, 1, 1).await;
    assert_eq!(second.await.unwrap().offset(), Some(Offset(1)));
}

#[tokio::test]
async fn events_are_given_up_when_their_time_to_be_retried_is_over() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let options = PublisherOptions::default().retry_for(Duration::from_millis(1));
    let (publisher, mut stream) = publisher!(client, connection, options);
    let first = publisher.publish(event(1)).await.unwrap();
    let (request, _) = stream.publish().await;
    stream.refused(request, Code::Overloaded).await;
    assert_eq!(code(first.await), Some(Code::Overloaded));
    // The publisher goes on, with the number that the server waits for.
    let second = publisher.publish(event(2)).await.unwrap();
    assert_eq!(stream.publish().await, (request, vec!["2".to_owned()]));
    stream.published(request, 5, 1).await;
    assert_eq!(second.await.unwrap().offset(), Some(Offset(5)));
}

#[tokio::test]
async fn a_fault_that_no_retry_helps_ends_the_publisher_with_its_reason() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let handle = publisher.publish(event(1)).await.unwrap();
    stream.publish().await;
    stream.send(Frame::Fault(Fault { code: Code::Malformed, message: "no".to_owned() })).await;
    assert_eq!(code(handle.await), Some(Code::Malformed));
    assert!(matches!(publisher.publish(event(2)).await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn an_answer_that_fits_no_request_ends_the_publisher() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let handle = publisher.publish(event(1)).await.unwrap();
    let (request, _) = stream.publish().await;
    stream.published(request, 0, 2).await;
    assert!(matches!(handle.await, Err(ClientError::Unexpected { .. })));
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_talked_to() {
    let (server, other) = (Scripted::start(), Scripted::start());
    let mut options = server.options();
    options.trust = other.options().trust;
    let (connected, ()) = tokio::join!(eventail_client::Client::connect(options), server.refuse_connection());
    let error = connected.unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }) && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_server_of_another_version_is_told_apart() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, ()) = tokio::join!(client.publisher(topic(), PublisherOptions::default()), async {
        let mut stream = Stream::accept(&connection).await;
        stream.frame().await;
        let fault = Fault { code: Code::ProtocolVersion, message: "too old".to_owned() };
        stream.send(Frame::Fault(fault)).await;
        stream.end().await;
    });
    let error = publisher.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (Some(Code::ProtocolVersion), false));
}

#[tokio::test]
async fn closing_the_client_fails_what_is_under_way() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let handle = publisher.publish(event(1)).await.unwrap();
    stream.publish().await;
    client.close().await;
    assert!(matches!(handle.await, Err(ClientError::Closed)));
    assert!(matches!(client.publisher(topic(), PublisherOptions::default()).await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn under_load_events_gather_into_few_frames() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let (publisher, mut stream) = publisher!(client, connection, PublisherOptions::default());
    let mut requests = Vec::new();
    // Frames that are not answered pile up to a limit, whatever pieces the events come in.
    for id in 0..8 {
        drop(publisher.publish(event(id)).await.unwrap());
        requests.push(stream.publish().await);
    }
    for id in 8..58 {
        drop(publisher.publish(event(id)).await.unwrap());
    }
    stream.published(requests[0].0, 0, 1).await;
    let (_, ids) = stream.publish().await;
    assert_eq!(ids.len(), 50);
}
