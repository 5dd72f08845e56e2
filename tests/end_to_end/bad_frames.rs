//! What bad input gets over QUIC: a stable code on its own stream, nothing half-written, and nobody else notices.

use bytes::Bytes;
use eventail_tests::events::wire_event;
use eventail_tests::raw_quic::{RawStream, connect, encoded, hello, publish};
use eventail_tests::{Home, Server};
use eventail_wire::Code;
use eventail_wire::frame::{Credit, Frame, PROTOCOL_VERSION};

/// The code of the fault that ends a stream, be it told on the stream or with the connection.
async fn fault(stream: &mut RawStream) -> String {
    loop {
        match stream.next().await {
            Some(Frame::Fault(fault)) => return fault.code.to_string(),
            Some(Frame::Welcome(_)) => {}
            Some(other) => panic!("{other:?} instead of a fault"),
            None => return stream.closed().await,
        }
    }
}

/// Nothing was written, and a well-behaved client is served.
async fn nothing_was_written(server: &Server) {
    let answer = server.api().get("/v1/topics/orders").await;
    assert!(answer.status == 404 || answer.json()["end"] == 0, "{}", answer.text());
    let client = server.client().await;
    let publisher = client.publisher("orders".parse().unwrap(), Default::default()).await.unwrap();
    let ack = publisher.publish(wire_event("good", "t")).await.unwrap().await.unwrap();
    assert_eq!(ack.offset().map(|at| at.0), Some(0));
}

#[tokio::test]
async fn a_stream_that_breaks_the_protocol_is_ended_with_a_code() {
    let home = Home::new("");
    let server = home.start().await;
    let event = wire_event("1", "t").as_bytes().clone();
    let greeting = encoded(&hello(PROTOCOL_VERSION));
    let after_greeting = |rest: &[u8]| [greeting.as_slice(), rest].concat();
    for (what, bytes, code) in [
        ("no hello first", encoded(&publish(1, "orders", std::slice::from_ref(&event))), Code::Malformed),
        ("another version", encoded(&hello(99)), Code::ProtocolVersion),
        ("a kind that there is not", after_greeting(&[2, 0, 0, 0, 0x55, 0x90]), Code::Malformed),
        ("a length over the limit", after_greeting(&[0xff, 0xff, 0xff, 0xff, 2]), Code::FrameTooLarge),
        ("a length of nothing", after_greeting(&[0, 0, 0, 0]), Code::Malformed),
        ("a body that is no MessagePack", after_greeting(&[3, 0, 0, 0, 4, 0xc1, 0xc1]), Code::Malformed),
        ("a frame that only servers send", after_greeting(&encoded(&Frame::Goodbye)[..4]), Code::Malformed),
    ] {
        let mut stream = RawStream::open(server.quic()).await;
        stream.write(&bytes).await;
        stream.finish();
        let told = fault(&mut stream).await;
        assert!(told.contains(code.as_str()), "{what}: {told} instead of {code}");
    }
    nothing_was_written(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_bad_event_is_refused_and_the_stream_goes_on() {
    let home = Home::new("[limits]\nevent_bytes_max = \"4KiB\"\nbatch_events_max = 10");
    let server = home.start().await;
    let good = |id: &str| wire_event(id, "t").as_bytes().clone();
    let mut not_utf8 = good("x").to_vec();
    not_utf8[12] = 0xff;
    let large = eventail_wire::Event::builder("1", "/s", "t").data(vec![b'x'; 5000]).build().unwrap();
    let many: Vec<Bytes> = (0..11).map(|n| good(&n.to_string())).collect();
    let mut stream = RawStream::open(server.quic()).await;
    stream.greet().await;
    for (request, (topic, events, code)) in (1..).zip([
        ("orders", vec![good("a"), Bytes::from(not_utf8)], Code::InvalidEvent),
        ("orders", vec![Bytes::from_static(b"nothing")], Code::InvalidEvent),
        ("orders", vec![good("a"), large.as_bytes().clone()], Code::EventTooLarge),
        ("orders", many, Code::BatchTooLarge),
        ("_settlements", vec![good("a")], Code::InvalidName),
        ("../etc", vec![good("a")], Code::InvalidName),
    ]) {
        stream.frame(&publish(request, topic, &events)).await;
        match stream.next().await {
            Some(Frame::Refused(refused)) => {
                assert_eq!((refused.request, refused.code), (request, code), "{}", refused.message);
            }
            other => panic!("{other:?} instead of {code}"),
        }
    }
    stream.frame(&publish(7, "orders", &[good("a")])).await;
    match stream.next().await {
        Some(Frame::Published(published)) => assert_eq!(published.runs[0].offset.0, 0),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.api().get_json("/v1/topics/orders").await["end"], 1);
}

#[tokio::test]
async fn half_a_frame_writes_nothing_and_other_streams_of_the_connection_go_on() {
    let home = Home::new("");
    let server = home.start().await;
    let mut half = RawStream::open(server.quic()).await;
    half.greet().await;
    let mut whole = RawStream::on(half.connection.clone()).await;
    whole.greet().await;
    let frame = encoded(&publish(1, "orders", &[wire_event("half", "t").as_bytes().clone()]));
    half.write(&frame[..frame.len() - 3]).await;
    half.finish();
    let told = fault(&mut half).await;
    assert!(told.contains("malformed"), "{told}");
    // Credit without a subscription is nothing to end the connection for either.
    whole.frame(&publish(1, "orders", &[wire_event("whole", "t").as_bytes().clone()])).await;
    assert!(matches!(whole.next().await, Some(Frame::Published(_))));
    let page = server.api().get_json("/v1/topics/orders/events?from=earliest").await;
    let events = page["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["event"]["id"]), (1, &"whole".into()));
    whole.frame(&Frame::Credit(Credit { deliveries: 10 })).await;
    server.stop().await;
}

#[tokio::test]
async fn who_never_says_hello_is_let_go_and_another_protocol_is_not_spoken() {
    let home = Home::new("[limits]\nrequest_timeout = \"300ms\"");
    let server = home.start().await;
    let mut silent = RawStream::open(server.quic()).await;
    silent.write(&[9, 0, 0]).await;
    let told = fault(&mut silent).await;
    assert!(told.contains("request_timeout"), "{told}");
    assert!(connect(server.quic(), b"h3").await.is_err());
    nothing_was_written(&server).await;
}
