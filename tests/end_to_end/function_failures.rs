//! How functions fail, each told apart: what is retried, what burns attempts, what opens the breaker, and what the dead letter
//! says.

use eventail_tests::events::{event, with_data};
use eventail_tests::function::{called, calls, gone, process_of, python_table, table};
use eventail_tests::{Api, Home, Server};
use serde_json::{Value, json};

use crate::support::{QUICK, at_rest, count, only_letter, trigger_function, trigger_until};

/// A home with one function and one trigger for it, whose events do what their data says.
fn home(function_keys: &str, variables: &str, trigger_keys: &str) -> Home {
    let trigger_keys = format!("concurrency = 1\n{trigger_keys}");
    let tables = table("work", function_keys, variables);
    Home::new(&format!("{tables}{}", trigger_function("t", "work", &trigger_keys, "")))
}

async fn publish(api: Api, id: &str, data: Value) {
    api.publish("orders", &with_data(id, "order.created", data)).await;
}

/// All that a dead letter says of its last attempt, in one text.
fn said(letter: &Value) -> String {
    let response = &letter["response"];
    format!("{} {} {}", response["error"], response["body"], response["log"])
}

#[track_caller]
fn assert_says(letter: &Value, parts: &[&str]) {
    let said = said(letter);
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {letter}");
    }
}

/// After a failure the next event is delivered by a process that works.
async fn recovers(home: &Home, server: &Server, matched: u64) -> Value {
    publish(server.api(), "good", json!({ "do": "echo" })).await;
    let status = at_rest(server.api(), "t", matched).await;
    assert_eq!(count(&status, "delivered"), 1, "{status}");
    calls(home, "work").pop().unwrap()
}

#[tokio::test]
async fn an_error_of_the_function_is_retried_and_its_dead_letter_has_type_message_and_log() {
    let home = home("", "", QUICK);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "fail" })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["reason"], &letter["class"]), (&json!("max_attempts"), &json!("failed")), "{letter}");
    assert_eq!(letter["attempts"], 3);
    assert_says(&letter, &["OrderRejected", "cannot digest this"]);
    let calls = calls(&home, "work");
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| process_of(call) == process_of(&calls[0])), "an error costs no process");
}

#[tokio::test]
async fn the_last_lines_of_the_log_go_with_the_dead_letter() {
    let home = Home::new(&format!(
        "{}{}",
        table("work", "", ""),
        trigger_function(
            "t",
            "work",
            &format!("concurrency = 1\nbatch = {{ max_events = 2, window = \"5s\" }}\n{QUICK}"),
            ""
        )
    ));
    let server = home.start().await;
    let log = with_data("log", "order.created", json!({ "do": "log", "lines": 400 }));
    let fail = with_data("fail", "order.created", json!({ "do": "fail" }));
    server.api().publish_all("orders", &[log, fail]).await;
    at_rest(server.api(), "t", 2).await;
    let letters = server.api().dead_letters("trigger=t").await;
    for letter in &letters {
        let log = letter["response"]["log"].as_str().unwrap_or_else(|| panic!("no log in {letter}"));
        assert!(log.contains("line 399 of standard output"), "{log}");
        assert!(!log.contains("line 1 of standard output"), "only the end is kept: {log}");
        assert!(log.len() <= 4096, "{}", log.len());
    }
    assert_eq!(letters.len(), 2);
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_as_a_timeout_and_takes_its_process_along() {
    let home = home("timeout = \"500ms\"", "", QUICK);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "hang" })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["class"], &letter["attempts"]), (&json!("timeout"), &json!(3)), "{letter}");
    assert_says(&letter, &["Task timed out after 0.50 seconds", "begins to hang"]);
    let hung = calls(&home, "work");
    assert_eq!(hung.len(), 3);
    for call in &hung {
        gone(process_of(call)).await;
    }
    assert_eq!(recovers(&home, &server, 2).await["call"], 1);
}

#[tokio::test]
async fn a_process_that_is_deaf_to_sigterm_is_killed() {
    let once = "retry = { max_attempts = 1, backoff_initial = \"10ms\" }\nbreaker = { failures = 1000 }";
    let home = home("timeout = \"500ms\"", "", once);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "hang-for-good" })).await;
    at_rest(server.api(), "t", 1).await;
    assert_eq!(only_letter(server.api(), "t").await["class"], "timeout");
    gone(process_of(&calls(&home, "work")[0])).await;
    recovers(&home, &server, 2).await;
}

#[tokio::test]
async fn a_crash_is_told_with_its_status_and_its_last_words() {
    let home = home("", "", QUICK);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "crash" })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["class"], &letter["attempts"]), (&json!("failed"), &json!(3)), "{letter}");
    assert_says(&letter, &["exit status 7", "about to crash"]);
    let crashed = calls(&home, "work");
    assert!(crashed.iter().all(|call| call["call"] == 1), "a process for each attempt: {crashed:?}");
    recovers(&home, &server, 2).await;
}

#[tokio::test]
async fn a_death_by_signal_is_told_with_the_signal() {
    let home = home("", "", QUICK);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "abort" })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!(letter["class"], "failed");
    assert_says(&letter, &["signal: aborted"]);
}

#[tokio::test]
async fn too_much_memory_is_told_apart_from_a_crash() {
    let home = home("memory = \"96MiB\"", "", QUICK);
    let server = home.start().await;
    publish(server.api(), "bad", json!({ "do": "allocate", "mb": 1000 })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["class"], &letter["attempts"]), (&json!("failed"), &json!(3)), "{letter}");
    let error = letter["response"]["error"].as_str().unwrap();
    assert!(error.contains("memory") && error.contains("96"), "{letter}");
    assert!(!said(&letter).contains("took 1000 MB"), "{letter}");
    recovers(&home, &server, 2).await;
}

/// The breaker is open, no attempt is burnt, and the trigger says why.
async fn cannot_start(server: &Server, reasons: &[&str]) {
    for id in ["1", "2", "3"] {
        server.api().publish("orders", &event(id, "order.created")).await;
    }
    let open = |status: &Value| status["breaker"] == "open";
    let status = trigger_until(server.api(), "t", "the breaker to open", open).await;
    assert_eq!((count(&status, "pending"), count(&status, "dead_lettered")), (3, 0), "{status}");
    let failure = status["last_failure"].to_string();
    for reason in reasons {
        assert!(failure.contains(reason), "no {reason:?} in {status}");
    }
    assert!(server.api().dead_letters("").await.is_empty());
}

/// One attempt is all there is: if it were burnt, there would be a dead letter.
const ONE_ATTEMPT: &str = r#"
retry = { max_attempts = 1, backoff_initial = "10ms", backoff_max = "50ms" }
breaker = { failures = 3, open = "50ms", open_max = "200ms" }
"#;

#[tokio::test]
async fn a_command_that_does_not_exist_opens_the_breaker() {
    let function = "[functions.work]\ncommand = [\"/nonexistent/program\"]\n";
    let home = Home::new(&format!("{function}{}", trigger_function("t", "work", ONE_ATTEMPT, "")));
    let server = home.start().await;
    cannot_start(&server, &["/nonexistent/program"]).await;
}

#[tokio::test]
async fn a_process_that_ends_before_its_first_call_opens_the_breaker() {
    let home = home("", "TEST_INIT = \"exit\"", ONE_ATTEMPT);
    let server = home.start().await;
    cannot_start(&server, &["exit status 3", "no database at 10.0.0.1"]).await;
}

#[tokio::test]
async fn an_init_that_takes_too_long_opens_the_breaker() {
    let home = home("init_timeout = \"300ms\"", "TEST_INIT = \"hang\"", ONE_ATTEMPT);
    let server = home.start().await;
    cannot_start(&server, &["init"]).await;
}

#[tokio::test]
async fn an_init_error_of_the_runtime_client_is_told_word_for_word() {
    let python = python_table("work", "no_such_module.handler", "");
    let home = Home::new(&format!("{python}{}", trigger_function("t", "work", ONE_ATTEMPT, "")));
    let server = home.start().await;
    cannot_start(&server, &["Runtime.ImportModuleError", "no_such_module"]).await;
}

#[tokio::test]
async fn when_the_function_starts_again_everything_that_waited_is_delivered() {
    let home = home("", "TEST_INIT = \"once\"", ONE_ATTEMPT);
    let server = home.start().await;
    for id in ["1", "2", "3"] {
        server.api().publish("orders", &event(id, "order.created")).await;
    }
    let status = at_rest(server.api(), "t", 3).await;
    assert_eq!((count(&status, "delivered"), count(&status, "dead_lettered")), (3, 0), "{status}");
    assert_eq!(called(&home, "work", 3).await.len(), 3);
    assert!(server.log_text().contains("not yet"), "the first process did fail");
}

#[tokio::test]
async fn more_than_a_function_may_get_is_dead_lettered_before_the_call() {
    let tables = format!(
        "[limits]\nevent_bytes_max = \"8MiB\"\nbatch_bytes_max = \"16MiB\"\n{}{}",
        table("work", "", ""),
        trigger_function("t", "work", QUICK, "")
    );
    let home = Home::new(&tables);
    let server = home.start().await;
    publish(server.api(), "large", json!({ "filler": "x".repeat(6_300_000) })).await;
    at_rest(server.api(), "t", 1).await;
    let letter = only_letter(server.api(), "t").await;
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("too_large"), &json!(1)), "{letter}");
    assert!(calls(&home, "work").is_empty());
}
