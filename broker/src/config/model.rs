//! The configuration as the broker uses it: typed, with every default filled in. Files become this in [`super`]; programs
//! that embed the broker build it themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use eventail_storage::log::Durability;
use eventail_triggers::function::{FunctionOptions, FunctionTargetOptions};
use eventail_triggers::http::{Egress, HttpTargetOptions, Secret};
use eventail_triggers::input::InputOptions;
use eventail_triggers::lambda::LambdaTargetOptions;
use eventail_triggers::ledger::{Budget, Prices};
use eventail_triggers::policy::{DedupPolicy, DeliveryPolicy, RateLimit};
use eventail_triggers::schedule::{MissedRuns, RunnerOptions, Timetable};
use eventail_triggers::target::Target;
use eventail_wire::{Event, FunctionName, ScheduleName, Timestamp, TopicName, TriggerName, limits};

use crate::auth::Permission;

/// The topic of a trigger that names none.
pub const DEFAULT_TOPIC: &str = "default";
/// The dead-letter topic of a trigger that names none.
pub const DEFAULT_DEAD_LETTER_TOPIC: &str = "dead-letters";
/// The topic of what is invoked asynchronously through the Invoke API.
pub const INVOCATIONS_TOPIC: &str = "invocations";
/// The type of the events in it.
pub const INVOCATION_TYPE: &str = "eventail.function.invocation";
/// The topic of what schedules send to triggers.
pub const SCHEDULES_TOPIC: &str = "schedules";
/// The type of a schedule's events, where it names none.
pub const SCHEDULED_TYPE: &str = "eventail.schedule.run";
/// The attribute that orders where a trigger says `ordering = "key"` and no key.
pub const DEFAULT_KEY: &str = "partitionkey";

/// Everything.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where logs and index live.
    pub data_dir: PathBuf,
    /// The HTTP listener; `None` listens nowhere.
    pub http: Option<SocketAddr>,
    /// The QUIC listener; `None` listens nowhere.
    pub quic: Option<SocketAddr>,
    /// The certificate of both listeners. Without it HTTP is served without TLS, and QUIC with a certificate that is made here.
    pub tls: Option<TlsOptions>,
    /// Caps.
    pub limits: Limits,
    /// Address ranges beyond the public ones that HTTP targets may be at.
    pub egress_allow: Vec<AddressRange>,
    /// Ports that HTTP targets may be at; without any, all.
    pub egress_ports: Vec<PortRange>,
    /// The name by which targets are asked for their leave.
    pub egress_origin: Origin,
    /// How long a stop may wait for attempts under way.
    pub drain_ms: u64,
    /// Topics.
    pub topics: Topics,
    /// Triggers by name.
    pub triggers: BTreeMap<TriggerName, Trigger>,
    /// Hosts that HTTP targets are at, by name or by name and port.
    pub hosts: BTreeMap<String, HostOptions>,
    /// Local functions by name, those among them that a trigger brings along.
    pub functions: BTreeMap<FunctionName, FunctionOptions>,
    /// Schedules by name.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// Events with what has to become of them, to be run before the configuration takes effect.
    pub tests: Vec<RoutingTest>,
    /// What functions cost.
    pub prices: Prices,
    /// What is kept of what happened to events.
    pub timeline: TimelineOptions,
    /// Who may call the Lambda Invoke API: secret access keys by access key id. Where there are none, everybody who reaches the
    /// listener.
    pub invoke_keys: BTreeMap<String, Secret>,
    /// Who may do what; `None` asks nobody.
    pub auth: Option<AuthOptions>,
    /// Whose requests the listeners take.
    pub listen: ListenOptions,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthOptions {
    /// The file of the tokens; `tokens.toml` in the data folder where absent.
    pub tokens_file: Option<PathBuf>,
    /// What clients may do, by a name in their verified certificate.
    pub certificates: BTreeMap<String, Arc<[Permission]>>,
    /// What everybody may do.
    pub anonymous: Arc<[Permission]>,
    /// Where administrative acts are written down, beside the log.
    pub audit_file: Option<PathBuf>,
    /// Attempts to be let in that may fail from one address in a minute.
    pub failures_per_minute: u32,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            tokens_file: None,
            certificates: BTreeMap::new(),
            anonymous: Arc::from([]),
            audit_file: None,
            failures_per_minute: 60,
        }
    }
}

/// Whose requests the listeners take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// Hosts that requests may be addressed to beside this machine's own names, in lower case, with or without a port.
    pub hosts: Vec<String>,
    /// Origins of web pages that may change something, in lower case.
    pub origins: Vec<String>,
    /// Whether the broker starts although strangers could use it.
    pub insecure: bool,
}

/// What holds for all triggers that call one host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostOptions {
    /// How fast they may call it together.
    pub rate_limit: Option<RateLimit>,
}

/// A topic as a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTargetOptions {
    /// Where events go.
    pub name: TopicName,
}

/// What is kept of what happened to events, so that it can be told why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineOptions {
    /// Whether anything is.
    pub enabled: bool,
    /// Bytes on disk, at most; the oldest go first.
    pub bytes_max: u64,
}

impl Default for TimelineOptions {
    fn default() -> Self {
        Self { enabled: true, bytes_max: 1 << 30 }
    }
}

/// An event, and what has to become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingTest {
    /// What it is called.
    pub name: String,
    /// The topic that the event would be published to.
    pub topic: TopicName,
    /// The event.
    pub event: Event,
    /// The triggers that have to match it; no other may.
    pub triggers: BTreeSet<TriggerName>,
    /// What some of these have to send. A string stands for text as well.
    pub inputs: BTreeMap<TriggerName, serde_json::Value>,
}

/// A certificate, its key, and whose certificates are asked for. All in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The file of the chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: TlsKey,
    /// Which clients have to show a certificate.
    pub clients: ClientCertificates,
}

/// Where the key of a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsKey {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// In a secret.
    Secret(Secret),
}

/// Which clients have to show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None; it is not asked for.
    #[default]
    Off,
    /// Whoever has one shows it; one that cannot be verified is refused.
    Optional {
        /// The file of the authorities that vouch for clients.
        ca: PathBuf,
    },
    /// All of them.
    Required {
        /// The file of the authorities that vouch for clients.
        ca: PathBuf,
    },
}

impl ClientCertificates {
    /// The file of the authorities, where clients are asked.
    #[must_use]
    pub const fn authorities(&self) -> Option<&PathBuf> {
        match self {
            Self::Off => None,
            Self::Optional { ca } | Self::Required { ca } => Some(ca),
        }
    }
}

pub use eventail_triggers::http::{AddressRange, Origin, PortRange};

/// Caps that an operator may move. The defaults and their reasons are in [`eventail_wire::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event.
    pub event_bytes_max: usize,
    /// Events of one publish.
    pub batch_events_max: usize,
    /// Bytes of one publish.
    pub batch_bytes_max: usize,
    /// Connections per listener.
    pub connections_max: usize,
    /// Of these from one address at most; `None`: a part of them. See [`Limits::per_address`].
    pub connections_per_address_max: Option<usize>,
    /// Bytes that wait for their sync.
    pub in_flight_bytes_max: usize,
    /// Whether the configuration says that, and not the memory of the machine.
    pub in_flight_is_told: bool,
    /// Header bytes of a request.
    pub header_bytes_max: usize,
    /// Topics.
    pub topics_max: usize,
    /// Replies to replies.
    pub hops_max: u32,
    /// Events that are held until their time.
    pub delayed_events_max: usize,
    /// Bytes of all of them.
    pub delayed_bytes_max: usize,
    /// How long a request may take to arrive whole.
    pub request_timeout_ms: u64,
    /// How long the first publish in a topic's line may have waited when another gets in line.
    pub publish_wait_ms: u64,
}

/// Topics: what holds for all, and what differs for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Whether a publish may create its topic.
    pub auto_create: bool,
    /// What holds for a topic that is not named below.
    pub defaults: TopicOptions,
    /// Topics that exist from the start.
    pub named: BTreeMap<TopicName, TopicOptions>,
}

/// How one topic is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// When a publish is acknowledged.
    pub durability: Durability,
    /// How long a segment file may get.
    pub segment_bytes: u64,
    /// How long events are kept.
    pub retention_age_ms: Option<u64>,
    /// How many bytes are kept.
    pub retention_bytes: Option<u64>,
    /// How long a repeat is recognised; 0 turns deduplication off.
    pub dedup_window_ms: u64,
    /// How many ids are remembered at most.
    pub dedup_ids_max: usize,
    /// Whether the configuration says that, and not the memory of the machine.
    pub dedup_ids_are_told: bool,
}

/// Where a trigger without a past begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPosition {
    /// With what comes after it was added.
    #[default]
    Latest,
    /// With the oldest event there is.
    Earliest,
    /// With the first event appended at or after this time.
    At(Timestamp),
}

/// A subscription with a pattern, a target and a delivery policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// The topic that it reads.
    pub topic: TopicName,
    /// The pattern as JSON text; `None` matches everything.
    pub pattern: Option<String>,
    /// What it invokes.
    pub target: TargetOptions,
    /// How it delivers.
    pub policy: DeliveryPolicy,
    /// Where the key of `ordering = "key"` is found: an attribute's name, or a path such as `$.data.customer.id`.
    pub key: String,
    /// Where it begins.
    pub start: StartPosition,
    /// Where events go that could not be delivered.
    pub dead_letter_topic: TopicName,
    /// Where replies go; `None` ignores them.
    pub reply_topic: Option<TopicName>,
    /// What it may cost; `None` is any sum.
    pub budget: Option<Budget>,
    /// What the target gets; `None` is the whole event.
    pub input: Option<InputOptions>,
    /// What is not delivered again though its id is new.
    pub dedup: Option<DedupPolicy>,
    /// How fast it may go.
    pub rate_limit: Option<RateLimit>,
    /// What it was called before: where that trigger is gone and this one has no past of its own, it goes on where that one was.
    pub renamed_from: Option<TriggerName>,
}

impl Trigger {
    /// A trigger with this target and the default of everything else: it reads what comes into the topic `default` from now on.
    #[must_use]
    pub fn new(target: TargetOptions) -> Self {
        let topic = |name| TopicName::new(name).expect("the defaults are names");
        Self {
            topic: topic(DEFAULT_TOPIC),
            pattern: None,
            target,
            policy: DeliveryPolicy::default(),
            key: DEFAULT_KEY.to_owned(),
            start: StartPosition::default(),
            dead_letter_topic: topic(DEFAULT_DEAD_LETTER_TOPIC),
            reply_topic: None,
            budget: None,
            input: None,
            dedup: None,
            rate_limit: None,
            renamed_from: None,
        }
    }
}

/// What a trigger invokes.
#[derive(Clone)]
pub enum TargetOptions {
    /// An HTTP endpoint.
    Http(HttpTargetOptions),
    /// A function on this machine, one of [`Config::functions`].
    Function(FunctionTargetOptions),
    /// A function of AWS Lambda.
    Lambda(LambdaTargetOptions),
    /// Another topic of this broker.
    Topic(TopicTargetOptions),
    /// Code of the program that embeds the broker.
    Handler(Arc<dyn Target>),
}

/// What happens at set times, and what it sends then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When it runs, and what becomes of runs that were missed.
    pub runs: RunnerOptions,
    /// Where its events go.
    pub to: ScheduleTo,
    /// The events' source; `None` is `/eventail/schedules/NAME`.
    pub source: Option<String>,
    /// Their type.
    pub event_type: String,
    /// Their data, JSON text.
    pub data: Option<String>,
}

/// Where a schedule's events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleTo {
    /// Into a topic, for whatever matches them there.
    Topic(TopicName),
    /// To the target of one trigger, whatever its topic and pattern.
    Trigger(TriggerName),
}

impl Schedule {
    /// A schedule by UTC that publishes events without data.
    #[must_use]
    pub fn new(timetable: Timetable, to: ScheduleTo) -> Self {
        Self {
            runs: RunnerOptions { timetable, jitter_ms: 0, missed: MissedRuns::default(), enabled: true },
            to,
            source: None,
            event_type: SCHEDULED_TYPE.to_owned(),
            data: None,
        }
    }
}

/// Handlers are equal where they are the same.
impl PartialEq for TargetOptions {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(a), Self::Http(b)) => a == b,
            (Self::Function(a), Self::Function(b)) => a == b,
            (Self::Lambda(a), Self::Lambda(b)) => a == b,
            (Self::Topic(a), Self::Topic(b)) => a == b,
            (Self::Handler(a), Self::Handler(b)) => Arc::ptr_eq(a, b),
            (Self::Http(_) | Self::Function(_) | Self::Lambda(_) | Self::Topic(_) | Self::Handler(_), _) => {
                false
            }
        }
    }
}

impl std::fmt::Debug for TargetOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(options) => options.fmt(f),
            Self::Function(options) => options.fmt(f),
            Self::Lambda(options) => options.fmt(f),
            Self::Topic(options) => options.fmt(f),
            Self::Handler(_) => f.write_str("Handler"),
        }
    }
}

impl Limits {
    /// Connections from one address at most, for each listener.
    #[must_use]
    pub fn per_address(&self) -> usize {
        let part = || (self.connections_max / limits::CONNECTIONS_PER_ADDRESS_PART).max(1);
        self.connections_per_address_max.unwrap_or_else(part)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: limits::EVENT_BYTES_MAX,
            batch_events_max: limits::BATCH_EVENTS_MAX,
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address_max: None,
            in_flight_bytes_max: limits::IN_FLIGHT_BYTES_MAX,
            in_flight_is_told: false,
            header_bytes_max: limits::HEADER_BYTES_MAX,
            topics_max: limits::TOPICS_MAX,
            hops_max: limits::HOPS_MAX,
            delayed_events_max: limits::DELAYED_EVENTS_MAX,
            delayed_bytes_max: limits::DELAYED_BYTES_MAX,
            request_timeout_ms: 30_000,
            publish_wait_ms: limits::PUBLISH_WAIT_MS,
        }
    }
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            segment_bytes: 128 << 20,
            retention_age_ms: None,
            retention_bytes: None,
            dedup_window_ms: 10 * 60 * 1000,
            dedup_ids_max: 10_000_000,
            dedup_ids_are_told: false,
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self { auto_create: true, defaults: TopicOptions::default(), named: BTreeMap::new() }
    }
}

impl Config {
    /// What is said of the host of a URL: of its name with its port, or else of its name.
    #[must_use]
    pub fn host_of(&self, url: &http::Uri) -> Option<(&str, &HostOptions)> {
        let authority = url.authority()?;
        let of = |name: &str| self.hosts.get_key_value(&name.to_ascii_lowercase());
        let found = of(authority.as_str()).or_else(|| of(authority.host()))?;
        Some((found.0, found.1))
    }

    /// Where targets may be called, and by which name they are asked for their leave.
    #[must_use]
    pub fn egress(&self) -> Egress {
        Egress::new(self.egress_allow.iter().copied())
            .with_ports(self.egress_ports.iter().copied())
            .with_origin(self.egress_origin.clone())
    }

    /// Whether another configuration says the same of that.
    pub(crate) fn has_same_egress(&self, other: &Self) -> bool {
        let of = |config: &Self| {
            (config.egress_allow.clone(), config.egress_ports.clone(), config.egress_origin.clone())
        };
        of(self) == of(other)
    }

    /// A broker in `data_dir` that listens nowhere and has no triggers: what a program that embeds it begins with.
    #[must_use]
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            http: None,
            quic: None,
            tls: None,
            limits: Limits::default(),
            egress_allow: Vec::new(),
            egress_ports: Vec::new(),
            egress_origin: Origin::default(),
            drain_ms: 10_000,
            topics: Topics::default(),
            triggers: BTreeMap::new(),
            hosts: BTreeMap::new(),
            functions: BTreeMap::new(),
            schedules: BTreeMap::new(),
            tests: Vec::new(),
            prices: Prices::default(),
            timeline: TimelineOptions::default(),
            invoke_keys: BTreeMap::new(),
            auth: None,
            listen: ListenOptions::default(),
        }
    }
}
