//! Receiving a request's body: whole, within its limit, within its time, and within what all bodies together may hold.
//!
//! Bytes are counted as they arrive and not as they are announced, so a sender that announces much and sends nothing holds
//! nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eventail_wire::Code;
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Problem;

/// How much of a refused body is read and thrown away. A sender that is cut off while it writes sees a broken connection
/// and never the answer that says why; one that goes on beyond this has to live with that.
const DISCARD_BYTES_MAX: usize = 16 << 20;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// What a body may have, and how its excess is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    /// Bytes at most.
    pub(super) bytes: usize,
    /// The code of the refusal.
    pub(super) code: Code,
    /// What is limited, with its unit.
    pub(super) what: &'static str,
}

/// The bytes that all bodies under way hold.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
    time: Duration,
}

/// A body that arrived. Its bytes count until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Bytes,
    _held: Held,
}

impl Received {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Why a body was not received.
enum Unreceived {
    /// It has, or announces, so many bytes, which are too many.
    Over(usize),
    /// Anything else.
    Refused(Problem),
}

impl From<Problem> for Unreceived {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

#[derive(Debug)]
struct Held {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// All bodies together may hold `bytes_max`; each has `time` to arrive.
    pub(super) fn new(bytes_max: usize, time: Duration) -> Self {
        Self { held: Arc::default(), bytes_max, time }
    }

    /// Receives a whole body. `discard` says whether the excess of a refused one is read: not where the sender waits for
    /// `100 Continue`.
    pub(super) async fn receive<B>(
        &self,
        mut body: B,
        limit: BodyLimit,
        discard: bool,
    ) -> Result<Received, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let received = self.within_time(self.collect(&mut body, limit)).await;
        match received {
            Ok(received) => Ok(received),
            Err(Unreceived::Refused(problem)) => Err(problem),
            Err(Unreceived::Over(bytes)) => {
                if discard {
                    throw_away(&mut body).await;
                }
                Err(Problem::over_limit(limit.code, limit.what, bytes as u64, limit.bytes as u64))
            }
        }
    }

    async fn within_time(
        &self,
        collecting: impl Future<Output = Result<Received, Unreceived>>,
    ) -> Result<Received, Unreceived> {
        let mut collecting = pin!(collecting);
        // Most bodies come in the same packet as their head; they need no timer.
        if let Poll::Ready(received) = poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await
        {
            return received;
        }
        tokio::time::timeout(self.time, collecting).await.unwrap_or_else(|_| {
            let ms = self.time.as_millis();
            let detail = format!("the body did not arrive within {ms} ms (limits.request_timeout)");
            Err(Problem::new(Code::RequestTimeout, detail).into())
        })
    }

    async fn collect<B>(&self, body: &mut B, limit: BodyLimit) -> Result<Received, Unreceived>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit.bytes {
            return Err(Unreceived::Over(announced));
        }
        let mut held = Held { held: self.held.clone(), bytes: 0 };
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::new(Code::Malformed, format!("the body did not arrive whole: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let total = held.bytes + data.len();
            if total > limit.bytes {
                return Err(Unreceived::Over(total));
            }
            self.hold(&mut held, data.len())?;
            if total == data.len() {
                first = data;
            } else {
                if whole.is_empty() {
                    whole.reserve(announced.max(total));
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&data);
            }
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        Ok(Received { bytes, _held: held })
    }

    fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Problem> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let alone = before == held.bytes;
        held.bytes += bytes;
        // One body alone always fits: it has its own limit.
        if !alone && before + bytes > self.bytes_max {
            let what = "bytes of all request bodies under way (limits.in_flight_bytes_max)";
            let value = (before + bytes) as u64;
            return Err(Problem::over_limit(Code::Overloaded, what, value, self.bytes_max as u64));
        }
        Ok(())
    }
}

async fn throw_away<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let discarding = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // Whether the rest came or not, the answer is the same.
    let _elapsed = tokio::time::timeout(DISCARD_TIME, discarding).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    const LIMIT: BodyLimit = BodyLimit { bytes: 10, code: Code::EventTooLarge, what: "bytes of the body" };

    fn budget(bytes_max: usize) -> Budget {
        Budget::new(bytes_max, Duration::from_secs(1))
    }

    /// A body of several frames whose size is not announced.
    fn chunked(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let mut chunks: std::collections::VecDeque<&'static str> = chunks.iter().copied().collect();
        Chunks(Box::new(move || chunks.pop_front()))
    }

    struct Chunks(Box<dyn FnMut() -> Option<&'static str> + Send>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            Poll::Ready(
                (self.0)().map(|chunk| Ok(hyper::body::Frame::data(Bytes::from_static(chunk.as_bytes())))),
            )
        }
    }

    #[tokio::test]
    async fn a_body_comes_whole_however_it_was_cut() {
        let budget = budget(100);
        for chunks in [&["0123456789"][..], &["01", "2345", "", "6789"], &["", "0123456789"]] {
            let received = budget.receive(chunked(chunks), LIMIT, true).await.unwrap();
            assert_eq!(received.bytes(), "0123456789");
            assert_eq!(budget.held.load(Ordering::Relaxed), 10);
        }
        assert_eq!(budget.receive(chunked(&[]), LIMIT, true).await.unwrap().bytes(), "");
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn excess_is_refused_with_limit_and_value_announced_or_not() {
        let budget = budget(100);
        let announced = budget.receive(Full::new(Bytes::from_static(b"01234567890")), LIMIT, true).await;
        let sent = budget.receive(chunked(&["012345", "67890"]), LIMIT, true).await;
        for problem in [announced.unwrap_err(), sent.unwrap_err()] {
            assert_eq!(problem.code(), Code::EventTooLarge);
            assert_eq!(problem.detail(), "bytes of the body: 11 is more than the limit of 10");
        }
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn bodies_together_keep_within_the_budget() {
        let budget = budget(15);
        let first = budget.receive(chunked(&["0123456789"]), LIMIT, true).await.unwrap();
        let refused = budget.receive(chunked(&["0123", "45"]), LIMIT, true).await.unwrap_err();
        assert_eq!(refused.code(), Code::Overloaded);
        drop(first);
        assert!(budget.receive(chunked(&["0123", "45"]), LIMIT, true).await.is_ok());
        let narrow = self::budget(5);
        assert!(narrow.receive(chunked(&["0123", "456789"]), LIMIT, true).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_times_out() {
        struct Never;
        impl Body for Never {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let problem = budget(15).receive(Never, LIMIT, true).await.unwrap_err();
        assert_eq!(problem.code(), Code::RequestTimeout);
        assert!(problem.detail().contains("1000 ms"), "{}", problem.detail());
    }
}
