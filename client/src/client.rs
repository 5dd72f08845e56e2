//! A client: one connection at a time, renewed when it is lost, and streams on it.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustls::pki_types::ServerName;
use tokio::sync::{Mutex, watch};

use crate::backoff::Backoff;
use crate::delivery::DeliveryHandle;
use crate::error::ClientError;
use crate::link::Link;
use crate::options::ClientOptions;
use crate::publisher::{Publisher, PublisherOptions};
use crate::subscription::{SubscribeOptions, Subscription};
use crate::trust;
use eventail_wire::TopicName;
use eventail_wire::frame::{Hello, PROTOCOL_VERSION};

/// What the server may send on one stream before it is read: deliveries come in batches of some MiB.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all streams together.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// What may be written and not yet confirmed by the server's machine.
const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// How long the server may take to hear that the client is gone.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// A connection to a broker. Cheap to clone; all clones share it.
///
/// Publishers and subscriptions go on by themselves when the connection is lost and comes back. Needs a Tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What publishers and subscriptions share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: ClientOptions,
    server_name: String,
    config: quinn::ClientConfig,
    connection: Mutex<Option<(Endpoint, Connection)>>,
    seeds: std::sync::Mutex<SmallRng>,
    closed: watch::Sender<bool>,
}

impl Client {
    /// Connects, so that a wrong address or certificate is known at once.
    ///
    /// # Errors
    /// Where the options cannot be used, the server cannot be reached, or it is not the trusted one.
    ///
    /// ```no_run
    /// use eventail_client::{Client, ClientOptions};
    ///
    /// # async fn example() -> Result<(), eventail_client::ClientError> {
    /// let fingerprint = std::env::var("EVENTAIL_FINGERPRINT").unwrap_or_default().parse()?;
    /// let client = Client::connect(ClientOptions::pinned("127.0.0.1:4081", fingerprint)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let server_name = options.server_name.as_deref().unwrap_or(options.host()).to_owned();
        if ServerName::try_from(server_name.as_str()).is_err() {
            return Err(ClientError::ServerName { name: server_name });
        }
        let mut config =
            quinn::ClientConfig::new(Arc::new(trust::crypto(&options.trust, options.identity.as_ref())?));
        config.transport_config(Arc::new(transport(&options)));
        let seed = options.network.seed();
        let shared = Shared {
            options,
            server_name,
            config,
            connection: Mutex::new(None),
            seeds: std::sync::Mutex::new(SmallRng::seed_from_u64(seed)),
            closed: watch::Sender::new(false),
        };
        shared.connection().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A publisher of events into `topic`, on a stream of its own.
    ///
    /// # Errors
    /// Where the server cannot be reached or speaks another version.
    pub async fn publisher(
        &self,
        topic: TopicName,
        options: PublisherOptions,
    ) -> Result<Publisher, ClientError> {
        Publisher::open(self.shared.clone(), topic, options).await
    }

    /// Deliveries of a durable subscription, on a stream of their own.
    ///
    /// # Errors
    /// Where the server cannot be reached or refuses, for instance [`eventail_wire::Code::UnknownTopic`].
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        Subscription::open(self.shared.clone(), options).await
    }

    /// The event that a trigger's target took over, by the token that came with it. Nothing is sent until it is settled or
    /// prolonged.
    #[must_use]
    pub fn delivery(&self, token: impl Into<String>) -> DeliveryHandle {
        DeliveryHandle::new(self.shared.clone(), token.into())
    }

    /// Ends the connection at once, and waits for a moment until the server knows. What was not answered fails with [`ClientError::Closed`]; close publishers and
    /// subscriptions before, where that matters.
    pub async fn close(&self) {
        self.shared.closed.send_replace(true);
        if let Some((endpoint, connection)) = self.shared.connection.lock().await.take() {
            connection.close(VarInt::from_u32(0), b"");
            // A server that does not hear it finds out by itself, and hands the leases back later.
            let _ = tokio::time::timeout(CLOSE_TIME, endpoint.wait_idle()).await;
        }
    }
}

impl Shared {
    /// A stream after its hello, on the connection that there is or a new one.
    pub(crate) async fn open_link(&self) -> Result<Link, ClientError> {
        let connection = self.connection().await?;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            client: self.options.client_name.clone(),
            token: self.options.token.as_ref().map(|token| token.expose().to_owned()),
        };
        Link::open(&connection, hello, self.options.connect_timeout).await
    }

    /// Delays between tries.
    pub(crate) fn backoff(&self) -> Backoff {
        let seed = self.seeds.lock().unwrap_or_else(std::sync::PoisonError::into_inner).random();
        Backoff::new(seed, self.options.reconnect_delay, self.options.reconnect_delay_max)
    }

    /// Returns when the client was closed.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(|&closed| closed).await;
    }

    async fn connection(&self) -> Result<Connection, ClientError> {
        // Held over the handshake: when many streams lost their connection at once, one of them makes the new one.
        let mut slot = self.connection.lock().await;
        if *self.closed.borrow() {
            return Err(ClientError::Closed);
        }
        if let Some((_, connection)) = slot.as_ref()
            && connection.close_reason().is_none()
        {
            return Ok(connection.clone());
        }
        let limit = self.options.connect_timeout;
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (endpoint, connection) = tokio::time::timeout(limit, self.handshake())
            .await
            .unwrap_or(Err(ClientError::Timeout { what: "the handshake", limit_ms }))?;
        *slot = Some((endpoint, connection.clone()));
        Ok(connection)
    }

    async fn handshake(&self) -> Result<(Endpoint, Connection), ClientError> {
        let address = &self.options.address;
        let resolve = |cause| ClientError::Resolve { address: address.clone(), cause: Arc::new(cause) };
        let found = tokio::net::lookup_host(address).await.map_err(resolve)?.next();
        let remote =
            found.ok_or_else(|| resolve(std::io::Error::other("the name has no address of any kind")))?;
        let endpoint = self
            .options
            .network
            .endpoint(remote)
            .map_err(|cause| ClientError::Socket { cause: Arc::new(cause) })?;
        let connecting = endpoint
            .connect_with(self.config.clone(), remote, &self.server_name)
            .map_err(|cause| ClientError::Connect { address: address.clone(), cause })?;
        let connection = connecting.await?;
        tracing::debug!(server = %remote, "connected");
        Ok((endpoint, connection))
    }
}

fn transport(options: &ClientOptions) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle_ms = u32::try_from(options.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    transport
        .max_idle_timeout(Some(VarInt::from_u32(idle_ms).into()))
        .keep_alive_interval(Some(options.keep_alive.max(Duration::from_millis(1))))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    transport
}
