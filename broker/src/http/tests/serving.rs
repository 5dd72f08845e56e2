//! The server around the routes: unknown routes, keep-alive, health, metrics, stopping.

use http::Method;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::routes::ROUTES;
use super::super::{HttpError, HttpOptions, OPENAPI, serve};
use super::support::{Client, DRAIN, Served};

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_and_the_connection_lives() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for target in ["/", "/v1", "/v1/topics/", "/v1/topics/a/b", "/v2/topics", "/v1/topics/a/events/"] {
        let said = client.ask(Method::GET, target, &[], "").await.problem(404, "not_found");
        assert!(said.contains(target), "{said}");
    }
    for (method, target, allowed) in [
        (Method::DELETE, "/v1/topics/default", &["GET", "PUT"][..]),
        (Method::PATCH, "/v1/topics/default/events", &["GET", "POST"]),
        (Method::GET, "/v1/dead-letters/redrive", &["POST"]),
        (Method::POST, "/healthz", &["GET"]),
    ] {
        let answer = client.ask(method.clone(), target, &[], "").await;
        assert!(answer.problem(405, "method_not_allowed").contains(method.as_str()));
        let allow = answer.headers["allow"].to_str().unwrap();
        assert!(allowed.iter().all(|method| allow.contains(method)), "{target}: {allow}");
    }
    client.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    served.stop().await;
}

#[tokio::test]
async fn every_route_of_the_table_is_answered_by_its_handler() {
    let served = Served::start().await;
    for route in ROUTES {
        let target =
            route.path.replace("{topic}", "default").replace("{trigger}", "absent").replace("{id}", "absent");
        let target = target.replace("{offset}", "0").replace("{name}", "absent");
        let answer = served.ask(route.method.clone(), &target, &[], "").await;
        // The Invoke API refuses as AWS does.
        if answer.status.is_client_error() && !answer.headers.contains_key("x-amzn-errortype") {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            assert!(!matches!(code.as_str(), "not_found" | "method_not_allowed"), "{}: {code}", route.name());
        }
        assert!(!answer.status.is_server_error(), "{}: {}", route.name(), answer.text());
    }
    served.stop().await;
}

#[tokio::test]
async fn health_readiness_metrics_and_description_are_there() {
    let served = Served::start().await;
    assert_eq!(served.get("/healthz").await.ok(200)["alive"], true);
    assert_eq!(served.get("/readyz").await.ok(200)["ready"], true);
    let metrics = served.get("/metrics").await;
    assert_eq!((metrics.status.as_u16(), metrics.text()), (200, ""));
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(served.get("/openapi.json").await.text(), OPENAPI);
    let head = served.ask(Method::HEAD, "/healthz", &[], "").await;
    assert_eq!((head.status.as_u16(), head.text()), (200, ""));
    served.stop().await;
}

#[tokio::test]
async fn a_recorder_is_shown() {
    let served = Served::start().await;
    let recorder = crate::metrics::prometheus().unwrap().build_recorder();
    let options = HttpOptions { ids: SmallRng::seed_from_u64(1), exposition: Some(recorder.handle()) };
    metrics::with_local_recorder(&recorder, || metrics::counter!("eventail_test_total").increment(3));
    let server = serve(served.broker.clone(), "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let answer = Client::connect(server.addr()).await.ask(Method::GET, "/metrics", &[], "").await;
    assert!(answer.text().contains("eventail_test_total 3"), "{}", answer.text());
    server.shutdown(DRAIN).await;
    served.stop().await;
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_the_listener() {
    let served = Served::start().await;
    let address = served.addr();
    let mut idle = served.client().await;
    idle.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    let mut idle_http2 = Client::connect_http2(address).await;
    idle_http2.ask(Method::GET, "/healthz", &[], "").await.ok(200);
    served.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_broker_that_stopped_answers_that_it_did() {
    let served = Served::start().await;
    served.broker.shutdown().await.unwrap();
    served.publish("default", "1").await.problem(503, "shutting_down");
    served.get("/healthz").await.ok(200);
    served.server.shutdown(DRAIN).await;
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let served = Served::start().await;
    let options = HttpOptions { ids: SmallRng::seed_from_u64(1), exposition: None };
    let error = serve(served.broker.clone(), served.addr(), options).await.unwrap_err();
    assert!(matches!(error, HttpError::Bind { address, .. } if address == served.addr()));
    assert!(error.is_retryable());
    served.stop().await;
}
