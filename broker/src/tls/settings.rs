//! The settings of rustls, made of a certificate: for HTTP and for QUIC.

use std::sync::Arc;
use std::time::Duration;

use eventail_wire::Clock;
use eventail_wire::frame::ALPN;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::error::TlsError;
use super::material::Material;

/// HTTP/2 where the client knows it.
const HTTP_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The settings of an HTTPS listener.
pub(super) fn http(material: &Material, clock: &Arc<dyn Clock>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = server(material, clock, rustls::DEFAULT_VERSIONS)?;
    config.alpn_protocols = HTTP_ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// The settings of a QUIC listener: TLS 1.3, our ALPN name, no early data.
pub(crate) fn quic(material: &Material, clock: &Arc<dyn Clock>) -> Result<Arc<QuicServerConfig>, TlsError> {
    let mut config = server(material, clock, &[&rustls::version::TLS13])?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|_| TlsError::CipherSuite)
}

fn server(
    material: &Material,
    clock: &Arc<dyn Clock>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let time = Arc::new(Time(Arc::clone(clock)));
    let builder =
        ServerConfig::builder_with_details(Arc::clone(&provider), time).with_protocol_versions(versions)?;
    let (chain, key) = (material.chain.clone(), material.key.clone_key());
    let mut config = match &material.clients {
        None => builder.with_no_client_auth().with_single_cert(chain, key)?,
        Some(clients) => {
            let roots = Arc::new(clients.roots.clone());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if clients.is_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?).with_single_cert(chain, key)?
        }
    };
    if material.clients.is_some() {
        // A session that is resumed brings its client's certificate along unlooked at.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    // Early data can be replayed by whoever recorded it, and a publish must not be.
    config.max_early_data_size = 0;
    Ok(config)
}

/// The broker's clock, by which certificates end.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().0)))
    }
}
