//! How a command reaches a broker by TLS: whom it trusts, and what it shows.

use std::path::PathBuf;

use clap::Args;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::CliError;
use crate::tls;

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Whom to trust, and who we are.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct TlsArguments {
    /// With https://, trust the authorities in this PEM file and no others
    #[arg(long, global = true, env = "EVENTAIL_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to show to a broker that asks for one, in PEM
    #[arg(long, global = true, env = "EVENTAIL_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, global = true, env = "EVENTAIL_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl TlsArguments {
    /// Makes TLS of a connection to `host`. `url` is for messages.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        url: &str,
    ) -> Result<Box<dyn Stream>, CliError> {
        let pair = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(CliError::HalfAPair { given: "--client-cert", missing: "--client-key" });
            }
            (None, Some(_)) => {
                return Err(CliError::HalfAPair { given: "--client-key", missing: "--client-cert" });
            }
        };
        let config =
            tls::client(self.ca_file.as_deref(), pair).map_err(|source| CliError::ClientTls { source })?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| CliError::ServerName { host: host.to_owned() })?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        match connecting.await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(CliError::Handshake { url: url.to_owned(), source }),
        }
    }
}
