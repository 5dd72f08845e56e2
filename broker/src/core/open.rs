//! Opening a broker: what is on disk is recovered, what can be rebuilt is rebuilt, and then the triggers run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use eventail_storage::DiskStore;
use eventail_storage::disk::Steps;
use eventail_storage::disk_io::{Disk, OsDisk};
use eventail_storage::index::Index;
use eventail_storage::log::{Durability, Log, LogOptions};
use eventail_wire::{Clock, TopicName};
use rand::RngCore;
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use tokio::sync::watch;

use super::callbacks::Callbacks;
use super::delayed::Tuning;
use super::journal::{JOURNAL_LOG, JOURNAL_SEGMENT_BYTES, Journal, JournalTask};
use super::ledger::{LEDGER_LOG, Ledger};
use super::letters::Letters;
use super::lookup::Lookup;
use super::replays::{REPLAYS_LOG, Replays};
use super::schedules::{SCHEDULES_LOG, Schedules};
use super::starting::{Marker, StartProgress, watched};
use super::timeline::Timeline;
use super::topic::{Topic, log_options};
use super::{Broker, BrokerError, Core, blocking};
use crate::auth::Gate;
use crate::clock::SystemClock;
use crate::config::{Config, ConfigSource};
use crate::status::{Observer, StartPhase};

/// The folder of the logs in the data folder.
const LOGS_DIR: &str = "logs";
/// The folder of the index in the data folder. It may be deleted while the broker is down.
const INDEX_DIR: &str = "index";
/// The topic that is always there.
const DEFAULT_TOPIC: &str = "default";

/// Takes the work of the store over.
type StoreWorker = Box<dyn FnOnce(Arc<Steps>) + Send>;

/// Collects what a broker needs before it opens.
pub struct BrokerBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    index: Option<Arc<dyn Index>>,
    worker: Option<StoreWorker>,
    observer: Option<Arc<dyn Observer>>,
    seed: Option<u64>,
    source: Option<Arc<dyn ConfigSource>>,
    progress: StartProgress,
}

impl std::fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl BrokerBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock),
            disk: Arc::new(OsDisk),
            index: None,
            worker: None,
            observer: None,
            seed: None,
            source: None,
            progress: StartProgress::default(),
        }
    }

    /// Lets `observer` see every step of every event.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Takes the time from `clock` instead of the system.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps the logs on `disk` instead of the system's.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Keeps what is looked up by key in `index` instead of a folder of the data folder.
    #[must_use]
    pub fn index(mut self, index: Arc<dyn Index>) -> Self {
        self.index = Some(index);
        self
    }

    /// Has `worker` do what the storage's threads do else: it is given the work when the store is opened. A simulation does it step by
    /// step on its one thread.
    #[must_use]
    pub fn store_worker(mut self, worker: impl FnOnce(Arc<Steps>) + Send + 'static) -> Self {
        self.worker = Some(Box::new(worker));
        self
    }

    /// Draws jitter and callback tokens from this seed instead of the system's randomness.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Says where the configuration came from, so that it can be loaded again.
    #[must_use]
    pub fn source(mut self, source: Arc<dyn ConfigSource>) -> Self {
        self.source = Some(source);
        self
    }

    /// Tells how far the start is.
    #[must_use]
    pub fn progress(mut self, progress: StartProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Opens the broker: recovers the logs, rebuilds what is missing, starts the triggers. It needs a tokio runtime.
    ///
    /// # Errors
    /// Where the data folder cannot be used or is corrupt, or a trigger cannot be made.
    pub async fn open(self) -> Result<Broker, BrokerError> {
        let Self { config, clock, disk, index, worker, observer, seed, source, progress } = self;
        let config = Arc::new(config);
        if crate::backup::is_half_restored(&*disk, &config.data_dir) {
            return Err(BrokerError::HalfRestored { dir: config.data_dir.clone() });
        }
        let gate = Gate::new(Arc::clone(&clock));
        gate.open(&config)?;
        let certificates = super::certificates::open(&config, &clock).await?;
        progress.set_certificates(certificates.clone());
        let logs_dir = config.data_dir.join(LOGS_DIR);
        let watched = watched(Arc::clone(&disk), logs_dir.clone(), progress.clone());
        let store = open_store(logs_dir.clone(), watched, Arc::clone(&clock), worker).await?;
        let (marker, was_clean) = survey(disk, &config.data_dir, logs_dir, &store, &progress).await?;
        progress.enter(StartPhase::Recovering);
        let (ledger, schedules, journal, journal_task) = open_books(&store, &config, &*clock).await?;
        progress.enter(StartPhase::Indexing);
        progress.at(INDEX_DIR);
        let index = open_index(index, &config).await?;
        let letters = Letters::open(&store, Arc::clone(&index)).await?;
        let timeline =
            Timeline::open(&store, Arc::clone(&index), &config.timeline, Arc::clone(&clock)).await?;
        let replays_options = LogOptions { segment_bytes: JOURNAL_SEGMENT_BYTES, ..LogOptions::default() };
        let replays_log = open_log(&store, REPLAYS_LOG.to_owned(), replays_options).await?;
        let replays = Replays::open(replays_log, &journal).await?;
        let delayed = Core::open_delayed(&store, Arc::clone(&index), Tuning::default()).await?;
        let lookup = Lookup::new(index);
        let tokens = seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        let core = Arc::new(Core {
            seeds: AtomicU64::new(seed.unwrap_or_else(|| SmallRng::from_os_rng().next_u64())),
            functions: super::functions::Functions::default(),
            reloads: super::reload::Reloads::new(Arc::clone(&config), source, clock.now()),
            config: ArcSwap::new(Arc::clone(&config)),
            changing: tokio::sync::Mutex::default(),
            certificates,
            orphans: super::orphans::Orphans::default(),
            permits: super::permits::Permits::new(Arc::clone(&clock)),
            clock,
            observer,
            store,
            topics: super::topics::Topics::default(),
            journal,
            ledger,
            triggers: super::triggers::Triggers::default(),
            callbacks: Callbacks::new(tokens),
            schedules,
            subscribers: super::subscriber::Subscribers::default(),
            letters,
            replays,
            lookup,
            timeline: Arc::new(timeline),
            near_misses: super::near_misses::LookedAt::default(),
            delayed,
            backups: super::backups::Backups::default(),
            marker,
            in_flight: Arc::default(),
            stopping: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            tasks: super::upkeep::Tasks::default(),
            gate,
        });
        core.tasks.spawn_below("journal", journal_task.run(core.ended.subscribe()));
        core.start(config, &progress).await?;
        let broker = Broker { core };
        progress.end(was_clean, &broker.topics());
        Ok(broker)
    }
}

impl Core {
    /// Opens the topics, looks at what the index lacks, and lets everything run.
    async fn start(
        self: &Arc<Self>,
        config: Arc<Config>,
        progress: &StartProgress,
    ) -> Result<(), BrokerError> {
        progress.enter(StartPhase::Recovering);
        self.open_topics().await?;
        progress.enter(StartPhase::Indexing);
        progress.at("dead letters");
        self.letters.catch_up(self).await?;
        progress.enter(StartPhase::Starting);
        let prepared = self.prepare(config).await?;
        self.install(prepared).await;
        self.start_replays();
        self.start_upkeep();
        self.start_certificates();
        self.start_ledger();
        self.start_indexing();
        self.start_timeline();
        super::delayed::start(self);
        Ok(())
    }

    /// Opens every topic that is on disk or in the configuration.
    async fn open_topics(&self) -> Result<(), BrokerError> {
        let on_disk = self.store.names()?;
        let mut names: BTreeSet<TopicName> =
            on_disk.iter().filter_map(|name| TopicName::new(name).ok()).collect();
        names.insert(TopicName::new(DEFAULT_TOPIC)?);
        names.extend(self.config().topics.named.keys().cloned());
        for name in names {
            let options = super::topics::topic_options(&self.config(), &name);
            let log = open_log(&self.store, name.to_string(), log_options(&options)).await?;
            self.topics.insert(Topic::new(name, log, &options));
        }
        Ok(())
    }

    /// A seed for the next lane: each life of a subscription needs another, so that leases of an earlier one are told apart.
    pub(super) fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// Opens a log of the broker's own.
    pub(super) async fn open_internal(
        &self,
        name: String,
        durability: Durability,
    ) -> Result<Arc<dyn Log>, BrokerError> {
        let options =
            LogOptions { durability, segment_bytes: JOURNAL_SEGMENT_BYTES, ..LogOptions::default() };
        open_log(&self.store, name, options).await
    }
}

/// Looks how much there is to be recovered, and marks the data folder as in use.
async fn survey(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    logs_dir: PathBuf,
    store: &DiskStore,
    progress: &StartProgress,
) -> Result<(Marker, bool), BrokerError> {
    let (names, progress, data_dir) = (store.names()?, progress.clone(), data_dir.to_owned());
    let marked = blocking::run(store.may_block(), move || {
        // A closed segment is believed by its sidecar; the newest one is read through.
        let newest = |name: &String| {
            let dir = logs_dir.join(name);
            let files = disk.list(&dir).ok()?;
            let newest = files.into_iter().filter(|file| file.ends_with(".log")).max()?;
            disk.open_to_read(&dir.join(newest)).and_then(|file| file.len()).ok()
        };
        progress.expect(names.len() as u64, names.iter().filter_map(newest).sum());
        Marker::set(disk, &data_dir)
    });
    Ok(marked.await?)
}

async fn open_store(
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    worker: Option<StoreWorker>,
) -> Result<Arc<DiskStore>, BrokerError> {
    let tails_bytes = crate::resources::tails_bytes(crate::resources::memory().bytes);
    let (store, report) = match worker {
        Some(worker) => {
            let (store, report, steps) = DiskStore::open_in_steps(&dir, disk, clock)?;
            worker(steps);
            (store, report)
        }
        None => tokio::task::spawn_blocking(move || DiskStore::open(&dir, disk, clock)).await??,
    };
    tracing::debug!(?report, "data folder opened");
    store.set_tails_bytes_max(tails_bytes);
    Ok(Arc::new(store))
}

async fn open_index(given: Option<Arc<dyn Index>>, config: &Config) -> Result<Arc<dyn Index>, BrokerError> {
    match given {
        Some(index) => Ok(index),
        None => super::lookup::open_index(config.data_dir.join(INDEX_DIR)).await,
    }
}

/// Opens what the broker writes down of its own work.
async fn open_books(
    store: &Arc<DiskStore>,
    config: &Config,
    clock: &dyn Clock,
) -> Result<(Arc<Ledger>, Schedules, Arc<Journal>, JournalTask), BrokerError> {
    let options = LogOptions {
        durability: Durability::Buffered,
        segment_bytes: JOURNAL_SEGMENT_BYTES,
        ..LogOptions::default()
    };
    let ledger_log = open_log(store, LEDGER_LOG.to_owned(), options.clone()).await?;
    let ledger = Ledger::open(ledger_log, config, clock.now()).await?;
    let schedules =
        Schedules::open(open_log(store, SCHEDULES_LOG.to_owned(), options.clone()).await?).await?;
    let journal_log = open_log(store, JOURNAL_LOG.to_owned(), options).await?;
    let (journal, journal_task) = Journal::open(journal_log).await?;
    Ok((ledger, schedules, journal, journal_task))
}

pub(super) async fn open_log(
    store: &Arc<DiskStore>,
    name: String,
    options: LogOptions,
) -> Result<Arc<dyn Log>, BrokerError> {
    let store = Arc::clone(store);
    Ok(blocking::run(store.may_block(), move || store.open_or_create(&name, options)).await??)
}
