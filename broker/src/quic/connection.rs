//! Accepting connections and their streams; nothing that happens in one reaches another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventail_wire::Code;
use eventail_wire::frame::Fault;
use metrics::{counter, gauge};
use quinn::{Connection, Endpoint, Incoming, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::Context;
use super::conversation::Conversation;
use super::end::End;
use super::guard::Admission;
use super::strangers::{Stranger, Strangers};
use super::transport::{server_config, window_beside};
use crate::crowd::Guest;
use crate::metrics::{CONNECTIONS, CUT_CONNECTIONS, REFUSED_CONNECTIONS};
use crate::peer::Peer;
use crate::tls::{self, Failure, HANDSHAKE_TIME, Served};

/// How long the last frame of a stream may take to reach the client.
const LAST_WORDS_TIME: Duration = Duration::from_secs(2);
/// How often it is looked whether anybody was admitted on a connection: after the time of a hello, and again after the same.
const LOOKS: u32 = 2;
/// The number under which a connection ends for a fault; its reason then is `code: message`.
const FAULT_CLOSE: u32 = 1;

/// Bytes of publishes under way on one connection.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicUsize);

impl InFlight {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes connections until the server stops, then waits for those that there are.
///
/// Connections that come after a renewal of the certificate are served with that one.
pub(super) async fn accept(
    endpoint: Endpoint,
    context: Arc<Context>,
    mut renewals: Option<watch::Receiver<Arc<Served>>>,
) {
    let mut connections = JoinSet::new();
    let mut stopping = context.stopping.clone();
    let refused = counter!(REFUSED_CONNECTIONS, "listener" => "quic");
    let strangers = Strangers::default();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) if strangers.are_many() && incoming.may_retry() => prove(incoming),
                Some(incoming) if connections.len() < context.connections_max => {
                    let window = window_beside(connections.len());
                    connections.spawn(serve(incoming, strangers.come(), window, context.clone()));
                }
                Some(incoming) => {
                    tracing::debug!(remote = %incoming.remote_address(), "connection refused: there are as many as there may be");
                    incoming.refuse();
                    refused.increment(1);
                }
                None => break,
            },
            Some(ended) = connections.join_next() => report(ended),
            Some(served) = renewal(&mut renewals) => {
                endpoint.set_server_config(Some(server_config(served.quic.clone())));
            }
            _ = stopping.wait_for(|&stopping| stopping) => break,
        }
    }
    // Nobody is let in any more, while those who are in still end in order.
    endpoint.set_server_config(None);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Has a client prove its address; it then comes again.
fn prove(incoming: Incoming) {
    let remote = incoming.remote_address();
    match incoming.retry() {
        Ok(()) => tracing::debug!(%remote, "quic client has to prove its address"),
        Err(error) => tracing::debug!(%remote, %error, "quic client cannot be asked to prove its address"),
    }
}

/// Counts a connection or stream that is not ended by its client.
fn cut_for(reason: &'static str) {
    counter!(CUT_CONNECTIONS, "listener" => "quic", "reason" => reason).increment(1);
}

/// The next certificate; never where there is none to come.
async fn renewal(renewals: &mut Option<watch::Receiver<Arc<Served>>>) -> Option<Arc<Served>> {
    let Some(receiver) = renewals else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *renewals = None;
        return None;
    }
    Some(receiver.borrow_and_update().clone())
}

/// Counts a connection for as long as it is served.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let open = gauge!(CONNECTIONS, "listener" => "quic");
        open.increment(1.0);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a mistake of the server ended a quic task");
    }
}

async fn serve(incoming: Incoming, stranger: Stranger, window: VarInt, context: Arc<Context>) {
    let remote = incoming.remote_address();
    let Some(connection) = shake(incoming, &context).await else { return };
    drop(stranger);
    let Some(_guest) = seat(&connection, &context) else { return };
    connection.set_receive_window(window);
    let peer = peer(&connection);
    tracing::debug!(remote = %peer.address, names = ?peer.certificate_names, "quic connection opened");
    let _open = Open::new();
    let in_flight = Arc::new(InFlight::default());
    let peer = Arc::new(peer);
    let mut streams = JoinSet::new();
    let mut stopping = context.stopping.clone();
    let mut silence = std::pin::pin!(tokio::time::sleep(context.hello_time));
    let admission = Admission::default();
    let mut is_silent = true;
    let mut looks = 0;
    let reason = loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    is_silent = false;
                    let (context, in_flight) = (context.clone(), in_flight.clone());
                    let conversation = Conversation::new(send, receive, context, in_flight, (peer.clone(), admission.clone()));
                    streams.spawn(converse(connection.clone(), conversation));
                }
                Err(error) => break Some(error),
            },
            Some(ended) = streams.join_next() => report(ended),
            () = silence.as_mut(), if looks < LOOKS => {
                looks += 1;
                if admission.is_given() {
                    looks = LOOKS;
                } else if is_silent || looks == LOOKS {
                    return turn_out(&connection, is_silent, context.hello_time * looks);
                } else {
                    // A stream has its own time to its hello, and is told what was wrong.
                    silence.as_mut().reset(tokio::time::Instant::now() + context.hello_time);
                }
            }
            _ = stopping.wait_for(|&stopping| stopping) => break None,
        }
    };
    while let Some(ended) = streams.join_next().await {
        report(ended);
    }
    match reason {
        Some(reason) => tracing::debug!(%remote, %reason, "quic connection ended"),
        None => connection.close(VarInt::from_u32(0), b"the server is stopping"),
    }
}

/// Ends a connection on which nobody was admitted to anything.
fn turn_out(connection: &Connection, is_silent: bool, within: Duration) {
    let (cut, what) =
        if is_silent { ("silent", "no stream was opened") } else { ("stranger", "nobody was admitted") };
    cut_for(cut);
    let reason = format!("{}: {what} within {} ms", Code::RequestTimeout, within.as_millis());
    connection.close(VarInt::from_u32(FAULT_CLOSE), reason.as_bytes());
}

/// The place of a connection among those from its address; `None` where it was closed because there is none. Only now is it known that
/// the client is there: with addresses that are made up nobody takes another's places.
fn seat(connection: &Connection, context: &Context) -> Option<Guest> {
    let guest = context.crowd.come(connection.remote_address());
    if guest.is_none() {
        counter!(REFUSED_CONNECTIONS, "listener" => "quic").increment(1);
        let limit = "limits.connections_per_address_max";
        let reason =
            format!("{}: there are as many connections from this address as {limit}", Code::Overloaded);
        connection.close(VarInt::from_u32(FAULT_CLOSE), reason.as_bytes());
    }
    guest
}

/// A connection after its handshake; `None` where it came to nothing, which was noted.
async fn shake(incoming: Incoming, context: &Context) -> Option<Connection> {
    let remote = incoming.remote_address();
    let Ok(_place) = context.handshakes.try_acquire() else {
        incoming.refuse();
        context.failures.note(remote, Failure::TooMany, None);
        return None;
    };
    match tokio::time::timeout(HANDSHAKE_TIME, incoming).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            context.failures.note(remote, Failure::of_quic(&error), Some(&error));
            None
        }
        Err(_) => {
            context.failures.note(remote, Failure::Timeout, None);
            None
        }
    }
}

fn peer(connection: &Connection) -> Peer {
    // What rustls gives, as quinn hands it on.
    let chain =
        connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate_names = tls::of_peer(chain.as_ref().map(|chain| chain.as_slice()));
    Peer { address: connection.remote_address(), certificate_names }
}

async fn converse(connection: Connection, mut conversation: Conversation) {
    let remote = connection.remote_address();
    let end = conversation.run().await;
    let fault = match end {
        End::Done => None,
        End::Lost => return,
        End::Fault(fault) => Some(fault),
    };
    if let Some(fault) = &fault {
        let (code, message) = (fault.code, &fault.message);
        tracing::debug!(%remote, %code, message, "quic stream ended for a fault");
    }
    if let Some(reason) = fault.as_ref().and_then(|fault| conversation.cut_reason(fault.code)) {
        cut_for(reason);
    }
    let is_too_large = matches!(&fault, Some(Fault { code: Code::FrameTooLarge, .. }));
    let reason = fault.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    let last_words = conversation.finish(fault);
    // A client that does not take them in time does without, and nothing is kept for it.
    if tokio::time::timeout(LAST_WORDS_TIME, last_words).await.is_err() {
        conversation.abandon();
    }
    if let (true, Some(reason)) = (is_too_large, reason) {
        connection.close(VarInt::from_u32(FAULT_CLOSE), reason.as_bytes());
    }
}
