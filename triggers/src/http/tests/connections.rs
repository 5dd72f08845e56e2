//! How connections are made, kept and given up.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::answering(|_, _| Response::new(Full::from("fine, thanks"))).await;
    let target = server.target();
    for _ in 0..20 {
        assert!(is_acked(&invoke(&target).await));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.seen.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn requests_at_once_have_a_connection_each_and_the_pool_keeps_its_share() {
    let server = Server::answering(|_, _| status(200)).await;
    let mut options = options(&format!("http://{}", server.address));
    options.idle_connections = 2;
    let target = Arc::new(HttpTarget::new(options, loopback()).unwrap());
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let target = Arc::clone(&target);
            tokio::spawn(async move { is_acked(&invoke(&target).await) })
        })
        .collect();
    for attempt in attempts {
        assert!(attempt.await.unwrap());
    }
    let opened = server.connections();
    assert!((1..=8).contains(&opened));
    assert!(is_acked(&invoke(&target).await));
    assert_eq!(server.connections(), opened);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let server = Server::accepting(move |mut stream| {
        let tell = Arc::clone(&tell);
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"{\"total\": 1.0}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            drop(stream);
            tell.notify_one();
        }
    })
    .await;
    let target = server.target();
    for connections in 1..6 {
        assert!(is_acked(&invoke(&target).await));
        closed.notified().await;
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_connection_that_the_target_announces_to_close_is_not_kept() {
    let server = Server::answering(|_, _| {
        let mut answer = status(200);
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let target = server.target();
    for connections in 1..4 {
        assert!(is_acked(&invoke(&target).await));
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_do_not_lie_idle_for_long() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let server = Server::accepting(move |mut stream| {
        let tell = Arc::clone(&tell);
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"{\"total\": 1.0}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            assert_eq!(stream.read_buf(&mut request).await.unwrap(), 0, "closed without another request");
            tell.notify_one();
        }
    })
    .await;
    let target = server.target();
    let mut invocation = invocation(event());
    invocation.deadline = Timestamp::MAX;
    assert!(is_acked(&target.invoke(invocation).await.outcome));
    closed.notified().await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = HttpTarget::new(options(&format!("http://{address}/")), loopback()).unwrap();
    let (class, after_ms, response) = retried(invoke(&target).await);
    assert_eq!((class, after_ms, response.status), (RetryClass::Unreachable, None, None));
    assert!(response.error.starts_with(&format!("no connection to {address}: ")), "{}", response.error);
}
