//! `eventail functions`: what functions did and cost.

use clap::{Args, Subcommand};
use eventail_triggers::ledger::{CostBasis, FunctionKind, TriggerShare};
use serde_json::Value;

use super::api::{Query, escape};
use super::error::CliError;
use super::exit::Exit;
use super::screen::Screen;
use super::table::{Table, facts};
use super::{Connection, Format, Output};
use crate::config::Duration;
use crate::status::FunctionSummary;

const EXAMPLES: &str = "\
Examples:
  eventail functions
  eventail functions --window 7d
  eventail functions show resize
  eventail functions show 'lambda resize' -o json

Money is in what the price table of the configuration is in. A local function costs what Lambda would bill for the same runs;
an HTTP endpoint costs nothing that is known.";

/// The arguments of `functions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// How far back to count, 30d at most; it begins with a whole hour
    #[arg(long, global = true, default_value = "24h", value_name = "TIME")]
    window: Duration,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all functions (the default)
    List,
    /// Show one function
    Show {
        /// Which: a name, or `kind name` where several have it
        function: String,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, screen: &mut Screen) -> Result<Exit, CliError> {
    let mut api = arguments.connection.api()?;
    let query = Query::default().with("window", Some(arguments.window));
    let (path, is_list) = match arguments.action.unwrap_or(Action::List) {
        Action::List => ("/v1/functions".to_owned(), true),
        Action::Show { function } => (format!("/v1/functions/{}", escape(&function)), false),
    };
    let mut answer: Value = api.get(&format!("{path}{}", query.as_str())).await?;
    if arguments.output.output == Format::Json {
        screen.json(&answer)?;
    } else if is_list {
        list(api.understand(answer["functions"].take())?, screen)?;
    } else {
        show(&api.understand(answer)?, screen)?;
    }
    Ok(Exit::Done)
}

fn list(functions: Vec<FunctionSummary>, screen: &mut Screen) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "FUNCTION",
        "CALLS",
        "COLD %",
        "INIT P50",
        "INIT P99",
        "RUN P50",
        "RUN P99",
        "BILLED MS/1000",
        "COST/1000",
        "ERRORS",
        "TIMEOUTS",
        "THROTTLES",
        "MEMORY",
    ]);
    for FunctionSummary { summary, .. } in &functions {
        table.row(vec![
            summary.full_name(),
            summary.calls.to_string(),
            or_dash(summary.cold_percent, |percent| format!("{percent:.1}")),
            or_dash(summary.init_p50_ms, milliseconds),
            or_dash(summary.init_p99_ms, milliseconds),
            or_dash(summary.duration_p50_ms, milliseconds),
            or_dash(summary.duration_p99_ms, milliseconds),
            or_dash(priced(summary.billed_ms_per_1000_events, summary.cost_basis), |ms| format!("{ms:.0}")),
            or_dash(priced(summary.cost_per_1000_events, summary.cost_basis), money),
            (summary.errors + summary.out_of_memory + summary.init_errors).to_string(),
            summary.timeouts.to_string(),
            summary.throttles.to_string(),
            memory(summary.memory_used_mb, summary.memory_mb),
        ]);
    }
    table.print(screen, "There are no functions, and no target told of a run in this window.")
}

fn show(function: &FunctionSummary, screen: &mut Screen) -> Result<(), CliError> {
    let FunctionSummary { summary, instances } = function;
    let pair = |half: Option<f64>, most: Option<f64>| match (half, most) {
        (Some(half), Some(most)) => format!("p50 {}, p99 {}", milliseconds(half), milliseconds(most)),
        _ => String::new(),
    };
    let basis = match summary.cost_basis {
        CostBasis::Billed => "",
        CostBasis::AsLambdaWouldBill => " (as Lambda would bill)",
        CostBasis::None => " (no price is known)",
    };
    let cold_percent = summary.cold_percent.map(|percent| format!(", {percent:.1} % of the calls"));
    let processes = instances.as_ref().map(|now| {
        format!("{} ({} busy, {} idle), {} started", now.instances, now.busy, now.idle, now.starts)
    });
    facts(
        screen,
        &[
            ("function", summary.full_name()),
            ("window", Duration::from_ms(summary.window_ms).to_string()),
            ("instances", processes.unwrap_or_default()),
            (
                "last init error",
                instances.as_ref().and_then(|now| now.last_init_error.clone()).unwrap_or_default(),
            ),
            ("calls", summary.calls.to_string()),
            ("events delivered", summary.events.to_string()),
            ("cold starts", format!("{}{}", summary.cold_starts, cold_percent.unwrap_or_default())),
            ("init", pair(summary.init_p50_ms, summary.init_p99_ms)),
            ("duration", pair(summary.duration_p50_ms, summary.duration_p99_ms)),
            ("billed", pair(summary.billed_p50_ms, summary.billed_p99_ms)),
            ("billed in all", Duration::from_ms(summary.billed_ms).to_string()),
            ("cost", format!("{}{basis}", money(summary.cost))),
            ("per 1,000 events", per_1000_events(function)),
            ("memory", memory_hint(function)),
            ("errors", summary.errors.to_string()),
            ("timeouts", summary.timeouts.to_string()),
            ("out of memory", summary.out_of_memory.to_string()),
            ("throttles", summary.throttles.to_string()),
            ("failed starts", summary.init_errors.to_string()),
        ],
    )?;
    let mut table = Table::new(&["TRIGGER", "CALLS", "EVENTS", "FAILURES", "COST"]).indented("  ");
    for TriggerShare { trigger, calls, events, failures, cost } in &summary.triggers {
        let trigger = trigger.as_ref().map_or_else(|| "(called directly)".to_owned(), ToString::to_string);
        table.row(vec![trigger, calls.to_string(), events.to_string(), failures.to_string(), money(*cost)]);
    }
    table.print(screen, "It was not called in this window.")
}

fn per_1000_events(FunctionSummary { summary, .. }: &FunctionSummary) -> String {
    match (summary.billed_ms_per_1000_events, summary.cost_per_1000_events) {
        (Some(billed_ms), Some(cost)) => format!("{billed_ms:.0} ms billed, {}", money(cost)),
        _ => String::new(),
    }
}

/// What a smaller size would do, and what it would take away on Lambda.
fn memory_hint(FunctionSummary { summary, .. }: &FunctionSummary) -> String {
    let used = memory(summary.memory_used_mb, summary.memory_mb);
    let less_cpu = if summary.kind == FunctionKind::Lambda { " (with less CPU too)" } else { "" };
    match summary.memory_proposed_mb {
        Some(proposed) => format!("uses {used}: {proposed} MB would do{less_cpu}"),
        None if used == "-" => String::new(),
        None => format!("uses {used}"),
    }
}

fn memory(used: Option<u32>, size: Option<u32>) -> String {
    match (used, size) {
        (Some(used), Some(size)) => format!("{used} of {size} MB"),
        (Some(used), None) => format!("{used} MB"),
        (None, Some(size)) => format!("of {size} MB"),
        (None, None) => "-".to_owned(),
    }
}

/// A figure that is only known where there is a price.
fn priced(figure: Option<f64>, basis: CostBasis) -> Option<f64> {
    figure.filter(|_| basis != CostBasis::None)
}

/// Three digits at least, whatever the sum: a single run costs millionths.
fn money(sum: f64) -> String {
    if sum == 0.0 || sum >= 1.0 {
        return format!("{sum:.2}");
    }
    let zeros = (-sum.log10()).floor().clamp(0.0, 12.0) as usize;
    format!("{sum:.*}", zeros + 3)
}

/// As a duration, with as many digits as it is exact to.
fn milliseconds(duration_ms: f64) -> String {
    match duration_ms {
        short if short < 10.0 => format!("{short:.2}ms"),
        middle if middle < 1_000.0 => format!("{middle:.0}ms"),
        long => format!("{:.1}s", long / 1_000.0),
    }
}

fn or_dash<T>(value: Option<T>, print: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), print)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_times_keep_the_digits_that_say_something() {
        for (sum, text) in [
            (0.0, "0.00"),
            (12.345, "12.35"),
            (0.5, "0.500"),
            (0.004_166, "0.00417"),
            (2.02e-7, "0.000000202"),
        ] {
            assert_eq!(money(sum), text);
        }
        for (duration_ms, text) in [(0.051, "0.05ms"), (3.01, "3.01ms"), (110.1, "110ms"), (2_300.0, "2.3s")]
        {
            assert_eq!(milliseconds(duration_ms), text);
        }
    }
}
