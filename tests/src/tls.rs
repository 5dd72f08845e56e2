//! Certificates of the tests' own making, and HTTPS by hand: one connection whose certificate can be looked at.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::Answer;

/// A year that is far away.
const FAR: i32 = 2090;

/// Who makes certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one, whom nobody knows.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("an authority"))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server on this machine.
    #[must_use]
    pub fn server(&self) -> Pair {
        self.server_until(FAR)
    }

    /// The same, until the first day of a year.
    #[must_use]
    pub fn server_until(&self, year: i32) -> Pair {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        self.make(&names, "server", ExtendedKeyUsagePurpose::ServerAuth, year)
    }

    /// A client.
    #[must_use]
    pub fn client(&self, name: &str) -> Pair {
        self.make(&[], name, ExtendedKeyUsagePurpose::ClientAuth, FAR)
    }

    /// A client whose certificate is over.
    #[must_use]
    pub fn client_of_the_past(&self, name: &str) -> Pair {
        self.make(&[], name, ExtendedKeyUsagePurpose::ClientAuth, 2020)
    }

    fn make(&self, names: &[String], name: &str, usage: ExtendedKeyUsagePurpose, year: i32) -> Pair {
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        if names.is_empty() {
            let uri = format!("spiffe://test/{name}").try_into().expect("a URI");
            parameters.subject_alt_names = vec![SanType::URI(uri)];
        }
        parameters.use_authority_key_identifier_extension = true;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.extended_key_usages = vec![usage];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).expect("a folder");
        for (text, extension) in [(&self.key, "key"), (&self.certificate, "pem")] {
            std::fs::write(folder.join(format!("{name}.{extension}")), text).expect("a file");
        }
    }

    /// The SHA-256 of the certificate in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate"))
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings of a client that trusts an authority, and shows a certificate where it has one.
#[must_use]
pub fn client_config(authority: &str, identity: Option<&Pair>, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("an authority")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain =
                vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// One HTTPS connection, over which one request goes after the other.
pub struct Https {
    sender: Sender,
    address: SocketAddr,
    fingerprint: String,
}

enum Sender {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Https {
    /// Connects to `localhost` at this address.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn connect(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Self::on(stream, address).await.map_err(io::Error::other)
    }

    async fn on(stream: TlsStream<TcpStream>, address: SocketAddr) -> hyper::Result<Self> {
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let fingerprint = fingerprint(certificate.expect("the server shows a certificate"));
        let sender = if session.alpn_protocol() == Some(b"h2") {
            let executor = TokioExecutor::new();
            let (sender, driver) =
                hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            Sender::Two(sender)
        } else {
            let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            Sender::One(sender)
        };
        Ok(Self { sender, address, fingerprint })
    }

    /// The SHA-256 of the server's certificate, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether it is HTTP/2.
    #[must_use]
    pub const fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Two(_))
    }

    /// Sends a request: `GET` without a body, else `POST` of a CloudEvent.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn send(&mut self, path: &str, body: Option<&serde_json::Value>) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(if body.is_some() { "POST" } else { "GET" });
        if body.is_some() {
            request = request.header("content-type", "application/cloudevents+json");
        }
        let body = Full::new(Bytes::from(body.map(ToString::to_string).unwrap_or_default()));
        let response = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                let request = request.uri(path).header("host", self.address.to_string()).body(body)?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                let request = request.uri(format!("https://{}{path}", self.address)).body(body)?;
                sender.send_request(request).await
            }
        };
        let (parts, body) = response.context("no answer")?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}
