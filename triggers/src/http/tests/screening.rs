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
    for host in [
        "169.254.169.254",
        "0.0.0.0",
        "10.0.0.1",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::10.0.0.1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:7f00:1::]",
        "[2001::5601:5601]",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
    ] {
        let target = HttpTarget::new(options(&format!("http://{host}:1/")), Egress::new([])).unwrap();
        let (class, _, response) = retried(invoke(&target).await);
        assert_eq!(class, RetryClass::Unreachable);
        assert!(response.error.contains("[egress] allow = ["), "{host}: {}", response.error);
    }
}

/// The system's resolver reads these as numbers; whatever it makes of them is screened, and the server sees nothing.
#[tokio::test]
async fn numbers_in_disguise_reach_nobody() {
    let server = Server::answering(|_, _| status(200)).await;
    for host in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "127.0.0.1.",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "0",
    ] {
        let url = format!("http://{host}:{}/", server.address.port());
        let (class, _, response) =
            retried(invoke(&HttpTarget::new(options(&url), Egress::new([])).unwrap()).await);
        assert_eq!(class, RetryClass::Unreachable);
        let is_refused =
            response.error.contains("[egress] allow = [") || response.error.contains("could not be resolved");
        assert!(is_refused, "{host}: {}", response.error);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn only_the_ports_of_the_policy_are_called() {
    let server = Server::answering(|_, _| status(200)).await;
    let url = format!("http://{}/", server.address);
    let port = server.address.port();
    let only = |first, last| loopback().with_ports([PortRange { first, last }]);
    let outcome = invoke(&HttpTarget::new(options(&url), only(1, 1023)).unwrap()).await;
    let Outcome::Withheld { reason } = outcome else { panic!("it is tried again: {outcome:?}") };
    let said = format!("`127.0.0.1` is at port {port}, which is not called: `egress.ports` does not have it");
    assert_eq!(reason, said);
    assert_eq!(server.connections(), 0);
    assert!(is_acked(&invoke(&HttpTarget::new(options(&url), only(port, port)).unwrap()).await));
}

#[tokio::test]
async fn nobody_is_sent_where_a_redirect_points() {
    let inner = Server::answering(|_, _| status(200)).await;
    let inside = format!("http://{}/", inner.address);
    for code in [301, 302, 303, 307, 308] {
        let inside = inside.clone();
        let server = Server::answering(move |_, _| {
            Response::builder().status(code).header("location", &inside).body(Full::default()).unwrap()
        })
        .await;
        let (reason, ..) = rejected(invoke(&server.target()).await);
        assert_eq!(reason, RejectReason::Permanent);
    }
    assert_eq!(inner.connections(), 0);
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

/// Were the name looked up once more for the connection, the other server would have it.
#[tokio::test]
async fn a_connection_looks_its_name_up_once() {
    let judged = Server::answering(|_, _| status(200)).await;
    let other = Server::answering(|_, _| status(200)).await;
    let resolver = Scripted::new(&[&[judged.address], &[other.address]]);
    let egress = Egress::new([AddressRange { address: judged.address.ip(), prefix_bits: 32 }]);
    let egress = egress.with_resolver(resolver);
    let target = || HttpTarget::new(options("http://target.example/"), egress.clone()).unwrap();
    assert!(is_acked(&invoke(&target()).await));
    assert_eq!((judged.connections(), other.connections()), (1, 0));
    assert!(is_acked(&invoke(&target()).await));
    assert_eq!((judged.connections(), other.connections()), (1, 1), "each connection looks anew");
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
