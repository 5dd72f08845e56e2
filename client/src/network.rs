//! How a client comes to its sockets, and to what it draws by chance.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the socket should hold: a burst of packets that comes while the program is busy. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The network that a client is on. Programs are on the system's, which is the default; tests may simulate one.
pub trait Network: fmt::Debug + Send + Sync {
    /// A socket for one connection to `remote`.
    ///
    /// # Errors
    /// Where the system gives none.
    fn endpoint(&self, remote: SocketAddr) -> io::Result<Endpoint>;

    /// What the delays between tries are drawn from.
    fn seed(&self) -> u64;
}

/// The system's network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemNetwork;

impl Network for SystemNetwork {
    /// Another socket for each connection: a new connection then also gets over a changed network.
    fn endpoint(&self, remote: SocketAddr) -> io::Result<Endpoint> {
        let local: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(local)?;
        let sized = socket2::SockRef::from(&socket);
        // The system's own size will do where it gives no more.
        let _ = sized.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = sized.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
    }

    fn seed(&self) -> u64 {
        SmallRng::from_os_rng().random()
    }
}
