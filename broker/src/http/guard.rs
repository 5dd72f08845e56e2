//! The guard of every route: who asks, whether he may, and what of it is written down. What each route needs is in its table.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use eventail_wire::{Code, TopicName};
use http::{Extensions, HeaderMap, Request, header, request};
use metrics::counter;

use super::api::{Api, Call, Subject};
use super::cross_site::{self, Foreign};
use super::door::Seat;
use super::problem::Problem;
use super::routes::Route;
use crate::auth::{Act, Decision, Denied, Need, Permission, Place, Principal, Scope, Who};
use crate::metrics::AUTH_FAILURES;
use crate::peer::Peer;

/// The path of the Invoke API: it tells pages by itself, as its callers understand it.
const INVOKE_PREFIX: &str = "/2015-03-31/";

/// Refuses what a web page may have sent without its reader's knowledge.
pub(super) fn check_site<B>(api: &Api, request: &Request<B>) -> Result<(), Problem> {
    let config = api.broker.config();
    let is_open = config.auth.is_none() && api.is_on_loopback;
    let (method, headers, uri) = (request.method(), request.headers(), request.uri());
    let (code, detail) = match cross_site::check(method, headers, uri, &config.listen, is_open) {
        Ok(()) => return Ok(()),
        Err(Foreign::Origin) if uri.path().starts_with(INVOKE_PREFIX) => return Ok(()),
        Err(Foreign::Origin) => (
            Code::ForeignOrigin,
            "a web page of this origin may change nothing here; `listen.origins` names those that may",
        ),
        Err(Foreign::Host) => (
            Code::ForeignHost,
            "the request is addressed to a host that is not known to be this one; `listen.hosts` names those that are",
        ),
    };
    counter!(AUTH_FAILURES, "code" => code.as_str()).increment(1);
    Err(Problem::new(code, detail))
}

/// Who is at the other end.
pub(super) fn peer(extensions: &Extensions) -> Peer {
    let nowhere =
        || Peer { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), certificate_names: Arc::from([]) };
    extensions.get().cloned().unwrap_or_else(nowhere)
}

/// Notes that the request was admitted: its connection keeps its place.
pub(super) fn keep(extensions: &Extensions) {
    if let Some(seat) = extensions.get::<Arc<Seat>>() {
        seat.keep();
    }
}

/// Who asks. A token that is wrong is refused, whatever else would let him in.
pub(super) fn admit(api: &Api, peer: &Peer, headers: &HeaderMap) -> Result<Principal, Problem> {
    let config = api.broker.config();
    if config.auth.is_none() {
        return Ok(Principal::everybody());
    }
    let token = bearer(headers)?;
    api.broker.gate().admit(&config, peer, token).map_err(Problem::from)
}

/// Who asks of a route that needs no permission: he may say who he is, and need not say it right. A target that settles a delivery may
/// send whatever it sends to others.
fn admit_leniently(api: &Api, peer: &Peer, headers: &HeaderMap) -> Principal {
    admit(api, peer, headers).unwrap_or_else(|_| Principal::anonymous(&Arc::from([])))
}

/// Who asks of a route that needs this.
pub(super) fn admit_to(
    api: &Api,
    need: Need,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Principal, Problem> {
    match need {
        Need::Nothing | Need::DeliveryToken => Ok(admit_leniently(api, peer, headers)),
        _ => admit(api, peer, headers),
    }
}

/// The token of a request, if it has one. What is signed for the Invoke API has none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::Unauthenticated, "the header authorization is given twice"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

/// The short way of a publish: who asks, and whether he may publish there.
pub(super) fn check_publish(api: &Api, parts: &request::Parts, topic: &str) -> Result<(), Problem> {
    let principal = admit(api, &peer(&parts.extensions), &parts.headers)?;
    decided(principal.decide(Scope::Publish, Place::Topic(topic)))?;
    keep(&parts.extensions);
    Ok(())
}

/// Whether who asks may have what the route needs. Of [`Need::Each`] the handler checks the rest.
pub(super) fn check(call: &Call, need: Need) -> Result<(), Problem> {
    let Some(scope) = need.scope() else { return Ok(()) };
    check_scope(call, need, scope)?;
    keep(&call.parts.extensions);
    Ok(())
}

fn check_scope(call: &Call, need: Need, scope: Scope) -> Result<(), Problem> {
    if matches!(need, Need::All(_)) {
        return decided(call.principal.decide(scope, Place::Everywhere));
    }
    // Who may do this nowhere does not learn what there is.
    if !call.principal.may(scope, Place::Somewhere) {
        let topic = call.segment("topic");
        let place = if topic.is_empty() { Place::Somewhere } else { Place::Topic(topic) };
        return decided(call.principal.decide(scope, place));
    }
    match need {
        Need::Topic(_) => call.demand(scope, &call.topic()?),
        Need::Trigger(_) => call.demand(scope, &call.api.broker.trigger(&call.trigger()?)?.topic),
        _ => Ok(()),
    }
}

impl Call {
    /// Whether who asks may do this with a topic.
    pub(super) fn may(&self, scope: Scope, topic: &TopicName) -> bool {
        self.principal.may(scope, Place::Topic(topic.as_str()))
    }

    /// Refuses who may not do this with a topic.
    pub(super) fn demand(&self, scope: Scope, topic: &TopicName) -> Result<(), Problem> {
        demand(&self.principal, scope, topic)
    }
}

/// Refuses who may not do this with a topic.
pub(super) fn demand(principal: &Principal, scope: Scope, topic: &TopicName) -> Result<(), Problem> {
    decided(principal.decide(scope, Place::Topic(topic.as_str())))
}

/// Refuses who may not do this with every topic.
pub(super) fn demand_everywhere(principal: &Principal, scope: Scope) -> Result<(), Problem> {
    decided(principal.decide(scope, Place::Everywhere))
}

fn decided(decision: Decision) -> Result<(), Problem> {
    let problem = match decision {
        Decision::Allowed => return Ok(()),
        Decision::Unauthenticated { needed } => Problem::new(Code::Unauthenticated, unauthenticated(&needed)),
        Decision::Forbidden { needed } => {
            Problem::new(Code::Forbidden, format!("this needs the permission `{needed}`"))
        }
    };
    counter!(AUTH_FAILURES, "code" => problem.code().as_str()).increment(1);
    Err(problem)
}

fn unauthenticated(needed: &Permission) -> String {
    format!(
        "this needs a token with the permission `{needed}`, as `Authorization: Bearer evt_…`, or a client certificate; \
         `eventail tokens create` makes tokens"
    )
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code(), denied.to_string()).retry_after_ms(denied.retry_after_ms())
    }
}

/// Writes down what somebody did or was refused.
pub(super) fn note(
    api: &Api,
    peer: &Peer,
    who: &Who,
    route: &Route,
    named: &str,
    subject: &Subject,
    refusal: Option<&Problem>,
) {
    let config = api.broker.config();
    let on = [named, subject.get().unwrap_or_default()].join(" ");
    let act = Act {
        at: api.broker.clock().now(),
        who: who.to_string(),
        from: peer.address.ip().to_string(),
        what: &route.name(),
        on: on.trim().to_owned(),
        outcome: refusal.map_or("done", |problem| problem.code().as_str()),
    };
    api.broker.gate().audit().note(config.auth.as_ref(), &act);
}
