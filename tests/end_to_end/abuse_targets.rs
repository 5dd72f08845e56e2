//! Targets that never answer, answer by drops, or never end: each attempt ends by its time, with a class, and other triggers go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventail_tests::events::event;
use eventail_tests::{Home, Receiver};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::abuse::metric;
use crate::support::{at_rest, count, trigger, trigger_to};

const KEYS: &str = r#"
timeout = "400ms"
retry = { max_attempts = 2, backoff_initial = "10ms", backoff_max = "50ms" }
breaker = { failures = 1000 }
"#;

/// How a target answers.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Not at all.
    Never,
    /// A byte now and then.
    Drops,
    /// A head at once, and a body that never ends.
    Endless(&'static str),
    /// A head that announces 100 GiB, and a little of them.
    Announces(&'static str),
    /// A head that never ends.
    Headers,
}

/// A target with bad manners. Dropping it closes everything.
struct Rude {
    address: std::net::SocketAddr,
    written: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Rude {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (written, mut task) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let count = Arc::clone(&written);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, manner, Arc::clone(&count)));
            }
        });
        Self { address, written, _task: task }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn answer(mut stream: TcpStream, manner: Manner, written: Arc<AtomicUsize>) {
    let mut request = [0; 4096];
    let Ok(1..) = stream.read(&mut request).await else { return };
    let (head, piece, every) = match manner {
        Manner::Never => (String::new(), Vec::new(), Duration::from_secs(1)),
        Manner::Drops => (String::new(), b"H".to_vec(), Duration::from_millis(100)),
        Manner::Endless(status) => {
            let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
            (head, format!("4000\r\n{}\r\n", "x".repeat(0x4000)).into_bytes(), Duration::ZERO)
        }
        Manner::Announces(status) => {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 107374182400\r\n\r\n");
            (head, vec![b'x'; 1 << 14], Duration::ZERO)
        }
        Manner::Headers => {
            ("HTTP/1.1 200 OK\r\n".to_owned(), b"x-more: 0123456789\r\n".to_vec(), Duration::ZERO)
        }
    };
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while stream.write_all(&piece).await.is_ok() {
        written.fetch_add(piece.len(), Ordering::Relaxed);
        tokio::time::sleep(every).await;
    }
}

/// Delivers ten events to a rude target and to a good one; answers the rude one's status.
async fn deliver_ten(rude: &Rude, target_keys: &str) -> (Value, f64) {
    let good = Receiver::start().await;
    let tables = trigger_to("rude", &rude.url(), KEYS, target_keys) + &trigger("good", &good.url("/"), "");
    let home = Home::new(&tables);
    let server = home.start().await;
    let batch: Vec<Value> = (0..10).map(|n| event(&n.to_string(), "t")).collect();
    server.api().publish_all("orders", &batch).await;
    at_rest(server.api(), "good", 10).await;
    assert_eq!(good.count(), 10);
    let status = at_rest(server.api(), "rude", 10).await;
    let labels = ["trigger=\"rude\"", "class=\"timeout\""];
    let timeouts = metric(server.api(), "eventail_trigger_retries_total", &labels).await;
    server.stop().await;
    (status, timeouts)
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_is_given_up_by_each_attempts_time() {
    for manner in [Manner::Never, Manner::Drops] {
        let rude = Rude::start(manner).await;
        let (status, timeouts) = deliver_ten(&rude, "").await;
        assert_eq!(count(&status, "dead_lettered"), 10, "{manner:?}: {status}");
        assert!(timeouts >= 10.0, "{manner:?}: {timeouts} retries after a timeout");
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_no_further_than_it_is_wanted() {
    for (manner, ended) in [
        (Manner::Endless("200 OK"), "delivered"),
        (Manner::Announces("200 OK"), "delivered"),
        (Manner::Endless("422 No"), "dead_lettered"),
        (Manner::Announces("500 Oh"), "dead_lettered"),
        (Manner::Headers, "dead_lettered"),
    ] {
        let rude = Rude::start(manner).await;
        let (status, _) = deliver_ten(&rude, "").await;
        assert_eq!(count(&status, ended), 10, "{manner:?}: {status}");
        // What the system's buffers take on both sides comes on top of what was read.
        let written = rude.written.load(Ordering::Relaxed);
        assert!(written < 20 * (16 << 20), "{manner:?}: {written} bytes were taken in 20 attempts at most");
    }
}
