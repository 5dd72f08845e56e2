//! Local functions: calls of warm instances, what the broker adds to the function's own loop, cold starts, and batches. The
//! function is a real one, on AWS's runtime client for Rust.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::deliver::PATIENCE;
use super::{BACKLOG_LOAD, QuicPublish, Settings, float, topic, topics};
use crate::bare_function::bare_function;
use crate::broker_process::{BrokerFolder, BrokerProcess};
use crate::clock::monotonic_ns;
use crate::function::{FunctionRun, NAME};
use crate::latencies::{Latencies, Summary};
use crate::payload::Payloads;
use crate::report::{Figure, Goal, median};
use crate::requests::{Connection, nanoseconds, post};

const INSTANCES: usize = 2;
/// Events of a backlog that is delivered one by one; batches get through ten times as many.
const BACKLOG: u64 = 50_000;
const BATCH: u64 = 100;
/// Bytes of an event in a batch of the goal: a change notice, not a document.
const SMALL_BYTES: usize = 128;
/// Cold starts of one run.
const COLD_STARTS: usize = 60;

fn figure(
    settings: &Settings,
    scenario: &str,
    (what, value, unit): (&str, f64, &'static str),
    goal: Goal,
    detail: String,
) -> Figure {
    let durability = settings.durability.as_str();
    Figure { durability, scenario: scenario.to_owned(), what: what.to_owned(), value, unit, goal, detail }
}

/// As many runs as asked for.
async fn runs<T>(
    settings: &Settings,
    mut once: impl AsyncFnMut(u64) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut runs = Vec::new();
    for run in 0..settings.runs {
        runs.push(once(u64::try_from(run)?).await?);
    }
    Ok(runs)
}

/// A backlog through a trigger, and direct calls of the Invoke API.
pub(super) async fn warm(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let drained = runs(settings, async |run| {
        let keys = "concurrency = 4";
        drain(settings, run, (BACKLOG, settings.data_bytes, INSTANCES), keys).await
    })
    .await?;
    let called = runs(settings, async |run| direct(settings, run, INSTANCES).await).await?;
    let drained = median(&drained, |drained: &Drained| drained.per_second);
    let called = median(&called, |called: &Called| called.per_second);
    let what = "a trigger's backlog to a warm function, 2 instances";
    let goal = Goal::AtLeast(5_000.0);
    Ok(vec![
        figure(settings, "function-warm", (what, drained.per_second, "/s"), goal, drained.detail),
        figure(
            settings,
            "function-warm",
            ("Invoke API, 2 callers, 2 instances", called.per_second, "/s"),
            goal,
            called.latencies.text(),
        ),
    ])
}

/// Batches of 100 through one instance.
pub(super) async fn batch(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let keys = format!("concurrency = 2\nbatch = {{ max_events = {BATCH}, window = \"20ms\" }}");
    let mut figures = Vec::new();
    for (data_bytes, goal) in [(SMALL_BYTES, Goal::AtLeast(100_000.0)), (settings.data_bytes, Goal::None)] {
        let shape = (BACKLOG * 10, data_bytes, 1);
        let drained = runs(settings, async |run| drain(settings, run, shape, &keys).await).await?;
        let drained = median(&drained, |drained: &Drained| drained.per_second);
        let what = format!("events of {data_bytes} bytes in batches of {BATCH}, one instance");
        figures.push(figure(
            settings,
            "function-batch",
            (&what, drained.per_second, "/s"),
            goal,
            drained.detail,
        ));
    }
    Ok(figures)
}

#[derive(Clone, Debug)]
struct Drained {
    per_second: f64,
    detail: String,
}

/// Publishes a backlog, and lets a broker with a trigger for the function deliver it. Every event arrives exactly once.
async fn drain(
    settings: &Settings,
    run: u64,
    (count, data_bytes, instances): (u64, usize, usize),
    trigger_keys: &str,
) -> anyhow::Result<Drained> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let payloads = Payloads::new(run, data_bytes)?;
    let broker = folder.start(&topics(settings)).await?;
    let publish = QuicPublish::open(&broker, topic(), payloads, BACKLOG_LOAD).await?;
    publish.exactly(count).await?;
    broker.stop().await?;

    let function = FunctionRun::new(&settings.dir, run, data_bytes)?;
    let instances = format!("min_instances = {instances}\nmax_instances = {instances}");
    let trigger = format!(
        "[triggers.drain]\ntopic = \"{}\"\nstart = \"earliest\"\n{trigger_keys}\n[triggers.drain.target.function]\nname = \"{NAME}\"\npayload = \"raw\"\n",
        topic()
    );
    let tables = format!("{}{}{trigger}", topics(settings), function.table(&instances));
    let broker = folder.start(&tables).await?;
    let arrived = function.exactly(count, PATIENCE).await?;
    settled(&broker, count).await?;
    let cpu = crate::process::cpu_seconds(broker.id()?)?;
    broker.stop().await?;
    let elapsed = float(arrived.last_ns - arrived.first_ns) / 1e9;
    let detail = format!(
        "{:.1} us of broker CPU per event, {} processes",
        cpu * 1e6 / float(count),
        arrived.processes
    );
    Ok(Drained { per_second: float(count) / elapsed, detail })
}

/// Waits until the trigger's account is complete.
async fn settled(broker: &BrokerProcess, count: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let status = broker.json("/v1/triggers/drain").await?;
        let of = |name: &str| status["account"][name].as_u64().context("an account of numbers");
        if of("pending")? == 0 {
            ensure!(of("matched")? == count && of("delivered")? == count, "the account is off: {status}");
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the trigger's account never ends: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Clone, Copy, Debug)]
struct Called {
    per_second: f64,
    latencies: Summary,
}

fn path() -> String {
    format!("/2015-03-31/functions/{NAME}/invocations")
}

/// Synchronous calls over so many connections, one under way on each. Every answer is checked.
async fn direct(settings: &Settings, run: u64, callers: usize) -> anyhow::Result<Called> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let function = FunctionRun::new(&settings.dir, run, settings.data_bytes)?;
    let instances = format!("min_instances = {callers}\nmax_instances = {callers}");
    let broker = folder.start(&function.table(&instances)).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let mut tasks = tokio::task::JoinSet::new();
    let duration = settings.duration;
    for caller in 0..callers as u64 {
        let (payloads, mut connection) = (payloads.clone(), Connection::open(broker.http).await?);
        tasks.spawn(async move {
            let mut latencies = Latencies::default();
            let (mut n, mut begun) = (caller, Instant::now());
            let warm_until = begun + Duration::from_millis(500);
            let mut count = 0;
            while n < callers as u64 || begun.elapsed() < duration {
                let sent = Instant::now();
                let (status, body) = connection.exchange(post(&path(), payloads.data(n))).await?;
                ensure!(
                    status.is_success() && body[..] == *b"1",
                    "{status}: {}",
                    String::from_utf8_lossy(&body)
                );
                n += callers as u64;
                if sent < warm_until {
                    begun = Instant::now();
                    continue;
                }
                latencies.record_ns(nanoseconds(sent.elapsed()));
                count += 1;
            }
            Ok((count, latencies, n / callers as u64, begun.elapsed()))
        });
    }
    let (mut per_second, mut total, mut latencies) = (0.0, 0, Latencies::default());
    while let Some(ended) = tasks.join_next().await {
        let (count, more, all, elapsed): (u64, Latencies, u64, Duration) =
            ended.context("a caller's task")??;
        per_second += float(count) / elapsed.as_secs_f64();
        latencies.add(&more);
        total += all;
    }
    function.exactly(total, PATIENCE).await?;
    broker.stop().await?;
    Ok(Called { per_second, latencies: latencies.summary() })
}

/// One call after the other through the Invoke API, beside the function's own loop in the same run.
pub(super) async fn overhead(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let compared = runs(settings, async |run| {
        let function = FunctionRun::new(&settings.dir, run, settings.data_bytes)?;
        let payloads = Payloads::new(run, settings.data_bytes)?;
        let bare = bare_function(&function, &payloads, settings.duration).await?.latencies.summary();
        Ok((bare, direct(settings, run, 1).await?.latencies))
    })
    .await?;
    let added = |(bare, called): &(Summary, Summary)| (called.p50_ms - bare.p50_ms) * 1000.0;
    let middle = median(&compared, added);
    let detail = format!("one caller {}; the function's own loop {}", middle.1.text(), middle.0.text());
    let what = "added to the function's own loop, p50";
    Ok(vec![figure(settings, "function-overhead", (what, added(&middle), "us"), Goal::AtMost(150.0), detail)])
}

/// Calls that each find no process.
pub(super) async fn cold(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let colds = runs(settings, async |run| cold_once(settings, run).await).await?;
    let middle = median(&colds, |cold: &Cold| cold.host_ms);
    let detail = format!(
        "{} cold starts, p99 {:.1} ms; the function's own part {:.2} ms; whole calls {}",
        middle.count,
        middle.host_p99_ms,
        middle.own_ms,
        middle.calls.text()
    );
    let what = "from the start of a process to its first call, p50";
    Ok(vec![figure(settings, "function-cold", (what, middle.host_ms, "ms"), Goal::AtMost(10.0), detail)])
}

#[derive(Clone, Copy, Debug)]
struct Cold {
    count: u64,
    host_ms: f64,
    host_p99_ms: f64,
    own_ms: f64,
    calls: Summary,
}

async fn cold_once(settings: &Settings, run: u64) -> anyhow::Result<Cold> {
    let folder = BrokerFolder::new(&settings.dir)?;
    let function = FunctionRun::new(&settings.dir, run, settings.data_bytes)?;
    let broker = folder.start(&function.table("max_instances = 1\nidle_timeout = \"1ms\"")).await?;
    let payloads = Payloads::new(run, settings.data_bytes)?;
    let mut connection = Connection::open(broker.http).await?;
    let (mut inits, mut calls) = (Latencies::default(), Latencies::default());
    let mut n = 0;
    while inits.summary().count < COLD_STARTS as u64 {
        ensure!(n < 20 * COLD_STARTS as u64, "the instance is never stopped: {n} calls");
        let mut request = post(&path(), payloads.data(n));
        request.headers_mut().insert("x-amz-log-type", http::HeaderValue::from_static("Tail"));
        let sent = monotonic_ns();
        let (parts, body) = connection.exchange_whole(request).await?;
        let took = monotonic_ns() - sent;
        ensure!(parts.status.is_success() && body[..] == *b"1", "{}: {body:?}", parts.status);
        let log = parts.headers.get("x-amz-log-result").context("a log")?;
        if let Some(init_ms) = init_ms(&String::from_utf8(STANDARD.decode(log)?)?) {
            inits.record_ms(init_ms);
            calls.record_ns(took);
        }
        n += 1;
        // The instance gets time to go; whether it went is seen in the next report.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    function.exactly(n, PATIENCE).await?;
    broker.stop().await?;
    let mut own = Latencies::default();
    function.own_inits_ns()?.into_iter().for_each(|init| own.record_ns(init));
    let (inits, own_ms) = (inits.summary(), own.summary().p50_ms);
    Ok(Cold {
        count: inits.count,
        host_ms: inits.p50_ms - own_ms,
        host_p99_ms: inits.p99_ms,
        own_ms,
        calls: calls.summary(),
    })
}

/// The init of a REPORT line, where there was one.
fn init_ms(log: &str) -> Option<f64> {
    let report = log.lines().find(|line| line.starts_with("REPORT "))?;
    let init = report.split('\t').find_map(|part| part.strip_prefix("Init Duration: "))?;
    init.trim_end_matches(" ms").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_of_a_report_is_found_and_a_warm_call_has_none() {
        let log = "START\nREPORT RequestId: a\tDuration: 3.01 ms\tBilled Duration: 4 ms\tInit Duration: 12.10 ms\t\n";
        assert_eq!(init_ms(log), Some(12.1));
        assert_eq!(init_ms("REPORT RequestId: a\tDuration: 3.01 ms\t\n"), None);
    }
}
