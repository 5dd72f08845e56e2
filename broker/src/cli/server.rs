//! A broker with its listeners, as `serve` and `quickstart` run it: started in order, stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::runtime::Runtime;

use super::error::CliError;
use crate::auth::exposure;
use crate::config::{Config, ConfigSource};
use crate::http::{self, HttpError, HttpOptions, HttpServer, StartingServer};
use crate::quic::{self, QuicServer};
use crate::status::Observer;
use crate::{Broker, BrokerError, StartProgress};

/// A broker and whatever listens for it.
#[derive(Debug)]
pub(super) struct Server {
    broker: Broker,
    http: Option<HttpServer>,
    quic: Option<QuicServer>,
}

impl Server {
    /// Listens for HTTP, where only the progress is told at first, opens the broker, and then its listeners in earnest: who is answered is
    /// answered by a broker that has recovered.
    pub(super) async fn start(
        config: Config,
        observer: Option<Arc<dyn Observer>>,
        exposition: Option<PrometheusHandle>,
        source: Option<Arc<dyn ConfigSource>>,
    ) -> Result<Self, CliError> {
        exposure::check(&config).map_err(|source| CliError::Exposed { source })?;
        if let Some(opened) = exposure::opened(&config) {
            tracing::warn!("`listen.insecure` is true: {opened}");
        }
        let data_dir = config.data_dir.clone();
        let (http_at, quic_at) = (config.http, config.quic);
        let progress = StartProgress::default();
        let starting = match http_at {
            Some(address) => {
                Some(http::serve_starting(address, progress.clone()).await.map_err(http_failed)?)
            }
            None => None,
        };
        let mut builder = Broker::builder(config).progress(progress);
        if let Some(observer) = observer {
            builder = builder.observer(observer);
        }
        if let Some(source) = source {
            builder = builder.source(source);
        }
        let broker = builder.open().await.map_err(|source| match source {
            BrokerError::Tls(source) => CliError::Certificate { source },
            source => CliError::Open { data_dir, source: Box::new(source) },
        })?;
        let mut server = Self { broker, http: None, quic: None };
        if let Err(error) = server.listen(starting, quic_at, exposition).await {
            // What stopped the start is what is told, not what a stop might say on top of it.
            let _stopped = server.stop().await;
            return Err(error);
        }
        Ok(server)
    }

    async fn listen(
        &mut self,
        starting: Option<StartingServer>,
        quic_at: Option<SocketAddr>,
        exposition: Option<PrometheusHandle>,
    ) -> Result<(), CliError> {
        if let Some(starting) = starting {
            let options = HttpOptions { ids: SmallRng::from_os_rng(), exposition };
            let listener = starting.end().await.map_err(http_failed)?;
            self.http = Some(http::serve_on(self.broker.clone(), listener, options).map_err(http_failed)?);
        }
        if let Some(address) = quic_at {
            let serving = quic::serve(self.broker.clone(), address).await;
            self.quic = Some(serving.map_err(|source| CliError::Quic { source })?);
        }
        Ok(())
    }

    /// The broker itself.
    pub(super) const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where HTTP is, if it is.
    pub(super) fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::addr)
    }

    /// Where QUIC is, if it is.
    pub(super) fn quic(&self) -> Option<SocketAddr> {
        self.quic.as_ref().map(QuicServer::addr)
    }

    /// Whether the listeners speak TLS with a certificate of the configuration.
    pub(super) fn has_tls(&self) -> bool {
        self.broker.certificates().is_some()
    }

    /// What QUIC clients may pin.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        self.quic.as_ref().map(QuicServer::fingerprint)
    }

    /// Stops taking requests, lets what is under way end within the drain time, and syncs.
    pub(super) async fn stop(self) -> Result<(), BrokerError> {
        let drain = Duration::from_millis(self.broker.config().drain_ms);
        let http = async {
            match self.http {
                Some(http) => http.shutdown(drain).await.cut,
                None => 0,
            }
        };
        let quic = async {
            match self.quic {
                Some(quic) => quic.shutdown(drain).await.cut,
                None => 0,
            }
        };
        let (http_cut, quic_cut) = tokio::join!(http, quic);
        tracing::debug!(http_cut, quic_cut, "listeners stopped");
        self.broker.shutdown().await
    }
}

fn http_failed(source: HttpError) -> CliError {
    CliError::Http { source }
}

/// The runtime of a broker: a thread for each core but one, which is the log's. A task that moves between threads costs more than it
/// gains where the log's thread already takes part of the cores: on two of them one thread publishes twice what two do.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    // The allocator asks for huge pages, and a broker that does nothing would hold 2 MiB for each few kilobytes.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread().worker_threads((cores - 1).max(1)).enable_all().build()
}
