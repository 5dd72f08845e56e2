//! QUIC without the client library: any bytes on a stream, to see what the server makes of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventail_wire::frame::{
    ALPN, Frame, FrameBuffer, FrameDecoder, Hello, PROTOCOL_VERSION, PublishHeader, RawEvents,
};
use eventail_wire::limits::FRAME_BYTES_MAX;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// How long a server may take to answer or close.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that trusts anyone: it only goes to the server under test.
///
/// # Errors
/// Where the handshake fails.
pub async fn connect(address: SocketAddr, alpn: &[u8]) -> anyhow::Result<Connection> {
    let provider = Arc::new(ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone { provider }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(endpoint.connect_with(config, address, "localhost")?.await?)
}

/// One stream whose bytes the test writes.
#[derive(Debug)]
pub struct RawStream {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    /// The connection, which ends with its last handle.
    pub connection: Connection,
}

impl RawStream {
    /// Connects and opens a stream.
    pub async fn open(address: SocketAddr) -> Self {
        let connection = connect(address, ALPN).await.expect("a handshake");
        Self::on(connection).await
    }

    /// Opens a stream on a connection that there is.
    pub async fn on(connection: Connection) -> Self {
        let (send, receive) = connection.open_bi().await.expect("a stream");
        Self { send, receive, decoder: FrameDecoder::new(FRAME_BYTES_MAX), connection }
    }

    /// Writes bytes as they are. The server may have closed the stream already.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _closed = self.send.write_all(bytes).await;
    }

    /// Writes a frame.
    pub async fn frame(&mut self, frame: &Frame) {
        self.write(&encoded(frame)).await;
    }

    /// Says hello, and takes the welcome.
    pub async fn greet(&mut self) {
        self.frame(&hello(PROTOCOL_VERSION)).await;
        let welcome = self.next().await;
        assert!(matches!(welcome, Some(Frame::Welcome(_))), "{welcome:?}");
    }

    /// Ends the sending side.
    pub fn finish(&mut self) {
        let _closed = self.send.finish();
    }

    /// The next frame; `None` where the server ended the stream or the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                if let Some(frame) = self.decoder.next_frame().expect("the server sends frames") {
                    return Some(frame);
                }
                let chunk = self.receive.read_chunk(usize::MAX, true).await.ok()??;
                self.decoder.extend(&[chunk.bytes]);
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the server answers or closes in time")
    }

    /// Why the server closed the whole connection.
    pub async fn closed(&self) -> String {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        closed.expect("the server closes the connection in time").to_string()
    }
}

/// The bytes of a frame.
#[must_use]
pub fn encoded(frame: &Frame) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    buffer.push(frame).expect("a frame within the limits");
    buffer.pieces().concat()
}

/// A hello that asks for `version`.
#[must_use]
pub fn hello(version: u32) -> Frame {
    Frame::Hello(Hello { version, client: "raw".to_owned(), token: None })
}

/// A publish of encoded events, whatever they are.
#[must_use]
pub fn publish(request: u64, topic: &str, events: &[Bytes]) -> Frame {
    let header = PublishHeader { request, topic: topic.to_owned() };
    Frame::Publish(header, RawEvents::from_events(events).expect("small events"))
}

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
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
