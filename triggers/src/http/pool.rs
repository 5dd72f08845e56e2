//! Connections to one target that are kept for the next request.
//!
//! HTTP/1.1: idle connections on a stack, the youngest on top, at most as many as the options say, none for long. HTTP/2:
//! one connection that all requests share. It promises never to hand out a connection that is known to be closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use tokio::time::{Instant, timeout_at};

use super::connect::{CONNECT_TIMEOUT, connect};
use super::egress::Egress;
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::link::{Http1, Link};

/// How long a connection may lie idle. Common servers close after 5 s (Node, uvicorn); one that is closed at the moment
/// when a request is sent costs that request an attempt, so ours go first.
const IDLE_MAX: Duration = Duration::from_secs(4);

pub(super) struct Pool {
    state: Mutex<State>,
    idle_max: usize,
    /// Held while the protocol is unknown or a shared connection is made, so that many requests at once make one connection.
    sharing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Whether a task will look for connections that lie idle for too long.
    is_swept: bool,
    shared: Option<http2::SendRequest<Full<Bytes>>>,
    /// Whether the target took HTTP/2 the last time: only then is it worth waiting for another's connection.
    speaks_http2: Option<bool>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

/// A connection, and whether it was used before: such a one may have been closed meanwhile.
pub(super) struct Taken {
    pub(super) link: Link,
    pub(super) is_reused: bool,
}

impl Pool {
    pub(super) fn new(idle_max: usize, is_https: bool) -> Arc<Self> {
        let state = State { speaks_http2: (!is_https).then_some(false), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), idle_max, sharing: tokio::sync::Mutex::new(()) })
    }

    /// A connection that was kept, or a fresh one.
    pub(super) async fn take(
        &self,
        endpoint: &Endpoint,
        egress: &Egress,
        deadline: Instant,
    ) -> Result<Taken, ConnectError> {
        if let Some(link) = self.kept().await {
            return Ok(Taken { link, is_reused: true });
        }
        self.fresh(endpoint, egress, deadline).await
    }

    /// A connection on which nothing was sent before, or the shared one that another request has just made.
    pub(super) async fn fresh(
        &self,
        endpoint: &Endpoint,
        egress: &Egress,
        deadline: Instant,
    ) -> Result<Taken, ConnectError> {
        let begun = Instant::now();
        let deadline = deadline.min(begun + CONNECT_TIMEOUT);
        let may_share = self.state().speaks_http2 != Some(false);
        let _sharing = if may_share {
            let turn = timeout_at(deadline, self.sharing.lock()).await;
            Some(turn.map_err(|_| ConnectError::timeout(&endpoint.host, begun, deadline))?)
        } else {
            None
        };
        if let Some(link) = self.shared() {
            return Ok(Taken { link, is_reused: true });
        }
        // Boxed: resolving and TLS need kilobytes, and every attempt's future would carry them.
        let link = Box::pin(connect(endpoint, egress, deadline)).await?;
        let mut state = self.state();
        state.speaks_http2 = Some(matches!(link, Link::Http2(_)));
        if let Link::Http2(sender) = &link {
            state.shared = Some(sender.clone());
        }
        Ok(Taken { link, is_reused: false })
    }

    /// Keeps a connection whose answer was read to its end. A shared one stays where it is.
    pub(super) async fn put(self: &Arc<Self>, link: Link) {
        let Link::Http1(mut connection) = link else { return };
        if self.idle_max == 0 || !connection.is_usable().await {
            return;
        }
        let since = Instant::now();
        let mut state = self.state();
        let evicted = if state.idle.len() >= self.idle_max { state.idle.pop_front() } else { None };
        state.idle.push_back(Idle { connection, since });
        if !state.is_swept {
            state.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        // Closing a socket takes a system call, which the others need not wait for.
        drop(state);
        drop(evicted);
    }

    async fn kept(&self) -> Option<Link> {
        if let Some(link) = self.shared() {
            return Some(link);
        }
        loop {
            let mut idle = self.state().idle.pop_back()?;
            if idle.since.elapsed() < IDLE_MAX && idle.connection.is_usable().await {
                return Some(Link::Http1(idle.connection));
            }
        }
    }

    fn shared(&self) -> Option<Link> {
        let mut state = self.state();
        let sender = state.shared.as_ref()?;
        if sender.is_closed() {
            state.shared = None;
            return None;
        }
        Some(Link::Http2(sender.clone()))
    }

    /// Takes out what has lain for too long; `false` once there is nothing left to watch.
    fn expire(&self) -> bool {
        let mut state = self.state();
        let is_young = |idle: &Idle| idle.since.elapsed() < IDLE_MAX;
        let expired = state.idle.iter().position(is_young).unwrap_or(state.idle.len());
        let kept = state.idle.split_off(expired);
        let expired = std::mem::replace(&mut state.idle, kept);
        state.is_swept = !state.idle.is_empty();
        let goes_on = state.is_swept;
        drop(state);
        drop(expired);
        goes_on
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        match pool.upgrade() {
            Some(pool) if pool.expire() => {}
            _ => return,
        }
    }
}
