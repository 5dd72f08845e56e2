//! Attempts that their target took over and settles later, by the token that it was given.
//!
//! A token is 128 bits from a cryptographic generator, so that whoever was given some can guess no other. It is looked up in
//! a hash map; what the time of a look-up tells is worth nothing against so many bits. It lives as long as its [`Waiting`]
//! and no longer: it is of no use before the call, after a settlement, after the deadline or after a restart. The first
//! callback that settles uses it up; one that prolongs the lease does not.
//!
//! It promises that a callback is answered with what became of it. What the driver of the lane settles is answered when the
//! settlement was handed to the journal; what comes before the target's own answer was read is kept for as long as the
//! attempt lasts and applied when that answer is "accepted". Any other answer of the target wins, and the callback is
//! refused. Whoever calls back waits for at most [`limits::CALLBACK_WAIT_MS`] and is told then that the callback is kept: a
//! target that calls back before it answers, and waits for the one before it does the other, must not stand still.
//!
//! There are no more tokens than attempts under way. It must not know leases, lanes or HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventail_triggers::subscription::Verdict;
use eventail_wire::frame::{CallbackAction, CallbackOutcome};
use eventail_wire::{Timestamp, limits};
use metrics::counter;
use rand::RngCore;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::BrokerError;
use crate::metrics::CALLBACKS;

/// Callbacks of one attempt that may wait for its driver. The last place is kept for the one that settles.
const WAITING_MAX: usize = 8;

/// A callback, as the driver of the lane gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Ack,
    Nack {
        after_ms: Option<u64>,
        reason: String,
    },
    Reject {
        reason: String,
    },
    /// The lease is to end this long from now; never more than [`limits::LEASE_MS_MAX`].
    Extend {
        ms: u64,
    },
}

const fn label(answer: &Result<CallbackOutcome, BrokerError>) -> &'static str {
    match answer {
        Ok(CallbackOutcome::Delivered) => "delivered",
        Ok(CallbackOutcome::Retry { .. }) => "retry",
        Ok(CallbackOutcome::DeadLettered) => "dead_lettered",
        Ok(CallbackOutcome::Extended { .. }) => "extended",
        Ok(CallbackOutcome::Kept) => "kept",
        Err(_) => "refused",
    }
}

/// The tokens that somebody may call back with.
pub(crate) struct Callbacks(Mutex<State>);

struct State {
    tokens: StdRng,
    open: HashMap<Arc<str>, Open>,
}

struct Open {
    sender: mpsc::Sender<(Signal, Reply)>,
    extension_ms: u64,
}

/// An attempt that may be called back about. Dropping it refuses what was not answered, and makes the token one of no use.
pub(crate) struct Waiting {
    callbacks: Arc<Callbacks>,
    token: Arc<str>,
    receiver: mpsc::Receiver<(Signal, Reply)>,
}

/// Tells whoever called back what became of it. Dropping it says that the attempt was over.
#[derive(Debug)]
pub(crate) struct Reply(oneshot::Sender<CallbackOutcome>);

impl Callbacks {
    /// Draws tokens from `tokens`, which must be seeded by the system wherever tokens matter.
    pub(crate) fn new(tokens: StdRng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { tokens, open: HashMap::new() })))
    }

    /// Makes a token for one call, before it is made. `extension_ms` is what a callback prolongs by that does not say.
    pub(crate) fn open(self: &Arc<Self>, extension_ms: u64) -> (Arc<str>, Waiting) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut state = self.lock();
        let token: Arc<str> =
            format!("{:016x}{:016x}", state.tokens.next_u64(), state.tokens.next_u64()).into();
        state.open.insert(Arc::clone(&token), Open { sender, extension_ms });
        drop(state);
        (Arc::clone(&token), Waiting { callbacks: Arc::clone(self), token, receiver })
    }

    /// Hands a callback to whoever waits for it, and answers what became of it. It is under way when this returns, whether
    /// the answer is awaited or not.
    pub(crate) fn call_back(
        &self,
        token: &str,
        action: CallbackAction,
    ) -> impl Future<Output = Result<CallbackOutcome, BrokerError>> + Send + use<> {
        let handed = self.hand_over(token, action);
        let wait_ends = Instant::now() + Duration::from_millis(limits::CALLBACK_WAIT_MS);
        async move {
            let answer = match handed {
                Ok(answer) => match timeout_at(wait_ends, answer).await {
                    Ok(Ok(outcome)) => Ok(outcome),
                    Ok(Err(_)) => Err(BrokerError::UnknownDelivery),
                    Err(_) => Ok(CallbackOutcome::Kept),
                },
                Err(error) => Err(error),
            };
            counter!(CALLBACKS, "outcome" => label(&answer)).increment(1);
            answer
        }
    }

    fn hand_over(
        &self,
        token: &str,
        action: CallbackAction,
    ) -> Result<oneshot::Receiver<CallbackOutcome>, BrokerError> {
        let mut state = self.lock();
        let open = state.open.get(token).ok_or(BrokerError::UnknownDelivery)?;
        let sender = open.sender.clone();
        let signal = match action {
            CallbackAction::Ack => Signal::Ack,
            CallbackAction::Nack { after_ms, reason } => Signal::Nack { after_ms, reason },
            CallbackAction::Reject { reason } => Signal::Reject { reason },
            CallbackAction::Extend { .. } if sender.capacity() <= 1 => {
                return Err(BrokerError::TooManyCallbacks { limit: WAITING_MAX - 1 });
            }
            CallbackAction::Extend { by_ms } => {
                Signal::Extend { ms: by_ms.unwrap_or(open.extension_ms).min(limits::LEASE_MS_MAX) }
            }
        };
        if !matches!(signal, Signal::Extend { .. }) {
            // Used up, whatever becomes of it.
            state.open.remove(token);
        }
        let (answer, receiver) = oneshot::channel();
        // Under the lock, so that nobody takes the last place before the one that settles.
        sender.try_send((signal, Reply(answer))).map_err(|_| BrokerError::UnknownDelivery)?;
        drop(state);
        Ok(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The next callback and how to answer it, once the target has answered that it took the event over. Waits for ever where
    /// nobody calls back, or the attempt was settled by the one before. Safe to drop.
    pub(crate) async fn next(&mut self) -> (Signal, Reply) {
        match self.receiver.recv().await {
            Some(called) => called,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.callbacks.lock().open.remove(&self.token);
    }
}

impl std::fmt::Debug for Waiting {
    /// Without the token, which must not get into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Reply {
    /// The settlement was handed to the journal.
    pub(crate) fn settled(self, verdict: Verdict) {
        self.send(match verdict {
            Verdict::Delivered => CallbackOutcome::Delivered,
            Verdict::Retry { at } => CallbackOutcome::Retry { at },
            Verdict::HandedBack => CallbackOutcome::Retry { at: Timestamp(0) },
            Verdict::DeadLetter { .. } => CallbackOutcome::DeadLettered,
        });
    }

    /// The lease lasts longer.
    pub(crate) fn extended(self, deadline: Timestamp) {
        self.send(CallbackOutcome::Extended { deadline });
    }

    fn send(self, answer: CallbackOutcome) {
        // Whoever called back may have gone.
        let _ = self.0.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use eventail_triggers::outcome::RejectReason;
    use eventail_wire::Code;
    use rand::SeedableRng;

    use super::*;

    const EXTENSION_MS: u64 = 30_000;

    fn callbacks() -> Arc<Callbacks> {
        Callbacks::new(StdRng::seed_from_u64(7))
    }

    fn nack() -> CallbackAction {
        CallbackAction::Nack { after_ms: Some(5), reason: "busy".to_owned() }
    }

    async fn is_refused(callbacks: &Callbacks, token: &str) -> bool {
        let answers = [callbacks.call_back(token, CallbackAction::Ack).await, {
            callbacks.call_back(token, CallbackAction::Extend { by_ms: None }).await
        }];
        answers
            .iter()
            .all(|answer| answer.as_ref().is_err_and(|error| error.code() == Code::DeliveryNotFound))
    }

    #[tokio::test]
    async fn what_settles_is_handed_on_and_answered_with_what_came_of_it() {
        let callbacks = callbacks();
        for (action, signal, verdict, outcome) in [
            (CallbackAction::Ack, Signal::Ack, Verdict::Delivered, CallbackOutcome::Delivered),
            (
                nack(),
                Signal::Nack { after_ms: Some(5), reason: "busy".to_owned() },
                Verdict::Retry { at: Timestamp(9) },
                CallbackOutcome::Retry { at: Timestamp(9) },
            ),
            (
                CallbackAction::Reject { reason: "bad".to_owned() },
                Signal::Reject { reason: "bad".to_owned() },
                Verdict::DeadLetter { reason: RejectReason::Refused },
                CallbackOutcome::DeadLettered,
            ),
        ] {
            let (token, mut waiting) = callbacks.open(EXTENSION_MS);
            let answer = callbacks.call_back(&token, action);
            let (got, reply) = waiting.next().await;
            assert_eq!(got, signal);
            reply.settled(verdict);
            assert_eq!(answer.await.unwrap(), outcome);
            assert!(is_refused(&callbacks, &token).await, "it is used up");
        }
    }

    #[tokio::test]
    async fn the_first_that_settles_wins_and_the_second_is_refused() {
        let callbacks = callbacks();
        let (token, mut waiting) = callbacks.open(EXTENSION_MS);
        let first = callbacks.call_back(&token, CallbackAction::Ack);
        assert!(callbacks.call_back(&token, nack()).await.is_err());
        let (signal, reply) = waiting.next().await;
        assert_eq!(signal, Signal::Ack);
        reply.settled(Verdict::Delivered);
        assert_eq!(first.await.unwrap(), CallbackOutcome::Delivered);
        let next = tokio::time::timeout(Duration::ZERO, waiting.next()).await;
        assert!(next.is_err(), "nothing comes behind it");
    }

    #[tokio::test]
    async fn a_lease_may_be_prolonged_often_and_is_settled_still() {
        let callbacks = callbacks();
        let (token, mut waiting) = callbacks.open(EXTENSION_MS);
        for (by_ms, ms) in
            [(None, EXTENSION_MS), (Some(1), 1), (Some(u64::MAX), limits::LEASE_MS_MAX), (Some(2), 2)]
        {
            let answer = callbacks.call_back(&token, CallbackAction::Extend { by_ms });
            let (signal, reply) = waiting.next().await;
            assert_eq!(signal, Signal::Extend { ms });
            reply.extended(Timestamp(ms));
            assert_eq!(answer.await.unwrap(), CallbackOutcome::Extended { deadline: Timestamp(ms) });
        }
        let answer = callbacks.call_back(&token, CallbackAction::Ack);
        waiting.next().await.1.settled(Verdict::Delivered);
        assert_eq!(answer.await.unwrap(), CallbackOutcome::Delivered);
    }

    #[tokio::test]
    async fn an_attempt_that_is_over_refuses_what_came_and_what_comes() {
        let callbacks = callbacks();
        let (token, waiting) = callbacks.open(EXTENSION_MS);
        let early = callbacks.call_back(&token, CallbackAction::Ack);
        let (other, still) = callbacks.open(EXTENSION_MS);
        drop(waiting);
        assert_eq!(early.await.unwrap_err().code(), Code::DeliveryNotFound);
        assert!(is_refused(&callbacks, &token).await);
        assert!(is_refused(&callbacks, "").await);
        assert!(callbacks.lock().open.contains_key(&other));
        drop(still);
        assert!(callbacks.lock().open.is_empty(), "nothing is kept of what is over");
    }

    #[tokio::test]
    async fn a_callback_whose_answer_is_dropped_is_refused() {
        let callbacks = callbacks();
        let (token, mut waiting) = callbacks.open(EXTENSION_MS);
        let answer = callbacks.call_back(&token, CallbackAction::Ack);
        let (_, reply) = waiting.next().await;
        drop(reply);
        assert_eq!(answer.await.unwrap_err().code(), Code::DeliveryNotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_targets_answer_is_kept_though_its_caller_waits_no_longer() {
        let callbacks = callbacks();
        let (token, mut waiting) = callbacks.open(EXTENSION_MS);
        let answer = callbacks.call_back(&token, CallbackAction::Ack).await;
        assert_eq!(answer.unwrap(), CallbackOutcome::Kept);
        assert!(is_refused(&callbacks, &token).await, "it is used up");
        let (signal, reply) = waiting.next().await;
        assert_eq!(signal, Signal::Ack);
        reply.settled(Verdict::Delivered);
    }

    #[tokio::test]
    async fn a_flood_of_extensions_is_refused_and_leaves_room_for_the_end() {
        let callbacks = callbacks();
        let (token, mut waiting) = callbacks.open(EXTENSION_MS);
        let extend = || callbacks.call_back(&token, CallbackAction::Extend { by_ms: None });
        let kept: Vec<_> = (1..WAITING_MAX).map(|_| extend()).collect();
        let refused = extend().await.unwrap_err();
        assert_eq!(refused.code(), Code::Overloaded);
        let end = callbacks.call_back(&token, CallbackAction::Ack);
        for _ in &kept {
            assert!(matches!(waiting.next().await.0, Signal::Extend { .. }));
        }
        let (signal, reply) = waiting.next().await;
        assert_eq!(signal, Signal::Ack);
        reply.settled(Verdict::Delivered);
        assert_eq!(end.await.unwrap(), CallbackOutcome::Delivered);
    }

    #[test]
    fn tokens_are_32_hexadecimal_digits_and_no_two_are_alike() {
        let callbacks = callbacks();
        let open: Vec<_> = (0..1_000).map(|_| callbacks.open(EXTENSION_MS)).collect();
        let tokens: std::collections::HashSet<&str> = open.iter().map(|(token, _)| &**token).collect();
        assert_eq!(tokens.len(), open.len());
        assert!(tokens.iter().all(|token| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
