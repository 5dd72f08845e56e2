//! The table of routes. The router is built from it, the metrics are labelled by it, it says what whoever asks needs, and a test
//! holds `openapi.json` against it.

use std::future::Future;
use std::pin::Pin;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use eventail_wire::Code;
use http::Method;

use super::api::{Api, Call, Subject};
use super::problem::{Problem, Reply};
use super::{
    backups, config, dead_letters, delayed, deliveries, events, functions, guard, health, invoke, publish,
    replays, schedules, timeline, topics, triggers,
};
use crate::auth::Need;
use crate::auth::Scope::{Admin, Metrics, Operate, Publish, Read};

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    /// The path, with `{names}` for segments that vary.
    pub(super) path: &'static str,
    /// What whoever asks needs. There is no default.
    pub(super) need: Need,
    answer: fn(Call) -> Answer,
}

impl Route {
    /// `POST /v1/topics/{topic}/events`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

macro_rules! routes {
    ($($method:ident $path:literal, $need:expr => $handler:path;)*) => {
        /// Every route.
        pub(super) static ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                path: $path,
                need: $need,
                answer: |call| Box::pin($handler(call)),
            }),*
        ];
    };
}

routes! {
    POST "/v1/topics/{topic}/events", Need::Topic(Publish) => publish::answer;
    GET "/v1/topics/{topic}/events", Need::Topic(Read) => events::read;
    GET "/v1/topics", Need::Each(Read) => topics::list;
    GET "/v1/topics/{topic}", Need::Topic(Read) => topics::show;
    PUT "/v1/topics/{topic}", Need::Topic(Operate) => topics::create;
    GET "/v1/events/{id}", Need::Each(Read) => events::find;
    GET "/v1/events/{id}/timeline", Need::Each(Read) => timeline::answer;
    GET "/v1/delayed", Need::Each(Read) => delayed::list;
    GET "/v1/delayed/{id}", Need::Each(Read) => delayed::show;
    DELETE "/v1/delayed/{id}", Need::Each(Operate) => delayed::cancel;
    GET "/v1/triggers", Need::Each(Read) => triggers::list;
    GET "/v1/triggers/{trigger}", Need::Trigger(Read) => triggers::show;
    POST "/v1/triggers/{trigger}/pause", Need::Trigger(Operate) => triggers::pause;
    POST "/v1/triggers/{trigger}/resume", Need::Trigger(Operate) => triggers::resume;
    POST "/v1/triggers/{trigger}/skip-to", Need::Trigger(Operate) => triggers::skip_to;
    GET "/v1/config", Need::All(Read) => config::status;
    GET "/v1/config/plan", Need::All(Read) => config::plan;
    POST "/v1/config/reload", Need::All(Admin) => config::reload;
    POST "/v1/backups", Need::All(Admin) => backups::start;
    GET "/v1/backups", Need::All(Admin) => backups::list;
    GET "/v1/schedules", Need::Each(Read) => schedules::list;
    GET "/v1/schedules/{schedule}", Need::Each(Read) => schedules::show;
    GET "/v1/functions", Need::All(Read) => functions::list;
    GET "/v1/functions/{function}", Need::All(Read) => functions::show;
    GET "/v1/dead-letters", Need::Each(Read) => dead_letters::list;
    GET "/v1/dead-letters/{topic}/{offset}", Need::Each(Read) => dead_letters::show;
    POST "/v1/dead-letters/redrive", Need::Each(Operate) => dead_letters::redrive;
    POST "/v1/dead-letters/purge", Need::Each(Operate) => dead_letters::purge;
    POST "/v1/replays", Need::Each(Operate) => replays::start;
    GET "/v1/replays", Need::Each(Read) => replays::list;
    GET "/v1/replays/{id}", Need::Each(Read) => replays::show;
    POST "/v1/replays/{id}/cancel", Need::Each(Operate) => replays::cancel;
    POST "/v1/deliveries/{token}/ack", Need::DeliveryToken => deliveries::ack;
    POST "/v1/deliveries/{token}/nack", Need::DeliveryToken => deliveries::nack;
    POST "/v1/deliveries/{token}/extend", Need::DeliveryToken => deliveries::extend;
    POST "/2015-03-31/functions/{name}/invocations", Need::Invocation => invoke::answer;
    GET "/healthz", Need::Nothing => health::alive;
    GET "/readyz", Need::Nothing => health::ready;
    GET "/metrics", Need::All(Metrics) => health::metrics;
    GET "/openapi.json", Need::Nothing => health::openapi;
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
        let api = api.clone();
        let handler = move |request: Request| handle(api.clone(), at, route, request);
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

async fn handle(api: Api, at: usize, route: &'static Route, request: Request) -> Response {
    let reply = answer(&api, route, request).await.unwrap_or_else(Problem::into_reply);
    api.requests.count(Some(at), reply.status());
    reply.map(axum::body::Body::new)
}

/// Answers whoever may ask, and writes down what changes something by an operator's right.
async fn answer(api: &Api, route: &'static Route, request: Request) -> Result<Reply, Problem> {
    let peer = guard::peer(request.extensions());
    let principal = match guard::admit_to(api, route.need, &peer, request.headers()) {
        Ok(principal) => principal,
        Err(problem) if route.need == Need::Invocation => return Ok(invoke::refused(problem)),
        Err(problem) => return Err(problem),
    };
    let is_audited = route.need.is_administrative() && route.method != Method::GET;
    let audited = is_audited.then(|| (principal.who().clone(), Subject::default()));
    let subject = audited.as_ref().map(|(_, subject)| subject.clone()).unwrap_or_default();
    let call = Call::new(api.clone(), principal, subject, request).await?;
    let named = call.named();
    let result = match guard::check(&call, route.need) {
        Ok(()) => (route.answer)(call).await,
        Err(problem) => Err(problem),
    };
    // Who says nothing of himself does nothing either, and must not fill the log.
    let is_unknown = matches!(&result, Err(problem) if problem.code() == Code::Unauthenticated);
    if let Some((who, subject)) = audited.filter(|_| !is_unknown) {
        guard::note(api, &peer, &who, route, &named, &subject, result.as_ref().err());
    }
    result
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
