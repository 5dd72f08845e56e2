//! Hours at half of the peak, with every kind of target, while functions are killed, the HTTP target stalls and the configuration is
//! reloaded. Memory, descriptors, threads and processes must stay where they are, and in the end every account is complete.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::deliver::PATIENCE;
use super::publish::{Load, QuicPublish};
use super::{Settings, float, topic, topics};
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::function::{FunctionRun, NAME};
use crate::payload::Payloads;
use crate::process::TargetProcess;
use crate::report::{Figure, Goal};
use crate::requests::{Connection, post};
use crate::system::{Holdings, slope};
use crate::target::TargetOptions;

const RUN: u64 = 99;
/// Samples that are taken over the whole time, at least this long apart.
const SAMPLES: u32 = 1_000;
const SAMPLE_EVERY_MIN: Duration = Duration::from_millis(500);
/// This share of the time is for caches to fill; the slope is of the rest.
const WARM_UP_SHARE: f64 = 0.2;
/// Memory that an hour may add: less than a broker at rest has, in a week.
const SLOPE_BYTES_PER_HOUR: f64 = 1024.0 * 1024.0;
/// Instances of the function that a trigger calls itself.
const INSTANCES: u64 = 2;
/// The function behind the Invoke API. It is another one: where triggers wait for an instance, the API answers 429, so that it would
/// get what they leave.
const INVOKED: &str = "invoked";
/// Its instances: one for each call of its trigger, as the cloud has them.
const INVOKED_INSTANCES: u64 = 16;
/// What a topic, and the timeline, may keep: little, so that both are full after the warm-up and growth after it is a leak.
const RETENTION: &str = "256MiB";
/// How long the HTTP target stands still.
const STALL: Duration = Duration::from_secs(3);
/// All triggers, and how many events each gets of every published one.
const TRIGGERS: [&str; 5] = ["http", "function", "lambda", "topic", "copied"];

/// How long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Soak {
    /// Minutes of load.
    #[arg(long, default_value = "120", value_parser = minutes)]
    pub minutes: Minutes,
}

/// A time in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minutes(pub Duration);

fn minutes(text: &str) -> Result<Minutes, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes is needed".to_owned())?;
    Duration::try_from_secs_f64(minutes * 60.0).map(Minutes).map_err(|error| error.to_string())
}

/// One sample, with the hours since the begin.
#[derive(Clone, Copy, Debug)]
struct Sample {
    hours: f64,
    holdings: Holdings,
}

/// What runs.
struct House {
    folder: BrokerFolder,
    broker: BrokerProcess,
    target: TargetProcess,
    function: FunctionRun,
    invoked: FunctionRun,
    http: SocketAddr,
    payloads: Payloads,
}

pub(super) async fn run(settings: &Settings, soak: Soak) -> anyhow::Result<Vec<Figure>> {
    let peak = peak(settings).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is a small positive number"
    )]
    let rate = ((peak / 2.0) as u64).max(1);
    let house = House::open(settings).await?;
    let duration = soak.minutes.0;
    let count = rate * duration.as_secs().max(1);
    let load = Load { batch: 1, window: 65_536 };
    let publish = QuicPublish::open(&house.broker, topic(), house.payloads.clone(), load).await?;
    let (published, samples, faults) = {
        let samples = sample(house.broker.id()?, duration);
        let faults = disturb(&house, settings, duration);
        let (published, samples, faults) = tokio::join!(publish.open_loop(rate, count), samples, faults);
        (published?.0, samples?, faults?)
    };
    publish.close().await;
    let account = house.complete(count).await?;
    house.broker.stop().await?;
    let detail = format!(
        "{count} events at {rate}/s (peak {peak:.0}/s), {faults} faults and reloads; {account}; publish {}",
        published.text()
    );
    figures(settings, &samples, detail)
}

fn figures(settings: &Settings, samples: &[Sample], account: String) -> anyhow::Result<Vec<Figure>> {
    let last = samples.last().context("samples")?;
    let begin = last.hours * WARM_UP_SHARE;
    let warm: Vec<&Sample> = samples.iter().filter(|sample| sample.hours >= begin).collect();
    let first = warm.first().context("samples after the warm-up")?;
    let grows = |of: fn(&Holdings) -> u64| {
        let points: Vec<(f64, f64)> =
            warm.iter().map(|sample| (sample.hours, float(of(&sample.holdings)))).collect();
        slope(&points)
    };
    let most =
        |of: fn(&Holdings) -> u64| samples.iter().map(|sample| of(&sample.holdings)).max().unwrap_or(0);
    let figure = |what: &str, value: f64, unit: &'static str, goal: Goal, detail: String| Figure {
        durability: settings.durability.as_str(),
        scenario: "soak".to_owned(),
        what: what.to_owned(),
        value,
        unit,
        goal,
        detail,
    };
    let told = |of: fn(&Holdings) -> u64| {
        format!(
            "{} after the warm-up, {} at the end, {} at most",
            of(&first.holdings),
            of(&last.holdings),
            most(of)
        )
    };
    // Whatever has leaked once in ten samples shows as a slope; a number that only moves does not.
    let steady = Goal::AtMost(1.0);
    Ok(vec![
        figure(
            "resident memory grows by",
            grows(|holdings| holdings.resident_bytes),
            "bytes/hour",
            Goal::AtMost(SLOPE_BYTES_PER_HOUR),
            told(|holdings| holdings.resident_bytes),
        ),
        figure(
            "descriptors grow by",
            grows(|holdings| holdings.descriptors),
            "/hour",
            steady,
            told(|holdings| holdings.descriptors),
        ),
        figure(
            "threads grow by",
            grows(|holdings| holdings.threads),
            "/hour",
            steady,
            told(|holdings| holdings.threads),
        ),
        figure(
            "processes grow by",
            grows(|holdings| holdings.children),
            "/hour",
            steady,
            told(|holdings| holdings.children),
        ),
        figure("hours with every account complete", last.hours, "h", Goal::None, account),
    ])
}

/// What all targets together take, in events published per second.
async fn peak(settings: &Settings) -> anyhow::Result<f64> {
    let house = House::open(settings).await?;
    let load = Load { batch: 1, window: 1_024 };
    let publish = QuicPublish::open(&house.broker, topic(), house.payloads.clone(), load).await?;
    let begun = Instant::now();
    let published = publish.during(settings.duration).await?;
    publish.close().await;
    house.complete(published.events).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    house.broker.stop().await?;
    Ok(float(published.events) / elapsed)
}

impl House {
    async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let options = TargetOptions { run: RUN, data_bytes: settings.data_bytes, keep_arrivals: false };
        let target = TargetProcess::start(options).await?;
        let run = || FunctionRun::new(&settings.dir, RUN, settings.data_bytes);
        let (function, invoked) = (run()?, run()?);
        let folder = BrokerFolder::new(&settings.dir)?;
        // Its own Invoke API is a target, so its address has to be known before it starts.
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let payloads = Payloads::new(RUN, settings.data_bytes)?;
        let tables = tables(settings, [&function, &invoked], &target.url(), http, INVOKED_INSTANCES);
        let credentials = [
            ("AWS_ACCESS_KEY_ID", "soak"),
            ("AWS_SECRET_ACCESS_KEY", "soak"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let broker = folder.start_at(http, &tables, &credentials).await?;
        Ok(Self { folder, broker, target, function, invoked, http, payloads })
    }

    /// Waits until every trigger has settled its events, and proves that all of them arrived everywhere.
    async fn complete(&self, count: u64) -> anyhow::Result<String> {
        let begun = Instant::now();
        let mut told = Vec::new();
        for trigger in TRIGGERS {
            loop {
                let status = self.broker.json(&format!("/v1/triggers/{trigger}")).await?;
                let of = |name: &str| status["account"][name].as_u64().context("an account of numbers");
                let (matched, delivered) = (of("matched")?, of("delivered")?);
                if matched == count && of("pending")? == 0 {
                    ensure!(delivered == count, "{trigger}'s account is off: {status}");
                    told.push(format!("{trigger} {delivered}"));
                    break;
                }
                let patience = PATIENCE.max(begun.elapsed() / 2);
                ensure!(begun.elapsed() < patience, "{trigger} never settles {count} events: {status}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let report = self.target.report().await?;
        ensure!(report.distinct == count && report.wrong == 0, "{count} events, the target saw {report:?}");
        for function in [&self.function, &self.invoked] {
            let arrived = function.arrived()?.tally;
            ensure!(arrived.distinct == count, "{count} events, a function saw {}", arrived.distinct);
        }
        Ok(told.join(", "))
    }

    /// Processes of the function.
    fn instances(&self) -> anyhow::Result<Vec<Pid>> {
        let mut instances = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.broker.id()?))? {
            let text = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            for child in text.split_whitespace() {
                let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
                if command.contains("bench_function") {
                    instances.extend(Pid::from_raw(child.parse()?));
                }
            }
        }
        Ok(instances)
    }
}

/// Every kind of target; retries without end, so that a fault costs no event.
fn tables(
    settings: &Settings,
    [function, invoked]: [&FunctionRun; 2],
    url: &str,
    http: SocketAddr,
    concurrency: u64,
) -> String {
    let keys = |topic: &str| {
        format!(
            "topic = \"{topic}\"\nstart = \"earliest\"\nconcurrency = {concurrency}\ntimeout = \"30s\"\nretry = {{ max_attempts = 10000, backoff_initial = \"50ms\", backoff_max = \"1s\" }}\n"
        )
    };
    let (load, copy) = (keys(topic().as_str()), keys("copy"));
    let instances = |count: u64| format!("min_instances = {count}\nmax_instances = {count}");
    format!(
        r#"{topics}retention_bytes = "{RETENTION}"
dedup_window = "1m"
[timeline]
bytes_max = "{RETENTION}"
{function}{invoked}
[triggers.http]
{load}[triggers.http.target.http]
url = "{url}"
[triggers.function]
{load}[triggers.function.target.function]
name = "{NAME}"
payload = "raw"
[triggers.lambda]
{load}[triggers.lambda.target.lambda]
function = "{INVOKED}"
region = "eu-west-1"
endpoint = "http://{http}"
payload = "raw"
[triggers.topic]
{load}[triggers.topic.target]
topic = "copy"
[triggers.copied]
{copy}[triggers.copied.target.http]
url = "{url}"
"#,
        topics = topics(settings),
        function = function.table(&instances(INSTANCES)),
        invoked = invoked.table_as(INVOKED, &instances(INVOKED_INSTANCES)),
    )
}

async fn sample(process: u32, duration: Duration) -> anyhow::Result<Vec<Sample>> {
    let begun = Instant::now();
    let mut every = tokio::time::interval((duration / SAMPLES).max(SAMPLE_EVERY_MIN));
    let mut samples = Vec::new();
    while begun.elapsed() < duration {
        every.tick().await;
        let hours = begun.elapsed().as_secs_f64() / 3600.0;
        samples.push(Sample { hours, holdings: Holdings::of(process)? });
    }
    Ok(samples)
}

/// In turns: a process of the function is killed, the HTTP target stands still, the configuration is reloaded. Answers how often.
async fn disturb(house: &House, settings: &Settings, duration: Duration) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let every = (duration / 100).clamp(Duration::from_secs(2), Duration::from_secs(60));
    let mut faults = 0;
    while begun.elapsed() + 2 * every + STALL < duration {
        tokio::time::sleep(every).await;
        match faults % 3 {
            0 => {
                if let Some(instance) = house.instances()?.first() {
                    // It may have ended by itself.
                    let _gone = kill_process(*instance, Signal::KILL);
                }
            }
            1 => {
                house.target.stop_and_go(Signal::STOP)?;
                tokio::time::sleep(STALL).await;
                house.target.stop_and_go(Signal::CONT)?;
            }
            _ => house.reload(settings, 8 + faults % 9).await?,
        }
        faults += 1;
    }
    Ok(faults)
}

impl House {
    /// Another concurrency for all triggers: each gets another lane.
    async fn reload(&self, settings: &Settings, concurrency: u64) -> anyhow::Result<()> {
        let tables =
            tables(settings, [&self.function, &self.invoked], &self.target.url(), self.http, concurrency);
        self.folder.configure(self.http, &tables)?;
        let request = post("/v1/config/reload", "{}".into());
        let (status, body) = Connection::open(self.http).await?.exchange(request).await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
