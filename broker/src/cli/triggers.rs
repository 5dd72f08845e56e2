//! `eventail triggers`: listed, shown, paused, resumed, moved on.

use clap::{ArgGroup, Args, Subcommand};
use eventail_triggers::ledger::{BudgetAction, BudgetStatus};
use eventail_triggers::limiter::{LimitReason, LimiterState};
use eventail_wire::TriggerName;
use serde_json::{Value, json};

use super::api::{Api, Query};
use super::error::CliError;
use super::exit::Exit;
use super::screen::{Paint, Screen, snippet, visible};
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::config::Duration;
use crate::status::{
    BreakerState, DedupStatus, NearMiss, OrphanStatus, RateWait, TriggerState, TriggerStatus,
};

const EXAMPLES: &str = "\
Examples:
  eventail triggers
  eventail triggers show ship
  eventail triggers --orphaned
  eventail triggers pause ship --reason 'warehouse moves'
  eventail triggers resume ship
  eventail triggers skip-to ship --latest";

/// The arguments of `triggers`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// List those that left the configuration and whose state is kept
    #[arg(long, global = true)]
    orphaned: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all triggers (the default)
    List,
    /// Show one trigger
    Show {
        /// Which
        trigger: TriggerName,
    },
    /// Stop a trigger's deliveries; its events wait in the log
    Pause {
        /// Which
        trigger: TriggerName,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a paused or disabled trigger deliver again
    Resume {
        /// Which
        trigger: TriggerName,
    },
    /// Move a trigger forward; what is passed over counts as expired and is not delivered
    #[command(group = ArgGroup::new("to").required(true).args(["offset", "latest"]))]
    SkipTo {
        /// Which
        trigger: TriggerName,
        /// The first offset that will be delivered
        offset: Option<u64>,
        /// Pass over everything that is there
        #[arg(long)]
        latest: bool,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let format = arguments.output.output;
    let path = |trigger: &TriggerName, verb: &str| format!("/v1/triggers/{trigger}{verb}");
    let answer: Value = match arguments.action.unwrap_or(Action::List) {
        Action::List if arguments.orphaned => {
            return list_orphans(&mut api, format, screen).await.map(|()| Exit::Done);
        }
        Action::List => return list(&mut api, format, screen).await.map(|()| Exit::Done),
        Action::Show { trigger } => api.get(&path(&trigger, "")).await?,
        Action::Pause { trigger, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            api.post(&path(&trigger, "/pause"), &body).await?
        }
        Action::Resume { trigger } => api.post(&path(&trigger, "/resume"), &json!({})).await?,
        Action::SkipTo { trigger, offset, .. } => {
            let body = offset.map_or_else(|| json!({ "latest": true }), |offset| json!({ "offset": offset }));
            api.post(&path(&trigger, "/skip-to"), &body).await?
        }
    };
    if format == Format::Json {
        screen.json(&answer)?;
    } else {
        show(&api.understand(answer)?, screen)?;
    }
    Ok(Exit::Done)
}

async fn list(api: &mut Api, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    let triggers = api.pages("/v1/triggers", "triggers", &Query::default(), None).await?;
    if format == Format::Json {
        return screen.json(&json!({ "triggers": triggers }));
    }
    let mut table = Table::new(&[
        "TRIGGER",
        "TOPIC",
        "STATE",
        "LAG",
        "IN FLIGHT",
        "RETRYING",
        "MATCHED",
        "DELIVERED",
        "DEAD",
        "EXPIRED",
        "DEDUP",
        "PENDING",
        "TARGET",
    ]);
    let mut near_misses = Vec::new();
    for trigger in api.understand::<Vec<TriggerStatus>>(Value::Array(triggers))? {
        let account = trigger.account;
        let mut row = vec![trigger.name.to_string(), trigger.topic.to_string(), state(&trigger)];
        let numbers = [
            trigger.lag,
            trigger.in_flight,
            trigger.retrying,
            account.matched,
            account.delivered,
            account.dead_lettered,
            account.expired,
            account.deduplicated,
            account.pending,
        ];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(trigger.target.clone());
        table.row(row);
        near_misses.extend(trigger.near_miss.as_ref().map(|miss| (trigger.name.clone(), near_miss(miss))));
    }
    table.print(screen, "There are no triggers: `eventail serve --print-config` shows how to write one.")?;
    for (name, text) in near_misses {
        let label = screen.paint(Paint::Failure, "near miss:");
        screen.line(&format!("{label} {name} {}", visible(&text)))?;
    }
    Ok(())
}

async fn list_orphans(api: &mut Api, format: Format, screen: &mut Screen) -> Result<(), CliError> {
    let mut answer: Value = api.get("/v1/triggers?orphaned=true").await?;
    if format == Format::Json {
        return screen.json(&answer);
    }
    let header =
        ["TRIGGER", "TOPIC", "SINCE", "FORGOTTEN AT", "LAG", "RETRYING", "DELIVERED", "DEAD", "EXPIRED"];
    let mut table = Table::new(&header);
    for orphan in api.understand::<Vec<OrphanStatus>>(answer["triggers"].take())? {
        let account = orphan.account;
        let mut row = vec![
            orphan.name.to_string(),
            orphan.topic.to_string(),
            orphan.orphaned_at.to_string(),
            orphan.forgotten_at.to_string(),
        ];
        let numbers =
            [orphan.lag, orphan.retrying, account.delivered, account.dead_lettered, account.expired];
        row.extend(numbers.map(|number| number.to_string()));
        table.row(row);
    }
    table.print(screen, "Every trigger that has a state is in the configuration.")
}

fn show(trigger: &TriggerStatus, screen: &mut Screen) -> Result<(), CliError> {
    let account = trigger.account;
    let failure = trigger.last_failure.as_ref().map(|response| {
        let status = response.status.map(|status| format!("{status} ")).unwrap_or_default();
        snippet(&format!("{status}{} {}", response.error, response.body), 200)
    });
    facts(
        screen,
        &[
            ("trigger", trigger.name.to_string()),
            ("topic", trigger.topic.to_string()),
            ("target", trigger.target.clone()),
            ("state", state(trigger)),
            ("reason", trigger.reason.clone().unwrap_or_default()),
            ("cursor", trigger.cursor.to_string()),
            ("matched up to", trigger.scanned.to_string()),
            ("lag", format!("{} events, {}", trigger.lag, Duration::from_ms(trigger.lag_ms))),
            ("in flight", trigger.in_flight.to_string()),
            ("retrying", trigger.retrying.to_string()),
            ("held until", trigger.held_until.map(|at| at.to_string()).unwrap_or_default()),
            ("lost", trigger.lost.to_string()),
            ("matched", account.matched.to_string()),
            ("  delivered", account.delivered.to_string()),
            ("  dead-lettered", account.dead_lettered.to_string()),
            ("  expired", account.expired.to_string()),
            ("  deduplicated", account.deduplicated.to_string()),
            ("  pending", account.pending.to_string()),
            ("concurrency", trigger.concurrency.as_ref().map(concurrency).unwrap_or_default()),
            ("budget", trigger.budget.as_ref().map(budget).unwrap_or_default()),
            ("rate limited", trigger.rate_limited.as_ref().map(rate_limited).unwrap_or_default()),
            ("keys", trigger.dedup.as_ref().map(dedup).unwrap_or_default()),
            ("last failure", failure.unwrap_or_default()),
            ("near miss", trigger.near_miss.as_ref().map(near_miss).unwrap_or_default()),
        ],
    )
}

/// How many calls the target gets at once, and why so many.
fn concurrency(limiter: &LimiterState) -> String {
    let why = match limiter.reason {
        LimitReason::Growing => "it grows while it is used",
        LimitReason::AtMax => "the most",
        LimitReason::Throttled => "the target throttled",
        LimitReason::Slow => "the target is slow",
        LimitReason::Idle => "it was idle",
    };
    let LimiterState { limit, min, max, in_use, .. } = limiter;
    format!("{limit} at once, of {min} to {max} ({why}); {in_use} in use")
}

/// Which limit keeps calls back, and until when.
fn rate_limited(wait: &RateWait) -> String {
    let until = wait.until.map(|at| format!(" until {at}")).unwrap_or_default();
    format!("by the limit of {}{until}", wait.limit)
}

/// What is remembered to tell repeats.
fn dedup(dedup: &DedupStatus) -> String {
    let DedupStatus { keys, evicted } = dedup;
    format!("{keys} remembered, {evicted} forgotten before their time")
}

/// Why a trigger that matches nothing may not do what was meant.
fn near_miss(near: &NearMiss) -> String {
    let NearMiss { examined, events, miss, offset } = near;
    format!(
        "matched none of the latest {examined} events; {events} fail in one field: {} (event {offset})",
        miss.text
    )
}

/// What was spent today.
fn budget(budget: &BudgetStatus) -> String {
    let does = match budget.action {
        BudgetAction::Warn => "warns",
        BudgetAction::Pause => "pauses",
    };
    format!("{:.4} of {} spent on {} (UTC); {does} when spent", budget.spent, budget.per_day, budget.day)
}

/// One word for how a trigger does.
fn state(trigger: &TriggerStatus) -> String {
    let word = match (trigger.state, trigger.breaker) {
        (TriggerState::Paused, _) => "paused",
        (TriggerState::Disabled, _) => "disabled",
        (TriggerState::Stopped, _) => "stopped",
        (TriggerState::Running, BreakerState::Open) => "target out",
        (TriggerState::Running, BreakerState::HalfOpen) => "probing",
        (TriggerState::Running, BreakerState::Closed) => "running",
    };
    word.to_owned()
}
