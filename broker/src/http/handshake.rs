//! From a TCP connection to TLS on it: within a time, so many at once, and with a word to whoever speaks plain HTTP.
//!
//! A connection costs a place among the handshakes only from its first byte on, so that those who say nothing keep nobody out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventail_wire::limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer::Peer;
use crate::tls::{self, Certificates, Failure, Failures, HANDSHAKE_TIME};

/// The first byte of every TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// How long somebody who is not let in may take to ask and to read why not.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// What is still read of one who is not let in.
const PARTING_BYTES_MAX: usize = 64 << 10;
/// What is said to whoever speaks HTTP without TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/problem+json\r\ncontent-length: 122\r\nconnection: close\r\n\r\n\
    {\"type\":\"/errors/malformed\",\"title\":\"Malformed\",\"status\":400,\
    \"detail\":\"this port speaks https:// only\",\"code\":\"malformed\"}";

/// Makes TLS of a listener's connections.
#[derive(Debug)]
pub(super) struct Handshakes {
    certificates: Arc<Certificates>,
    under_way: Semaphore,
    failures: Failures,
}

impl Handshakes {
    pub(super) fn new(certificates: Arc<Certificates>) -> Self {
        Self {
            certificates,
            under_way: Semaphore::new(limits::TLS_HANDSHAKES_MAX),
            failures: Failures::new("http"),
        }
    }

    /// The connection after its handshake, and who is at its other end; `None` where it came to nothing, which was noted.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let until = Instant::now() + HANDSHAKE_TIME;
        let mut first = [0];
        let (failure, error) = match timeout_at(until, stream.peek(&mut first)).await {
            Ok(Ok(0)) => return None,
            Ok(Ok(_)) if first[0] == HANDSHAKE_RECORD => return self.shake(stream, address, until).await,
            Ok(Ok(_)) if first[0].is_ascii_uppercase() => {
                self.failures.note(address, Failure::PlainHttp, None);
                part(stream, PLAIN).await;
                return None;
            }
            Ok(Ok(_)) => (Failure::Broken, None),
            Ok(Err(error)) => (Failure::Broken, Some(error)),
            Err(_) => (Failure::Timeout, None),
        };
        self.failures.note(address, failure, error.as_ref().map(|error| error as _));
        None
    }

    async fn shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        until: Instant,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let Ok(Ok(place)) = timeout_at(until, self.under_way.acquire()).await else {
            self.failures.note(address, Failure::TooMany, None);
            return None;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&self.certificates.served().http));
        let shaken = timeout_at(until, acceptor.accept(stream).into_fallible()).await;
        drop(place);
        match shaken {
            Ok(Ok(stream)) => {
                let certificate_names = tls::of_peer(stream.get_ref().1.peer_certificates());
                Some((stream, Peer { address, certificate_names }))
            }
            Ok(Err((error, stream))) => {
                self.failures.note(address, Failure::of_io(&error), Some(&error));
                // The alert that says why is on its way already.
                part(stream, b"").await;
                None
            }
            Err(_) => {
                self.failures.note(address, Failure::Timeout, None);
                None
            }
        }
    }
}

/// Says a last word, and reads for a moment what is still coming: closing on bytes that were not read would reset the connection before
/// its peer has read why.
async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin, word: &[u8]) {
    let parting = async {
        let mut ignored = [0; 1024];
        if !word.is_empty() {
            // Clients take an answer that comes before their request for a broken connection.
            let _asked = stream.read(&mut ignored).await?;
            stream.write_all(word).await?;
        }
        stream.shutdown().await?;
        let mut bytes = 0;
        while bytes < PARTING_BYTES_MAX {
            match stream.read(&mut ignored).await? {
                0 => break,
                read => bytes += read,
            }
        }
        io::Result::Ok(())
    };
    // Whether the peer listens is its own affair.
    let _told = timeout(PARTING_TIME, parting).await;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
    use rustls::pki_types::ServerName;
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{ClientCertificates, TlsKey, TlsOptions};

    #[test]
    fn the_word_to_a_plain_client_is_a_whole_answer() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(parsed["code"], "malformed");
    }

    /// Writes an authority, and a pair for `localhost` that is the server's and the client's.
    fn write_certificates(folder: &Path) {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.subject_alt_names.push(SanType::URI("spiffe://test/billing".try_into().unwrap()));
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "billing");
        let certificate = parameters.signed_by(&key, &authority).unwrap();
        for (name, text) in
            [("ca.pem", authority.pem()), ("own.pem", certificate.pem()), ("own.key", key.serialize_pem())]
        {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    async fn handshakes(folder: &Path) -> (Handshakes, TcpListener) {
        write_certificates(folder);
        let options = TlsOptions {
            certificate: folder.join("own.pem"),
            key: TlsKey::File(folder.join("own.key")),
            clients: ClientCertificates::Required { ca: folder.join("ca.pem") },
        };
        let certificates = Certificates::open(options, Arc::new(SystemClock)).unwrap();
        (Handshakes::new(Arc::new(certificates)), TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    #[tokio::test]
    async fn a_client_is_known_by_the_names_of_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (handshakes, listener) = handshakes(folder.path()).await;
        let address = listener.local_addr().unwrap();
        let (ca, own, key) =
            (folder.path().join("ca.pem"), folder.path().join("own.pem"), folder.path().join("own.key"));
        let config = crate::tls::client(Some(&ca), Some((&own, &key))).unwrap();
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap()
        };
        let accepting = async {
            let (stream, remote) = listener.accept().await.unwrap();
            (handshakes.accept(stream, remote).await.unwrap().1, remote)
        };
        let (client, (peer, remote)) = tokio::join!(connecting, accepting);
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(peer.address, remote);
        assert_eq!(*peer.certificate_names, ["localhost", "spiffe://test/billing"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_is_begun_and_goes_no_further_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (handshakes, listener) = handshakes(folder.path()).await;
        let started = Instant::now();
        for begun in [&[][..], &[HANDSHAKE_RECORD][..], &[HANDSHAKE_RECORD, 3, 1, 0, 200][..]] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(begun).await.unwrap();
            let (stream, remote) = listener.accept().await.unwrap();
            assert!(handshakes.accept(stream, remote).await.is_none());
            let mut rest = Vec::new();
            // A reset is an end as well.
            let _end = client.read_to_end(&mut rest).await;
        }
        assert!(started.elapsed() >= 3 * HANDSHAKE_TIME, "each had its time");
        assert_eq!(handshakes.under_way.available_permits(), limits::TLS_HANDSHAKES_MAX);
    }
}
