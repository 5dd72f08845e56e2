//! Who is at the other end of a connection, as far as the connection itself tells.

use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of one connection. It is put into the extensions of every HTTP request and kept by every QUIC connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The names in its verified certificate (DNS names and URIs, or else the subject's common name); none without mutual TLS.
    pub(crate) certificate_names: Arc<[String]>,
}
