//! What a scripted receiver answers.

use std::time::Duration;

use serde_json::Value;

use crate::receiver::Received;

/// One answer of a [`crate::Receiver`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status, no body.
    Status(u16),
    /// This status and body.
    Text(u16, String),
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// 200 with a CloudEvent in structured mode.
    Event(Value),
    /// 200 with this JSON.
    Json(Value),
    /// 200 with this header.
    Header(&'static str, String),
    /// 200 with these headers.
    Headers(Vec<(&'static str, String)>),
    /// 202 that says that the rest comes by a callback.
    Accepted,
    /// The answer after a delay.
    After(Duration, Box<Reply>),
    /// No answer at all; the connection stays open.
    Hang,
    /// The connection is closed in the middle.
    Reset,
}

/// Decides the answer to a request; the request says which attempt of its delivery it is.
pub type Script = dyn Fn(&Received) -> Reply + Send + Sync;

/// Accepts everything.
#[must_use]
pub fn accept(_: &Received) -> Reply {
    Reply::Status(204)
}

/// Answers the first attempts of each delivery from the list, and every later one with 204.
pub fn first(replies: Vec<Reply>) -> impl Fn(&Received) -> Reply + Send + Sync {
    move |request| replies.get(request.nth - 1).cloned().unwrap_or(Reply::Status(204))
}

/// Answers always the same.
pub fn always(reply: Reply) -> impl Fn(&Received) -> Reply + Send + Sync {
    move |_| reply.clone()
}
