//! The description against the table of routes, both ways, and against the table of codes.

use std::collections::{BTreeMap, BTreeSet};

use eventail_triggers::ledger::{Bucket, Budget, BudgetAction, Spending, Summary};
use eventail_triggers::limiter::{Limiter, LimiterOptions};
use eventail_triggers::outcome::{RejectReason, Response};
use eventail_triggers::schedule::{Runner, Timetable};
use eventail_wire::{Code, HeldId, Offset, ScheduleName, Timestamp, TopicName, TriggerName};
use serde_json::Value;

use super::super::OPENAPI;
use super::super::deliveries::Told;
use super::super::routes::ROUTES;
use crate::config::{Schedule, ScheduleTo};
use crate::status::{
    Account, BreakerState, BulkResult, ConfigAction, ConfigChange, ConfigPart, ConfigStatus,
    DeadLetterFilter, DeadLetterOrigin, DeadLetterSummary, DedupStatus, DelayedEvent, DelayedState,
    EventPlace, EventTimeline, EventTimelines, FunctionSummary, HeldBy, InstancesStatus, LostEvents,
    NearMiss, OrphanStatus, PatternMiss, RateWait, Readiness, RedriveRequest, ReloadPlan, ReloadReport,
    ReplayPoint, ReplayPreview, ReplayRequest, ReplayState, ReplayStatus, ScheduleStatus, StoryOutcome,
    TlsStatus, TopicStatus, TriggerState, TriggerStatus, TriggerStory, WaitsFor,
};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// `POST /v1/…` and the operation, for each that is described.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.insert(format!("{} {path}", method.to_uppercase()), operation);
        }
    }
    found
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(target) => found.push(target),
                    None => references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = document();
    let described: BTreeSet<String> = operations(&document).into_keys().collect();
    let routed: BTreeSet<String> = ROUTES.iter().map(|route| route.name()).collect();
    assert_eq!(described, routed);
}

#[test]
fn the_parameters_of_a_path_are_described() {
    let document = document();
    for (name, operation) in operations(&document) {
        let mut described = BTreeSet::new();
        for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
            let parameter = match parameter["$ref"].as_str() {
                Some(target) => document.pointer(target.trim_start_matches('#')).unwrap(),
                None => parameter,
            };
            if parameter["in"] == "path" {
                described.insert(parameter["name"].as_str().unwrap().to_owned());
            }
        }
        let wanted: BTreeSet<String> = name
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(str::to_owned)
            .collect();
        assert_eq!(described, wanted, "{name}");
    }
}

#[test]
fn what_each_route_needs_is_described() {
    let document = document();
    let described = operations(&document);
    for route in ROUTES {
        assert_eq!(described[&route.name()]["x-needs"], route.need.to_string(), "{}", route.name());
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for target in found {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
    }
}

#[test]
fn the_codes_are_those_of_the_table_with_their_statuses() {
    let document = document();
    let listed = strings(&document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]);
    let table: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, table);
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        let mut described: BTreeSet<u16> = BTreeSet::new();
        for (status, response) in responses {
            let is_problem = response["$ref"].is_string();
            if is_problem {
                described.insert(status.parse().unwrap());
            }
        }
        let codes = strings(&operation["x-codes"]);
        let of_codes: BTreeSet<u16> = codes
            .iter()
            .map(|code| code.parse::<Code>().unwrap_or_else(|()| panic!("{code} of {name}")).http_status())
            .collect();
        assert_eq!(described, of_codes, "{name}");
    }
}

/// The names of an object's members.
fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[track_caller]
fn check_shape(schema: &str, value: impl serde::Serialize) {
    let document = document();
    let described = members(&document["components"]["schemas"][schema]["properties"]);
    assert_eq!(members(&serde_json::to_value(value).unwrap()), described, "{schema}");
}

#[test]
fn the_shapes_are_those_that_are_sent() {
    let name = || TopicName::new("a").unwrap();
    let trigger = || TriggerName::new("a").unwrap();
    let response =
        Response { status: Some(500), body: "no".to_owned(), error: "failed".to_owned(), log: String::new() };
    let (offset, at) = (Offset(1), Timestamp(1));
    check_shape("Response", &response);
    check_shape("Account", Account::default());
    check_shape("BulkResult", BulkResult::default());
    check_shape("Readiness", Readiness { ready: true, problems: Vec::new() });
    let status = TriggerStatus {
        near_miss: None,
        name: trigger(),
        topic: name(),
        target: String::new(),
        state: TriggerState::Running,
        reason: None,
        cursor: offset,
        scanned: offset,
        lag: 0,
        lag_ms: 0,
        in_flight: 0,
        retrying: 0,
        breaker: BreakerState::Closed,
        held_until: None,
        lost: 0,
        account: Account::default(),
        last_failure: None,
        concurrency: None,
        budget: None,
        rate_limited: None,
        dedup: None,
    };
    check_shape("TriggerStatus", status);
    check_shape("RateWait", RateWait { limit: String::new(), until: None });
    check_shape("DedupStatus", DedupStatus::default());
    let letter = DeadLetterSummary {
        topic: name(),
        offset,
        at,
        event_id: String::new(),
        event_source: String::new(),
        event_type: String::new(),
        correlation_id: String::new(),
        trigger: trigger(),
        origin_topic: name(),
        origin_offset: offset,
        reason: RejectReason::Permanent,
        class: None,
        attempts: 1,
        first_attempt_at: at,
        last_attempt_at: at,
        response,
        redriven: 0,
        purged: false,
        replay: None,
    };
    check_shape("DeadLetter", letter);
}

#[test]
fn the_shapes_of_a_topic_are_those_that_are_sent() {
    let (name, offset) = (TopicName::new("a").unwrap(), Offset(1));
    let topic = TopicStatus {
        name,
        start: offset,
        end: offset,
        bytes: 0,
        segments: 0,
        oldest_at: None,
        durability: String::new(),
        refusal: None,
        dedup_ids: 0,
        dedup_bytes: 0,
        lost: Vec::new(),
    };
    check_shape("TopicStatus", topic);
    let (file, cause) = (String::new(), String::new());
    check_shape("LostEvents", LostEvents { first: offset, next: offset, file, position: 0, cause });
}

#[test]
fn the_shapes_of_the_configuration_are_those_that_are_sent() {
    let at = Timestamp(1);
    let change = ConfigChange {
        part: ConfigPart::Trigger,
        name: String::new(),
        action: ConfigAction::Added,
        keys: Vec::new(),
        from: None,
        needs_restart: false,
    };
    check_shape("ConfigChange", &change);
    let plan = ReloadPlan { changes: vec![change] };
    check_shape("ReloadPlan", &plan);
    check_shape("ReloadReport", ReloadReport { at, plan });
    let config = ConfigStatus {
        file: None,
        hash: None,
        loaded_at: at,
        reloads: 0,
        failures: 0,
        last_error: None,
        needs_restart: Vec::new(),
        tls: None,
    };
    check_shape("ConfigStatus", config);
    let tls = TlsStatus {
        fingerprint: String::new(),
        expires_at: at,
        loaded_at: at,
        reloads: 0,
        failures: 0,
        last_error: None,
    };
    check_shape("TlsStatus", tls);
    let orphan = OrphanStatus {
        name: TriggerName::new("a").unwrap(),
        topic: TopicName::new("a").unwrap(),
        orphaned_at: at,
        forgotten_at: at,
        state: TriggerState::Running,
        reason: None,
        cursor: Offset(1),
        lag: 0,
        retrying: 0,
        account: Account::default(),
    };
    check_shape("OrphanStatus", orphan);
}

#[test]
fn the_shapes_of_where_events_are_are_those_that_are_sent() {
    let at = Timestamp(1);
    let delayed = DelayedEvent {
        id: HeldId(1),
        topic: TopicName::new("a").unwrap(),
        deliver_at: at,
        held_at: at,
        event_id: String::new(),
        event_source: String::new(),
        event_type: String::new(),
        bytes: 1,
        state: DelayedState::Held,
        ended_at: None,
        offset: None,
    };
    check_shape("DelayedEvent", delayed);
    let topic = TopicName::new("a").unwrap();
    check_shape("EventPlace", EventPlace { topic, offset: Offset(1), source: String::new() });
}

#[test]
fn the_shape_of_a_schedule_is_the_one_that_is_sent() {
    let timetable = Timetable::new("rate(1 hour)".parse().unwrap());
    let schedule = Schedule::new(timetable, ScheduleTo::Topic(TopicName::new("a").unwrap()));
    let runner = Runner::new(schedule.runs.clone(), Timestamp(0), 0);
    let name = ScheduleName::new("a").unwrap();
    check_shape("ScheduleStatus", ScheduleStatus::of(&name, &schedule, &runner, Timestamp(0)));
}

#[test]
fn the_shapes_of_functions_limits_and_budgets_are_those_that_are_sent() {
    let at = Timestamp(1);
    let limiter = Limiter::new(LimiterOptions { min: 1, max: 2 }, at);
    check_shape("LimiterState", limiter.state());
    let budget = Budget { per_day: 1.0, action: BudgetAction::Pause };
    check_shape("BudgetStatus", Spending::resume(&budget, at, 0.0).status(&budget, at));
    let summary = Summary::of("function f", 1, &[(None, Bucket::default())]);
    check_shape("TriggerShare", &summary.triggers[0]);
    check_shape("FunctionSummary", FunctionSummary { summary, instances: None });
    check_shape("InstancesStatus", InstancesStatus::default());
}

#[test]
fn the_shapes_of_a_timeline_are_those_that_are_sent() {
    let (offset, at) = (Offset(1), Timestamp(1));
    let topic = TopicName::new("a").unwrap();
    let miss = PatternMiss {
        path: String::new(),
        expected: String::new(),
        found: Some(String::new()),
        failed_fields: 1,
        text: String::new(),
    };
    check_shape("PatternMiss", &miss);
    check_shape("NearMiss", NearMiss { examined: 1, events: 1, miss: miss.clone(), offset });
    let story = TriggerStory {
        trigger: String::new(),
        is_configured: true,
        outcome: StoryOutcome::Delivered,
        because: String::new(),
        matches: Some(true),
        miss: Some(miss),
        waits_for: Some(WaitsFor::Turn),
        held: Some(HeldBy {
            state: TriggerState::Running,
            reason: None,
            breaker: BreakerState::Open,
            until: None,
        }),
        steps: Vec::new(),
        steps_left_out: 0,
    };
    check_shape("TriggerStory", story);
    let origin = DeadLetterOrigin { trigger: String::new(), topic: topic.clone(), offset };
    let event = EventTimeline {
        topic,
        offset,
        appended_at: at,
        source: String::new(),
        event_type: String::new(),
        correlation_id: String::new(),
        causation_id: Some(String::new()),
        dead_letter_of: Some(origin),
        duplicates: Vec::new(),
        triggers: Vec::new(),
    };
    check_shape("EventTimeline", event);
    let all = EventTimelines { id: String::new(), is_kept: true, events: Vec::new(), events_left_out: 0 };
    check_shape("EventTimelines", all);
}

#[test]
fn what_a_redrive_may_be_asked_is_what_is_described() {
    let filter = DeadLetterFilter {
        topic: TopicName::new("a").ok(),
        offset: Some(Offset(1)),
        origin_topic: TopicName::new("a").ok(),
        trigger: TriggerName::new("a").ok(),
        reason: Some(RejectReason::Permanent),
        event_id: Some(String::new()),
        since: Some(Timestamp(1)),
        until: Some(Timestamp(2)),
        include_redriven: true,
    };
    check_shape(
        "RedriveRequest",
        RedriveRequest { filter: filter.clone(), per_second: Some(1), dry_run: true },
    );
    let mut purge = members(&serde_json::to_value(&filter).unwrap());
    purge.insert("dry_run".to_owned());
    assert_eq!(members(&document()["components"]["schemas"]["PurgeRequest"]["properties"]), purge);
}

#[test]
fn the_shapes_of_replays_are_those_that_are_sent() {
    let (offset, at) = (Offset(1), Timestamp(1));
    let topic = || TopicName::new("a").unwrap();
    let request = ReplayRequest {
        trigger: TriggerName::new("a").ok(),
        topic: Some(topic()),
        from: ReplayPoint::Earliest,
        to: ReplayPoint::Latest,
        filter: Some("{}".to_owned()),
        per_second: Some(1.0),
        to_topic: Some(topic()),
        to_url: Some("http://a/".to_owned()),
        dry_run: true,
    };
    check_shape("ReplayRequest", request);
    let status = ReplayStatus {
        id: "a".to_owned(),
        trigger: None,
        topic: topic(),
        target: String::new(),
        filter: None,
        start: offset,
        end: offset,
        per_second: None,
        created_at: at,
        state: ReplayState::Running,
        reason: None,
        ended_at: None,
        cursor: offset,
        unread: 0,
        in_flight: 0,
        retrying: 0,
        lost: 0,
        account: Account::default(),
        last_failure: None,
    };
    check_shape("ReplayStatus", status);
    let preview = ReplayPreview {
        topic: topic(),
        start: offset,
        end: offset,
        scanned: 0,
        selected: 0,
        bytes: 0,
        first_at: None,
        last_at: None,
        by_type: BTreeMap::new(),
    };
    check_shape("ReplayPreview", preview);
    let states = [
        ReplayState::Running,
        ReplayState::Paused,
        ReplayState::Completed,
        ReplayState::Cancelled,
        ReplayState::Failed,
    ];
    let words = states.map(|state| serde_json::to_value(state).unwrap());
    assert_eq!(
        document()["components"]["schemas"]["ReplayStatus"]["properties"]["state"]["enum"],
        serde_json::json!(words)
    );
}

#[test]
fn what_becomes_of_a_callback_is_told_as_described() {
    let at = Timestamp(1);
    let all = [
        Told::Delivered,
        Told::Retry { at },
        Told::DeadLettered,
        Told::Extended { deadline: at },
        Told::Kept,
    ];
    let told = all.map(|told| serde_json::to_value(told).unwrap());
    let schema = &document()["components"]["schemas"]["CallbackOutcome"]["properties"];
    let outcomes: Vec<&str> = told.iter().map(|told| told["outcome"].as_str().unwrap()).collect();
    assert_eq!(strings(&schema["outcome"]["enum"]), outcomes);
    assert_eq!(members(schema), told.iter().flat_map(members).collect());
}

#[test]
fn the_shapes_of_backups_and_of_a_start_are_those_that_are_sent() {
    use crate::status::{BackupRequest, BackupState, BackupStatus};
    let status = BackupStatus {
        dir: "/backup".into(),
        state: BackupState::Running,
        started_at: Timestamp(1),
        ended_at: None,
        moment: None,
        logs: 0,
        bytes: 0,
        bytes_done: 0,
        damaged: 0,
        code: None,
        error: None,
    };
    check_shape("BackupStatus", status);
    check_shape("BackupRequest", BackupRequest { dir: "/backup".into(), copies: false, secrets: false });
    check_shape("Starting", crate::StartProgress::default().status());
}
