//! Command lines as people write them, against a broker that answers what a test tells it to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use clap::CommandFactory;

use super::*;

/// Something to print into and look at afterwards.
#[derive(Clone, Default)]
pub(super) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The exit code and all that was printed, errors included.
fn eventail(arguments: &[&str]) -> (Exit, String) {
    let paper = Paper::default();
    let mut screen = Screen::plain(paper.clone());
    let cli = Cli::try_parse_from(std::iter::once(&"eventail").chain(arguments)).unwrap();
    let exit = cli.command.run(&mut screen).unwrap_or_else(|error| {
        error.print(&mut screen).unwrap();
        error.exit()
    });
    (exit, paper.text())
}

/// Answers one request and gives back what it was.
fn answer(status: &str, body: &str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, server)
}

const TRIGGER: &str = r#"{"name":"ship","topic":"orders","target":"http http://a/","state":"paused","reason":"moves",
    "cursor":3,"scanned":5,"lag":2,"lag_ms":90000,"in_flight":0,"retrying":1,"breaker":"closed","held_until":null,"lost":0,
    "account":{"matched":5,"delivered":3,"dead_lettered":0,"expired":0,"pending":2},
    "last_failure":{"status":503,"body":"later \u001b[2J","error":""}}"#;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_lists_the_exit_codes_and_every_command_has_examples() {
    let mut command = Cli::command();
    let help = command.render_long_help().to_string();
    for text in [
        "0  done",
        "1  the answer is negative",
        "2  the command line",
        "3  the broker cannot",
        "4  the broker refused",
    ] {
        assert!(help.contains(text), "{text}");
    }
    for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        assert!(subcommand.render_long_help().to_string().contains("Examples:"), "{}", subcommand.get_name());
    }
}

#[test]
fn a_wrong_command_line_is_usage_and_help_and_version_are_not() {
    let run = |arguments: &[&str]| super::run(arguments.iter().map(OsString::from));
    assert_eq!(run(&["eventail", "topics", "--no-such-option"]), Exit::Usage);
    assert_eq!(run(&["eventail", "tail", "a/b"]), Exit::Usage);
    assert_eq!(run(&["eventail", "triggers", "skip-to", "ship"]), Exit::Usage);
    assert_eq!(run(&["eventail", "--version"]), Exit::Done);
}

#[test]
fn a_broker_that_is_not_there_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (exit, printed) = eventail(&["topics", "--url", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(exit, Exit::Unreachable);
    assert!(printed.contains("cannot be reached") && printed.contains("next: start one with"), "{printed}");
}

#[test]
fn what_is_not_there_is_negative_and_a_refusal_is_told_with_its_code() {
    let problem = |code: &str| {
        format!(r#"{{"type":"x","title":"x","status":400,"detail":"no such thing","code":"{code}"}}"#)
    };
    let (url, _server) = answer("404 Not Found", &problem("unknown_topic"));
    let (exit, printed) = eventail(&["topics", "show", "orders", "--url", &url]);
    assert_eq!(
        (exit, printed.lines().next()),
        (Exit::Negative, Some("error: no such thing [unknown_topic]"))
    );
    let (url, _server) = answer("429 Too Many Requests", &problem("overloaded"));
    assert_eq!(eventail(&["topics", "--url", &url]).0, Exit::Refused);
    let (url, _server) = answer("200 OK", "<html>");
    assert_eq!(eventail(&["topics", "--url", &url]).0, Exit::Refused);
}

#[test]
fn triggers_are_listed_as_a_table_or_as_json() {
    let (url, server) = answer("200 OK", &format!(r#"{{"triggers":[{TRIGGER}],"next":null}}"#));
    let (exit, printed) = eventail(&["triggers", "--url", &url]);
    assert_eq!(exit, Exit::Done);
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "TRIGGER  TOPIC   STATE   LAG  IN FLIGHT  RETRYING  MATCHED  DELIVERED  DEAD  EXPIRED  DEDUP  PENDING  TARGET",
            "ship     orders  paused    2          0         1        5          3     0        0      0        2  http http://a/",
        ]
    );
    assert!(server.join().unwrap().starts_with("GET /v1/triggers?limit=1000 HTTP/1.1\r\n"));
    let (url, _server) = answer("200 OK", &format!(r#"{{"triggers":[{TRIGGER}],"next":null}}"#));
    let (_, printed) = eventail(&["triggers", "list", "--url", &url, "-o", "json"]);
    let parsed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(parsed["triggers"][0]["lag"], 2);
}

#[test]
fn a_trigger_is_paused_with_a_reason_and_shown_harmlessly() {
    let (url, server) = answer("200 OK", TRIGGER);
    let (_, printed) = eventail(&["triggers", "pause", "ship", "--reason", "moves", "--url", &url]);
    assert!(printed.contains("503  later \\u{1b}[2J") && !printed.contains('\u{1b}'), "{printed}");
    let request = server.join().unwrap();
    assert!(
        request.starts_with("POST /v1/triggers/ship/pause ") && request.ends_with(r#"{"reason":"moves"}"#),
        "{request}"
    );
}

#[test]
fn a_trigger_shows_its_limit_and_its_budget() {
    let adapts = TRIGGER.replacen(
        '{',
        r#"{"concurrency":{"limit":7,"min":1,"max":64,"in_use":3,"reason":"throttled"},
            "budget":{"per_day":5.0,"action":"pause","day":"2026-11-23","spent":4.5,"level":"warning"},"#,
        1,
    );
    let (url, _server) = answer("200 OK", &adapts);
    let (_, printed) = eventail(&["triggers", "show", "ship", "--url", &url]);
    assert!(printed.contains("7 at once, of 1 to 64 (the target throttled); 3 in use"), "{printed}");
    assert!(printed.contains("4.5000 of 5 spent on 2026-11-23 (UTC); pauses when spent"), "{printed}");
}

const FUNCTION: &str = r#"{"name":"resize","kind":"function","window_ms":86400000,"calls":201,"events":2000,"cold_starts":10,
    "cold_percent":4.975,"init_p50_ms":101.0,"init_p99_ms":240.0,"duration_p50_ms":3.01,"duration_p99_ms":1250.0,
    "billed_p50_ms":4.0,"billed_p99_ms":1300.0,"billed_ms":90000,"billed_ms_per_1000_events":45000.0,"cost":0.00023,
    "cost_per_1000_events":0.000115,"cost_basis":"as_lambda_would_bill","memory_mb":128,"memory_used_mb":36,
    "memory_proposed_mb":64,"errors":1,"timeouts":2,"out_of_memory":0,"throttles":3,"init_errors":0,
    "triggers":[{"trigger":"ship","calls":200,"events":2000,"failures":3,"cost":0.0002},
                {"trigger":null,"calls":1,"events":0,"failures":0,"cost":0.00003}],
    "instances":{"instances":2,"busy":1,"idle":1,"starts":12,"last_init_error":null}}"#;

#[test]
fn functions_are_listed_as_a_table_or_as_json() {
    let (url, server) = answer("200 OK", &format!(r#"{{"functions":[{FUNCTION}]}}"#));
    let (exit, printed) = eventail(&["functions", "--window", "7d", "--url", &url]);
    assert_eq!(exit, Exit::Done);
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "FUNCTION         CALLS  COLD %  INIT P50  INIT P99  RUN P50  RUN P99  BILLED MS/1000  COST/1000  ERRORS  TIMEOUTS  THROTTLES  MEMORY",
            "function resize    201     5.0     101ms     240ms   3.01ms     1.2s           45000   0.000115       1         2          3  36 of 128 MB",
        ]
    );
    assert!(server.join().unwrap().starts_with("GET /v1/functions?window=7d HTTP/1.1\r\n"));
    let (url, _server) = answer("200 OK", &format!(r#"{{"functions":[{FUNCTION}]}}"#));
    let (_, printed) = eventail(&["functions", "list", "--url", &url, "-o", "json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap()["functions"][0]["calls"], 201);
    let (url, _server) = answer("200 OK", r#"{"functions":[]}"#);
    assert!(eventail(&["functions", "--url", &url]).1.starts_with("There are no functions"));
}

#[test]
fn a_function_is_shown_with_what_its_memory_could_be() {
    let (url, server) = answer("200 OK", FUNCTION);
    let (exit, printed) = eventail(&["functions", "show", "function resize", "--url", &url]);
    assert_eq!(exit, Exit::Done);
    for line in [
        "instances         2 (1 busy, 1 idle), 12 started",
        "cold starts       10, 5.0 % of the calls",
        "duration          p50 3.01ms, p99 1.2s",
        "cost              0.000230 (as Lambda would bill)",
        "per 1,000 events  45000 ms billed, 0.000115",
        "memory            uses 36 of 128 MB: 64 MB would do",
        "  ship                 200    2000         3   0.000200",
        "  (called directly)      1       0         0  0.0000300",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(server.join().unwrap().starts_with("GET /v1/functions/function%20resize?window=1d HTTP/1.1\r\n"));
}

#[test]
fn a_dead_letter_is_shown_with_the_error_and_the_end_of_the_log() {
    let letter = r#"{"topic":"dead-letters","offset":3,"at":"2026-11-23T10:00:00Z","event_id":"1","event_source":"/shop",
        "event_type":"order.created","correlation_id":"c","trigger":"ship","origin_topic":"orders","origin_offset":2,
        "reason":"max_attempts","class":"failed","attempts":3,"first_attempt_at":"2026-11-23T09:00:00Z",
        "last_attempt_at":"2026-11-23T09:59:00Z","response":{"status":200,"body":"{\"errorType\":\"KeyError\"}",
        "error":"the function failed: KeyError: total","log":"looking it up\nno \u001b[2Jtotal\n"},
        "redriven":0,"purged":false,"event":{"id":"1"}}"#;
    let (url, server) = answer("200 OK", letter);
    let (exit, printed) = eventail(&["dead-letters", "show", "dead-letters/3", "--url", &url]);
    assert_eq!(exit, Exit::Done);
    for line in [
        "answer          200 {\"errorType\":\"KeyError\"}",
        "error           the function failed: KeyError: total",
        "the function's log, its end:",
        "  looking it up",
        "  no \\u{1b}[2Jtotal",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(server.join().unwrap().starts_with("GET /v1/dead-letters/dead-letters/3 HTTP/1.1\r\n"));
}

#[test]
fn a_redrive_says_what_it_did() {
    let (url, server) = answer("200 OK", r#"{"selected":3,"done":2,"failed":1}"#);
    let (exit, printed) =
        eventail(&["dead-letters", "redrive", "--trigger", "ship", "--rate", "5", "--url", &url]);
    assert_eq!((exit, printed.as_str()), (Exit::Negative, "2 of 3 dead letters redriven, 1 could not be\n"));
    assert!(
        server
            .join()
            .unwrap()
            .contains(r#"{"trigger":"ship","include_redriven":false,"per_second":5,"dry_run":false}"#)
    );
}

#[test]
fn a_file_is_published_as_the_data_of_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order.json");
    std::fs::write(&file, "{\"total\": 7}").unwrap();
    let (url, server) = answer("200 OK", r#"{"results":[{"offset":4,"duplicate":false}]}"#);
    let file = file.display().to_string();
    let (exit, printed) =
        eventail(&["publish", "orders", &file, "--type", "a b", "--id", "1", "--url", &url]);
    assert_eq!((exit, printed.as_str()), (Exit::Done, "published 1 event to orders at offset 4\n"));
    let request = server.join().unwrap();
    assert!(
        request.starts_with("POST /v1/topics/orders/events?type=a%20b&source=%2Feventail%2Fcli&id=1 "),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"total\": 7}"), "{request}");
}

#[test]
fn lines_are_published_in_batches_and_a_bad_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.ndjson");
    std::fs::write(&file, "{\"a\":1}\n\n{\"a\":2}\n").unwrap();
    let (url, server) =
        answer("200 OK", r#"{"results":[{"offset":0,"duplicate":true},{"offset":1,"duplicate":false}]}"#);
    let path = file.display().to_string();
    let (exit, printed) =
        eventail(&["publish", "orders", &path, "--ndjson", "--type", "t", "--id", "x", "--url", &url]);
    assert_eq!(
        (exit, printed.as_str()),
        (Exit::Done, "published 2 events to orders at offset 1; 1 of them was there already\n")
    );
    let request = server.join().unwrap();
    assert!(
        request.contains("application/cloudevents-batch+json") && request.contains("\"id\":\"x-3\""),
        "{request}"
    );
    let (exit, printed) = eventail(&["publish", "orders", &path, "--ndjson", "--url", &url]);
    assert_eq!(exit, Exit::Negative);
    assert!(printed.contains("line 1 of") && printed.contains("no CloudEvent"), "{printed}");
    assert_eq!(eventail(&["publish", "orders", "/nowhere", "--url", &url]).0, Exit::Negative);
}

#[test]
fn a_tail_shows_what_matches() {
    let event = |offset: u64, kind: &str| {
        format!(
            r#"{{"offset":{offset},"appended_at":"2026-11-23T10:00:00.000Z","event":{{"specversion":"1.0","id":"{offset}","source":"/s","type":"{kind}","data":{{"n":{offset}}}}}}}"#
        )
    };
    let page = format!(
        r#"{{"events":[{},{}],"next":2,"end":2}}"#,
        event(0, "order.created"),
        event(1, "user.created")
    );
    let arguments = ["tail", "orders", "--from", "0", "--filter", r#"{"type":["user.created"]}"#, "--url"];
    let (url, server) = answer("200 OK", &page);
    let (exit, printed) = eventail(&[&arguments[..], &[&url]].concat());
    assert_eq!(exit, Exit::Done);
    assert_eq!(printed, "       1  2026-11-23T10:00:00.000Z  user.created  /s 1  {\"n\":1}\n");
    assert!(server.join().unwrap().starts_with("GET /v1/topics/orders/events?from=0&limit=500 "));
    let (url, _server) = answer("200 OK", &page);
    let (_, printed) = eventail(&[&arguments[..], &[&url, "--output", "json"]].concat());
    assert_eq!(printed.trim_end(), event(1, "user.created"));
}

#[test]
fn check_tells_what_is_in_a_file_or_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("eventail.toml");
    let path = file.display().to_string();
    std::fs::write(&file, "[triggers.t.target.http]\nurl = \"http://127.0.0.1/\"\n").unwrap();
    let (exit, printed) = eventail(&["check", "--config", &path]);
    assert_eq!(exit, Exit::Done);
    assert_eq!(
        printed,
        format!("ok: {path}: 0 topics, 1 trigger, 0 functions, http 127.0.0.1:4080, quic 127.0.0.1:4081\n")
    );
    std::fs::write(&file, "drain = 1\n[listen]\nhtpp = \"off\"\n").unwrap();
    let (exit, printed) = eventail(&["check", "--config", &path]);
    assert_eq!(exit, Exit::Negative);
    assert!(
        printed.contains(":1:9") && printed.contains(":3:1") && printed.contains("did you mean `http`?"),
        "{printed}"
    );
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (exit, printed) = eventail(&["completions", shell]);
        assert!(exit == Exit::Done && printed.contains("dead-letters"), "{shell}");
    }
}

#[test]
fn the_default_configuration_is_printed_as_it_is() {
    assert_eq!(eventail(&["serve", "--print-config"]), (Exit::Done, crate::config::DEFAULT_FILE.to_owned()));
}

#[test]
fn a_folder_without_logs_is_no_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (exit, printed) = eventail(&["storage", "check", &folder.path().display().to_string()]);
    assert_eq!(exit, Exit::Negative);
    assert!(printed.contains("is no data folder of a broker"), "{printed}");
}

#[test]
fn match_says_by_its_exit_code_whether_a_pattern_matches_and_why_not() {
    let pattern = r#"{"type": ["order.created"], "data": {"total": [{"numeric": [">", 100]}]}}"#;
    let event = |total: u32| format!(r#"{{"type": "order.created", "data": {{"total": {total}}}}}"#);
    let ask = |pattern: &str, event: &str| eventail(&["match", "--pattern", pattern, "--event", event]);
    assert_eq!(ask(pattern, &event(101)), (Exit::Done, "match\n".to_owned()));
    let why = "no match: data.total: expected [{\"numeric\":[\">\",100]}], found 12\n";
    assert_eq!(ask(pattern, &event(12)), (Exit::Negative, why.to_owned()));
    for (pattern, event) in [
        (r#"{"a": 1}"#, "{}"),
        (pattern, "[]"),
        (pattern, r#"{"specversion": "1.0"}"#),
        ("-", "-"),
        ("nowhere", "{}"),
    ] {
        assert_eq!(ask(pattern, event), (Exit::Usage, String::new()), "{pattern} {event}");
    }
    let (_, json) = eventail(&["match", "--pattern", pattern, "--event", &event(12), "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["path"], &json["found"]), (&"data.total".into(), &"12".into()));
}

#[test]
fn match_takes_the_pattern_of_a_trigger_and_events_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = write(
        "eventail.toml",
        "[triggers.ship]\npattern = { correlationid = [\"o-1\"] }\ntarget.http.url = \"http://a/\"\n\
         [triggers.all]\ntarget.http.url = \"http://a/\"\n",
    );
    let event = write("event.json", r#"{"specversion": "1.0", "id": "o-1", "source": "/s", "type": "t"}"#);
    let plain = write("plain.json", r#"{"id": "o-1"}"#);
    let ask = |trigger: &str, event: &str| {
        eventail(&["match", "--config", &config, "--trigger", trigger, "--event", event]).0
    };
    assert_eq!(ask("ship", &event), Exit::Done, "a CloudEvent has the attributes that a broker derives");
    assert_eq!(ask("ship", &plain), Exit::Negative);
    assert_eq!((ask("all", &event), ask("all", &plain)), (Exit::Done, Exit::Done));
    assert_eq!((ask("all", "[1]"), ask("none", &event)), (Exit::Usage, Exit::Usage));
}

const TIMELINE: &str = r#"{"id":"o 1","is_kept":true,"events_left_out":0,"events":[{"topic":"orders","offset":7,"appended_at":1000,
    "source":"/shop","event_type":"order.created","correlation_id":"o 1","duplicates":[2000],"triggers":[
    {"trigger":"ship","is_configured":true,"outcome":"pending","because":"it is tried again soon","matches":true,"steps_left_out":0,"steps":[
      {"at":1500,"via":"live","kind":"attempt","attempt":1,"outcome":"failed","took_ms":12.25,"status":500,"error":"HTTP 500","response":"no \u001b[2Jpaper","next_at":9000,"is_probe":false},
      {"at":1600,"via":"live","kind":"breaker","until":8000},
      {"at":1700,"via":"live","kind":"unknown","number":40}]},
    {"trigger":"bill","is_configured":true,"outcome":"not_matched","because":"type: expected [\"x\"], found \"y\"","matches":false,"steps_left_out":0,"steps":[]}]}]}"#;

#[test]
fn why_is_a_story_that_a_target_cannot_colour_or_what_the_api_answered() {
    let (url, server) = answer("200 OK", TIMELINE);
    let (exit, printed) = eventail(&["why", "o 1", "--topic", "orders", "--trigger", "ship", "--url", &url]);
    assert_eq!(exit, Exit::Done, "{printed}");
    assert!(
        server
            .join()
            .unwrap()
            .starts_with("GET /v1/events/o%201/timeline?topic=orders&trigger=ship HTTP/1.1")
    );
    for line in [
        "event o 1  order.created from /shop",
        "  came in   1970-01-01T00:00:01.000Z  orders/7",
        "ship  pending: it is tried again soon",
        "  1970-01-01T00:00:01.600Z  breaker open until 1970-01-01T00:00:08.000Z",
        "bill  not matched: type: expected [\"x\"], found \"y\"",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    let attempt = printed.lines().find(|line| line.contains("attempt 1")).unwrap();
    assert!(attempt.contains("failed in 12.2 ms: HTTP 500") && attempt.contains("next try at"), "{attempt}");
    assert!(!printed.contains('\u{1b}') && printed.contains("(40)"), "{printed}");

    let (url, _server) = answer("200 OK", TIMELINE);
    let (_, printed) = eventail(&["why", "o 1", "--format", "json", "--url", &url]);
    let parsed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(parsed["events"][0]["triggers"][1]["outcome"], "not_matched");
}

#[test]
fn an_event_that_nobody_knows_is_negative_and_tells_what_was_searched() {
    let problem = r#"{"type":"x","title":"x","status":404,"detail":"no event with the id \"x\" in all 3 topics","code":"unknown_event"}"#;
    let (url, _server) = answer("404 Not Found", problem);
    let (exit, printed) = eventail(&["why", "x", "--url", &url]);
    assert_eq!(exit, Exit::Negative);
    assert!(printed.contains("all 3 topics"), "{printed}");
}

#[test]
fn a_near_miss_is_flagged_below_the_table() {
    let near = r#","near_miss":{"examined":1000,"events":900,"offset":41,"miss":{"path":"data.country","expected":"[\"DE\"]",
        "found":"\"de\"","failed_fields":1,"text":"data.country: expected [\"DE\"], found \"de\""}}}"#;
    let trigger = TRIGGER.trim_end().trim_end_matches('}').to_owned() + "}" + near;
    let (url, _server) = answer("200 OK", &format!(r#"{{"triggers":[{trigger}],"next":null}}"#));
    let (_, printed) = eventail(&["triggers", "--url", &url]);
    let expected = "near miss: ship matched none of the latest 1000 events; 900 fail in one field: data.country: expected [\"DE\"], found \"de\" (event 41)";
    assert_eq!(printed.lines().last(), Some(expected));
}
