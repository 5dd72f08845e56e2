//! The table of routes. The router is built from it, the metrics are labelled by it, and a test holds `openapi.json`
//! against it.

use std::future::Future;
use std::pin::Pin;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use eventail_wire::Code;
use http::Method;

use super::api::{Api, Call};
use super::problem::{Problem, Reply};
use super::{
    backups, config, dead_letters, delayed, deliveries, events, functions, health, invoke, publish, replays,
    schedules, timeline, topics, triggers,
};

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    /// The path, with `{names}` for segments that vary.
    pub(super) path: &'static str,
    answer: fn(Call) -> Answer,
}

impl Route {
    /// `POST /v1/topics/{topic}/events`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)*) => {
        /// Every route.
        pub(super) static ROUTES: &[Route] = &[
            $(Route { method: Method::$method, path: $path, answer: |call| Box::pin($handler(call)) }),*
        ];
    };
}

routes! {
    POST "/v1/topics/{topic}/events" => publish::answer;
    GET "/v1/topics/{topic}/events" => events::read;
    GET "/v1/topics" => topics::list;
    GET "/v1/topics/{topic}" => topics::show;
    PUT "/v1/topics/{topic}" => topics::create;
    GET "/v1/events/{id}" => events::find;
    GET "/v1/events/{id}/timeline" => timeline::answer;
    GET "/v1/delayed" => delayed::list;
    GET "/v1/delayed/{id}" => delayed::show;
    DELETE "/v1/delayed/{id}" => delayed::cancel;
    GET "/v1/triggers" => triggers::list;
    GET "/v1/triggers/{trigger}" => triggers::show;
    POST "/v1/triggers/{trigger}/pause" => triggers::pause;
    POST "/v1/triggers/{trigger}/resume" => triggers::resume;
    POST "/v1/triggers/{trigger}/skip-to" => triggers::skip_to;
    GET "/v1/config" => config::status;
    GET "/v1/config/plan" => config::plan;
    POST "/v1/config/reload" => config::reload;
    POST "/v1/backups" => backups::start;
    GET "/v1/backups" => backups::list;
    GET "/v1/schedules" => schedules::list;
    GET "/v1/schedules/{schedule}" => schedules::show;
    GET "/v1/functions" => functions::list;
    GET "/v1/functions/{function}" => functions::show;
    GET "/v1/dead-letters" => dead_letters::list;
    GET "/v1/dead-letters/{topic}/{offset}" => dead_letters::show;
    POST "/v1/dead-letters/redrive" => dead_letters::redrive;
    POST "/v1/dead-letters/purge" => dead_letters::purge;
    POST "/v1/replays" => replays::start;
    GET "/v1/replays" => replays::list;
    GET "/v1/replays/{id}" => replays::show;
    POST "/v1/replays/{id}/cancel" => replays::cancel;
    POST "/v1/deliveries/{token}/ack" => deliveries::ack;
    POST "/v1/deliveries/{token}/nack" => deliveries::nack;
    POST "/v1/deliveries/{token}/extend" => deliveries::extend;
    POST "/2015-03-31/functions/{name}/invocations" => invoke::answer;
    GET "/healthz" => health::alive;
    GET "/readyz" => health::ready;
    GET "/metrics" => health::metrics;
    GET "/openapi.json" => health::openapi;
}

/// The place of the publishing route in the table: the one that is found without the router.
pub(super) const PUBLISH: usize = 0;

/// The topic of `POST /v1/topics/{topic}/events`, where a request is that, by comparing and nothing else. A name that needs
/// decoding is left to the router.
pub(super) fn publish_topic<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    if *method != Method::POST {
        return None;
    }
    let topic = path.strip_prefix("/v1/topics/")?.strip_suffix("/events")?;
    (!topic.is_empty() && !topic.bytes().any(|byte| matches!(byte, b'/' | b'%'))).then_some(topic)
}

/// Builds the router.
pub(super) fn router(api: &Api) -> Router {
    let mut router = Router::new();
    for (at, route) in ROUTES.iter().enumerate() {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let (api, answer) = (api.clone(), route.answer);
        let handler = move |request: Request| handle(api.clone(), at, answer, request);
        router = router.route(route.path, on(filter, handler));
    }
    let (unknown, not_allowed) = (api.clone(), api.clone());
    router
        .method_not_allowed_fallback(move |request: Request| {
            let detail = format!("{} does not go with {}", request.method(), request.uri().path());
            refuse(not_allowed.clone(), Problem::new(Code::MethodNotAllowed, detail))
        })
        .fallback(move |request: Request| {
            let detail = format!("there is no route {}; /openapi.json lists them all", request.uri().path());
            refuse(unknown.clone(), Problem::new(Code::NotFound, detail))
        })
}

async fn handle(api: Api, at: usize, answer: fn(Call) -> Answer, request: Request) -> Response {
    let result = match Call::new(api.clone(), request).await {
        Ok(call) => answer(call).await,
        Err(problem) => Err(problem),
    };
    let reply = result.unwrap_or_else(Problem::into_reply);
    api.requests.count(Some(at), reply.status());
    reply.map(axum::body::Body::new)
}

async fn refuse(api: Api, problem: Problem) -> Response {
    let reply = problem.into_reply();
    api.requests.count(None, reply.status());
    reply.map(axum::body::Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_is_the_publishing_route_and_nothing_else() {
        assert_eq!(ROUTES[PUBLISH].name(), "POST /v1/topics/{topic}/events");
        for (method, path, topic) in [
            (Method::POST, "/v1/topics/orders/events", Some("orders")),
            (Method::GET, "/v1/topics/orders/events", None),
            (Method::POST, "/v1/topics//events", None),
            (Method::POST, "/v1/topics/a/b/events", None),
            (Method::POST, "/v1/topics/a%2eb/events", None),
            (Method::POST, "/v1/topics/events", None),
            (Method::POST, "/v1/topics/orders/events/", None),
            (Method::POST, "", None),
        ] {
            assert_eq!(publish_topic(&method, path), topic, "{method} {path}");
        }
    }

    #[test]
    fn every_route_has_a_method_that_the_router_knows_and_none_is_there_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(MethodFilter::try_from(route.method.clone()).is_ok(), "{}", route.name());
            assert!(ROUTES[..at].iter().all(|other| other.name() != route.name()), "{}", route.name());
        }
    }
}
