//! `eventail quickstart`: everything that matters, seen once, with nothing set up.
//!
//! A real broker with real listeners in a scratch directory, four triggers, HTTP targets in this process, a local function that
//! is this binary itself, and a morning's events published over HTTP. What is shown is what the broker tells: the steps as its
//! observer sees them, the numbers as its API answers them. It needs no file, no network and no free port of a certain number.

mod events;
mod story;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use eventail_triggers::ledger::{FunctionKind, Summary};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::events::TOPIC;
use self::story::{Story, Watcher};
use self::target::Target;
use super::api::{Api, ApiUrl, Query};
use super::check::counted;
use super::dead_letters::summary_table;
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen};
use super::server::Server;
use super::signals::Signals;
use super::table::Table;
use crate::config::Config;
use crate::status::{BulkResult, DeadLetterSummary, Observation, Published, TriggerStatus};

const EXAMPLES: &str = "\
Examples:
  eventail quickstart
  eventail quickstart --keep-running";

/// How often the API is asked whether everything has been delivered.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// How long that may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of `quickstart`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Leave the broker and its targets running until Ctrl-C, to try commands on them
    #[arg(long)]
    keep_running: bool,
}

/// Runs it on a runtime of its own.
pub(super) fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let runtime = super::server::runtime();
    let runtime = runtime.map_err(|source| CliError::Runtime { source })?;
    let exit = runtime.block_on(quickstart(arguments, screen));
    runtime.shutdown_background();
    exit
}

async fn quickstart(arguments: &Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut signals = Signals::new().map_err(|source| CliError::Runtime { source })?;
    let scratch = tempfile::Builder::new().prefix("eventail-quickstart-").tempdir();
    let scratch = scratch.map_err(|source| CliError::Runtime { source })?;
    let target = Target::start().await.map_err(|source| CliError::Runtime { source })?;
    let data_dir = scratch.path().join("data").display().to_string();
    let program = std::env::current_exe().map_err(|source| CliError::Runtime { source })?;
    let text = events::configuration(&data_dir, &target.url(), &program.display().to_string());
    let config = Config::parse("quickstart.toml", &text, &|_| None)?;
    let (watcher, steps) = Watcher::new();
    let server = Server::start(config, Some(Arc::new(watcher)), None, None).await?;
    let showing = async {
        let mut tour = Tour::new(&server, &target, steps, screen)?;
        tour.show(&data_dir).await?;
        tour.try_next(arguments.keep_running)?;
        if arguments.keep_running {
            std::future::pending::<()>().await;
        }
        Ok(Exit::Done)
    };
    let shown = tokio::select! {
        shown = showing => shown,
        exit = signals.next() => Ok(if arguments.keep_running { Exit::Done } else { exit }),
    };
    let stopped = server.stop().await.map_err(|source| CliError::Stop { source });
    shown.and_then(|exit| stopped.map(|()| exit))
}

/// What is needed on the way.
struct Tour<'a> {
    server: &'a Server,
    target: &'a Target,
    api: Api,
    url: ApiUrl,
    steps: UnboundedReceiver<Observation>,
    story: Story,
    screen: &'a mut Screen,
}

#[derive(Deserialize)]
struct Functions {
    functions: Vec<Summary>,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Published>,
}

impl<'a> Tour<'a> {
    fn new(
        server: &'a Server,
        target: &'a Target,
        steps: UnboundedReceiver<Observation>,
        screen: &'a mut Screen,
    ) -> Result<Self, CliError> {
        let address = server.http().ok_or(CliError::Quickstart { what: "the HTTP listener is off" })?;
        let url: ApiUrl = format!("http://{address}")
            .parse()
            .map_err(|_| CliError::Quickstart { what: "the listener's address makes no URL" })?;
        let api = Api::new(url.clone());
        Ok(Self { server, target, api, url, steps, story: Story::default(), screen })
    }

    async fn show(&mut self, data_dir: &str) -> Result<(), CliError> {
        let events = events::events();
        self.introduce(data_dir)?;
        self.title(&format!(
            "1. Publish {} over HTTP, and watch each one's way",
            counted(events.len() as u64, "event")
        ))?;
        Story::heading(self.screen)?;
        let publishing = tokio::spawn(publish(Api::new(self.url.clone()), events));
        self.until_settled(0, || publishing.is_finished()).await?;
        let published =
            publishing.await.map_err(|_| CliError::Quickstart { what: "publishing broke off" })??;
        let repeats = published.iter().filter(|published| published.is_duplicate()).count();
        self.screen.line(&format!(
            "\n  {} acknowledged, {repeats} of them as a repeat: same source and id, stored once.",
            counted(published.len() as u64, "event")
        ))?;
        let unmatched = self.story.unmatched().join(", ");
        self.screen.line(&format!("  Matched by no trigger, and kept all the same: {unmatched}."))?;
        self.title("2. What could not be delivered is kept, with its event and the reason")?;
        let letters = self.dead_letters("false").await?;
        summary_table(&letters).indented("  ").print(self.screen, "There are no dead letters.")?;
        self.title("3. Fix the target, and redrive")?;
        self.redrive().await?;
        self.title("4. The account, as the broker's API has it now")?;
        self.account().await?;
        self.title("5. What the function took, as the ledger has it")?;
        self.ledger().await
    }

    fn introduce(&mut self, data_dir: &str) -> Result<(), CliError> {
        let version = env!("CARGO_PKG_VERSION");
        let name = self.screen.paint(Paint::Heading, &format!("Eventail {version}"));
        self.screen.line(&format!(
            "{name}: a broker in a scratch directory, four triggers, three HTTP targets, one function.\n"
        ))?;
        self.screen.line(&format!("  http      {}", self.url))?;
        if let Some(quic) = self.server.quic() {
            self.screen.line(&format!("  quic      {quic}"))?;
        }
        self.screen.line(&format!("  data      {data_dir}"))?;
        self.screen.line(&format!("  targets   {}/ship      accepts", self.target.url()))?;
        self.screen
            .line(&format!("            {}/payments  fails twice before it accepts", self.target.url()))?;
        self.screen
            .line(&format!("            {}/crm       refuses until it is fixed", self.target.url()))?;
        self.screen.line("  function  eventail run-function receipt    is started when the first order comes")
    }

    fn title(&mut self, text: &str) -> Result<(), CliError> {
        let title = self.screen.paint(Paint::Heading, text);
        self.screen.line(&format!("\n{title}\n"))
    }

    /// Tells steps until so many deliveries ended, `ready` says that no more will come, and the API that nothing is pending.
    async fn until_settled(&mut self, settled: u64, ready: impl Fn() -> bool) -> Result<(), CliError> {
        let deadline = Instant::now() + PATIENCE;
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(step) = self.steps.recv() => self.story.tell(step, self.screen)?,
                _ = ask.tick() => {
                    // Asked before the API is, so that what was published meanwhile is in the API's answer.
                    let ready = ready();
                    let triggers = self.triggers().await?;
                    let at_rest = triggers.iter().all(|trigger| trigger.lag == 0 && trigger.account.pending == 0);
                    if ready && at_rest && self.story.settled() >= settled && self.steps.is_empty() {
                        return Ok(());
                    }
                    if Instant::now() >= deadline {
                        return Err(CliError::Quickstart { what: "the deliveries did not come to rest" });
                    }
                }
            }
        }
    }

    async fn triggers(&mut self) -> Result<Vec<TriggerStatus>, CliError> {
        let triggers = self.api.pages("/v1/triggers", "triggers", &Query::default(), None).await?;
        self.api.understand(Value::Array(triggers))
    }

    async fn dead_letters(&mut self, include_redriven: &str) -> Result<Vec<DeadLetterSummary>, CliError> {
        let query = Query::default().with("include_redriven", Some(include_redriven));
        let letters = self.api.pages("/v1/dead-letters", "dead_letters", &query, None).await?;
        self.api.understand(Value::Array(letters))
    }

    async fn redrive(&mut self) -> Result<(), CliError> {
        self.target.fix();
        let before = self.story.settled();
        Story::heading(self.screen)?;
        let result: BulkResult =
            self.api.post("/v1/dead-letters/redrive", &json!({ "trigger": "sync-crm" })).await?;
        self.until_settled(before + result.done, || true).await?;
        self.screen.line(&format!("\n  {} of {} dead letters redriven.", result.done, result.selected))
    }

    async fn account(&mut self) -> Result<(), CliError> {
        let triggers = self.triggers().await?;
        let mut table = Table::new(&[
            "TRIGGER",
            "MATCHED",
            "DELIVERED",
            "DEAD-LETTERED",
            "EXPIRED",
            "PENDING",
            "ADDS UP",
        ]);
        let mut adds_up = true;
        // The function's other trigger, for asynchronous calls of the Invoke API, has another topic and nothing to tell.
        for trigger in triggers.iter().filter(|trigger| trigger.topic.as_str() == TOPIC) {
            let account = trigger.account;
            let ends = [account.delivered, account.dead_lettered, account.expired, account.pending];
            let right = account.matched == ends.iter().sum::<u64>() + account.deduplicated;
            adds_up &= right;
            let mut row = vec![trigger.name.to_string(), account.matched.to_string()];
            row.extend(ends.map(|end| end.to_string()));
            row.push(if right { "yes" } else { "NO" }.to_owned());
            table.row(row);
        }
        table.indented("  ").print(self.screen, "There are no triggers.")?;
        let (waiting, all) =
            (self.dead_letters("false").await?.len(), self.dead_letters("true").await?.len());
        let topic: Value = self.api.get(&format!("/v1/topics/{TOPIC}")).await?;
        let end = topic.get("end").and_then(Value::as_u64).unwrap_or_default();
        self.screen
            .line("\n  A redriven event counts once more, as matched and as what became of it then.")?;
        self.screen.line(&format!(
            "  {end} events are in the topic `{TOPIC}`; {} written, {waiting} left to redrive.",
            counted(all as u64, "dead letter")
        ))?;
        if adds_up { Ok(()) } else { Err(CliError::Quickstart { what: "the account does not add up" }) }
    }

    async fn ledger(&mut self) -> Result<(), CliError> {
        let all: Functions = self.api.get("/v1/functions").await?;
        let mut table = Table::new(&["FUNCTION", "CALLS", "COLD STARTS", "INIT P50", "RUN P50", "BILLED"]);
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        for function in all.functions.iter().filter(|function| function.kind == FunctionKind::Function) {
            table.row(vec![
                function.name.clone(),
                function.calls.to_string(),
                function.cold_starts.to_string(),
                ms(function.init_p50_ms),
                ms(function.duration_p50_ms),
                format!("{} ms", function.billed_ms),
            ]);
        }
        table.indented("  ").print(self.screen, "No function ran.")?;
        self.screen.line(
            "\n  Its process was started for the first order and has been warm since. After 5 idle minutes it is stopped.",
        )?;
        self.screen.line("  Billed is what AWS Lambda would bill for the same runs.")
    }

    fn try_next(&mut self, keeps_running: bool) -> Result<(), CliError> {
        self.title("Try next")?;
        if keeps_running {
            self.screen.line(&format!("  export EVENTAIL_URL={}\n", self.url))?;
        }
        let commands: &[(&str, &str)] = if keeps_running { &HERE } else { &ANEW };
        for (command, what) in commands {
            let what = self.screen.paint(Paint::Quiet, what);
            self.screen.line(&format!("  {command:<67}  {what}"))?;
        }
        self.screen.line("\n  From the repository, `cargo run --release -- ` stands for `eventail `.")?;
        if keeps_running {
            self.screen.line("\nThe broker and its targets keep running. Ctrl-C ends them.")?;
        }
        Ok(())
    }
}

/// What to try on a broker of one's own.
const ANEW: [(&str, &str); 8] = [
    ("eventail quickstart --keep-running", "the same, and then look around in it"),
    ("eventail serve --print-config > eventail.toml", "a configuration with every key explained"),
    ("eventail check", "everything that is wrong with it, at once"),
    ("eventail serve", "a broker on 127.0.0.1:4080"),
    ("echo '{\"total\":7}' | eventail publish orders --type order.created", "an event"),
    ("eventail tail orders --follow", "the events of a topic, as they come"),
    ("eventail triggers", "what every trigger does"),
    ("eventail functions", "what functions took and cost"),
];

/// What to try on the broker that keeps running.
const HERE: [(&str, &str); 7] = [
    ("eventail tail shop --from earliest", "all events"),
    ("eventail tail shop --filter '{\"data\":{\"plan\":[\"pro\"]}}'", "those that match a pattern"),
    ("echo '{\"total\":7}' | eventail publish shop --type order.created", "another order"),
    ("eventail triggers show ship-order", "what its trigger does"),
    ("eventail functions", "what its functions took and would cost"),
    ("eventail dead-letters list --include-redriven", "what could not be delivered at first"),
    ("eventail dead-letters show dead-letters/0", "one of them, with its event"),
];

/// One request for each event, as a client of the shop would send them.
async fn publish(mut api: Api, events: Vec<Value>) -> Result<Vec<Published>, CliError> {
    let mut published = Vec::new();
    for event in events {
        let body = Bytes::from(event.to_string());
        let path = format!("/v1/topics/{TOPIC}/events");
        let results: Results = api.send(Method::POST, &path, "application/cloudevents+json", body).await?;
        published.extend(results.results);
    }
    Ok(published)
}
