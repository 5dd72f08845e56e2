//! Every metric of the broker: one table of names with unit and help, and the handles that keep the hot path from looking
//! a name up. Labels are bounded: topics, triggers, routes and the closed lists of codes, reasons and classes.
//!
//! What is a state and no count is not kept up to date on the delivery path: [`record`] reads it from the status that the
//! broker tells, once for each exposition. So is the account of a trigger (`matched = delivered + dead_lettered + expired +
//! deduplicated + pending` at rest): it outlives a restart, and read whole its parts agree. A program that embeds the broker and has a
//! recorder of its own calls [`record`] as often as it wants them fresh.
//!
//! The metrics of the log itself are named and described in the storage crate.

mod delayed;
mod functions;
mod handles;

use metrics::{Unit, counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::status::{
    BreakerState, ConfigStatus, OrphanStatus, ReplayTotals, ScheduleStatus, TopicStatus, TriggerState,
    TriggerStatus,
};

pub use delayed::{DelayedMetrics, record_delayed};
pub use functions::FunctionMetrics;
pub use handles::{AttemptEnd, TimelineMetrics, TopicMetrics, TriggerMetrics, class_label, reason_label};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It has a distribution.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, unit and `_total` last.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// What it tells, and its labels.
    pub help: &'static str,
}

macro_rules! table {
    ($($constant:ident = $kind:ident $unit:ident $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// Every metric of the broker.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, unit: Unit::$unit, help: $help }),*
        ];
    };
}

table! {
    PUBLISHED_EVENTS = Counter Count "eventail_published_events_total",
        "Events appended, by topic";
    PUBLISHED_BYTES = Counter Bytes "eventail_published_bytes_total",
        "Bytes of appended events, by topic";
    PUBLISHED_DUPLICATES = Counter Count "eventail_published_duplicates_total",
        "Events that were published again within the deduplication window and so not appended, by topic";
    REFUSED_EVENTS = Counter Count "eventail_refused_events_total",
        "Events of publishes that were refused, by topic and error code";
    PUBLISH_SECONDS = Histogram Seconds "eventail_publish_seconds",
        "Time from the publish to its acknowledgement, by topic";
    TOPIC_START = Gauge Count "eventail_topic_start_offset",
        "The first offset that is kept, by topic";
    TOPIC_END = Gauge Count "eventail_topic_end_offset",
        "The durable end, by topic";
    TOPIC_BYTES = Gauge Bytes "eventail_topic_disk_bytes",
        "Bytes of segments on disk, by topic";
    TOPIC_SEGMENTS = Gauge Count "eventail_topic_segments",
        "Segments on disk, by topic";
    TOPIC_DEDUP_IDS = Gauge Count "eventail_topic_dedup_ids",
        "Ids that deduplication remembers, by topic";
    TOPIC_DEDUP_BYTES = Gauge Bytes "eventail_topic_dedup_bytes",
        "Memory that deduplication takes, by topic";
    TOPIC_WRITABLE = Gauge Count "eventail_topic_writable",
        "1 while the topic takes publishes, else 0, by topic";
    TRIGGER_MATCHED = Counter Count "eventail_trigger_matched_events_total",
        "Events that matched, by trigger";
    TRIGGER_DELIVERED = Counter Count "eventail_trigger_delivered_events_total",
        "Events that the target took, by trigger";
    TRIGGER_DEAD_LETTERED = Counter Count "eventail_trigger_dead_lettered_events_total",
        "Events that were given up and kept as dead letters, by trigger";
    TRIGGER_EXPIRED = Counter Count "eventail_trigger_expired_events_total",
        "Events that matched and were past their expirytime, lost to retention or passed over by a skip, by trigger";
    TRIGGER_DEDUPLICATED = Counter Count "eventail_trigger_deduplicated_events_total",
        "Events that matched and were not delivered because an earlier one has their business key, by trigger";
    TRIGGER_DEDUP_KEYS = Gauge Count "eventail_trigger_dedup_keys",
        "Business keys that are remembered, by trigger, where it tells repeats by them";
    TRIGGER_DEDUP_EVICTED = Counter Count "eventail_trigger_dedup_evicted_keys_total",
        "Business keys that were forgotten before their window was over because there were too many, by trigger";
    TRIGGER_RATE_WAITS = Counter Count "eventail_trigger_rate_limit_waits_total",
        "Times that calls had to begin to wait for a rate limit, by trigger";
    TRIGGER_RATE_LIMITED = Gauge Count "eventail_trigger_rate_limited",
        "1 while a rate limit keeps calls back, else 0, by trigger";
    TRIGGER_PENDING = Gauge Count "eventail_trigger_pending_events",
        "Events that matched and wait, are under way or will be retried, by trigger";
    TRIGGER_LOST = Counter Count "eventail_trigger_lost_events_total",
        "Events that retention took before the trigger read them, by trigger";
    TRIGGER_DEAD_LETTERS = Counter Count "eventail_trigger_dead_letters_total",
        "Dead letters written since the start, by trigger and reason";
    TRIGGER_ATTEMPTS = Counter Count "eventail_trigger_attempts_total",
        "Attempts that ended, by trigger and outcome";
    TRIGGER_ATTEMPT_SECONDS = Histogram Seconds "eventail_trigger_attempt_seconds",
        "How long attempts took, by trigger";
    TRIGGER_CALLS = Counter Count "eventail_trigger_calls_total",
        "Calls on the target that ended, whatever the events of each, by trigger";
    TRIGGER_CALL_EVENTS = Histogram Count "eventail_trigger_call_events",
        "Events of one call, where calls are batches, by trigger";
    TRIGGER_RETRIES = Counter Count "eventail_trigger_retries_total",
        "Attempts that will be followed by another, by trigger and class";
    TRIGGER_REPLIES = Counter Count "eventail_trigger_replies_total",
        "Replies of the target that were published, by trigger";
    TRIGGER_REDRIVEN = Counter Count "eventail_trigger_redriven_events_total",
        "Dead letters that were handed to the trigger again, by trigger";
    TRIGGER_PURGED = Counter Count "eventail_trigger_purged_events_total",
        "Dead letters that were purged, by trigger";
    TRIGGER_IN_FLIGHT = Gauge Count "eventail_trigger_in_flight_attempts",
        "Attempts under way, by trigger";
    TRIGGER_RETRYING = Gauge Count "eventail_trigger_retrying_events",
        "Events that wait for a retry, by trigger";
    TRIGGER_LAG = Gauge Count "eventail_trigger_lag_events",
        "Events between the trigger's cursor and the topic's durable end, by trigger";
    TRIGGER_LAG_SECONDS = Gauge Seconds "eventail_trigger_lag_seconds",
        "Age of the oldest unsettled event, by trigger";
    TRIGGER_BREAKER = Gauge Count "eventail_trigger_breaker_state",
        "0 closed, 1 half open, 2 open, by trigger";
    TRIGGER_RUNNING = Gauge Count "eventail_trigger_running",
        "1 while the trigger delivers, 0 while it is paused, disabled or stopped, by trigger";
    TRIGGER_NEAR_MISSES = Gauge Count "eventail_trigger_near_misses_events",
        "Events among the latest of the topic that fail in one field of a pattern that matched none of them, by trigger";
    CALLBACKS = Counter Count "eventail_callbacks_total",
        "Callbacks about events that a target took over, by outcome";
    TRIGGER_CONCURRENCY_LIMIT = Gauge Count "eventail_trigger_concurrency_limit",
        "Calls that the target gets at once, by trigger, where that adapts";
    TRIGGER_CONCURRENCY_IN_USE = Gauge Count "eventail_trigger_concurrency_in_use",
        "Calls under way of those that share the limit, by trigger, where it adapts";
    TRIGGER_BUDGET = Gauge Count "eventail_trigger_budget_per_day",
        "What the trigger may cost a day (UTC), in what the prices are in, by trigger";
    TRIGGER_BUDGET_SPENT = Gauge Count "eventail_trigger_budget_spent_today",
        "What the trigger has cost since the day (UTC) began, in what the prices are in, by trigger";
    TRIGGER_BUDGET_LEVEL = Gauge Count "eventail_trigger_budget_level",
        "0 within, 1 warning (80 % is spent), 2 spent, by trigger";
    SCHEDULE_RUNS = Counter Count "eventail_schedule_runs_total",
        "Runs that were made, by schedule";
    SCHEDULE_MADE_UP = Counter Count "eventail_schedule_made_up_runs_total",
        "Runs that were missed and made later, by schedule";
    SCHEDULE_SKIPPED = Counter Count "eventail_schedule_skipped_runs_total",
        "Runs that were missed and left out, by schedule";
    SCHEDULE_WORKING = Gauge Count "eventail_schedule_working",
        "0 while a run that is due cannot be sent, else 1, by schedule";
    SCHEDULE_NEXT_RUN = Gauge Seconds "eventail_schedule_next_run_timestamp_seconds",
        "When the next run is due, in seconds since 1970; 0 where there is none, by schedule";
    CONFIG_RELOADS = Counter Count "eventail_config_reloads_total",
        "Reloads that changed the configuration";
    CONFIG_RELOAD_FAILURES = Counter Count "eventail_config_reload_failures_total",
        "Reloads that were refused, so that the last good configuration stayed";
    CONFIG_LOADED = Gauge Seconds "eventail_config_loaded_timestamp_seconds",
        "When the configuration took effect that is in effect, as seconds since 1970";
    CONFIG_NEEDS_RESTART = Gauge Count "eventail_config_restart_keys",
        "Keys and topics of the configuration that take effect only at the next start";
    ORPHANED_TRIGGERS = Gauge Count "eventail_orphaned_triggers",
        "Triggers that are not in the configuration any more and whose state is kept";
    FUNCTION_INVOCATIONS = Counter Count "eventail_function_invocations_total",
        "Calls of functions, by function, trigger and end; throttles and failed starts among them";
    FUNCTION_COLD_STARTS = Counter Count "eventail_function_cold_starts_total",
        "Runs that began with an init, by function and trigger";
    FUNCTION_INIT_SECONDS = Histogram Seconds "eventail_function_init_seconds",
        "How long inits took, by function and trigger";
    FUNCTION_DURATION_SECONDS = Histogram Seconds "eventail_function_duration_seconds",
        "How long runs took, without init, by function and trigger";
    FUNCTION_BILLED_SECONDS = Counter Seconds "eventail_function_billed_seconds_total",
        "Whole seconds that runs are billed for, by function and trigger";
    FUNCTION_COST = Counter Count "eventail_function_cost_micros_total",
        "What runs cost by the price table, in millionths of what the prices are in, by function and trigger";
    FUNCTION_MEMORY_USED = Gauge Bytes "eventail_function_memory_used_bytes",
        "The most memory that a run had in this hour, by function and trigger";
    FUNCTION_MEMORY_SIZE = Gauge Bytes "eventail_function_memory_size_bytes",
        "The memory that the function may have, by function and trigger";
    TIMELINE_STEPS = Counter Count "eventail_timeline_steps_total",
        "Steps of events that were noted for those who ask why";
    TIMELINE_DROPPED = Counter Count "eventail_timeline_dropped_steps_total",
        "Steps of events that were not noted, because the disk refused or did not keep up";
    TIMELINE_BYTES = Gauge Bytes "eventail_timeline_disk_bytes",
        "Bytes of segments of the timeline on disk";
    REPLAYS_RUNNING = Gauge Count "eventail_replays_running",
        "Replays that are under way or wait for their trigger";
    REPLAYED_EVENTS = Counter Count "eventail_replayed_events_total",
        "Events of replays that were settled, by outcome (delivered, dead_lettered, expired)";
    DELAYED_HELD = Counter Count "eventail_delayed_held_events_total",
        "Events that were taken to be held until their time";
    DELAYED_RELEASED = Counter Count "eventail_delayed_released_events_total",
        "Held events that were appended to their topics";
    DELAYED_CANCELLED = Counter Count "eventail_delayed_cancelled_events_total",
        "Held events that were cancelled";
    DELAYED_LATENESS_SECONDS = Histogram Seconds "eventail_delayed_lateness_seconds",
        "Time from the moment for which an event was held to its append";
    DELAYED_PENDING = Gauge Count "eventail_delayed_pending_events",
        "Events that are held";
    DELAYED_PENDING_BYTES = Gauge Bytes "eventail_delayed_pending_bytes",
        "What held events count against limits.delayed_bytes_max";
    DELAYED_NEXT_DUE = Gauge Seconds "eventail_delayed_next_due_timestamp_seconds",
        "When the next held event is due, as Unix time; 0 where none is held";
    HTTP_REQUESTS = Counter Count "eventail_http_requests_total",
        "HTTP requests answered, by route and status";
    PANICS = Counter Count "eventail_panics_total",
        "Panics of the whole process, whatever they ended: each is a mistake of the broker, and the log says where";
    AUTH_FAILURES = Counter Count "eventail_auth_failures_total",
        "Requests and frames that were refused for who sent them or for what they may not do, by error code";
    HTTP_PANICS = Counter Count "eventail_http_panics_total",
        "Requests whose handler panicked: each is a mistake of the broker";
    CONNECTIONS = Gauge Count "eventail_connections",
        "Open connections, by listener (http, quic)";
    REFUSED_CONNECTIONS = Counter Count "eventail_refused_connections_total",
        "Connections refused because there were as many as there may be, by listener (http, quic)";
    CUT_CONNECTIONS = Counter Count "eventail_cut_connections_total",
        "Connections and streams that were closed for what their peer did or left undone, by listener (http, quic) and reason (silent, stranger, unread, malformed, overloaded, needed)";
    TLS_CERTIFICATE_EXPIRY = Gauge Seconds "eventail_tls_certificate_expiry_seconds",
        "When the certificate of the listeners ends, in seconds since 1970; absent where they speak no TLS";
    TLS_RELOADS = Counter Count "eventail_tls_certificate_reloads_total",
        "Certificates that took the place of the one before";
    TLS_RELOAD_FAILURES = Counter Count "eventail_tls_certificate_reload_failures_total",
        "Certificates that were refused, so that the one before stayed";
    TLS_HANDSHAKE_FAILURES = Counter Count "eventail_tls_handshake_failures_total",
        "Handshakes that failed, by listener (http, quic) and reason";
}

const PUBLISH_SECONDS_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LATENESS_SECONDS_BUCKETS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3_600.0];
const ATTEMPT_SECONDS_BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const INIT_SECONDS_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
const DURATION_SECONDS_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 300.0, 900.0,
];
const CALL_EVENTS_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

/// Tells the recorder the unit and help of every metric.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// A recorder for Prometheus whose histograms have buckets that fit what they measure.
///
/// # Errors
/// None in practice: the buckets are constants that are not empty.
pub fn prometheus() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(PUBLISH_SECONDS.to_owned()), PUBLISH_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(DELAYED_LATENESS_SECONDS.to_owned()), LATENESS_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(TRIGGER_CALL_EVENTS.to_owned()), CALL_EVENTS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(TRIGGER_ATTEMPT_SECONDS.to_owned()), ATTEMPT_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(FUNCTION_INIT_SECONDS.to_owned()), INIT_SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(FUNCTION_DURATION_SECONDS.to_owned()), DURATION_SECONDS_BUCKETS)
}

/// Makes [`prometheus`] the recorder of this process and describes every metric. Must run before a broker opens, because
/// handles that were made before go nowhere.
///
/// # Errors
/// Where the process has a recorder already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = prometheus()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// Sets what is told of replays to what the broker tells of them now.
#[allow(clippy::cast_precision_loss)]
pub fn record_replays(totals: &ReplayTotals) {
    gauge!(REPLAYS_RUNNING).set(totals.running as f64);
    for (outcome, count) in [
        ("delivered", totals.account.delivered),
        ("dead_lettered", totals.account.dead_lettered),
        ("expired", totals.account.expired),
    ] {
        counter!(REPLAYED_EVENTS, "outcome" => outcome).absolute(count);
    }
}

/// Sets the gauges of the configuration to what the broker tells of it now.
#[allow(clippy::cast_precision_loss)]
pub fn record_config(status: &ConfigStatus, orphans: &[OrphanStatus]) {
    gauge!(CONFIG_NEEDS_RESTART).set(status.needs_restart.len() as f64);
    gauge!(ORPHANED_TRIGGERS).set(orphans.len() as f64);
}

/// Sets the gauges of topics and triggers, and the counters of triggers' accounts, to what the broker tells of them now.
#[allow(clippy::cast_precision_loss)]
pub fn record(topics: &[TopicStatus], triggers: &[TriggerStatus]) {
    for status in topics {
        let set = |name, value: f64| gauge!(name, "topic" => status.name.as_str().to_owned()).set(value);
        set(TOPIC_START, status.start.0 as f64);
        set(TOPIC_END, status.end.0 as f64);
        set(TOPIC_BYTES, status.bytes as f64);
        set(TOPIC_SEGMENTS, status.segments as f64);
        set(TOPIC_DEDUP_IDS, status.dedup_ids as f64);
        set(TOPIC_DEDUP_BYTES, status.dedup_bytes as f64);
        set(TOPIC_WRITABLE, if status.refusal.is_none() { 1.0 } else { 0.0 });
    }
    for status in triggers {
        let count =
            |name, value| counter!(name, "trigger" => status.name.as_str().to_owned()).absolute(value);
        count(TRIGGER_MATCHED, status.account.matched);
        count(TRIGGER_DELIVERED, status.account.delivered);
        count(TRIGGER_DEAD_LETTERED, status.account.dead_lettered);
        count(TRIGGER_EXPIRED, status.account.expired);
        count(TRIGGER_DEDUPLICATED, status.account.deduplicated);
        count(TRIGGER_LOST, status.lost);
        let set = |name, value: f64| gauge!(name, "trigger" => status.name.as_str().to_owned()).set(value);
        set(TRIGGER_PENDING, status.account.pending as f64);
        set(TRIGGER_IN_FLIGHT, status.in_flight as f64);
        set(TRIGGER_RETRYING, status.retrying as f64);
        set(TRIGGER_LAG, status.lag as f64);
        set(TRIGGER_LAG_SECONDS, status.lag_ms as f64 / 1000.0);
        set(TRIGGER_RATE_LIMITED, if status.rate_limited.is_some() { 1.0 } else { 0.0 });
        if let Some(dedup) = &status.dedup {
            set(TRIGGER_DEDUP_KEYS, dedup.keys as f64);
            count(TRIGGER_DEDUP_EVICTED, dedup.evicted);
        }
        set(TRIGGER_RUNNING, if status.state == TriggerState::Running { 1.0 } else { 0.0 });
        let breaker = match status.breaker {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        };
        set(TRIGGER_BREAKER, breaker);
        set(TRIGGER_NEAR_MISSES, status.near_miss.as_ref().map_or(0, |miss| miss.events) as f64);
        if let Some(concurrency) = &status.concurrency {
            set(TRIGGER_CONCURRENCY_LIMIT, concurrency.limit as f64);
            set(TRIGGER_CONCURRENCY_IN_USE, concurrency.in_use as f64);
        }
        if let Some(budget) = &status.budget {
            set(TRIGGER_BUDGET, budget.per_day);
            set(TRIGGER_BUDGET_SPENT, budget.spent);
            set(TRIGGER_BUDGET_LEVEL, f64::from(budget.level as u8));
        }
    }
}

/// Sets what is told of schedules to what the broker tells of them now.
#[allow(clippy::cast_precision_loss)]
pub fn record_schedules(schedules: &[ScheduleStatus]) {
    for status in schedules {
        let count =
            |name, value| counter!(name, "schedule" => status.name.as_str().to_owned()).absolute(value);
        count(SCHEDULE_RUNS, status.runs);
        count(SCHEDULE_MADE_UP, status.made_up);
        count(SCHEDULE_SKIPPED, status.skipped);
        let set = |name, value: f64| gauge!(name, "schedule" => status.name.as_str().to_owned()).set(value);
        set(SCHEDULE_WORKING, if status.problem.is_none() { 1.0 } else { 0.0 });
        set(SCHEDULE_NEXT_RUN, status.next_runs.first().map_or(0.0, |next| next.0 as f64 / 1000.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Account, DedupStatus, RateWait};
    use eventail_triggers::ledger::{Budget, BudgetAction, Key, Spending};
    use eventail_triggers::limiter::{Limiter, LimiterOptions};
    use eventail_triggers::outcome::{RejectReason, RetryClass};
    use eventail_triggers::report::{Architecture, Report, RunEnd};
    use eventail_wire::{Code, Offset, Timestamp, TopicName, TriggerName};

    #[test]
    fn names_are_unique_and_end_in_their_unit() {
        for (at, metric) in METRICS.iter().enumerate() {
            assert!(metric.name.starts_with("eventail_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            let stem = metric.name.trim_end_matches("_total");
            match metric.unit {
                Unit::Seconds => assert!(stem.ends_with("_seconds"), "{}", metric.name),
                Unit::Bytes => assert!(stem.ends_with("_bytes"), "{}", metric.name),
                _ => assert!(!stem.ends_with("_seconds") && !stem.ends_with("_bytes"), "{}", metric.name),
            }
            assert!(METRICS[..at].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
        }
    }

    #[test]
    fn handles_count_into_the_recorder_under_their_labels() {
        let recorder = prometheus().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            let topic = TopicMetrics::new(&TopicName::new("orders").unwrap());
            topic.published(3, 1, 900, 0.002);
            topic.refused(Code::Overloaded, 2);
            topic.refused(Code::Overloaded, 1);
            let trigger = TriggerMetrics::new(&TriggerName::new("ship").unwrap());
            trigger.attempted(AttemptEnd::Failed(RetryClass::Timeout), 0.5);
            trigger.retried(RetryClass::Timeout);
            trigger.dead_lettered(RejectReason::MaxAttempts);
        });
        let text = handle.render();
        for line in [
            "eventail_published_events_total{topic=\"orders\"} 3",
            "eventail_published_duplicates_total{topic=\"orders\"} 1",
            "eventail_published_bytes_total{topic=\"orders\"} 900",
            "eventail_publish_seconds_bucket{topic=\"orders\",le=\"0.002\"} 1",
            "eventail_refused_events_total{topic=\"orders\",code=\"overloaded\"} 3",
            "eventail_trigger_attempts_total{trigger=\"ship\",outcome=\"timeout\"} 1",
            "eventail_trigger_retries_total{trigger=\"ship\",class=\"timeout\"} 1",
            "eventail_trigger_dead_letters_total{trigger=\"ship\",reason=\"max_attempts\"} 1",
            "# HELP eventail_publish_seconds",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_function_is_counted_in_whole_numbers_that_lose_nothing() {
        let recorder = prometheus().unwrap().build_recorder();
        let handle = recorder.handle();
        let key = Key { function: "function f".into(), trigger: TriggerName::new("ship").ok() };
        let run = |end, init_ms| Report {
            function: "function f".into(),
            end,
            init_ms,
            duration_ms: 3.0,
            billed_ms: Some(400),
            memory_mb: Some(128),
            memory_used_mb: Some(36),
            architecture: Architecture::X86,
        };
        metrics::with_local_recorder(&recorder, || {
            let function = FunctionMetrics::new(&key);
            function.called(&run(RunEnd::Succeeded, Some(110.0)), 0.000_000_4, 36);
            function.called(&run(RunEnd::OutOfMemory, None), 0.000_000_4, 128);
            function.called(&run(RunEnd::OutOfMemory, None), 0.000_000_4, 128);
            function.called(&Report { billed_ms: None, ..run(RunEnd::Throttled, None) }, 0.0, 128);
        });
        let text = handle.render();
        for line in [
            "eventail_function_invocations_total{function=\"function f\",trigger=\"ship\",end=\"succeeded\"} 1",
            "eventail_function_invocations_total{function=\"function f\",trigger=\"ship\",end=\"out_of_memory\"} 2",
            "eventail_function_invocations_total{function=\"function f\",trigger=\"ship\",end=\"throttled\"} 1",
            "eventail_function_cold_starts_total{function=\"function f\",trigger=\"ship\"} 1",
            "eventail_function_init_seconds_bucket{function=\"function f\",trigger=\"ship\",le=\"0.25\"} 1",
            "eventail_function_duration_seconds_count{function=\"function f\",trigger=\"ship\"} 3",
            "eventail_function_billed_seconds_total{function=\"function f\",trigger=\"ship\"} 1",
            "eventail_function_cost_micros_total{function=\"function f\",trigger=\"ship\"} 1",
            "eventail_function_memory_used_bytes{function=\"function f\",trigger=\"ship\"} 134217728",
            "eventail_function_memory_size_bytes{function=\"function f\",trigger=\"ship\"} 134217728",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn an_account_is_told_as_the_delivery_machine_has_it() {
        let recorder = prometheus().unwrap().build_recorder();
        let handle = recorder.handle();
        let (now, budget) = (Timestamp(0), Budget { per_day: 10.0, action: BudgetAction::Warn });
        let account =
            Account { matched: 10, delivered: 4, dead_lettered: 1, expired: 0, deduplicated: 3, pending: 2 };
        let status = TriggerStatus {
            name: TriggerName::new("ship").unwrap(),
            topic: TopicName::new("orders").unwrap(),
            target: "handler".to_owned(),
            state: TriggerState::Running,
            reason: None,
            cursor: Offset(0),
            scanned: Offset(0),
            lag: 0,
            lag_ms: 0,
            in_flight: 0,
            retrying: 0,
            breaker: BreakerState::Closed,
            held_until: None,
            lost: 5,
            account,
            last_failure: None,
            concurrency: Some(Limiter::new(LimiterOptions { min: 3, max: 8 }, now).state()),
            near_miss: None,
            budget: Some(Spending::resume(&budget, now, 9.0).status(&budget, now)),
            rate_limited: Some(RateWait { limit: "host shop".to_owned(), until: None }),
            dedup: Some(DedupStatus { keys: 4, evicted: 2 }),
        };
        metrics::with_local_recorder(&recorder, || {
            record(&[], std::slice::from_ref(&status));
            let account = Account { delivered: 5, pending: 1, ..account };
            record(&[], &[TriggerStatus { account, ..status }]);
        });
        let text = handle.render();
        assert!(text.contains("eventail_trigger_matched_events_total{trigger=\"ship\"} 10"), "{text}");
        assert!(text.contains("eventail_trigger_delivered_events_total{trigger=\"ship\"} 5"), "{text}");
        for line in [
            "eventail_trigger_deduplicated_events_total{trigger=\"ship\"} 3",
            "eventail_trigger_dedup_keys{trigger=\"ship\"} 4",
            "eventail_trigger_dedup_evicted_keys_total{trigger=\"ship\"} 2",
            "eventail_trigger_rate_limited{trigger=\"ship\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains("eventail_trigger_lost_events_total{trigger=\"ship\"} 5"), "{text}");
        assert!(text.contains("eventail_trigger_concurrency_limit{trigger=\"ship\"} 3"), "{text}");
        assert!(text.contains("eventail_trigger_budget_spent_today{trigger=\"ship\"} 9"), "{text}");
        assert!(text.contains("eventail_trigger_budget_level{trigger=\"ship\"} 1"), "{text}");
    }
}
