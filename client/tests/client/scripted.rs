//! A server that says what a test tells it to say.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_client::{Client, ClientError, ClientOptions, Event, Fingerprint, Offset};
use eventail_wire::frame::{
    ALPN, Frame, FrameBuffer, FrameDecoder, PROTOCOL_VERSION, PeerLimits, Published, Refused, Welcome,
    result_runs,
};
use eventail_wire::{Code, limits};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};

pub(crate) const LIMITS: PeerLimits = PeerLimits {
    event_bytes_max: 10_000,
    batch_events_max: 100,
    batch_bytes_max: 50_000,
    frame_bytes_max: 60_000,
    credit_max: 1_000,
};

pub(crate) struct Scripted {
    endpoint: Endpoint,
    fingerprint: Fingerprint,
}

impl Scripted {
    pub(crate) fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let fingerprint = Fingerprint::of_certificate(made.cert.der()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { endpoint, fingerprint }
    }

    pub(crate) fn options(&self) -> ClientOptions {
        let address = self.endpoint.local_addr().unwrap().to_string();
        ClientOptions::pinned(address, self.fingerprint)
            .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
    }

    /// Connects a client and takes its connection.
    pub(crate) async fn connect(&self) -> (Client, Connection) {
        let (client, connection) = tokio::join!(Client::connect(self.options()), self.connection());
        (client.unwrap(), connection)
    }

    pub(crate) async fn connection(&self) -> Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    pub(crate) async fn refuse_connection(&self) {
        if let Some(incoming) = self.endpoint.accept().await {
            drop(incoming.await);
        }
    }
}

/// A stream, seen from the server.
pub(crate) struct Stream {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Stream {
    /// The next stream of a connection, before its hello.
    pub(crate) async fn accept(connection: &Connection) -> Self {
        let (send, receive) = connection.accept_bi().await.unwrap();
        Self { send, receive, decoder: FrameDecoder::new(limits::FRAME_BYTES_MAX) }
    }

    /// The same, after it.
    pub(crate) async fn welcome(connection: &Connection) -> Self {
        let mut stream = Self::accept(connection).await;
        assert!(matches!(stream.frame().await, Frame::Hello(hello) if hello.version == PROTOCOL_VERSION));
        let server = "scripted".to_owned();
        stream.send(Frame::Welcome(Welcome { version: PROTOCOL_VERSION, server, limits: LIMITS })).await;
        stream
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        self.frame_or_end().await.expect("the stream goes on")
    }

    pub(crate) async fn frame_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let chunk = self.receive.read_chunk(usize::MAX, true).await.ok()??;
            self.decoder.extend(&[chunk.bytes]);
        }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut out = FrameBuffer::new();
        out.push(&frame).unwrap();
        for piece in out.pieces() {
            self.send.write_all(piece).await.unwrap();
        }
    }

    /// The next publish: its request and the ids of its events.
    pub(crate) async fn publish(&mut self) -> (u64, Vec<String>) {
        let Frame::Publish(header, events) = self.frame().await else { panic!("a publish was expected") };
        let ids = events.iter().map(|event| Event::decode(event).unwrap().id().to_owned()).collect();
        (header.request, ids)
    }

    /// Publishes until `events` of them came.
    pub(crate) async fn publishes(&mut self, events: usize) -> Vec<(u64, Vec<String>)> {
        let mut found = Vec::new();
        while found.iter().map(|(_, ids): &(u64, Vec<String>)| ids.len()).sum::<usize>() < events {
            found.push(self.publish().await);
        }
        found
    }

    pub(crate) async fn published(&mut self, request: u64, first: u64, count: usize) {
        let results = (0..count as u64).map(|behind| (Offset(first + behind), false));
        self.send(Frame::Published(Published { request, runs: result_runs(results) })).await;
    }

    pub(crate) async fn refused(&mut self, request: u64, code: Code) {
        let message = "as the script says".to_owned();
        self.send(Frame::Refused(Refused { request, code, message, retry_after_ms: Some(1) })).await;
    }

    /// Ends the server's side.
    pub(crate) async fn end(mut self) {
        self.send.finish().unwrap();
        let _ = self.send.stopped().await;
    }
}

pub(crate) fn cut(connection: &Connection) {
    connection.close(VarInt::from_u32(0), b"cut by the script");
}

pub(crate) fn event(id: impl ToString) -> Event {
    Event::builder(id.to_string(), "/script", "test").data(Bytes::from_static(b"data")).build().unwrap()
}

pub(crate) fn large_event(id: impl ToString, bytes: usize) -> Event {
    Event::builder(id.to_string(), "/script", "test").data(vec![b'x'; bytes]).build().unwrap()
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Option<Code> {
    result.unwrap_err().code()
}
