//! The QUIC settings of the server, and its socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};

/// After how long without a sign of life a connection counts as lost, unless the client wants it sooner.
const IDLE_MS: u32 = 30_000;
/// How often the server gives a sign of life: thrice in the time of an idle client.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Streams that a client may have open on one connection: one for each of its publishers and subscriptions.
const STREAMS_MAX: u32 = 256;
/// What a client may send on one stream before it is read: some batches of 1 MiB.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// What may be written to one client and not yet be confirmed by its machine.
const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// What the socket should hold: a burst of packets that comes while the program is busy. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

pub(super) fn server_config(crypto: Arc<QuicServerConfig>) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(crypto);
    config.transport_config(Arc::new(transport()));
    config
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    transport
}

pub(super) fn endpoint(address: SocketAddr, config: ServerConfig) -> io::Result<Endpoint> {
    let socket = UdpSocket::bind(address)?;
    let sized = socket2::SockRef::from(&socket);
    for (what, set) in [
        ("receive", sized.set_recv_buffer_size(SOCKET_BUFFER_BYTES)),
        ("send", sized.set_send_buffer_size(SOCKET_BUFFER_BYTES)),
    ] {
        if let Err(error) = set {
            tracing::debug!(%address, %error, what, "the socket keeps the system's buffer size");
        }
    }
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}
