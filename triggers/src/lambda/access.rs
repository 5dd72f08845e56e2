//! Credentials and region, cached: looked up once, refreshed in the background ahead of their end, never per call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::identity::Identity;
use eventail_wire::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use super::connector::Connector;
use crate::http::{Egress, chain};

/// How long the whole chain may take: an instance's metadata service is tried several times.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Credentials are replaced so long before they end; sessions of AWS last a quarter of an hour at least.
const REFRESH_AHEAD_MS: u64 = 5 * 60_000;
/// Credentials without an end are looked up again after this time: somebody may have changed them.
const LIFETIME_MS: u64 = 15 * 60_000;
/// After a failure, or with credentials that are at their end already, the chain rests: many calls ask at once.
const REST_MS: u64 = 5_000;

/// Why there are no credentials. Says nothing of secrets: the SDK's errors name places and statuses.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error("no AWS credentials")]
    Credentials { source: Arc<CredentialsError> },
    #[error("no AWS credentials within {after_ms} ms")]
    Slow { after_ms: u128 },
    #[error("the search for AWS credentials was cut off")]
    Lost,
}

impl AccessError {
    /// With its causes, on one line.
    pub(super) fn text(&self) -> String {
        match self {
            // `Arc` hides its error's causes.
            Self::Credentials { source } => format!("{self}: {}", chain(&**source)),
            _ => self.to_string(),
        }
    }
}

/// What a request is signed with.
pub(super) struct Granted {
    pub(super) identity: Identity,
    /// What the chain says, where nobody else does.
    pub(super) region: Option<String>,
    refresh_at: Timestamp,
    ends_at: Timestamp,
}

impl Granted {
    fn new(credentials: Credentials, region: Option<String>, now: Timestamp) -> Self {
        let end = credentials.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        let end = end.map(|end| Timestamp(u64::try_from(end.as_millis()).unwrap_or(u64::MAX)));
        let rested = now.plus_ms(REST_MS);
        let (refresh_at, ends_at) = match end {
            None => (now.plus_ms(LIFETIME_MS), Timestamp::MAX),
            Some(end) => (Timestamp(end.0.saturating_sub(REFRESH_AHEAD_MS)).max(rested), end.max(rested)),
        };
        Self { identity: credentials.into(), region, refresh_at, ends_at }
    }
}

enum Source {
    /// The standard chain.
    Chain { profile: Option<String>, region: Option<String>, connector: Connector },
    /// What an embedding program hands in.
    Provider(SharedCredentialsProvider),
}

/// The way to credentials.
pub(super) struct Access {
    source: Source,
    /// The chain, once it was set up, knows a region and gave credentials that end.
    config: tokio::sync::Mutex<Option<SdkConfig>>,
    /// Held by the one that asks the source.
    turn: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    granted: Option<Arc<Granted>>,
    failed: Option<(Timestamp, AccessError)>,
    /// AWS refused what the chain gave: it is set up anew before it is asked again.
    is_stale: bool,
}

enum Look {
    Fresh(Arc<Granted>),
    /// Good still, but it is time for new ones.
    Ageing(Arc<Granted>),
    Failed(AccessError),
    Nothing,
}

impl Access {
    pub(super) fn chain(profile: Option<String>, region: Option<String>, egress: &Egress) -> Arc<Self> {
        let connector = Connector::new(egress.unscreened());
        Self::new(Source::Chain { profile, region, connector })
    }

    pub(super) fn provider(provider: SharedCredentialsProvider) -> Arc<Self> {
        Self::new(Source::Provider(provider))
    }

    fn new(source: Source) -> Arc<Self> {
        let (config, turn, known) = Default::default();
        Arc::new(Self { source, config, turn, known })
    }

    /// Credentials that are good now.
    pub(super) async fn get(self: &Arc<Self>, now: Timestamp) -> Result<Arc<Granted>, AccessError> {
        match self.look(now) {
            Look::Fresh(granted) => return Ok(granted),
            Look::Ageing(granted) => {
                if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
                    tokio::spawn(Arc::clone(self).ask(turn, now));
                }
                return Ok(granted);
            }
            Look::Failed(error) => return Err(error),
            Look::Nothing => {}
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        match self.look(now) {
            Look::Fresh(granted) | Look::Ageing(granted) => Ok(granted),
            Look::Failed(error) => Err(error),
            // A task of its own: the search goes on when the call that began it runs out of time.
            Look::Nothing => {
                tokio::spawn(Arc::clone(self).ask(turn, now)).await.unwrap_or(Err(AccessError::Lost))
            }
        }
    }

    /// Lets go of credentials that AWS refused, unless they were replaced meanwhile.
    pub(super) fn forget(&self, refused: &Arc<Granted>) {
        let mut known = self.known();
        if known.granted.as_ref().is_some_and(|granted| Arc::ptr_eq(granted, refused)) {
            (known.granted, known.is_stale) = (None, true);
        }
    }

    fn look(&self, now: Timestamp) -> Look {
        let known = self.known();
        let failed = known.failed.as_ref().filter(|(at, _)| now.since_ms(*at) < REST_MS);
        match (&known.granted, failed) {
            (Some(granted), _) if now < granted.refresh_at => Look::Fresh(Arc::clone(granted)),
            (Some(granted), Some(_)) if now < granted.ends_at => Look::Fresh(Arc::clone(granted)),
            (Some(granted), None) if now < granted.ends_at => Look::Ageing(Arc::clone(granted)),
            (_, Some((_, error))) => Look::Failed(error.clone()),
            _ => Look::Nothing,
        }
    }

    async fn ask(
        self: Arc<Self>,
        _turn: OwnedMutexGuard<()>,
        now: Timestamp,
    ) -> Result<Arc<Granted>, AccessError> {
        let after_ms = LOAD_TIMEOUT.as_millis();
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.load()).await;
        let loaded = loaded.unwrap_or(Err(AccessError::Slow { after_ms }));
        let mut known = self.known();
        match loaded {
            Ok((credentials, region)) => {
                let granted = Arc::new(Granted::new(credentials, region, now));
                *known = Known { granted: Some(Arc::clone(&granted)), ..Known::default() };
                Ok(granted)
            }
            Err(error) => {
                known.failed = Some((now, error.clone()));
                drop(known);
                warn!(error = error.text(), "no new AWS credentials");
                Err(error)
            }
        }
    }

    async fn load(&self) -> Result<(Credentials, Option<String>), AccessError> {
        let refused = |source| AccessError::Credentials { source: Arc::new(source) };
        let (profile, region, connector) = match &self.source {
            Source::Provider(provider) => {
                let credentials = provider.provide_credentials().await.map_err(refused)?;
                return Ok((credentials, None));
            }
            Source::Chain { profile, region, connector } => (profile, region, connector),
        };
        let is_stale = self.known().is_stale;
        let mut kept = self.config.lock().await;
        let config = match kept.take().filter(|_| !is_stale) {
            Some(config) => config,
            None => set_up(profile.clone(), region.clone(), connector.clone()).await,
        };
        let region = config.region().map(|region| region.as_ref().to_owned());
        let none = || refused(CredentialsError::not_loaded("the chain is empty"));
        let provider = config.credentials_provider().ok_or_else(none)?;
        let credentials = provider.provide_credentials().await.map_err(refused)?;
        // The chain reads its files once and for all, so it is kept only while it renews credentials by itself. And a metadata
        // service that was silent may tell the region the next time.
        *kept = (region.is_some() && credentials.expiry().is_some()).then_some(config);
        Ok((credentials, region))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds the lock can leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn set_up(profile: Option<String>, region: Option<String>, connector: Connector) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(connector);
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    Box::pin(loader.load()).await
}
