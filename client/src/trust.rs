//! Whom the client takes for its server: one pinned certificate, or what certificate authorities vouch for.
//!
//! There is no way to trust anyone at all: a broker with a certificate of its own making prints that certificate's
//! fingerprint, and to pin it is as little work.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use eventail_wire::frame::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedCipherSuite};

use crate::identity::Identity;

const FINGERPRINT_BYTES: usize = 32;

/// Why a fingerprint or certificates cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A fingerprint is 64 hexadecimal digits, with or without colons between the bytes.
    #[error("a fingerprint is 64 hexadecimal digits")]
    Fingerprint,
    /// The text is no PEM with certificates in it.
    #[error("these are no certificates in PEM: {what}")]
    Certificates {
        /// What is wrong with them.
        what: String,
    },
    /// The text is no private key in PEM. What it is instead is not told.
    #[error("this is no private key in PEM")]
    Key,
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// No cipher suite of TLS 1.3 fits QUIC. The build lacks it.
    #[error("TLS has no cipher suite for QUIC")]
    CipherSuite,
}

/// The SHA-256 of a certificate, as the broker prints it.
///
/// ```
/// # use eventail_client::Fingerprint;
/// let text = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// let fingerprint: Fingerprint = text.parse()?;
/// assert_eq!(fingerprint.to_string(), text);
/// # Ok::<(), eventail_client::TrustError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    ///
    /// `None` where the TLS library has no SHA-256, which no build of it lacks.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
            return None;
        };
        suite.common.hash_provider.hash(der).as_ref().try_into().ok().map(Self)
    }
}

impl FromStr for Fingerprint {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|&byte| byte != b':')
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(TrustError::Fingerprint)?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        match <[u8; FINGERPRINT_BYTES]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 2 * FINGERPRINT_BYTES => Ok(Self(bytes)),
            _ => Err(TrustError::Fingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom the client takes for its server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// Whoever holds the key of exactly this certificate, whatever its names and dates.
    Fingerprint(Fingerprint),
    /// Whoever has a certificate for the server's name that one of these authorities (PEM) vouches for.
    Roots(Vec<u8>),
    /// Whoever has a certificate for the server's name that a public authority vouches for: those that browsers trust, as this crate was
    /// built with them. The system's own are not asked.
    WebRoots,
}

/// The TLS side of a connection: TLS 1.3 only, our ALPN name, no 0-RTT.
pub(crate) fn crypto(trust: &Trust, identity: Option<&Identity>) -> Result<QuicClientConfig, TrustError> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match trust {
        Trust::Fingerprint(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint: *fingerprint, provider })),
        Trust::Roots(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::WebRoots => {
            builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
        }
    };
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    QuicClientConfig::try_from(config).map_err(|_| TrustError::CipherSuite)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// The certificates in a text, of which there is one at least.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TrustError::Certificates { what: error.to_string() })?;
    if certificates.is_empty() {
        return Err(TrustError::Certificates { what: "there is none".to_owned() });
    }
    Ok(certificates)
}

/// Accepts one certificate, and demands that the server proves to hold its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of_certificate(end_entity) == Some(self.fingerprint) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons() {
        let plain = "00".repeat(31) + "aF";
        let colons = vec!["00"; 31].join(":") + ":af";
        let read: Fingerprint = plain.parse().unwrap();
        assert_eq!(read, colons.parse().unwrap());
        assert_eq!(read.to_string(), plain.to_lowercase());
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"00".repeat(33)] {
            assert!(matches!(text.parse::<Fingerprint>(), Err(TrustError::Fingerprint)), "{text}");
        }
    }

    #[test]
    fn the_fingerprint_is_the_sha_256() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Fingerprint::of_certificate(b"abc").unwrap().to_string(), known);
    }

    #[test]
    fn roots_without_a_certificate_are_refused() {
        assert!(matches!(
            crypto(&Trust::Roots(b"nothing".to_vec()), None).map(drop),
            Err(TrustError::Certificates { .. })
        ));
    }
}
