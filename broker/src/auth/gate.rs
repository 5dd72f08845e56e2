//! The gate: finds out who somebody is, from what he presents and from what the tokens' file and the configuration say now.
//!
//! It promises that a token that is revoked, expired or wrong lets nobody in from a quarter of a second after the file changed, also on
//! connections that are open; and that a file that is broken lets in whom the last good one let in, and nobody else.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use eventail_wire::{Clock, Code, Timestamp};
use metrics::counter;

use super::attempts::Attempts;
use super::audit::Audit;
use super::file::{self, Stamp, TokensFileError};
use super::principal::Principal;
use super::token::TokenHash;
use super::tokens::Tokens;
use crate::config::{AuthOptions, Config};
use crate::metrics::AUTH_FAILURES;
use crate::peer::Peer;

/// How often it is looked whether the file of the tokens changed.
const LOOK_INTERVAL_MS: u64 = 250;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// What he presents is no token that counts.
    #[error("the token is none that this broker knows: it may have been revoked")]
    Unknown,
    /// The time of his token is over.
    #[error("the token `{name}` expired at {at}")]
    Expired {
        /// What it is called.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// That happened too often.
    #[error("too many tokens from this address were wrong or expired")]
    TooMany {
        /// When an attempt counts again.
        retry_after_ms: u64,
    },
}

impl Denied {
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Unknown | Self::Expired { .. } => Code::Unauthenticated,
            Self::TooMany { .. } => Code::TooManyAttempts,
        }
    }

    pub(crate) const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_ms } => Some(*retry_after_ms),
            Self::Unknown | Self::Expired { .. } => None,
        }
    }
}

/// The tokens as they were read last.
#[derive(Debug, Default)]
struct Table {
    tokens: Tokens,
    path: PathBuf,
    stamp: Option<Stamp>,
    /// They are of an earlier file than the one that is there, of which it was said already that it cannot be used.
    is_old: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    table: ArcSwap<Table>,
    looked_at_ms: AtomicU64,
    /// Held by whoever looks at the file.
    looking: Mutex<()>,
    attempts: Mutex<Attempts>,
    audit: Audit,
}

/// Somebody on a connection that lasts.
#[derive(Debug)]
pub(crate) struct Session {
    token: Option<TokenHash>,
    peer: Arc<Peer>,
    principal: Principal,
    /// What that was found out from.
    config: Arc<Config>,
    table: Arc<Table>,
}

impl Session {
    /// Who it is.
    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl Gate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            table: ArcSwap::default(),
            looked_at_ms: AtomicU64::new(0),
            looking: Mutex::default(),
            attempts: Mutex::default(),
            audit: Audit::default(),
        }
    }

    /// Where administrative acts are written down.
    pub(crate) const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Reads the tokens for the first time.
    ///
    /// # Errors
    /// Where the configuration asks for authentication, and the file cannot be read.
    pub(crate) fn open(&self, config: &Config) -> Result<(), TokensFileError> {
        let Some(auth) = &config.auth else { return Ok(()) };
        let _looking = lock(&self.looking);
        let path = auth.tokens_path(&config.data_dir);
        self.read(path, config)
    }

    /// Who asks, by a token or a certificate.
    pub(crate) fn admit(
        &self,
        config: &Config,
        peer: &Peer,
        token: Option<&str>,
    ) -> Result<Principal, Denied> {
        let Some(auth) = &config.auth else { return Ok(Principal::everybody()) };
        let now = self.clock.now();
        let hash = match token.map(TokenHash::of) {
            None => None,
            Some(Some(hash)) => Some(hash),
            Some(None) => return Err(self.failed(auth, peer, Denied::Unknown, now)),
        };
        let table = self.table(config, now);
        principal(auth, &table, peer, hash.as_ref(), now)
            .map_err(|denied| self.failed(auth, peer, denied, now))
    }

    /// The same for a connection that lasts: what he may do is found out again when it may have changed.
    pub(crate) fn open_session(
        &self,
        config: Arc<Config>,
        peer: Arc<Peer>,
        token: Option<&str>,
    ) -> Result<Session, Denied> {
        let principal = self.admit(&config, &peer, token)?;
        let token = token.and_then(TokenHash::of);
        Ok(Session { token, peer, principal, config, table: self.table.load_full() })
    }

    /// Finds out again what somebody may do, where that may have changed.
    pub(crate) fn renew(&self, session: &mut Session, config: Arc<Config>) -> Result<(), Denied> {
        if config.auth.is_none() && session.config.auth.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        let table = self.table(&config, now);
        let is_same = Arc::ptr_eq(&table, &session.table) && Arc::ptr_eq(&config, &session.config);
        if is_same && !session.principal.is_expired(now) {
            return Ok(());
        }
        session.principal = match &config.auth {
            None => Principal::everybody(),
            Some(auth) => principal(auth, &table, &session.peer, session.token.as_ref(), now)?,
        };
        (session.config, session.table) = (config, table);
        Ok(())
    }

    /// Counts an attempt that failed, and says what is told of it.
    fn failed(&self, auth: &AuthOptions, peer: &Peer, denied: Denied, now: Timestamp) -> Denied {
        let address = peer.address.ip();
        let counted = lock(&self.attempts).failed(address, auth.failures_per_minute, now);
        let denied = counted.map_or_else(|retry_after_ms| Denied::TooMany { retry_after_ms }, |()| denied);
        counter!(AUTH_FAILURES, "code" => denied.code().as_str()).increment(1);
        if !matches!(denied, Denied::TooMany { .. }) {
            self.audit.denied(auth, peer, &denied, now);
        }
        denied
    }

    /// The tokens as they are now, as far as that was looked at.
    ///
    /// This looks at a file where others wait for their answer: at its time and size, four times a second at most, and reads it
    /// where these changed, which is seldom, and small.
    fn table(&self, config: &Config, now: Timestamp) -> Arc<Table> {
        let Some(auth) = &config.auth else { return self.table.load_full() };
        let looked_at = Timestamp(self.looked_at_ms.load(Ordering::Relaxed));
        // A clock that is set back must not keep anybody from looking.
        let is_time = now < looked_at || now.since_ms(looked_at) >= LOOK_INTERVAL_MS;
        if is_time && let Ok(_looking) = self.looking.try_lock() {
            self.look(auth, config);
            self.looked_at_ms.store(now.0, Ordering::Relaxed);
        }
        self.table.load_full()
    }

    fn look(&self, auth: &AuthOptions, config: &Config) {
        let path = auth.tokens_path(&config.data_dir);
        let known = self.table.load();
        let is_known = known.path == path;
        let outcome = match Stamp::of(&path) {
            Ok(stamp) if is_known && known.stamp == stamp => return,
            // The same is not said again and again.
            Err(_) if is_known && known.is_old => return,
            Ok(_) => self.read(path.clone(), config),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "the tokens stay as they were");
            let stamp = Stamp::of(&path).unwrap_or_default();
            let tokens = known.tokens.clone();
            self.table.store(Arc::new(Table { tokens, path, stamp, is_old: true }));
        }
    }

    fn read(&self, path: PathBuf, config: &Config) -> Result<(), TokensFileError> {
        // Looked at first: what changes while it is read is read again.
        let stamp = Stamp::of(&path)?;
        let tokens = file::read(&path)?;
        let changes = tokens.changes_since(&self.table.load().tokens);
        if !changes.is_empty() {
            let (added, removed) = (changes.came.len(), changes.went.len());
            tracing::info!(path = %path.display(), added, removed, "tokens read");
            if let Some(auth) = &config.auth {
                self.audit.tokens_changed(auth, &path, &changes, self.clock.now());
            }
        }
        self.table.store(Arc::new(Table { tokens, path, stamp, is_old: false }));
        Ok(())
    }
}

fn principal(
    auth: &AuthOptions,
    table: &Table,
    peer: &Peer,
    token: Option<&TokenHash>,
    now: Timestamp,
) -> Result<Principal, Denied> {
    let mut principal = Principal::anonymous(&auth.anonymous);
    for name in peer.certificate_names.iter() {
        if let Some(permissions) = auth.certificates.get(name) {
            principal.and_certificate(name, permissions);
        }
    }
    if let Some(hash) = token {
        let token = table.tokens.find(hash).ok_or(Denied::Unknown)?;
        match token.expires {
            Some(at) if token.is_expired(now) => {
                return Err(Denied::Expired { name: token.name.clone(), at });
            }
            _ => principal.and_token(token),
        }
    }
    Ok(principal)
}

impl AuthOptions {
    /// The file of the tokens.
    #[must_use]
    pub fn tokens_path(&self, data_dir: &Path) -> PathBuf {
        self.tokens_file.clone().unwrap_or_else(|| data_dir.join(TOKENS_FILE))
    }
}

/// The file of the tokens in the data folder, where the configuration names no other.
const TOKENS_FILE: &str = "tokens.toml";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is guarded here is ever left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
