//! Places in URLs and headers, and inputs in bodies.

use super::*;
use crate::input::Rendered;
use crate::outcome::BatchOutcome;

fn about(data: &str) -> Event {
    Event::builder("1", "/orders", "order.created")
        .subject("a/b c?d#é")
        .json_data(data.to_owned())
        .build()
        .unwrap()
}

fn target_at(url: &str, headers: &[(&str, &str)]) -> Result<HttpTarget, HttpTargetError> {
    let mut options = options(url);
    options.headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), Secret::new((*value).to_owned())))
        .collect();
    HttpTarget::new(options, loopback())
}

fn target(server: &Server, path: &str, headers: &[(&str, &str)]) -> HttpTarget {
    target_at(&format!("http://{}{path}", server.address), headers).unwrap()
}

#[tokio::test]
async fn a_value_stays_inside_of_its_part_of_the_url() {
    let server = Server::answering(|_, _| status(200)).await;
    for (path, data, sent) in [
        ("/orders/{$.data.id}", r#"{"id": 7}"#, "/orders/7"),
        (
            "/orders/{$.data.id}/items?by={$.source}&x=1",
            r#"{"id": "a/b"}"#,
            "/orders/a%2Fb/items?by=%2Forders&x=1",
        ),
        ("/{$.subject}", "{}", "/a%2Fb%20c%3Fd%23%C3%A9"),
        ("/?q={$.data.q}", r#"{"q": "1&admin=true#x+y%"}"#, "/?q=1%26admin%3Dtrue%23x%2By%25"),
        ("/v{$.data.id}.json", r#"{"id": "../x"}"#, "/v..%2Fx.json"),
        ("/{$.data.id|none}", "{}", "/none"),
        ("/{$.data.id|none}", r#"{"id": null}"#, "/none"),
        ("/?a={$.data.id|}", "{}", "/?a="),
        ("/?a={$.data.id|a b}".replace(' ', "%20").as_str(), "{}", "/?a=a%20b"),
        ("/{$.data['odd%20key']}", r#"{"odd key": true}"#, "/true"),
        ("/{$.data['a|b']|none}", r#"{"a|b": 1}"#, "/1"),
        ("/{$.data.a}{$.data.b}", r#"{"a": 1.50, "b": "\r\n"}"#, "/1.50%0D%0A"),
        ("/{id}/{$.id}", "{}", "/{id}/1"),
    ] {
        let target = target(&server, path, &[]);
        assert!(is_acked(&target.invoke(invocation(about(data))).await.outcome), "{path} {data}");
        assert_eq!(server.last().0.uri.to_string(), sent, "{path} {data}");
    }
    assert!(server.last().0.headers["host"].to_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn an_event_that_makes_no_url_is_refused_for_good_and_calls_nobody() {
    let server = Server::answering(|_, _| status(200)).await;
    for (path, data, says) in [
        ("/{$.data.id}", "{}", "nothing at `$.data.id`"),
        ("/{$.data.id}", r#"{"id": null}"#, "nothing at"),
        ("/{$.data.id}", r#"{"id": {"a": 1}}"#, "an object or a list at"),
        ("/{$.data.id}", r#"{"id": []}"#, "an object or a list at"),
        ("/{$.data.id}", r#"{"id": ".."}"#, "a segment"),
        ("/{$.data.id}", r#"{"id": "."}"#, "a segment"),
        ("/{$.data.id}/x", r#"{"id": ""}"#, "a segment"),
        ("/a/.{$.data.id}", r#"{"id": "."}"#, "a segment"),
        ("/{$.data.id}", &format!(r#"{{"id": "{}"}}"#, "x".repeat(9000)), "too long"),
    ] {
        let outcome = target(&server, path, &[]).invoke(invocation(about(data))).await.outcome;
        let (reason, disable, response) = rejected(outcome);
        assert_eq!((reason, disable), (RejectReason::Transform, false), "{path} {data}");
        assert!(response.error.contains(says), "{path} {data}: {}", response.error);
    }
    let outcome =
        target(&server, "/", &[("x-id", "{$.data.id}")]).invoke(invocation(about("{}"))).await.outcome;
    assert!(rejected(outcome).2.error.contains("header"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_header_has_values_of_the_event_and_no_second_header_with_them() {
    let server = Server::answering(|_, _| status(200)).await;
    let headers =
        &[("x-tenant", "t={$.data.tenant}; {$.subject}"), ("x-plain", "plain"), ("x-id", "{$.data.id|0}")];
    let target = target(&server, "/", headers);
    let event = about(r#"{"tenant": "a\r\nx-admin: 1\u0000é"}"#);
    assert!(is_acked(&target.invoke(invocation(event)).await.outcome));
    let seen = server.last().0.headers;
    assert_eq!(seen["x-tenant"], "t=a%0D%0Ax-admin: 1%00%C3%A9; a/b c?d#%C3%A9");
    assert_eq!((&seen["x-plain"], &seen["x-id"]), (&"plain".parse().unwrap(), &"0".parse().unwrap()));
    assert!(!seen.contains_key("x-admin"));
}

#[tokio::test]
async fn requests_to_different_paths_share_connections_and_are_signed() {
    let server = Server::answering(|_, _| status(200)).await;
    let mut options = options(&format!("http://{}/{{$.data.id}}", server.address));
    options.signing_secrets = vec![Secret::new(SECRET.to_owned())];
    let target = HttpTarget::new(options, loopback()).unwrap();
    for id in ["1", "2", "3"] {
        let outcome = target.invoke(invocation(about(&format!(r#"{{"id": {id}}}"#)))).await.outcome;
        assert!(is_acked(&outcome));
        let (parts, _) = server.last();
        assert_eq!(parts.uri.path(), format!("/{id}"));
        assert!(parts.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn places_that_cannot_work_are_refused() {
    for (url, says) in [
        ("http://a/{$.data.id", "needs its `}`"),
        ("http://a/{$.data..id}", "`..` is not supported"),
        ("http://a/{$.data.*}", "`*` is not supported"),
        ("http://a/?x={$.Upper}", "a-z and 0-9"),
        ("http://a/{$.data%zz}", "hexadecimal"),
    ] {
        let error = target_at(url, &[]).expect_err(url);
        assert!(matches!(error, HttpTargetError::UrlPlace { .. }), "{url}: {error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
    let error = target_at("http://a/", &[("x-a", "{$.data[}")]).unwrap_err();
    assert!(matches!(error, HttpTargetError::HeaderPlace { .. }), "{error}");
    let error = target_at("http://a/", &[("x-a", "ä\n{$.data.id}")]).unwrap_err();
    assert!(matches!(error, HttpTargetError::HeaderValue { .. }), "{error}");
    let error = target_at("http://a/", &[("ce-id", "{$.data.id}")]).unwrap_err();
    assert!(matches!(error, HttpTargetError::ReservedHeader { .. }), "{error}");
}

#[test]
fn the_host_never_comes_from_the_event() {
    for url in [
        "http://{$.data.host}/",
        "http://a.{$.data.host}/x",
        "http://a:{$.data.port}/",
        "http://{$.source}@a/",
    ] {
        let is_refused = match url.parse() {
            Ok(url) => {
                HttpTarget::new(HttpTargetOptions { url, ..options("http://a/") }, loopback()).is_err()
            }
            Err(_) => true,
        };
        assert!(is_refused, "{url}");
    }
}

fn with_input(event: Event, text: &str, is_json: bool) -> Invocation {
    let input = Rendered { bytes: text.to_owned().into(), is_json };
    Invocation { input: Some(input), ..invocation(event) }
}

#[tokio::test]
async fn an_input_is_the_body_in_every_mode() {
    let server = Server::answering(|_, _| status(200)).await;
    for mode in [HttpMode::Binary, HttpMode::Structured, HttpMode::Raw] {
        for (text, is_json, media_type) in
            [(r#"{"a":1}"#, true, "application/json"), ("plain", false, "text/plain; charset=utf-8")]
        {
            let url = format!("http://{}/", server.address);
            let target = HttpTarget::new(HttpTargetOptions { mode, ..options(&url) }, loopback()).unwrap();
            let event = event().to_builder().data_content_type("application/x").build().unwrap();
            assert!(is_acked(&target.invoke(with_input(event, text, is_json)).await.outcome));
            let (parts, body) = server.last();
            assert_eq!(body, text);
            assert_eq!(parts.headers["content-type"], media_type);
            assert_eq!(parts.headers.get("ce-id").is_some(), mode == HttpMode::Binary);
            assert_eq!(parts.headers["eventail-trigger"], "ship");
        }
    }
    let target = target(&server, "/", &[("content-type", "application/xml")]);
    assert!(is_acked(&target.invoke(with_input(event(), "<a/>", false)).await.outcome));
    assert_eq!(server.last().0.headers["content-type"], "application/xml");
}

#[tokio::test]
async fn a_batch_of_inputs_is_a_json_array_of_them() {
    let server = Server::answering(|_, _| status(200)).await;
    let batch = vec![with_input(event(), r#"{"a":1}"#, true), with_input(event(), "te\"xt", false)];
    let outcome = target(&server, "/", &[]).invoke_batch(batch).await.outcome;
    assert!(matches!(outcome, BatchOutcome::Whole(Outcome::Ack { .. })));
    let (parts, body) = server.last();
    assert_eq!(body, r#"[{"a":1},"te\"xt"]"#);
    assert_eq!(parts.headers["content-type"], "application/json");
    assert_eq!(parts.headers["eventail-batch-size"], "2");
}

#[tokio::test]
async fn a_batch_for_places_goes_one_by_one() {
    let server = Server::answering(|_, _| status(200)).await;
    let target = target(&server, "/{$.data.id}", &[]);
    let batch = ["{\"id\":1}", "{}", "{\"id\":3}"].map(|data| invocation(about(data)));
    let BatchOutcome::Each(outcomes) = target.invoke_batch(batch.into()).await.outcome else {
        panic!("each")
    };
    assert!(is_acked(&outcomes[0]) && is_acked(&outcomes[2]));
    assert_eq!(rejected(outcomes[1].clone()).0, RejectReason::Transform);
    let paths: Vec<_> =
        server.seen.lock().unwrap().iter().map(|(parts, _)| parts.uri.path().to_owned()).collect();
    assert_eq!(paths, ["/1", "/3"]);
}
