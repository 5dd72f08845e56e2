//! The guard of one stream: who the client is, and whether it may what each of its frames asks for. What a frame needs is in a table
//! that has all of them.
//!
//! A token that is revoked or expires while the stream is open ends what it allowed: it is looked at again with every frame and before
//! every delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventail_wire::frame::{Frame, FrameKind};
use eventail_wire::{Code, TopicName};
use metrics::counter;

use super::answers::Refusal;
use crate::Broker;
use crate::auth::Scope::{Publish, Subscribe};
use crate::auth::{Decision, Denied, Need, Place, Session};
use crate::metrics::AUTH_FAILURES;
use crate::peer::Peer;

/// What a frame from a client needs. Of those that are about a subscription the topic is the one that the stream subscribed to.
/// There is no default: who adds a frame says here what it needs.
const fn need(kind: FrameKind) -> Need {
    match kind {
        FrameKind::Publish => Need::Topic(Publish),
        FrameKind::Subscribe
        | FrameKind::Credit
        | FrameKind::Ack
        | FrameKind::Nack
        | FrameKind::Reject
        | FrameKind::Extend => Need::Topic(Subscribe),
        FrameKind::CallBack => Need::DeliveryToken,
        FrameKind::Hello | FrameKind::Goodbye => Need::Nothing,
        // Only a server sends these: whoever else does is told that they are out of turn.
        FrameKind::Welcome
        | FrameKind::Published
        | FrameKind::Refused
        | FrameKind::Subscribed
        | FrameKind::Deliver
        | FrameKind::Stale
        | FrameKind::Fault
        | FrameKind::CalledBack
        | FrameKind::Held => Need::Nothing,
    }
}

/// Whether anybody on a connection was admitted to anything. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission(Arc<AtomicBool>);

impl Admission {
    /// Notes that somebody was.
    fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody was.
    pub(super) fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    broker: Broker,
    peer: Arc<Peer>,
    /// Who the client is; nobody before its hello.
    session: Option<Session>,
    /// What the stream subscribed to.
    subscribed: Option<TopicName>,
    admission: Admission,
}

impl Guard {
    pub(super) const fn new(broker: Broker, peer: Arc<Peer>, admission: Admission) -> Self {
        Self { broker, peer, session: None, subscribed: None, admission }
    }

    /// Takes what the hello says of who the client is.
    pub(super) fn admit(&mut self, token: Option<&str>) -> Result<(), Refusal> {
        let (gate, config) = (self.broker.gate(), self.broker.config());
        let session = gate.open_session(config, Arc::clone(&self.peer), token).map_err(refused)?;
        let may = |scope| session.principal().may(scope, Place::Somewhere);
        // He may take his time with what he may do.
        if may(Publish) || may(Subscribe) {
            self.admission.give();
        }
        self.session = Some(session);
        Ok(())
    }

    /// Notes what came of a callback, which needs no more than the token of its delivery.
    pub(super) fn called_back(&self, answer: &Frame) {
        if matches!(answer, Frame::CalledBack(_)) {
            self.admission.give();
        }
    }

    /// Notes what the stream subscribed to.
    pub(super) fn subscribed(&mut self, topic: TopicName) {
        self.subscribed = Some(topic);
    }

    /// Whether the client may what a frame asks for.
    pub(super) fn check(&mut self, frame: &Frame) -> Result<(), Refusal> {
        let Need::Topic(scope) = need(frame.kind()) else { return Ok(()) };
        let subscribed = self.subscribed.clone();
        let topic = match frame {
            Frame::Publish(header, _) => header.topic.as_str(),
            Frame::Subscribe(request) => request.topic.as_str(),
            _ => match &subscribed {
                Some(topic) => topic.as_str(),
                // Without a subscription the frame is out of turn, which it is told.
                None => return Ok(()),
            },
        };
        self.decide(scope, topic)
    }

    /// Whether the client may still have deliveries.
    pub(super) fn check_subscription(&mut self) -> Result<(), Refusal> {
        let Some(topic) = self.subscribed.clone() else { return Ok(()) };
        self.decide(Subscribe, topic.as_str())
    }

    fn decide(&mut self, scope: crate::auth::Scope, topic: &str) -> Result<(), Refusal> {
        let Some(session) = &mut self.session else {
            return Err(Refusal::new(Code::Unauthenticated, "nobody said hello".to_owned()));
        };
        self.broker.gate().renew(session, self.broker.config()).map_err(refused)?;
        let (code, message) = match session.principal().decide(scope, Place::Topic(topic)) {
            Decision::Allowed => return Ok(()),
            Decision::Unauthenticated { needed } => {
                let message =
                    format!("this needs a token with the permission `{needed}`, or a client certificate");
                (Code::Unauthenticated, message)
            }
            Decision::Forbidden { needed } => {
                (Code::Forbidden, format!("this needs the permission `{needed}`"))
            }
        };
        counter!(AUTH_FAILURES, "code" => code.as_str()).increment(1);
        Err(Refusal::new(code, message))
    }
}

fn refused(denied: Denied) -> Refusal {
    Refusal { code: denied.code(), message: denied.to_string(), retry_after_ms: denied.retry_after_ms() }
}
