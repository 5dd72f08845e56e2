//! The function process against a Runtime API that hands out what a test tells it to.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::*;
use crate::cli::tests::Paper;

/// One request, whole.
fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the request ended early: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

/// Answers the requests of one connection from a list, closes it, and gives back what they were.
fn runtime_api(answers: &[String]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = answers.to_vec();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut requests = Vec::new();
        for answer in answers {
            requests.push(read_request(&mut stream));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    (address, server)
}

fn call(id: &str, payload: &str) -> String {
    let length = payload.len();
    format!(
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {id}\r\ncontent-length: {length}\r\n\r\n{payload}"
    )
}

fn accepted() -> String {
    "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
}

/// Runs a built-in function until the API is gone; answers why it ended and what it logged.
async fn serve(function: BuiltIn, address: &str) -> (CliError, String) {
    let paper = Paper::default();
    let mut screen = Screen::plain(paper.clone());
    let mut api = RuntimeApi::at(Some(address)).unwrap();
    loop {
        if let Err(error) = one_call(&mut api, function, &mut screen).await {
            return (error, paper.text());
        }
    }
}

#[tokio::test]
async fn calls_are_answered_one_after_the_other_until_the_broker_is_gone() {
    let order = r#"{"id":"e-1","type":"order.created","subject":"o-1","data":{"total":7}}"#;
    let answers = [call("a", order), accepted(), call("b", order), accepted()];
    let (address, server) = runtime_api(&answers);
    let (error, log) = serve(BuiltIn::Receipt, &address).await;
    assert!(
        matches!(&error, CliError::RuntimeApi { source } if source.is_retryable()),
        "it ends with the connection: {error}"
    );
    assert_eq!(error.exit(), Exit::Unreachable);
    let requests = server.join().unwrap();
    for (request, begin) in requests.iter().zip([
        "GET /2018-06-01/runtime/invocation/next ",
        "POST /2018-06-01/runtime/invocation/a/response ",
        "GET /2018-06-01/runtime/invocation/next ",
        "POST /2018-06-01/runtime/invocation/b/response ",
    ]) {
        assert!(request.starts_with(begin), "{request}");
    }
    assert!(requests[1].ends_with(r#"{"receipt":"R-o-1","total":7.0}"#), "{}", requests[1]);
    assert_eq!(log, "R-o-1 over 7.00\nR-o-1 over 7.00\n");
}

#[tokio::test]
async fn what_a_function_refuses_is_reported_as_its_error() {
    let (address, server) = runtime_api(&[call("a", "7"), accepted()]);
    serve(BuiltIn::Receipt, &address).await;
    let report = &server.join().unwrap()[1];
    assert!(report.starts_with("POST /2018-06-01/runtime/invocation/a/error "), "{report}");
    assert!(report.contains("lambda-runtime-function-error-type: NotAnOrder\r\n"), "{report}");
    let body: serde_json::Value = serde_json::from_str(report.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["errorType"], "NotAnOrder");
    assert!(body["errorMessage"].as_str().unwrap().contains("no event of an order"), "{body}");
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_the_process() {
    let too_large = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (address, server) = runtime_api(&[call("a", "[]"), too_large]);
    let (error, _) = serve(BuiltIn::Echo, &address).await;
    assert!(error.to_string().contains("413"), "{error}");
    server.join().unwrap();
}

#[tokio::test]
async fn without_a_broker_it_says_who_starts_it() {
    let error = CliError::from(RuntimeApi::at(None).unwrap_err());
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("AWS_LAMBDA_RUNTIME_API is not set"), "{error}");
}
