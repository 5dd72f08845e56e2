//! Many QUIC connections of publishers on a few sockets, without the client library: that has a socket for each connection, which
//! would measure the load and not the broker.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use eventail_wire::frame::{
    ALPN, Frame, FrameBuffer, FrameDecoder, Hello, PROTOCOL_VERSION, PublishHeader, RawEvents,
};
use eventail_wire::{Event, TopicName, limits};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// Where connections come from.
#[derive(Debug)]
pub struct Sockets {
    endpoints: Vec<Endpoint>,
    config: ClientConfig,
    next: usize,
}

/// One publisher on a connection of its own.
#[derive(Debug)]
pub struct QuicPublisher {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    request: u64,
    connection: Connection,
}

impl Sockets {
    /// Opens so many sockets.
    ///
    /// # Errors
    /// Where there is none left.
    pub fn open(count: usize) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone { provider }))
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoints = (0..count.max(1)).map(|_| Endpoint::client(local)).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, config, next: 0 })
    }

    /// Connects a publisher.
    ///
    /// # Errors
    /// Where the broker does not take it.
    pub async fn publisher(&mut self, broker: SocketAddr) -> anyhow::Result<QuicPublisher> {
        self.next = (self.next + 1) % self.endpoints.len();
        let connecting = self.endpoints[self.next].connect_with(self.config.clone(), broker, "localhost")?;
        QuicPublisher::greet(connecting.await?).await
    }
}

impl QuicPublisher {
    async fn greet(connection: Connection) -> anyhow::Result<Self> {
        let (send, receive) = connection.open_bi().await?;
        let decoder = FrameDecoder::new(limits::FRAME_BYTES_MAX);
        let mut publisher = Self { send, receive, decoder, request: 0, connection };
        let hello = Hello { version: PROTOCOL_VERSION, client: "crowd".to_owned(), token: None };
        publisher.write(&Frame::Hello(hello)).await?;
        let welcome = publisher.next().await?;
        ensure!(matches!(welcome, Frame::Welcome(_)), "{welcome:?} instead of a welcome");
        Ok(publisher)
    }

    /// Publishes one event and waits for its acknowledgement.
    ///
    /// # Errors
    /// Where it is refused, or the connection breaks.
    pub async fn publish(&mut self, topic: &TopicName, event: &Event) -> anyhow::Result<()> {
        self.request += 1;
        let header = PublishHeader { request: self.request, topic: topic.to_string() };
        let events = RawEvents::from_events([event.as_bytes()]).context("an event within the limits")?;
        self.write(&Frame::Publish(header, events)).await?;
        match self.next().await? {
            Frame::Published(published) if published.request == self.request => Ok(()),
            other => bail!("{other:?} instead of an acknowledgement"),
        }
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.connection.close(quinn::VarInt::from_u32(0), b"");
    }

    async fn write(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let mut buffer = FrameBuffer::new();
        buffer.push(frame)?;
        Ok(self.send.write_all(&buffer.pieces().concat()).await?)
    }

    async fn next(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            let chunk = self.receive.read_chunk(usize::MAX, true).await?.context("the stream ended")?;
            self.decoder.extend(&[chunk.bytes]);
        }
    }
}

/// Trusts anyone: it only goes to the broker that was started beside it.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
