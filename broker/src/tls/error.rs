//! Why a certificate cannot be served.

use std::io;
use std::path::PathBuf;

use eventail_wire::Timestamp;
use rustls::pki_types::pem;

/// Why a certificate, its key, or the authorities of clients cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{} is no PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{} has no certificate in it", path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The key is none. What it is instead is not told.
    #[error("the key is no private key in PEM")]
    Key,
    /// A certificate that cannot be read.
    #[error("{} has a certificate that cannot be read", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
    },
    /// A new certificate that is past its end already.
    #[error("the certificate in {} ended at {at}", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// An authority that clients' certificates cannot be verified by.
    #[error("{} has an authority that cannot be used", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// Clients' certificates cannot be verified by these authorities.
    #[error("clients' certificates cannot be verified")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The certificate and the key do not fit each other, or TLS cannot use them.
    #[error("the certificate and its key cannot be used")]
    Pair(#[from] rustls::Error),
    /// The TLS library lacks what QUIC needs.
    #[error("TLS has no cipher suite for QUIC")]
    CipherSuite,
    /// The files were read by a task that ended in a way that it never should.
    #[error("a task of the broker failed")]
    Task(#[from] tokio::task::JoinError),
}

impl TlsError {
    /// Whether the same may succeed later without a change: no, except where the broker itself failed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Task(_))
    }

    /// The error with what caused it, for people.
    pub(crate) fn message(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}
