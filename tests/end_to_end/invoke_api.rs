//! The Lambda Invoke API for local functions: by hand, by boto3, and by the AWS CLI.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventail_tests::aws::{self, KEYS, with_keys};
use eventail_tests::function::{called, calls, process_of, python_table, table};
use eventail_tests::{Answer, Api, Home};
use http::Method;
use serde_json::{Value, json};

async fn invoke(api: Api, function: &str, headers: &[(&str, &str)], payload: &Value) -> Answer {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    api.request(Method::POST, &path, headers, Bytes::from(payload.to_string())).await
}

/// The header as text, or nothing.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_synchronous_call_brings_the_answer_and_the_log_with_its_report() {
    let home = Home::new(&table("work", "memory = \"512MiB\"", ""));
    let server = home.start().await;
    let answer = invoke(server.api(), "work", &[("x-amz-log-type", "Tail")], &json!({ "do": "log" })).await;
    let answer = answer.expect_status(200);
    assert_eq!(answer.json()["payload"], json!({ "do": "log" }));
    assert_eq!(
        (header(&answer, "x-amz-executed-version"), header(&answer, "x-amz-function-error")),
        ("$LATEST", "")
    );
    let request_id = header(&answer, "x-amzn-requestid");
    assert_eq!(called(&home, "work", 1).await[0]["request_id"], request_id);
    let log = String::from_utf8(STANDARD.decode(header(&answer, "x-amz-log-result")).unwrap()).unwrap();
    assert!(log.contains("line 2 of standard output"), "{log}");
    let report = log.lines().find(|line| line.starts_with("REPORT RequestId: ")).expect("a REPORT line");
    for part in [
        request_id,
        "\tDuration: ",
        "\tBilled Duration: ",
        "\tMemory Size: 512 MB\t",
        "Max Memory Used: ",
        "Init Duration: ",
    ] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }

    // The second call finds a warm process, and without `Tail` there is no log.
    let answer = invoke(server.api(), "work", &[("x-amz-log-type", "Tail")], &json!({})).await;
    let log = String::from_utf8(STANDARD.decode(header(&answer, "x-amz-log-result")).unwrap()).unwrap();
    assert!(log.contains("REPORT") && !log.contains("Init Duration"), "{log}");
    assert_eq!(header(&invoke(server.api(), "work", &[], &json!({})).await, "x-amz-log-result"), "");
}

#[tokio::test]
async fn a_failure_of_the_function_is_a_200_that_says_so() {
    let home = Home::new(&table("work", "timeout = \"500ms\"", ""));
    let server = home.start().await;
    for (wish, error_type, message) in [
        ("fail", "OrderRejected", "cannot digest this"),
        ("hang", "", "Task timed out after 0.50 seconds"),
        ("crash", "Runtime.ExitError", "exit status 7"),
    ] {
        let answer = invoke(server.api(), "work", &[], &json!({ "do": wish })).await.expect_status(200);
        assert_ne!(header(&answer, "x-amz-function-error"), "", "{wish}: {}", answer.text());
        let error = answer.json();
        let said = error["errorMessage"].as_str().unwrap_or_else(|| panic!("{error}"));
        assert!(said.contains(message), "{wish}: {error}");
        if !error_type.is_empty() {
            assert_eq!(error["errorType"], error_type, "{wish}");
        }
    }
}

#[tokio::test]
async fn an_asynchronous_call_is_taken_at_once_and_delivered_later() {
    let home = Home::new(&table("work", "", ""));
    let server = home.start().await;
    let headers = [("x-amz-invocation-type", "Event")];
    let answer = invoke(server.api(), "work", &headers, &json!({ "do": "echo", "n": 1 })).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{}", answer.text());
    assert_eq!(called(&home, "work", 1).await[0]["payload"], json!({ "do": "echo", "n": 1 }));
    let dry = invoke(server.api(), "work", &[("x-amz-invocation-type", "DryRun")], &json!({})).await;
    assert_eq!(dry.status, 204, "{}", dry.text());
    assert_eq!(calls(&home, "work").len(), 1);
}

#[tokio::test]
async fn what_was_taken_asynchronously_survives_a_kill() {
    let home = Home::new(&table("work", "timeout = \"1m\"", ""));
    let server = home.start().await;
    let gate = home.path().join("gate");
    let payload = json!({ "do": "wait-for-file", "path": gate });
    let headers = [("x-amz-invocation-type", "Event")];
    assert_eq!(invoke(server.api(), "work", &headers, &payload).await.status, 202);
    let first = process_of(&called(&home, "work", 1).await[0]);
    server.kill_9().await;
    std::fs::write(&gate, "").unwrap();
    let _server = home.start().await;
    let calls = called(&home, "work", 2).await;
    assert_eq!(calls[1]["payload"], payload);
    assert_ne!(process_of(&calls[1]), first);
}

#[tokio::test]
async fn errors_of_the_api_are_as_lambda_words_them() {
    let home = Home::new(&table("work", "max_instances = 1\ntimeout = \"1m\"", ""));
    let server = home.start().await;
    let api = server.api();
    let missing = invoke(api, "nothing", &[], &json!({})).await;
    assert_eq!((missing.status, header(&missing, "x-amzn-errortype")), (404, "ResourceNotFoundException"));
    let path = "/2015-03-31/functions/work/invocations";
    let broken = api.request(Method::POST, path, &[], Bytes::from_static(b"{")).await;
    assert_eq!((broken.status, header(&broken, "x-amzn-errortype")), (400, "InvalidRequestContentException"));
    let large = Bytes::from(format!("\"{}\"", "x".repeat(6 << 20)));
    let large = api.request(Method::POST, path, &[], large).await;
    assert_eq!((large.status, header(&large, "x-amzn-errortype")), (413, "RequestTooLargeException"));

    // The only instance is busy.
    let gate = home.path().join("gate");
    let wait = json!({ "do": "wait-for-file", "path": gate });
    let busy = tokio::spawn(async move { invoke(api, "work", &[], &wait).await });
    called(&home, "work", 1).await;
    let throttled = invoke(api, "work", &[], &json!({})).await;
    assert_eq!((throttled.status, header(&throttled, "x-amzn-errortype")), (429, "TooManyRequestsException"));
    std::fs::write(&gate, "").unwrap();
    busy.await.unwrap().expect_status(200);
}

#[tokio::test]
async fn boto3_invokes_a_local_function_with_a_signature_that_is_checked() {
    let home = with_keys(&table("work", "", ""));
    let server = home.start().await;
    let payload = json!({ "do": "log", "text": "ü & more" });
    let answer = aws::boto3(KEYS, &server.url(), "work", &payload, &[]).await;
    assert_eq!(
        (&answer["status"], &answer["version"], &answer["function_error"]),
        (&json!(200), &json!("$LATEST"), &Value::Null)
    );
    assert_eq!(answer["payload"]["payload"], payload);
    assert!(answer["log"].as_str().unwrap().contains("REPORT RequestId: "), "{answer}");

    let failed = aws::boto3(KEYS, &server.url(), "work", &json!({ "do": "fail" }), &[]).await;
    assert_eq!(
        (&failed["status"], &failed["payload"]["errorType"]),
        (&json!(200), &json!("OrderRejected")),
        "{failed}"
    );
    assert!(failed["function_error"].is_string(), "{failed}");
    let taken = aws::boto3(KEYS, &server.url(), "work", &json!({ "n": 2 }), &["Event"]).await;
    assert_eq!(taken["status"], 202, "{taken}");
    assert_eq!(called(&home, "work", 3).await[2]["payload"], json!({ "n": 2 }));
    let missing = aws::boto3(KEYS, &server.url(), "nothing", &payload, &[]).await;
    assert_eq!(
        (&missing["kind"], &missing["status"]),
        (&json!("ResourceNotFoundException"), &json!(404)),
        "{missing}"
    );
}

#[tokio::test]
async fn wrong_keys_and_no_signature_are_refused_and_nothing_runs() {
    let home = with_keys(&table("work", "", ""));
    let server = home.start().await;
    for (keys, code) in [
        (("AKIDTEST", "another-secret"), "InvalidSignatureException"),
        (("AKIDOTHER", KEYS.1), "UnrecognizedClientException"),
    ] {
        let refused = aws::boto3(keys, &server.url(), "work", &json!({}), &[]).await;
        assert_eq!((&refused["status"], &refused["code"]), (&json!(403), &json!(code)), "{refused}");
    }
    let unsigned = invoke(server.api(), "work", &[], &json!({})).await;
    assert_eq!(
        (unsigned.status, header(&unsigned, "x-amzn-errortype")),
        (403, "MissingAuthenticationTokenException")
    );
    assert!(calls(&home, "work").is_empty());
    assert!(!server.log_text().contains(KEYS.1));
}

#[tokio::test]
async fn the_aws_cli_invokes_a_python_function_on_the_real_runtime_client() {
    let home = with_keys(&python_table("small", "small.echo", "memory = \"512MiB\""));
    let server = home.start().await;
    let out = home.path().join("out.json").display().to_string();
    let arguments = [
        "lambda",
        "invoke",
        "--function-name",
        "small",
        "--payload",
        "{\"total\": 12}",
        "--log-type",
        "Tail",
        &out,
    ];
    let output = aws::command_line(KEYS, &server.url(), &arguments).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["StatusCode"], &told["ExecutedVersion"]), (&json!(200), &json!("$LATEST")), "{told}");
    let answer: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!((&answer["event"], &answer["memory"]), (&json!({ "total": 12 }), &json!("512")), "{answer}");

    let refused = aws::command_line(("AKIDTEST", "wrong"), &server.url(), &arguments).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("InvalidSignatureException"), "{said}");
}
