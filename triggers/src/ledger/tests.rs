//! The book, what runs cost, and budgets.

use std::sync::Arc;

use eventail_wire::{Timestamp, TriggerName, limits};
use proptest::prelude::*;

use super::{
    Book, Bucket, Budget, BudgetAction, BudgetLevel, CostBasis, Entry, FunctionKind, OTHERS, Prices,
    Spending, Summary, date_of,
};
use crate::report::{Architecture, Report, RunEnd};

const HOUR: u64 = 60 * 60 * 1000;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn noon() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

fn name(text: &str) -> TriggerName {
    text.parse().unwrap()
}

fn report(function: &str, end: RunEnd) -> Report {
    Report {
        function: function.into(),
        end,
        init_ms: None,
        duration_ms: 10.0,
        billed_ms: Some(10),
        memory_mb: Some(512),
        memory_used_mb: Some(40),
        architecture: Architecture::X86,
    }
}

fn record(book: &mut Book, now: Timestamp, trigger: Option<&str>, report: &Report, events: u32) {
    let trigger = trigger.map(name);
    let key = book.key(&report.function, trigger.as_ref());
    book.record(now, &key, report, events, Prices::default().cost(report));
}

fn only(book: &Book, now: Timestamp, window_ms: u64) -> Summary {
    let mut summaries = book.summaries(now, window_ms);
    assert_eq!(summaries.len(), 1, "{summaries:?}");
    summaries.remove(0)
}

#[test]
fn a_run_costs_its_request_and_its_memory_for_its_time() {
    let prices = Prices::default();
    let run = report("lambda f", RunEnd::Succeeded);
    let close =
        |cost: f64, expected: f64| assert!((cost - expected).abs() < expected * 1e-9, "{cost} {expected}");
    close(prices.cost(&run), 0.2e-6 + 0.5 * 0.010 * 0.000_016_666_7);
    close(
        prices.cost(&Report { architecture: Architecture::Arm, ..run.clone() }),
        0.2e-6 + 0.5 * 0.010 * 0.000_013_333_4,
    );
    close(prices.cost(&Report { memory_mb: None, ..run.clone() }), 0.2e-6 + 0.125 * 0.010 * 0.000_016_666_7);
    close(prices.cost(&report("function f", RunEnd::Error)), prices.cost(&run));
    assert_eq!(prices.cost(&Report { billed_ms: None, ..run }), 0.0);
    assert_eq!(prices.cost(&report("http a.example", RunEnd::Succeeded)), 0.0);
}

#[test]
fn every_end_is_counted_and_only_runs_are_calls() {
    let mut bucket = Bucket::default();
    let cold = Report { init_ms: Some(100.0), ..report("function f", RunEnd::Succeeded) };
    bucket.add(&cold, 3, 1.0);
    for end in [RunEnd::Error, RunEnd::Timeout, RunEnd::OutOfMemory] {
        bucket.add(&report("function f", end), 0, 1.0);
    }
    for end in [RunEnd::Throttled, RunEnd::InitError] {
        bucket.add(&Report { billed_ms: None, ..report("function f", end) }, 0, 0.0);
    }
    assert_eq!((bucket.calls, bucket.events, bucket.cold_starts), (4, 3, 1));
    assert_eq!((bucket.errors, bucket.timeouts, bucket.out_of_memory), (1, 1, 1));
    assert_eq!((bucket.throttles, bucket.init_errors), (1, 1));
    assert_eq!((bucket.duration.count(), bucket.init.count(), bucket.billed.count()), (4, 1, 4));
    assert_eq!((bucket.billed_ms, bucket.cost), (40, 4.0));
}

#[test]
fn a_summary_tells_what_people_ask_for() {
    let mut book = Book::default();
    for nth in 0..200 {
        let init_ms = (nth % 20 == 0).then_some(100.0);
        let run =
            Report { init_ms, duration_ms: f64::from(nth), ..report("function resize", RunEnd::Succeeded) };
        record(&mut book, noon(), Some("ship"), &run, 10);
    }
    record(&mut book, noon(), None, &report("function resize", RunEnd::Error), 0);
    let summary = only(&book, noon(), 24 * HOUR);
    assert_eq!((summary.name.as_str(), summary.kind), ("resize", FunctionKind::Function));
    assert_eq!((summary.calls, summary.events, summary.errors, summary.cold_starts), (201, 2000, 1, 10));
    assert!((summary.cold_percent.unwrap() - 4.975).abs() < 0.01);
    let near = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() / expected - 1.0).abs() < 0.05, "{found:?}")
    };
    near(summary.init_p99_ms, 100.0);
    near(summary.duration_p50_ms, 100.0);
    near(summary.duration_p99_ms, 197.0);
    near(summary.billed_p50_ms, 10.0);
    assert_eq!(summary.billed_ms_per_1000_events, Some(2010.0 / 2.0));
    near(summary.cost_per_1000_events, summary.cost / 2.0);
    assert_eq!(summary.cost_basis, CostBasis::AsLambdaWouldBill);
    assert_eq!((summary.memory_mb, summary.memory_used_mb), (Some(512), Some(40)));
    let shares: Vec<_> =
        summary.triggers.iter().map(|share| (share.trigger.clone(), share.calls, share.failures)).collect();
    assert_eq!(shares, [(None, 1, 1), (Some(name("ship")), 200, 0)]);
}

#[test]
fn what_delivered_nothing_has_no_price_for_events() {
    let mut book = Book::default();
    record(&mut book, noon(), Some("ship"), &report("lambda arn:aws:lambda:x", RunEnd::Error), 0);
    let summary = only(&book, noon(), HOUR);
    assert_eq!((summary.name.as_str(), summary.cost_basis), ("arn:aws:lambda:x", CostBasis::Billed));
    assert_eq!((summary.cost_per_1000_events, summary.billed_ms_per_1000_events), (None, None));
    assert!(summary.cost > 0.0);
}

#[test]
fn a_smaller_memory_is_proposed_only_where_it_is_safe() {
    let proposed = |function: &str, size: u32, used: u32, runs: u32, end: RunEnd| {
        let mut book = Book::default();
        let run = |end| Report { memory_mb: Some(size), memory_used_mb: Some(used), ..report(function, end) };
        for _ in 1..runs {
            record(&mut book, noon(), None, &run(RunEnd::Succeeded), 1);
        }
        record(&mut book, noon(), None, &run(end), 1);
        only(&book, noon(), HOUR).memory_proposed_mb
    };
    use RunEnd::{OutOfMemory, Succeeded};
    assert_eq!(proposed("function f", 128, 36, 100, Succeeded), Some(64));
    assert_eq!(proposed("lambda f", 128, 36, 100, Succeeded), None, "Lambda has no less");
    assert_eq!(proposed("lambda f", 512, 36, 100, Succeeded), Some(128));
    assert_eq!(proposed("lambda f", 1024, 200, 100, Succeeded), Some(320));
    assert_eq!(proposed("lambda f", 512, 36, 99, Succeeded), None, "too few runs");
    assert_eq!(proposed("lambda f", 512, 36, 100, OutOfMemory), None);
    assert_eq!(proposed("lambda f", 256, 190, 100, Succeeded), None, "not worth it");
    assert_eq!(proposed("http f", 512, 36, 100, Succeeded), None);
}

#[test]
fn a_window_holds_its_hours_and_no_older_ones() {
    let mut book = Book::default();
    let run = report("function f", RunEnd::Succeeded);
    for hours in [0, 1, 23, 24, 25, 48] {
        record(&mut book, Timestamp(noon().0 - hours * HOUR), None, &run, 1);
    }
    assert_eq!(only(&book, noon(), HOUR).calls, 2);
    assert_eq!(only(&book, noon(), 24 * HOUR).calls, 4);
    assert_eq!(only(&book, noon(), u64::MAX).calls, 6);
    assert!(book.summaries(Timestamp(noon().0 + 5 * HOUR), HOUR).is_empty());
}

#[test]
fn what_changed_is_told_once_and_again_where_it_could_not_be_written() {
    let mut book = Book::default();
    let run = report("function f", RunEnd::Succeeded);
    record(&mut book, noon(), None, &run, 1);
    record(&mut book, noon(), None, &run, 1);
    record(&mut book, noon(), Some("ship"), &run, 1);
    assert!(book.has_changed());
    let changed = book.changed();
    assert_eq!(changed.iter().map(|entry| entry.bucket.calls).collect::<Vec<_>>(), [2, 1]);
    assert!(!book.has_changed() && book.changed().is_empty());
    record(&mut book, noon(), None, &run, 1);
    book.change_again(&changed);
    let again = book.changed();
    assert_eq!(again.iter().map(|entry| entry.bucket.calls).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn the_last_entry_of_an_hour_wins_on_the_way_back() {
    let mut book = Book::default();
    let run = report("function f", RunEnd::Succeeded);
    let mut log = Vec::new();
    for hour in [0, 0, 1, 0] {
        record(&mut book, Timestamp(noon().0 + hour * HOUR), Some("ship"), &run, 1);
        log.extend(book.changed());
    }
    let mut restored = Book::default();
    for entry in log {
        let bytes = rmp_serde::to_vec(&entry).unwrap();
        restored.restore(rmp_serde::from_slice::<Entry>(&bytes).unwrap());
    }
    assert_eq!(restored.summaries(noon(), HOUR), book.summaries(noon(), HOUR));
    assert_eq!(only(&restored, noon(), HOUR).calls, 4);
    assert!(!restored.has_changed());
}

#[test]
fn what_is_older_than_thirty_days_goes() {
    let mut book = Book::default();
    let run = report("function f", RunEnd::Succeeded);
    record(&mut book, noon(), None, &run, 1);
    record(&mut book, Timestamp(noon().0 - 10 * 24 * HOUR), Some("old"), &run, 1);
    book.prune(Timestamp(noon().0 + 20 * 24 * HOUR));
    assert_eq!(all(&book).len(), 2);
    book.prune(Timestamp(noon().0 + 20 * 24 * HOUR + HOUR));
    assert_eq!(all(&book).len(), 1);
    assert_eq!(book.changed().len(), 1);
    book.prune(Timestamp(noon().0 + 31 * 24 * HOUR));
    assert!(all(&book).is_empty());
}

#[test]
fn keys_are_bounded_and_nothing_goes_uncounted() {
    let mut book = Book::default();
    for nth in 0..limits::LEDGER_KEYS_MAX + 10 {
        record(&mut book, noon(), None, &report(&format!("http host-{nth}"), RunEnd::Succeeded), 1);
    }
    record(&mut book, noon(), None, &report("http host-3", RunEnd::Succeeded), 1);
    let summaries = book.summaries(noon(), HOUR);
    assert_eq!(summaries.len(), limits::LEDGER_KEYS_MAX + 1);
    assert_eq!(
        summaries.iter().map(|summary| summary.calls).sum::<u64>(),
        limits::LEDGER_KEYS_MAX as u64 + 11
    );
    let others = summaries.iter().find(|summary| summary.name == OTHERS).unwrap();
    assert_eq!((others.kind, others.calls), (FunctionKind::Others, 10));
    assert_eq!(summaries.iter().find(|summary| summary.name == "host-3").unwrap().calls, 2);
}

#[test]
fn the_oldest_hours_go_where_there_are_too_many_buckets() {
    let mut book = Book::default();
    let hours = limits::LEDGER_BUCKETS_MAX / limits::LEDGER_KEYS_MAX + 2;
    for nth in 0..limits::LEDGER_KEYS_MAX {
        for hour in 0..hours {
            let entry = Entry {
                function: format!("function f{nth}"),
                trigger: None,
                hour: noon().0 / HOUR - hour as u64,
                bucket: Bucket { calls: 1, ..Bucket::default() },
            };
            book.restore(entry);
        }
    }
    book.prune(noon());
    assert_eq!(
        all(&book).len(),
        limits::LEDGER_BUCKETS_MAX / limits::LEDGER_KEYS_MAX * limits::LEDGER_KEYS_MAX
    );
    assert_eq!(book.summaries(noon(), 0).len(), limits::LEDGER_KEYS_MAX);
}

#[test]
fn a_budget_is_told_once_a_day_at_each_level() {
    let budget = Budget { per_day: 10.0, action: BudgetAction::Pause };
    let mut spending = Spending::resume(&budget, noon(), 0.0);
    let later = Timestamp(noon().0 + 13 * HOUR);
    assert_eq!(spending.add(&budget, noon(), 7.9), None);
    assert_eq!(spending.add(&budget, noon(), 0.1), Some(BudgetLevel::Warning));
    assert_eq!(spending.add(&budget, noon(), 0.1), None);
    assert!(!budget.pauses(spending.spent(noon())));
    assert_eq!(spending.add(&budget, noon(), 5.0), Some(BudgetLevel::Spent));
    assert_eq!(spending.add(&budget, noon(), 5.0), None);
    assert!(budget.pauses(spending.spent(noon())));
    assert!(!budget.pauses(spending.spent(later)), "the next day has begun");
    assert_eq!(spending.add(&budget, later, 11.0), Some(BudgetLevel::Spent), "past both at once");
    let status = spending.status(&budget, later);
    assert_eq!((status.day.as_str(), status.spent, status.level), ("2026-11-24", 11.0, BudgetLevel::Spent));
    let warn = Budget { action: BudgetAction::Warn, ..budget };
    assert!(!warn.pauses(100.0));
}

#[test]
fn what_a_restart_finds_spent_is_taken_as_told() {
    let budget = Budget { per_day: 10.0, action: BudgetAction::Warn };
    let mut spending = Spending::resume(&budget, noon(), 9.0);
    assert_eq!(spending.add(&budget, noon(), 0.5), None);
    assert_eq!(spending.add(&budget, noon(), 0.5), Some(BudgetLevel::Spent));
}

#[test]
fn what_a_trigger_spent_today_is_found_in_its_hours() {
    let mut book = Book::default();
    let cost = Prices::default().cost(&report("lambda f", RunEnd::Succeeded));
    let run = report("lambda f", RunEnd::Succeeded);
    for time in
        ["2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-23T23:59:59Z", "2026-11-24T00:00:00Z"]
    {
        record(&mut book, at(time), Some("ship"), &run, 1);
        record(&mut book, at(time), Some("other"), &run, 1);
    }
    assert!((book.spent_today(noon(), &name("ship")) - 2.0 * cost).abs() < 1e-12);
    assert_eq!(date_of(noon()), "2026-11-23");
}

proptest! {
    #[test]
    fn nothing_is_lost_between_the_calls_and_their_summary(
        runs in prop::collection::vec((0..5_u8, 0..4_u8, 0..6_u8, 0..200_u64, 0..4_u32), 0..120),
    ) {
        let mut book = Book::default();
        let (mut calls, mut events, mut cost) = (0, 0, 0.0);
        let mut restored = Book::default();
        for (function, trigger, end, minutes, delivered) in runs {
            let end = [RunEnd::Succeeded, RunEnd::Error, RunEnd::Timeout, RunEnd::OutOfMemory, RunEnd::Throttled, RunEnd::InitError]
                [end as usize];
            let run = report(&format!("function f{function}"), end);
            let trigger = (trigger > 0).then(|| format!("t{trigger}"));
            let is_run = !matches!(end, RunEnd::Throttled | RunEnd::InitError);
            let delivered = if is_run { delivered } else { 0 };
            record(&mut book, Timestamp(noon().0 + minutes * 60_000), trigger.as_deref(), &run, delivered);
            calls += u64::from(is_run);
            events += u64::from(delivered);
            cost += Prices::default().cost(&run);
            if minutes % 3 == 0 {
                book.changed().into_iter().for_each(|entry| restored.restore(entry));
            }
        }
        book.changed().into_iter().for_each(|entry| restored.restore(entry));
        let summaries = book.summaries(noon(), HOUR);
        prop_assert_eq!(summaries.iter().map(|summary| summary.calls).sum::<u64>(), calls);
        prop_assert_eq!(summaries.iter().map(|summary| summary.events).sum::<u64>(), events);
        prop_assert!((summaries.iter().map(|summary| summary.cost).sum::<f64>() - cost).abs() < 1e-9);
        prop_assert_eq!(sorted(all(&restored)), sorted(all(&book)));
    }
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| (&a.function, &a.trigger, a.hour).cmp(&(&b.function, &b.trigger, b.hour)));
    entries
}

#[test]
fn a_key_is_cheap_where_it_is_known() {
    let mut book = Book::default();
    let run = report("function f", RunEnd::Succeeded);
    record(&mut book, noon(), None, &run, 1);
    let key = book.key(&run.function, None);
    assert!(Arc::ptr_eq(&key.function, &run.function), "the name is shared, not copied");
}

fn all(book: &Book) -> Vec<Entry> {
    book.hours().into_iter().flat_map(|hour| book.of_hour(hour)).collect()
}
