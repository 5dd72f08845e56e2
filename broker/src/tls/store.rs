//! The certificate that listeners serve now, and its exchange for another one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventail_wire::{Clock, Timestamp};
use metrics::{counter, gauge};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use tokio::sync::watch;

use super::error::TlsError;
use super::expiry::Expiry;
use super::material::Texts;
use super::settings;
use crate::config::TlsOptions;
use crate::metrics::{TLS_CERTIFICATE_EXPIRY, TLS_RELOAD_FAILURES, TLS_RELOADS};
use crate::status::{ConfigFailure, TlsStatus};

/// What listeners serve a connection with.
#[derive(Clone)]
pub(crate) struct Served {
    /// Over TCP.
    pub(crate) http: Arc<ServerConfig>,
    /// Over QUIC.
    pub(crate) quic: Arc<QuicServerConfig>,
    /// The SHA-256 of the server's own certificate, in hexadecimal.
    pub(crate) fingerprint: String,
    /// When that ends.
    expires_at: Timestamp,
}

/// Another certificate that was read and may take effect.
#[derive(Debug)]
pub(crate) struct Prepared {
    options: TlsOptions,
    digest: [u8; 32],
    served: Served,
}

/// The certificate of a broker's listeners.
pub(crate) struct Certificates {
    clock: Arc<dyn Clock>,
    served: watch::Sender<Arc<Served>>,
    state: Mutex<State>,
}

struct State {
    options: TlsOptions,
    /// The texts that are served.
    digest: [u8; 32],
    /// The texts that were read last, whatever came of it; `None` where they could not be.
    seen: Option<[u8; 32]>,
    loaded_at: Timestamp,
    reloads: u64,
    failures: u64,
    last_error: Option<ConfigFailure>,
    expiry: Expiry,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the certificate for the first time. One that is past its end is served all the same, and told: whoever has the broker's
    /// deliveries to care for needs it to run. Blocks.
    pub(crate) fn open(options: TlsOptions, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let Prepared { options, digest, served } = read(options, &clock)?;
        let now = clock.now();
        counter!(TLS_RELOADS).absolute(0);
        counter!(TLS_RELOAD_FAILURES).absolute(0);
        let state = State {
            options,
            digest,
            seen: Some(digest),
            loaded_at: now,
            reloads: 0,
            failures: 0,
            last_error: None,
            expiry: Expiry::default(),
        };
        let certificates =
            Self { clock, served: watch::Sender::new(Arc::new(served)), state: Mutex::new(state) };
        certificates.look_at_expiry();
        Ok(certificates)
    }

    /// What a connection that comes now is served with.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.borrow())
    }

    /// The same, and what comes after it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Served>> {
        self.served.subscribe()
    }

    /// What the certificate is read by.
    pub(crate) fn options(&self) -> TlsOptions {
        self.lock().options.clone()
    }

    /// Reads what would be served by other options. Nothing is exchanged yet. Blocks.
    pub(crate) fn prepare(&self, options: TlsOptions) -> Result<Prepared, TlsError> {
        let prepared = read(options, &self.clock)?;
        self.check_end(&prepared)?;
        Ok(prepared)
    }

    /// Serves it from now on.
    pub(crate) fn install(&self, prepared: Prepared) {
        let mut state = self.lock();
        state.options = prepared.options;
        self.exchange(&mut state, prepared.digest, prepared.served);
    }

    /// Reads the files again, and serves what they have now if it is something else; `true` where it is. What cannot be served is told
    /// once in the log, and the certificate of before stays. Blocks.
    pub(crate) fn refresh(&self) -> Result<bool, TlsError> {
        // Held while the files are read: two who look at once must not exchange in another order than they read.
        let mut state = self.lock();
        let texts = match Texts::read(&state.options) {
            Ok(texts) => texts,
            Err(error) => {
                state.seen = None;
                return Err(self.note(&mut state, error));
            }
        };
        let digest = texts.digest();
        if state.seen == Some(digest) {
            return Ok(false);
        }
        state.seen = Some(digest);
        if state.digest == digest {
            // What was wrong was taken back.
            state.last_error = None;
            return Ok(false);
        }
        let prepared = make(&texts, state.options.clone(), digest, &self.clock)
            .and_then(|prepared| self.check_end(&prepared).map(|()| prepared));
        match prepared {
            Ok(Prepared { served, .. }) => {
                self.exchange(&mut state, digest, served);
                Ok(true)
            }
            Err(error) => Err(self.note(&mut state, error)),
        }
    }

    /// Tells when the certificate ends, and warns when that is soon.
    pub(crate) fn look_at_expiry(&self) {
        let served = self.served();
        gauge!(TLS_CERTIFICATE_EXPIRY).set(seconds(served.expires_at));
        let now = self.clock.now();
        self.lock().expiry.tell(served.expires_at, now);
    }

    /// What is told of it.
    pub(crate) fn status(&self) -> TlsStatus {
        let served = self.served();
        let state = self.lock();
        TlsStatus {
            fingerprint: served.fingerprint.clone(),
            expires_at: served.expires_at,
            loaded_at: state.loaded_at,
            reloads: state.reloads,
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    /// A certificate that is over helps nobody; the one before may still be good.
    fn check_end(&self, prepared: &Prepared) -> Result<(), TlsError> {
        let at = prepared.served.expires_at;
        if at > self.clock.now() {
            return Ok(());
        }
        Err(TlsError::Expired { path: prepared.options.certificate.clone(), at })
    }

    fn exchange(&self, state: &mut State, digest: [u8; 32], served: Served) {
        let (fingerprint, expires_at) = (served.fingerprint.clone(), served.expires_at);
        (state.digest, state.seen) = (digest, Some(digest));
        state.loaded_at = self.clock.now();
        state.reloads += 1;
        state.last_error = None;
        state.expiry = Expiry::default();
        state.expiry.tell(expires_at, state.loaded_at);
        self.served.send_replace(Arc::new(served));
        counter!(TLS_RELOADS).increment(1);
        gauge!(TLS_CERTIFICATE_EXPIRY).set(seconds(expires_at));
        tracing::info!(%fingerprint, %expires_at, "the certificate was loaded again; new connections get it");
    }

    /// Notes a reload that failed. Files that cannot be read fail once and not at every look.
    fn note(&self, state: &mut State, error: TlsError) -> TlsError {
        let message = error.message();
        let is_told = matches!(error, TlsError::File { .. })
            && state.last_error.as_ref().is_some_and(|last| last.message == message);
        if !is_told {
            state.failures += 1;
            counter!(TLS_RELOAD_FAILURES).increment(1);
            tracing::error!(error = %message, "the certificate was not loaded again, the one before stays");
            state.last_error = Some(ConfigFailure { at: self.clock.now(), message });
        }
        error
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(options: TlsOptions, clock: &Arc<dyn Clock>) -> Result<Prepared, TlsError> {
    let texts = Texts::read(&options)?;
    let digest = texts.digest();
    make(&texts, options, digest, clock)
}

fn make(
    texts: &Texts,
    options: TlsOptions,
    digest: [u8; 32],
    clock: &Arc<dyn Clock>,
) -> Result<Prepared, TlsError> {
    let material = texts.parse(&options)?;
    let served = Served {
        http: settings::http(&material, clock)?,
        quic: settings::quic(&material, clock)?,
        fingerprint: material.fingerprint(),
        expires_at: material.expires_at,
    };
    Ok(Prepared { options, digest, served })
}

#[allow(clippy::cast_precision_loss)]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1_000.0
}
