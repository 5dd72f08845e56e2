//! The server against clients that keep the protocol and clients that do not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_triggers::subscription::Verdict;
use eventail_wire::frame::{
    ALPN, CallBack, CallbackAction, CallbackOutcome, CalledBack, Credit, DeliveryHeader, Fault, Frame,
    FrameBuffer, FrameDecoder, FrameKind, Hello, PROTOCOL_VERSION, PublishHeader, Published, RawEvents,
    Refused, ResultRun, Start, Subscribe, Tokens,
};
use eventail_wire::{Code, Event, Offset, Timestamp, TopicName, limits};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{QuicServer, serve};
use crate::Broker;
use crate::config::Config;

struct House {
    folder: tempfile::TempDir,
    broker: Broker,
    server: QuicServer,
}

impl House {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(folder.path());
        change(&mut config);
        let broker = Broker::open(config).await.unwrap();
        let server = serve(broker.clone(), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        Self { folder, broker, server }
    }

    async fn connect(&self) -> Connection {
        connect(self.folder.path(), self.server.addr()).await.unwrap()
    }

    /// A stream of a connection of its own.
    async fn stream(&self) -> Stream {
        Stream::welcome(&self.connect().await).await
    }
}

/// The certificate that the server made is the root that vouches for it.
async fn connect(folder: &Path, address: SocketAddr) -> Result<Connection, ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("tls/certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.connect_with(config, address, "localhost").unwrap().await
}

struct Stream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Stream {
    async fn silent(connection: &Connection) -> Self {
        let (send, receive) = connection.open_bi().await.unwrap();
        let decoder = FrameDecoder::new(limits::FRAME_BYTES_MAX);
        Self { connection: connection.clone(), send, receive, decoder }
    }

    async fn welcome(connection: &Connection) -> Self {
        let mut stream = Self::silent(connection).await;
        stream
            .send(Frame::Hello(Hello { version: PROTOCOL_VERSION, client: "test".to_owned(), token: None }))
            .await;
        assert!(matches!(stream.frame().await, Frame::Welcome(_)));
        stream
    }

    async fn send(&mut self, frame: Frame) {
        let mut out = FrameBuffer::new();
        out.push(&frame).unwrap();
        self.send_bytes(&out.pieces().concat()).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    async fn publish(&mut self, request: u64, topic: &str, events: &[Bytes]) {
        let header = PublishHeader { request, topic: topic.to_owned() };
        self.send(Frame::Publish(header, RawEvents::from_events(events).unwrap())).await;
    }

    async fn subscribe(&mut self, credit: u32) {
        let subscribe = Subscribe {
            request: 1,
            name: "mine".to_owned(),
            topic: "orders".to_owned(),
            pattern: None,
            start: Start::Earliest,
            lease_ms: 60_000,
            max_attempts: 0,
            credit,
        };
        self.send(Frame::Subscribe(subscribe)).await;
    }

    async fn frame_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let chunk = self.receive.read_chunk(usize::MAX, true).await.ok()??;
            self.decoder.extend(&[chunk.bytes]);
        }
    }

    async fn frame(&mut self) -> Frame {
        self.frame_or_end().await.expect("the stream goes on")
    }

    /// The stream ends with this fault, and the connection does not.
    async fn ends_with(mut self, code: Code) -> Fault {
        let Frame::Fault(fault) = self.frame().await else { panic!("a fault was expected") };
        assert_eq!(fault.code, code, "{fault:?}");
        assert_eq!(self.frame_or_end().await, None);
        assert!(self.connection.close_reason().is_none(), "the connection ended with its stream");
        fault
    }

    async fn refused(&mut self) -> Refused {
        let Frame::Refused(refused) = self.frame().await else { panic!("a refusal was expected") };
        refused
    }

    /// Deliveries until there are `count` of them.
    async fn deliveries(&mut self, count: usize) -> Vec<DeliveryHeader> {
        let mut found = Vec::new();
        while found.len() < count {
            let Frame::Deliver(headers, events) = self.frame().await else {
                panic!("deliveries were expected")
            };
            assert_eq!(headers.len(), events.len());
            found.extend(headers);
        }
        assert_eq!(found.len(), count, "more came than there was credit for");
        found
    }
}

fn event(id: impl ToString) -> Bytes {
    Event::builder(id.to_string(), "/test", "t").build().unwrap().as_bytes().clone()
}

fn events(ids: std::ops::Range<u64>) -> Vec<Bytes> {
    ids.map(event).collect()
}

fn published(request: u64, offset: u64, count: u32, duplicate: bool) -> Frame {
    let runs = vec![ResultRun { offset: Offset(offset), count, duplicate }];
    Frame::Published(Published { request, runs })
}

fn orders() -> TopicName {
    TopicName::new("orders").unwrap()
}

#[tokio::test]
async fn publishes_that_do_not_wait_are_answered_in_their_order() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    for request in 0..50 {
        stream.publish(request, "orders", &events(request * 2..request * 2 + 2)).await;
    }
    for request in 0..50 {
        assert_eq!(stream.frame().await, published(request, request * 2, 2, false));
    }
    stream.publish(50, "orders", &events(4..7)).await;
    assert_eq!(stream.frame().await, published(50, 4, 3, true));
    assert_eq!(house.broker.topic(&orders()).unwrap().end, Offset(100));
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_its_stream_and_nothing_else() {
    let house = House::open().await;
    let connection = house.connect().await;
    let mut good = Stream::welcome(&connection).await;

    let mut early = Stream::silent(&connection).await;
    early.publish(1, "orders", &[event(1)]).await;
    early.ends_with(Code::Malformed).await;

    let mut old = Stream::silent(&connection).await;
    old.send(Frame::Hello(Hello { version: 99, client: String::new(), token: None })).await;
    assert!(old.ends_with(Code::ProtocolVersion).await.message.contains("99"));

    let mut unknown = Stream::welcome(&connection).await;
    unknown.send_bytes(&[1, 0, 0, 0, 0x33]).await;
    unknown.ends_with(Code::Malformed).await;

    let mut garbage = Stream::welcome(&connection).await;
    garbage.send_bytes(&[3, 0, 0, 0, FrameKind::Credit as u8, 0x91, 0xc1]).await;
    garbage.ends_with(Code::Malformed).await;

    let mut twice = Stream::welcome(&connection).await;
    twice.send(Frame::Hello(Hello { version: PROTOCOL_VERSION, client: String::new(), token: None })).await;
    twice.ends_with(Code::Malformed).await;

    let mut ack = Stream::welcome(&connection).await;
    ack.send(Frame::Ack(Tokens { tokens: vec![1] })).await;
    ack.ends_with(Code::Malformed).await;

    let mut half = Stream::welcome(&connection).await;
    half.send_bytes(&[9, 0, 0, 0, FrameKind::Publish as u8, 1]).await;
    half.send.finish().unwrap();
    half.ends_with(Code::Malformed).await;

    good.publish(1, "orders", &[event(1)]).await;
    assert_eq!(good.frame().await, published(1, 0, 1, false));
}

#[tokio::test]
async fn what_was_sent_before_a_fault_is_answered_before_it() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    stream.publish(1, "orders", &[event(1)]).await;
    stream.send_bytes(&[0, 0, 0, 0]).await;
    assert_eq!(stream.frame().await, published(1, 0, 1, false));
    stream.ends_with(Code::Malformed).await;
}

#[tokio::test]
async fn a_lying_length_ends_the_connection_and_the_server_goes_on() {
    let house = House::open().await;
    let mut liar = house.stream().await;
    liar.send_bytes(&[0xff, 0xff, 0xff, 0xff, FrameKind::Publish as u8]).await;
    let Frame::Fault(fault) = liar.frame().await else { panic!("a fault was expected") };
    assert_eq!(fault.code, Code::FrameTooLarge);
    let ConnectionError::ApplicationClosed(close) = liar.connection.closed().await else {
        panic!("the server closes the connection")
    };
    assert!(close.reason.starts_with(b"frame_too_large: "), "{close:?}");
    house.stream().await;
}

#[tokio::test]
async fn a_refused_publish_changes_nothing_and_the_stream_goes_on() {
    let house = House::with(|config| {
        config.limits.event_bytes_max = 1_000;
        config.limits.batch_events_max = 3;
        config.limits.batch_bytes_max = 2_000;
    })
    .await;
    let mut stream = house.stream().await;
    let of_bytes =
        |bytes| Event::builder("1", "/s", "t").data(vec![0; bytes]).build().unwrap().as_bytes().clone();
    let bad = Bytes::from_static(b"no event at all");
    for (request, topic, events, code, says) in [
        (1, "orders", vec![event(1), bad], Code::InvalidEvent, "event 1"),
        (2, "orders", vec![of_bytes(1_500)], Code::EventTooLarge, "1000"),
        (3, "orders", events(0..4), Code::BatchTooLarge, "limits.batch_events_max of 3"),
        (4, "orders", vec![of_bytes(900); 3], Code::BatchTooLarge, "limits.batch_bytes_max of 2000"),
        (5, "or/ders", vec![event(1)], Code::InvalidName, "'/'"),
    ] {
        stream.publish(request, topic, &events).await;
        let refused = stream.refused().await;
        assert_eq!((refused.request, refused.code), (request, code), "{refused:?}");
        assert!(refused.message.contains(says), "{refused:?}");
    }
    stream.publish(6, "orders", &[event(1)]).await;
    assert_eq!(stream.frame().await, published(6, 0, 1, false));
}

#[tokio::test]
async fn a_topic_that_may_not_be_made_is_refused() {
    let house = House::with(|config| config.topics.auto_create = false).await;
    let mut stream = house.stream().await;
    stream.publish(1, "orders", &[event(1)]).await;
    assert_eq!(stream.refused().await.code, Code::UnknownTopic);
}

#[tokio::test]
async fn a_stream_that_stalls_is_told_so_and_ended() {
    let house = House::with(|config| config.limits.request_timeout_ms = 50).await;
    let connection = house.connect().await;
    let mut silent = Stream::silent(&connection).await;
    silent.send_bytes(&[9, 0]).await;
    silent.ends_with(Code::RequestTimeout).await;
    let mut half = Stream::welcome(&connection).await;
    half.send_bytes(&[9, 0, 0, 0, FrameKind::Publish as u8]).await;
    half.ends_with(Code::RequestTimeout).await;
}

#[tokio::test]
async fn deliveries_keep_to_the_credit_and_are_settled_by_their_tokens() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    stream.publish(1, "orders", &events(0..5)).await;
    assert_eq!(stream.frame().await, published(1, 0, 5, false));
    stream.subscribe(2).await;
    assert_eq!(stream.frame().await.kind(), FrameKind::Subscribed);
    let first = stream.deliveries(2).await;
    let offsets: Vec<_> = first.iter().map(|header| (header.offset.0, header.attempt)).collect();
    assert_eq!(offsets, [(0, 1), (1, 1)]);
    let tokens: Vec<_> = first.iter().map(|header| header.token).collect();
    stream.send(Frame::Ack(Tokens { tokens: tokens.clone() })).await;
    stream.send(Frame::Ack(Tokens { tokens: tokens.clone() })).await;
    assert_eq!(stream.frame().await, Frame::Stale(Tokens { tokens }));
    stream.send(Frame::Credit(Credit { deliveries: 2 })).await;
    assert_eq!(stream.deliveries(2).await[1].offset, Offset(3));
    // When the stream ends, what was not settled goes to whoever subscribes next.
    stream.send(Frame::Goodbye).await;
    assert_eq!(stream.frame_or_end().await, None);
    let mut next = house.stream().await;
    next.subscribe(10).await;
    assert_eq!(next.frame().await.kind(), FrameKind::Subscribed);
    let offsets: Vec<_> = next.deliveries(3).await.iter().map(|header| header.offset.0).collect();
    assert_eq!(offsets, [2, 3, 4]);
}

#[tokio::test]
async fn more_credit_than_there_may_be_ends_the_stream() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    stream.subscribe(1).await;
    assert_eq!(stream.frame().await.kind(), FrameKind::Subscribed);
    stream.send(Frame::Credit(Credit { deliveries: limits::CREDIT_MAX })).await;
    stream.ends_with(Code::InvalidParameter).await;
}

#[tokio::test]
async fn connections_over_the_cap_are_refused() {
    let house = House::with(|config| config.limits.connections_max = 1).await;
    let _first = house.stream().await;
    let second = connect(house.folder.path(), house.server.addr()).await;
    assert!(matches!(second, Err(ConnectionError::ConnectionClosed(_))), "{second:?}");
}

#[tokio::test]
async fn a_stop_says_goodbye_and_waits_until_deliveries_are_settled() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    stream.publish(1, "orders", &[event(1)]).await;
    assert_eq!(stream.frame().await, published(1, 0, 1, false));
    stream.subscribe(1).await;
    assert_eq!(stream.frame().await.kind(), FrameKind::Subscribed);
    let token = stream.deliveries(1).await[0].token;
    let client = async {
        assert_eq!(stream.frame().await, Frame::Goodbye);
        stream.send(Frame::Ack(Tokens { tokens: vec![token] })).await;
        assert_eq!(stream.frame_or_end().await, None);
    };
    let (drained, ()) = tokio::join!(house.server.shutdown(Duration::from_secs(60)), client);
    assert_eq!(drained.cut, 0);
    house.broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_fingerprint_that_is_told_is_that_of_the_certificate() {
    let house = House::open().await;
    let connection = house.connect().await;
    let identity = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(&identity[0]);
    let told: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(house.server.fingerprint(), told);
}

#[tokio::test]
async fn callbacks_are_answered_in_their_order_with_what_came_of_them() {
    let house = House::open().await;
    let mut stream = house.stream().await;
    let (token, mut waiting) = house.broker.callbacks().open(30_000);
    let call =
        |request, token: &str, action| Frame::CallBack(CallBack { request, token: token.to_owned(), action });
    stream.send(call(1, &token, CallbackAction::Extend { by_ms: Some(5) })).await;
    stream.send(call(2, &token, CallbackAction::Ack)).await;
    stream.send(call(3, &token, CallbackAction::Ack)).await;
    stream.send(Frame::Goodbye).await;
    waiting.next().await.1.extended(Timestamp(7));
    waiting.next().await.1.settled(Verdict::Delivered);
    let extended = CallbackOutcome::Extended { deadline: Timestamp(7) };
    for (request, outcome) in [(1, extended), (2, CallbackOutcome::Delivered)] {
        assert_eq!(stream.frame().await, Frame::CalledBack(CalledBack { request, outcome }));
    }
    let refused = stream.refused().await;
    assert_eq!((refused.request, refused.code), (3, Code::DeliveryNotFound));
    assert_eq!(stream.frame_or_end().await, None);
}
