//! The Runtime API: what a runtime sees, and what happens to one that does not keep to it.

use super::support::{Folder, call, json, text, until};
use crate::function::{RunError, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_sees_the_headers_of_lambda() {
    let folder = Folder::new(
        "
while True:
    id, headers, event = take()
    answer(id, {'headers': dict(headers.items()), 'event': event})
",
    );
    let function = folder.function(|_| {});
    let mut given = call(r#"{"a":1}"#);
    given.trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    given.client_context = Some(r#"{"client":{}}"#.to_owned());
    given.cognito_identity = Some(r#"{"cognitoIdentityId":"x"}"#.to_owned());
    let id = given.request_id.clone();
    let seen = json(&function.invoke(given).await);
    let headers = &seen["headers"];
    assert_eq!(headers["Lambda-Runtime-Aws-Request-Id"], id.as_str());
    assert_eq!(
        headers["Lambda-Runtime-Invoked-Function-Arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:tried"
    );
    assert_eq!(
        headers["Lambda-Runtime-Trace-Id"],
        "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1"
    );
    assert_eq!(headers["Lambda-Runtime-Client-Context"], r#"{"client":{}}"#);
    assert_eq!(headers["Lambda-Runtime-Cognito-Identity"], r#"{"cognitoIdentityId":"x"}"#);
    assert_eq!(headers["Content-Type"], "application/json");
    assert_eq!(seen["event"]["a"], 1);
    let deadline: u64 = headers["Lambda-Runtime-Deadline-Ms"].as_str().unwrap().parse().unwrap();
    let (now, timeout) = (1_800_000_000_000, 20_000);
    assert!((now + timeout - 1_000..=now + timeout).contains(&deadline), "{deadline}");
    let seen = json(&function.invoke(call("{}")).await);
    assert!(seen["headers"].get("Lambda-Runtime-Client-Context").is_none());
    assert!(seen["headers"]["Lambda-Runtime-Trace-Id"].as_str().unwrap().starts_with("Root=1-"));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_sees_the_environment_of_lambda() {
    let folder = Folder::new("serve(lambda event: dict(os.environ))");
    let function = folder.function(|_| {});
    let seen = json(&function.invoke(call("{}")).await);
    assert_eq!(seen["AWS_LAMBDA_FUNCTION_NAME"], "tried");
    assert_eq!(seen["_HANDLER"], "function.handler");
    assert_eq!(seen["FLAVOUR"], "plum");
    assert_eq!(seen["AWS_LAMBDA_INITIALIZATION_TYPE"], "on-demand");
    let stream = seen["AWS_LAMBDA_LOG_STREAM_NAME"].as_str().unwrap();
    assert!(stream.starts_with("2027/01/15/[$LATEST]") && stream.len() == 52, "{stream}");
    assert!(seen.get("CARGO_MANIFEST_DIR").is_none(), "nothing else of ours is passed on");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_may_be_chunked_large_or_streamed() {
    let folder = Folder::new(
        "
while True:
    id, _, event = take()
    if event['how'] == 'large':
        post(id, 'response', b'x' * (6 * 1024 * 1024 + 100))
    else:
        parts = (part for part in [b'ab', b'c' * 100000, b'd'])
        headers = {'Lambda-Runtime-Function-Response-Mode': 'streaming', 'Transfer-Encoding': 'chunked'}
        connection.request('POST', PREFIX + f'invocation/{id}/response', body=parts, headers=headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.read()) == (202, b'{\"status\":\"OK\"}\\n')
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call(r#"{"how":"large"}"#)).await;
    assert_eq!(text(&run).len(), 6 * 1024 * 1024 + 100);
    let run = function.invoke(call(r#"{"how":"streamed"}"#)).await;
    assert_eq!(text(&run), format!("ab{}d", "c".repeat(100_000)));
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_trailers_of_a_streamed_answer_fails_it() {
    let folder = Folder::new(
        "
import base64
id, _, _ = take()
body = base64.b64encode(b'{\"errorType\":\"Late\",\"errorMessage\":\"too late\"}').decode()
head = f'POST {PREFIX}invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n' \\
    'Lambda-Runtime-Function-Response-Mode: streaming\\r\\n' \\
    'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n'
tail = f'3\\r\\nabc\\r\\n0\\r\\nLambda-Runtime-Function-Error-Type: Late\\r\\nLambda-Runtime-Function-Error-Body: {body}\\r\\n\\r\\n'
connection.sock.sendall((head + tail).encode())
time.sleep(600)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Function { kind, message, .. }) = &run.result else { panic!("{run:?}") };
    assert_eq!((kind.as_str(), message.as_str()), ("Late", "too late"));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused_and_the_instance_stays() {
    let folder = Folder::new(
        "
seen = None
while True:
    id, _, event = take()
    if event['large']:
        status, _, body = post(id, 'response', b'x' * (6 * 1024 * 1024 + 101))
        seen = [status, json.loads(body)['errorType']]
    else:
        answer(id, seen)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call(r#"{"large":true}"#)).await;
    let Err(RunError::Function { kind, .. }) = &run.result else { panic!("{run:?}") };
    assert_eq!(kind, "Function.ResponseSizeTooLarge");
    let run = function.invoke(call(r#"{"large":false}"#)).await;
    assert_eq!(json(&run), serde_json::json!([413, "RequestEntityTooLarge"]));
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_as_lambda_refuses_them() {
    let folder = Folder::new(
        "
while True:
    id, _, _ = take()
    seen = []
    for method, path in [('POST', 'invocation/other/response'), ('POST', 'invocation/other/error'),
                         ('GET', 'nowhere'), ('POST', 'invocation/next'), ('GET', f'invocation/{id}/response'),
                         ('POST', 'init/error')]:
        status, headers, body = request(method, path, '{}' if method == 'POST' else None)
        seen.append([status, json.loads(body)['errorType']])
    answer(id, seen)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    let wanted = serde_json::json!([
        [400, "InvalidRequestID"],
        [400, "InvalidRequestID"],
        [404, "NotFound"],
        [405, "MethodNotAllowed"],
        [405, "MethodNotAllowed"],
        [403, "InvalidStateTransition"]
    ]);
    assert_eq!(json(&run), wanted);
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_is_refused_and_does_no_harm() {
    let folder = Folder::new(
        "
last = None
while True:
    id, _, _ = take()
    answer(id, last)
    status, _, body = post(id, 'response', '\"again\"')
    last = [status, json.loads(body)['errorType']]
",
    );
    let function = folder.function(|_| {});
    function.invoke(call("{}")).await;
    let run = function.invoke(call("{}")).await;
    assert_eq!(json(&run), serde_json::json!([400, "InvalidRequestID"]));
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_more_work_while_there_is_some_replaces_the_instance() {
    let folder = Folder::new(
        "
id, _, event = take()
if event['greedy']:
    request('GET', 'invocation/next')
    time.sleep(600)
answer(id, os.getpid())
take()
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call(r#"{"greedy":true}"#)).await;
    assert!(matches!(run.result, Err(RunError::Protocol { .. })), "{run:?}");
    let run = function.invoke(call(r#"{"greedy":false}"#)).await;
    assert!(run.result.is_ok(), "{run:?}");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answering_what_was_not_asked_replaces_the_instance() {
    let folder = Folder::new(
        "
id, _, _ = take()
answer(id, 'first')
threading.Thread(target=take, daemon=True).start()
until_it_exists('open')
request('POST', 'invocation/made-up/response', '{}', via=http.client.HTTPConnection(API))
time.sleep(600)
",
    );
    let function = folder.function(|_| {});
    function.invoke(call("{}")).await;
    until(&function, |status| status.warm == 1).await;
    folder.let_go("open");
    until(&function, |status| status.instances == 0).await;
    let run = function.invoke(call("{}")).await;
    assert_eq!(json(&run), "first");
    assert_eq!(function.status().starts, 2);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_fails_soon() {
    let folder = Folder::new(
        "
id, _, _ = take()
head = f'POST {PREFIX}invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 100\\r\\n\\r\\nabc'
connection.sock.sendall(head.encode())
connection.close()
time.sleep(600)
",
    );
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    assert!(matches!(run.result, Err(RunError::Protocol { rule }) if rule.contains("broke off")), "{run:?}");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_the_rules_before_it_ever_answers_is_a_start_that_failed() {
    let answers_unasked = "request('POST', 'invocation/made-up/response', '{}')\ntime.sleep(600)";
    let asks_twice = "
threading.Thread(target=take, daemon=True).start()
request('GET', 'invocation/next', via=http.client.HTTPConnection(API))
time.sleep(600)
";
    for script in [answers_unasked, asks_twice] {
        let folder = Folder::new(script);
        let function = folder.function(|options| options.min_instances = 1);
        let status = until(&function, |status| status.failed_starts == 2).await;
        assert_eq!(status.starts, 2, "each try waits for the hold-off of the one before: {script}");
        let why = status.last_start_error.unwrap();
        assert!(why.contains("broke the Runtime API before it answered anything"), "{why}");
        function.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_one_that_breaks_the_rules_is_told_so() {
    let folder = Folder::new("request('POST', 'invocation/made-up/error', '{}')\ntime.sleep(600)");
    let function = folder.function(|_| {});
    let run = function.invoke(call("{}")).await;
    let Err(RunError::Start(error)) = &run.result else { panic!("{run:?}") };
    assert!(matches!(&**error, StartError::Protocol { .. }), "{error}");
    function.close().await;
}
