//! Which addresses are called, and that no name gets around it.

use super::*;
use crate::target::BoxFuture;
use std::io;

/// Answers each look-up with the next list of addresses, the last one for ever.
struct Scripted(Mutex<Vec<Vec<SocketAddr>>>);

impl Scripted {
    fn new(answers: &[&[SocketAddr]]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.iter().rev().map(|addresses| addresses.to_vec()).collect())))
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            assert_eq!(host, "target.example");
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { Ok(answers.pop().unwrap()) } else { Ok(answers[0].clone()) }
        })
    }
}

struct Unknown;

impl Resolver for Unknown {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Err(io::Error::other("no such host")) })
    }
}

#[tokio::test]
async fn loopback_is_called_only_where_it_is_allowed() {
    let server = Server::answering(|_, _| status(200)).await;
    let url = format!("http://{}/", server.address);
    let target = HttpTarget::new(options(&url), Egress::new([])).unwrap();
    let (class, _, response) = retried(invoke(&target).await);
    assert_eq!(class, RetryClass::Unreachable);
    assert_eq!(
        response.error,
        "`127.0.0.1` is at the loopback address 127.0.0.1, which is not called unless the configuration allows it: \
         [egress] allow = [\"127.0.0.0/8\"]"
    );
    assert_eq!(server.connections(), 0);
    assert!(is_acked(&invoke(&HttpTarget::new(options(&url), loopback()).unwrap()).await));
}

#[tokio::test]
async fn literal_addresses_are_screened_in_every_spelling() {
    for host in
        ["169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fd00::1]", "0.0.0.0", "127.1", "2130706433"]
    {
        let target = HttpTarget::new(options(&format!("http://{host}:1/")), Egress::new([])).unwrap();
        let (class, _, response) = retried(invoke(&target).await);
        assert_eq!(class, RetryClass::Unreachable);
        assert!(response.error.contains("[egress] allow = ["), "{host}: {}", response.error);
    }
}

#[tokio::test]
async fn a_name_is_called_at_the_address_that_was_screened() {
    let server = Server::answering(|_, _| status(200)).await;
    let resolver = Scripted::new(&[&[server.address]]);
    let egress = loopback().with_resolver(resolver);
    let target = HttpTarget::new(options("http://target.example/x"), egress).unwrap();
    assert!(is_acked(&invoke(&target).await));
    assert_eq!(server.last().0.headers["host"], "target.example");
}

#[tokio::test]
async fn a_name_that_is_bound_again_to_an_inner_address_is_refused() {
    let server = Server::answering(|_, _| {
        let mut answer = status(200);
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let resolver = Scripted::new(&[&[server.address], &[metadata]]);
    let target =
        HttpTarget::new(options("http://target.example/"), loopback().with_resolver(resolver)).unwrap();
    assert!(is_acked(&invoke(&target).await));
    let (class, _, response) = retried(invoke(&target).await);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("link-local address 169.254.169.254"), "{}", response.error);
    assert!(response.error.ends_with("[egress] allow = [\"169.254.169.254/32\"]"));
}

#[tokio::test]
async fn one_refused_address_refuses_the_name() {
    let server = Server::answering(|_, _| status(200)).await;
    let inner: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let resolver = Scripted::new(&[&[server.address, inner]]);
    let target =
        HttpTarget::new(options("http://target.example/"), loopback().with_resolver(resolver)).unwrap();
    assert_eq!(retried(invoke(&target).await).0, RetryClass::Unreachable);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let server = Server::answering(|_, _| status(200)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let resolver = Scripted::new(&[&[dead, server.address]]);
    let target =
        HttpTarget::new(options("http://target.example/"), loopback().with_resolver(resolver)).unwrap();
    assert!(is_acked(&invoke(&target).await));
}

#[tokio::test]
async fn a_name_without_an_address_is_unreachable() {
    for (resolver, error) in [
        (
            Arc::new(Unknown) as Arc<dyn Resolver>,
            "the name `target.example` could not be resolved: no such host",
        ),
        (Scripted::new(&[&[]]), "the name `target.example` has no address"),
    ] {
        let egress = loopback().with_resolver(resolver);
        let target = HttpTarget::new(options("http://target.example/"), egress).unwrap();
        let (class, _, response) = retried(invoke(&target).await);
        assert_eq!((class, response.error.as_str()), (RetryClass::Unreachable, error));
    }
}
