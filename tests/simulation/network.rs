//! The network of the simulation: datagrams that get lost, come twice, late or out of order, or do not come at all for a time.
//!
//! Our adapter between quinn and turmoil's sockets rolls the dice for each datagram, so that one seed is one weather.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use eventail_client::{ClientOptions, Fingerprint, Network};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use rand::Rng;
use rand::rngs::SmallRng;
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest, Sha256};
use turmoil::net::UdpSocket;

use crate::plan::dice;
use crate::world::World;

/// Where the broker listens.
pub(crate) const PORT: u16 = 4081;
/// Datagrams that wait to be read; more are lost, as a machine's socket loses them.
const INBOX_MAX: usize = 4_096;
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What becomes of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// The share of those to the broker that is lost; 1 cuts it off.
    pub(crate) lost_there: f64,
    /// The share of those from the broker that is lost.
    pub(crate) lost_back: f64,
    /// The share that comes twice.
    pub(crate) twice: f64,
    /// The share that comes later, by up to so much: behind what was sent after it.
    pub(crate) late: f64,
    pub(crate) late_ms: u64,
}

/// A socket of the simulation.
struct Socket {
    world: Arc<World>,
    socket: Arc<UdpSocket>,
    is_brokers: bool,
    dice: Mutex<SmallRng>,
    inbox: Arc<Inbox>,
}

/// What came and was not read.
#[derive(Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
    /// Who waits for one.
    waker: Option<Waker>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// Binds within a host of the simulation.
    fn bind(
        world: &Arc<World>,
        address: SocketAddr,
        is_brokers: bool,
        purpose: &str,
    ) -> io::Result<Arc<Self>> {
        let socket = Arc::new(at_once(UdpSocket::bind(address))?);
        let inbox = Arc::new(Inbox::default());
        tokio::spawn(fill(Arc::downgrade(&inbox), Arc::clone(&socket)));
        let dice = Mutex::new(dice(world.plan.seed, purpose));
        Ok(Arc::new(Self { world: Arc::clone(world), socket, is_brokers, dice, inbox }))
    }

    fn roll(&self) -> (bool, bool, Option<Duration>) {
        let weather = self.world.weather();
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = if self.is_brokers { weather.lost_back } else { weather.lost_there };
        let is_late = dice.random_bool(weather.late);
        let late = is_late.then(|| Duration::from_millis(dice.random_range(1..=weather.late_ms.max(1))));
        (dice.random_bool(lost), dice.random_bool(weather.twice), late)
    }
}

/// What turmoil does at once, although it is `async` as the true thing is.
fn at_once<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::Error::other("it takes time")),
    }
}

async fn fill(inbox: Weak<Inbox>, socket: Arc<UdpSocket>) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
        let Some(inbox) = inbox.upgrade() else { return };
        let mut waiting = inbox.lock();
        if waiting.datagrams.len() < INBOX_MAX {
            waiting.datagrams.push_back((bytes[..count].to_vec(), from));
        }
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("is_brokers", &self.is_brokers).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (is_lost, is_twice, late) = self.roll();
        if is_lost {
            return Ok(());
        }
        let destination = transmit.destination;
        if let Some(late) = late {
            let (socket, bytes) = (Arc::clone(&self.socket), transmit.contents.to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                // Where the other end is gone, so is the datagram.
                let _ = socket.try_send_to(&bytes, destination);
            });
            return Ok(());
        }
        for _ in 0..=usize::from(is_twice) {
            // As on a true network: who sends is not told.
            let _ = self.socket.try_send_to(transmit.contents, destination);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.inbox.lock();
        let Some((bytes, addr)) = waiting.datagrams.pop_front() else {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let len = bytes.len().min(buffers[0].len());
        buffers[0][..len].copy_from_slice(&bytes[..len]);
        meta[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// A datagram is always taken: what is too much is lost.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn endpoint(
    world: &Arc<World>,
    address: SocketAddr,
    server: Option<ServerConfig>,
    purpose: &str,
) -> io::Result<Endpoint> {
    let socket = Socket::bind(world, address, server.is_some(), purpose)?;
    let mut config = EndpointConfig::default();
    config.rng_seed(Some(dice(world.plan.seed, purpose).random()));
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}

/// The endpoint of the broker, in its host.
pub(crate) fn serve(world: &Arc<World>, address: SocketAddr, config: ServerConfig) -> io::Result<Endpoint> {
    let life = world.state().life;
    endpoint(world, address, Some(config), &format!("network/broker/{life}"))
}

/// The network as a client has it.
struct Remote {
    world: Arc<World>,
    name: String,
    sockets: Mutex<u64>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Network for Remote {
    fn endpoint(&self, _: SocketAddr) -> io::Result<Endpoint> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        *sockets += 1;
        let purpose = format!("network/{}/{sockets}", self.name);
        endpoint(&self.world, (Ipv4Addr::UNSPECIFIED, 0).into(), None, &purpose)
    }

    fn seed(&self) -> u64 {
        dice(self.world.plan.seed, &self.name).random()
    }
}

/// How a client finds the broker, and is patient with it.
pub(crate) fn options(world: &Arc<World>, name: &str) -> ClientOptions {
    let fingerprint: Fingerprint = certificate().fingerprint.parse().expect("a fingerprint");
    let network = Remote { world: Arc::clone(world), name: name.to_owned(), sockets: Mutex::default() };
    let address = format!("{}:{PORT}", turmoil::lookup(crate::run::BROKER));
    ClientOptions::pinned(address, fingerprint)
        .client_name(name)
        .idle_timeout(Duration::from_secs(3), Duration::from_secs(1))
        .reconnect_delay(Duration::from_millis(50), Duration::from_secs(1))
        .network(Arc::new(network))
}

/// The certificate of the broker, one for all simulations of this process.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    fingerprint: String,
}

pub(crate) fn certificate() -> &'static Certificate {
    static ONCE: OnceLock<Certificate> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Its signatures have one length, so that datagrams have, too.
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let params = CertificateParams::new(["broker".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("simulation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the certificate");
        let [certificate, key_file] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&certificate, made.pem()).expect("the certificate is written");
        std::fs::write(&key_file, key.serialize_pem()).expect("the key is written");
        let fingerprint = Sha256::digest(made.der()).iter().map(|byte| format!("{byte:02x}")).collect();
        Certificate { certificate, key: key_file, fingerprint }
    })
}
