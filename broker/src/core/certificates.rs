//! The certificate of the listeners as a part of the broker: opened with it, reloaded with its configuration, looked after beside the
//! events.

use std::sync::Arc;

use eventail_wire::Clock;

use super::{Broker, BrokerError, Core};
use crate::config::Config;
use crate::tls::{self, Certificates, Prepared, TlsError};

/// Reads the certificate that the configuration names, if it names one.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<Certificates>>, BrokerError> {
    let Some(options) = config.tls.clone() else { return Ok(None) };
    let clock = Arc::clone(clock);
    let opened = tokio::task::spawn_blocking(move || Certificates::open(options, clock)).await?;
    Ok(Some(Arc::new(opened?)))
}

impl Broker {
    /// What listeners serve TLS with; `None` where they speak none.
    pub(crate) fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.core.certificates.as_ref()
    }
}

impl Core {
    /// Looks after the certificate until the broker ends.
    pub(super) fn start_certificates(&self) {
        if let Some(certificates) = &self.certificates {
            let task = tls::keep_up(Arc::downgrade(certificates), self.ended.subscribe());
            self.tasks.spawn_below("certificates", task);
        }
    }

    /// Reads the certificate of a new configuration, where that names other files than the one before.
    pub(super) async fn prepare_certificates(&self, config: &Config) -> Result<Option<Prepared>, TlsError> {
        let (Some(certificates), Some(options)) = (&self.certificates, &config.tls) else { return Ok(None) };
        if certificates.options() == *options {
            return Ok(None);
        }
        let (certificates, options) = (Arc::clone(certificates), options.clone());
        Ok(Some(tokio::task::spawn_blocking(move || certificates.prepare(options)).await??))
    }

    /// Serves what was prepared; where nothing was, what the files have now. That they cannot be used keeps nobody from a new
    /// configuration which names the same ones: it is logged, and told in the status.
    pub(super) async fn renew_certificates(&self, prepared: Option<Prepared>) {
        let Some(certificates) = self.certificates.clone() else { return };
        if let Some(prepared) = prepared {
            return certificates.install(prepared);
        }
        match tokio::task::spawn_blocking(move || certificates.refresh()).await {
            Ok(Ok(is_new)) => tracing::debug!(is_new, "the certificate was looked at"),
            Ok(Err(error)) => tracing::debug!(%error, "the certificate stays"),
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}
