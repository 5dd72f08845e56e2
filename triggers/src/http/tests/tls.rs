//! TLS, and HTTP/2 where it is offered.

use super::*;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A TLS server that speaks `protocol`, its certificate, and the versions of the requests that it got.
async fn tls_server(protocol: &'static str) -> (Server, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let mut server = Server::accepting(move |stream| {
        let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let log = Arc::clone(&log);
                async move { Ok::<_, Infallible>(respond(request, &log, &|_, _| status(200)).await) }
            });
            if protocol == "h2" {
                drop(
                    http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            } else {
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        }
    })
    .await;
    server.seen = seen;
    (server, certificate)
}

fn target(server: &Server, certificate: &CertificateDer<'static>) -> Arc<HttpTarget> {
    let egress = loopback().with_root_certificates(std::slice::from_ref(certificate));
    Arc::new(HttpTarget::new(options(&format!("https://{}/hook", server.address)), egress).unwrap())
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_on_one_connection() {
    let (server, certificate) = tls_server("h2").await;
    let target = target(&server, &certificate);
    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let target = Arc::clone(&target);
            tokio::spawn(async move { is_acked(&invoke(&target).await) })
        })
        .collect();
    for attempt in attempts {
        assert!(attempt.await.unwrap());
    }
    assert_eq!(server.connections(), 1);
    let (parts, body) = server.last();
    assert_eq!(parts.version, http::Version::HTTP_2);
    assert_eq!(parts.uri.to_string(), format!("https://{}/hook", server.address));
    assert!(!parts.headers.contains_key("host"));
    assert_eq!(parts.headers["webhook-id"], "msg_1");
    assert_eq!(body, event().data().unwrap());
}

#[tokio::test]
async fn http1_is_spoken_over_tls_where_nothing_else_is_offered() {
    let (server, certificate) = tls_server("http/1.1").await;
    let target = target(&server, &certificate);
    for _ in 0..3 {
        assert!(is_acked(&invoke(&target).await));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.last().0.version, http::Version::HTTP_11);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (server, _) = tls_server("h2").await;
    let target = HttpTarget::new(options(&format!("https://{}/", server.address)), loopback()).unwrap();
    let (class, _, response) = retried(invoke(&target).await);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.starts_with("no TLS session with `127.0.0.1`: "), "{}", response.error);
}
