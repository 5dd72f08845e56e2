//! How a trigger delivers: concurrency, batches, time, retries, breaker; and what of it goes with which target.

use eventail_triggers::http::HttpMode;
use eventail_triggers::lambda::InvocationType;
use eventail_triggers::policy::{BatchPolicy, DeliveryPolicy, Ordering};

use super::amount::{Count, count, set};
use super::model::TargetOptions;
use super::problem::{Conflict, Problem};
use super::reader::{Reader, Section};
use super::schema;
use super::units::{ByteSize, Duration};

/// Each attempt under way has a connection.
const CONCURRENCY_MOST: u64 = 10_000;
/// An attempt holds a lease and a connection for so long.
const TIMEOUT_MOST: Duration = Duration::from_ms(eventail_wire::limits::LEASE_MS_MAX);
/// More than this is not a retry policy but a loop.
const ATTEMPTS_MOST: u64 = 10_000;
/// Nothing is retried longer.
const AGE_MOST: Duration = Duration::from_secs(366 * 86_400);
/// No single wait is longer.
const WAIT_MOST: Duration = Duration::from_secs(7 * 86_400);
/// Each parked event has its state in memory.
const PARKED_MOST: u64 = 1_000_000;
/// The shortest wait.
const MILLISECOND: Duration = Duration::from_ms(1);
/// As the event source mappings of AWS Lambda have it for streams.
const BATCH_EVENTS_DEFAULT: usize = 100;
/// As there.
const BATCH_EVENTS_MOST: u64 = 10_000;
/// Encoded as base64 it still fits into the 6 MB that Lambda takes.
const BATCH_BYTES_DEFAULT: usize = 4 << 20;
/// Encoded as base64 it still fits into the 1 MB that Lambda takes asynchronously.
const BATCH_BYTES_ASYNC_DEFAULT: usize = 640 << 10;
/// Less is one event.
const BATCH_BYTES_LEAST: ByteSize = ByteSize::from_bytes(1 << 10);
/// What Lambda takes at most.
const BATCH_BYTES_MOST: ByteSize = ByteSize::from_bytes(6 << 20);
/// As the event source mappings of AWS Lambda have it.
const BATCH_WINDOW_MOST: Duration = Duration::from_secs(5 * 60);

/// Reads what a trigger says of its delivery.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> DeliveryPolicy {
    let mut policy = DeliveryPolicy::default();
    read_concurrency(reader, section, &mut policy);
    set(&mut policy.timeout_ms, section.amount(reader, "timeout", MILLISECOND..=TIMEOUT_MOST));
    let ordering = section.choice(reader, "ordering", &["none", "key"], &[Ordering::None, Ordering::Key]);
    set(&mut policy.ordering, ordering);
    let parked = section.amount(reader, "parked_max", Count(1)..=Count(PARKED_MOST));
    set(&mut policy.parked_max, count(parked));
    policy.batch = section.section(reader, "batch", schema::BATCH).map(|batch| read_batch(reader, &batch));
    if let Some(retry) = section.section(reader, "retry", schema::RETRY) {
        read_retry(reader, &retry, &mut policy);
    }
    if let Some(breaker) = section.section(reader, "breaker", schema::BREAKER) {
        read_breaker(reader, &breaker, &mut policy);
    }
    policy
}

/// A number, or a table of the least and the most.
fn read_concurrency(reader: &mut Reader<'_>, section: &Section<'_>, policy: &mut DeliveryPolicy) {
    let within = Count(1)..=Count(CONCURRENCY_MOST);
    let Some(found) = section.get("concurrency") else { return };
    if !found.value.is_table() {
        if found.value.is_integer() {
            set(&mut policy.concurrency, count(section.amount(reader, "concurrency", within)));
        } else {
            let expected = "an integer, or a table such as { min = 1, max = 64 }";
            reader.note(found.wrong_type(expected), &found.span);
        }
        return;
    }
    let Some(section) = section.section(reader, "concurrency", schema::CONCURRENCY) else { return };
    if section.get("max").is_none() {
        reader.note(Problem::MissingKey { key: "max", section: section.title() }, &section.span);
    }
    let min = section.amount(reader, "min", within.clone());
    let max = section.amount(reader, "max", within);
    if let (Some(value), Some(most), Some(found)) = (min, max, section.get("min"))
        && value > most
    {
        let conflict =
            Conflict::MoreThan { value: value.to_string(), other: "max", other_value: most.to_string() };
        reader.note(Problem::Conflict { key: "min".to_owned(), conflict }, &found.span);
    }
    policy.concurrency_min = Some(count(min).unwrap_or(1));
    set(&mut policy.concurrency, count(max));
}

fn read_batch(reader: &mut Reader<'_>, batch: &Section<'_>) -> BatchPolicy {
    let mut policy = BatchPolicy {
        max_events: BATCH_EVENTS_DEFAULT,
        max_bytes: BATCH_BYTES_DEFAULT,
        window_ms: 0,
        bisect: false,
    };
    let events = batch.amount(reader, "max_events", Count(1)..=Count(BATCH_EVENTS_MOST));
    set(&mut policy.max_events, count(events));
    let bytes = batch.amount(reader, "max_bytes", BATCH_BYTES_LEAST..=BATCH_BYTES_MOST);
    set(&mut policy.max_bytes, count(bytes));
    set(&mut policy.window_ms, batch.amount(reader, "window", Duration::default()..=BATCH_WINDOW_MOST));
    set(&mut policy.bisect, batch.boolean(reader, "bisect"));
    policy
}

/// Fits the policy to the target, and refuses what does not go with it.
pub(super) fn fit(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    policy: &mut DeliveryPolicy,
    target: &TargetOptions,
) {
    let is_async =
        matches!(target, TargetOptions::Lambda(options) if options.invocation == InvocationType::Async);
    if is_async && let Some(found) = section.get("reply_topic") {
        let conflict = Conflict::RepliesOfAsync;
        reader.note(Problem::Conflict { key: found.key, conflict }, &found.key_span);
    }
    let (Some(batch), Some(found)) = (&mut policy.batch, section.get("batch")) else { return };
    if is_async && found.value.get("max_bytes").is_none() {
        batch.max_bytes = BATCH_BYTES_ASYNC_DEFAULT;
    }
    let is_raw = matches!(target, TargetOptions::Http(options) if options.mode == HttpMode::Raw);
    let has_places = matches!(target, TargetOptions::Http(options) if options.has_places());
    let conflicts = [
        is_raw.then_some(Conflict::BatchOfRaw),
        has_places.then_some(Conflict::BatchOfPlaces),
        section.get("reply_topic").map(|_| Conflict::BatchWithReplies),
    ];
    for conflict in conflicts.into_iter().flatten() {
        reader.note(Problem::Conflict { key: found.key.clone(), conflict }, &found.key_span);
    }
}

fn read_retry(reader: &mut Reader<'_>, retry: &Section<'_>, policy: &mut DeliveryPolicy) {
    let attempts = retry.amount(reader, "max_attempts", Count(1)..=Count(ATTEMPTS_MOST));
    set(&mut policy.max_attempts, attempts.and_then(|attempts| u32::try_from(attempts).ok()));
    set(&mut policy.max_age_ms, retry.amount(reader, "max_age", MILLISECOND..=AGE_MOST));
    set(&mut policy.backoff_initial_ms, retry.amount(reader, "backoff_initial", MILLISECOND..=WAIT_MOST));
    set(&mut policy.backoff_max_ms, retry.amount(reader, "backoff_max", MILLISECOND..=WAIT_MOST));
    let most = retry.amount(reader, "retry_after_max", Duration::default()..=WAIT_MOST);
    set(&mut policy.retry_after_max_ms, most);
    let (initial, max) = (policy.backoff_initial_ms, policy.backoff_max_ms);
    check_order(reader, retry, ("backoff_initial", initial), ("backoff_max", max));
}

fn read_breaker(reader: &mut Reader<'_>, breaker: &Section<'_>, policy: &mut DeliveryPolicy) {
    let failures = breaker.amount(reader, "failures", Count(1)..=Count(ATTEMPTS_MOST));
    set(&mut policy.breaker_failures, failures.and_then(|failures| u32::try_from(failures).ok()));
    set(&mut policy.breaker_open_ms, breaker.amount(reader, "open", MILLISECOND..=WAIT_MOST));
    set(&mut policy.breaker_open_max_ms, breaker.amount(reader, "open_max", MILLISECOND..=WAIT_MOST));
    let (open, max) = (policy.breaker_open_ms, policy.breaker_open_max_ms);
    check_order(reader, breaker, ("open", open), ("open_max", max));
}

/// What begins a doubling must not be more than what ends it.
fn check_order(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    (key, value): (&'static str, u64),
    (other, other_value): (&'static str, u64),
) {
    if value <= other_value {
        return;
    }
    let shown = |ms: u64| Duration::from_ms(ms).to_string();
    let span =
        section.get(key).or_else(|| section.get(other)).map_or(section.span.clone(), |found| found.span);
    let conflict = Conflict::MoreThan { value: shown(value), other, other_value: shown(other_value) };
    reader.note(Problem::Conflict { key: key.to_owned(), conflict }, &span);
}
