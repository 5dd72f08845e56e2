//! What TLS is made of, read from its files at once: the chain, its key, and the authorities of clients.

use std::path::{Path, PathBuf};

use eventail_wire::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::error::TlsError;
use super::names;
use crate::config::{ClientCertificates, TlsKey, TlsOptions};

/// Which clients may connect.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Who vouches for them.
    pub(super) roots: RootCertStore,
    /// Whether one without a certificate is refused.
    pub(super) is_required: bool,
}

/// A chain with its key, and who may connect.
#[derive(Debug)]
pub(crate) struct Material {
    /// The certificates, the server's own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) clients: Option<Clients>,
    /// When the server's own certificate ends.
    pub(super) expires_at: Timestamp,
}

/// The bytes of all files, before anybody has looked at them.
#[derive(Debug)]
pub(super) struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Texts {
    /// Reads all files. Blocks.
    pub(super) fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let key = match &options.key {
            TlsKey::File(path) => read(path)?,
            TlsKey::Secret(secret) => secret.expose().as_bytes().to_vec(),
        };
        let client_ca = options.clients.authorities().map(|path| read(path)).transpose()?.unwrap_or_default();
        Ok(Self { certificate: read(&options.certificate)?, key, client_ca })
    }

    /// Tells these texts from others.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for text in [&self.certificate, &self.key, &self.client_ca] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        hasher.finalize().into()
    }

    /// What they say.
    pub(super) fn parse(&self, options: &TlsOptions) -> Result<Material, TlsError> {
        let (chain, expires_at) = chain(&options.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::Key)?;
        let clients = match &options.clients {
            ClientCertificates::Off => None,
            ClientCertificates::Optional { ca } | ClientCertificates::Required { ca } => Some(Clients {
                roots: roots(ca, &self.client_ca)?,
                is_required: matches!(options.clients, ClientCertificates::Required { .. }),
            }),
        };
        Ok(Material { chain, key, clients, expires_at })
    }
}

impl Material {
    /// A chain and its key as PEM files have them, for whoever connects.
    pub(crate) fn of_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let options = TlsOptions {
            certificate: certificate.to_owned(),
            key: TlsKey::File(key.to_owned()),
            clients: ClientCertificates::Off,
        };
        Texts::read(&options)?.parse(&options)
    }

    /// The SHA-256 of the server's own certificate, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.chain.first().map_or(&[][..], |certificate| certificate));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TlsOptions {
    /// The files that it is read from.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let key = match &self.key {
            TlsKey::File(path) => Some(path),
            TlsKey::Secret(_) => None,
        };
        let all = std::iter::once(&self.certificate).chain(key).chain(self.clients.authorities());
        all.cloned().collect()
    }
}

fn chain(path: &Path, text: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Timestamp), TlsError> {
    let chain = certificates(path, text)?;
    let end = chain.first().and_then(|own| names::end_of(own));
    Ok((chain, end.ok_or_else(|| TlsError::Certificate { path: path.to_owned() })?))
}

/// The authorities that a file has.
pub(super) fn roots_of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    roots(path, &read(path)?)
}

fn roots(path: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    crate::config::files::read_text(path).map(String::into_bytes).map_err(file)
}
