//! The settings of whoever connects: whom to take for the server, and who it is itself.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::error::TlsError;
use super::material::{Material, roots_of_file};

/// The settings of a client that speaks HTTP/1.1. It trusts the authorities in a file, or the public ones where there is none, and shows
/// a certificate where it has one. Blocks.
pub(crate) fn client(
    authorities: Option<&Path>,
    pair: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match authorities {
        Some(path) => roots_of_file(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let Material { chain, key, .. } = Material::of_files(certificate, key)?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
