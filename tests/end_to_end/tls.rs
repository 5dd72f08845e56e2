//! TLS by the real binary: HTTPS and QUIC with a certificate of the configuration, its exchange under way, and mutual TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use eventail_client::{Client, ClientError, ClientOptions, Identity, PublisherOptions};
use eventail_tests::events::{event, wire_event};
use eventail_tests::tls::{Authority, Https, Pair, client_config};
use eventail_tests::{Home, Receiver, Server, eventually, until};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::trigger;

/// A home whose listeners have a certificate, and maybe ask for one; who vouches for both.
struct Secured {
    authority: Authority,
    home: Home,
}

impl Secured {
    fn new(tables: &str) -> Self {
        Self::with_clients("off", tables)
    }

    fn with_clients(clients: &str, tables: &str) -> Self {
        let authority = Authority::new("the authority");
        let home =
            Home::new(&format!("{}{tables}", listen_tls(clients))).environment("EVENTAIL_LOG", "debug");
        let secured = Self { authority, home };
        secured.authority.server().write(&secured.folder(), "server");
        std::fs::write(secured.folder().join("ca.pem"), secured.authority.pem()).unwrap();
        secured
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("tls")
    }

    fn config(&self, identity: Option<&Pair>) -> ClientConfig {
        client_config(&self.authority.pem(), identity, b"http/1.1")
    }

    async fn https(&self, server: &Server) -> Https {
        Https::connect(server.api().address(), self.config(None)).await.unwrap()
    }

    /// Whether a client of this identity is served: a refusal may come with the handshake or, in TLS 1.3, after it.
    async fn serves(&self, server: &Server, identity: Option<&Pair>) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let connected = Https::connect(server.api().address(), self.config(identity)).await;
        let answer = connected.map_err(|error| told(&error))?.send("/v1/topics", None).await;
        answer.map_err(|error| told(&error))?.expect_status(200);
        Ok(())
    }

    fn quic_options(&self, server: &Server) -> ClientOptions {
        ClientOptions::with_roots(server.quic().to_string(), self.authority.pem())
    }
}

fn listen_tls(clients: &str) -> String {
    format!(
        "[listen.tls]\ncertificate = \"tls/server.pem\"\nkey = \"tls/server.key\"\nclient_ca = \"tls/ca.pem\"\nclient_certificates = \"{clients}\"\n"
    )
}

fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap()
}

/// Publishes one event over QUIC.
async fn publish_by_quic(options: ClientOptions, id: &str) -> Result<(), ClientError> {
    let client = Client::connect(options).await?;
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await?;
    publisher.publish(wire_event(id, "order.created")).await?.await?;
    publisher.close().await?;
    client.close().await;
    Ok(())
}

#[tokio::test]
async fn https_publishes_and_a_trigger_delivers_over_http_1_and_2() {
    let receiver = Receiver::start().await;
    let secured = Secured::new(&trigger("ship", &receiver.url("/"), ""));
    let server = secured.home.start().await;
    for (alpn, id) in [("http/1.1", "1"), ("h2", "2")] {
        let config = client_config(&secured.authority.pem(), None, alpn.as_bytes());
        let mut https = Https::connect(server.api().address(), config).await.unwrap();
        assert_eq!(https.is_http2(), alpn == "h2");
        let answer = https.send("/v1/topics/orders/events", Some(&event(id, "order.created"))).await.unwrap();
        answer.expect_status(200);
    }
    receiver.wait_for(2).await;
    assert!(Authority::new("another").pem() != secured.authority.pem());
    let stranger = client_config(&Authority::new("another").pem(), None, b"http/1.1");
    assert!(Https::connect(server.api().address(), stranger).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn plain_http_at_the_port_of_https_is_told_so() {
    let secured = Secured::new("");
    let server = secured.home.start().await;
    let answer = server.api().get("/v1/topics").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    let mut https = secured.https(&server).await;
    let metrics = https.send("/metrics", None).await.unwrap().text();
    let line = "eventail_tls_handshake_failures_total{listener=\"http\",reason=\"plain_http\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

/// A ClientHello of the version before 1.2 that a client of those days would send: the record and the message say 1.1, there are no
/// extensions, and its suites are those of every old library.
fn old_hello() -> Vec<u8> {
    let mut body = vec![0x03, 0x02];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 6, 0xc0, 0x13, 0x00, 0x2f, 0x00, 0x35]);
    body.extend([1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut message = vec![1, 0, 0, length];
    message.extend(body);
    let mut record = vec![0x16, 0x03, 0x01, 0, length + 4];
    record.extend(message);
    record
}

#[tokio::test]
async fn versions_before_1_2_are_refused_with_the_alert_that_says_so() {
    let secured = Secured::new("");
    let server = secured.home.start().await;
    let mut stream = TcpStream::connect(server.api().address()).await.unwrap();
    stream.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    read.expect("the server closes").unwrap();
    // An alert record; fatal; protocol_version.
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections_while_old_ones_live_on() {
    let secured = Secured::new("");
    let first = std::fs::read_to_string(secured.folder().join("server.pem")).unwrap();
    let server = secured.home.start().await;
    let mut old = secured.https(&server).await;
    let client = Client::connect(secured.quic_options(&server)).await.unwrap();
    let publisher = client.publisher("orders".parse().unwrap(), PublisherOptions::default()).await.unwrap();
    assert_eq!(old.fingerprint(), server.fingerprint());

    let second = secured.authority.server();
    second.write(&secured.folder(), "server");
    let mut new = eventually("the new certificate", async || {
        let https = secured.https(&server).await;
        (https.fingerprint() == second.fingerprint()).then_some(https)
    })
    .await;
    old.send("/v1/topics/orders/events", Some(&event("1", "t"))).await.unwrap().expect_status(200);
    new.send("/v1/topics/orders/events", Some(&event("2", "t"))).await.unwrap().expect_status(200);
    publisher.publish(wire_event("3", "t")).await.unwrap().await.unwrap();
    // QUIC has it too: whoever pins the first one is refused now, and whoever pins the second one is not.
    let address = server.quic().to_string();
    let pinned = |print: &str| ClientOptions::pinned(address.clone(), print.parse().unwrap());
    let options = pinned(&second.fingerprint());
    eventually("the new certificate over QUIC", async || publish_by_quic(options.clone(), "4").await.ok())
        .await;
    assert!(!publish_by_quic(pinned(server.fingerprint()), "5").await.unwrap_err().is_retryable());

    let status = new.send("/v1/config", None).await.unwrap().json();
    assert_eq!(status["tls"]["fingerprint"], second.fingerprint());
    assert_eq!((&status["tls"]["reloads"], &status["tls"]["last_error"]), (&json!(1), &Value::Null));
    assert_ne!(first, second.certificate);
    server.stop().await;
}

#[tokio::test]
async fn a_broken_pair_is_refused_and_the_old_one_stays() {
    let secured = Secured::new("");
    let server = secured.home.start().await;
    let mut https = secured.https(&server).await;
    let before = server.fingerprint().to_owned();
    // A certificate without its key, as where only one of two files was copied.
    std::fs::write(secured.folder().join("server.pem"), secured.authority.server().certificate).unwrap();
    server.hang_up();
    let failed = |status: &Value| !status["tls"]["last_error"].is_null();
    until("the refusal", failed, async || https.send("/v1/config", None).await.unwrap().json()).await;
    assert_eq!(secured.https(&server).await.fingerprint(), before);
    let metrics = https.send("/metrics", None).await.unwrap().text();
    assert!(metrics.contains("eventail_tls_certificate_reload_failures_total 1\n"), "{metrics}");
    // The first day of 2090.
    assert!(metrics.contains("eventail_tls_certificate_expiry_seconds 3786912000\n"), "{metrics}");
    assert!(secured.home.log_text().contains("the certificate was not loaded again"));

    let mended = secured.authority.server();
    mended.write(&secured.folder(), "server");
    server.hang_up();
    eventually("the mended certificate", async || {
        (secured.https(&server).await.fingerprint() == mended.fingerprint()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_takes_other_files_and_refuses_those_that_it_cannot_use() {
    let secured = Secured::new("");
    let server = secured.home.start().await;
    let config = secured.home.path().join("eventail.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let other = secured.authority.server();
    other.write(&secured.folder(), "other");
    let named = |name: &str| text.replace("tls/server.", &format!("tls/{name}."));
    std::fs::write(&config, named("absent")).unwrap();
    let mut https = secured.https(&server).await;
    let failed = |status: &Value| !status["last_error"].is_null();
    let status =
        until("the refusal", failed, async || https.send("/v1/config", None).await.unwrap().json()).await;
    assert!(status["last_error"]["message"].as_str().unwrap().contains("absent.pem"), "{status}");
    assert_eq!(secured.https(&server).await.fingerprint(), server.fingerprint());
    std::fs::write(&config, named("other")).unwrap();
    eventually("the other certificate", async || {
        (secured.https(&server).await.fingerprint() == other.fingerprint()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_required_to_show_a_certificate_and_cannot_is_refused() {
    let secured = Secured::with_clients("required", "");
    let server = secured.home.start().await;
    let billing = secured.authority.client("billing");
    secured.serves(&server, Some(&billing)).await.unwrap();
    eventually("the client's names", async || {
        secured.home.log_text().contains("spiffe://test/billing").then_some(())
    })
    .await;
    let past = secured.authority.client_of_the_past("billing");
    let stranger = Authority::new("another").client("billing");
    let no_client = secured.authority.server();
    for (identity, alert) in [
        (None, "CertificateRequired"),
        (Some(&past), "CertificateExpired"),
        (Some(&stranger), "UnknownCA"),
        (Some(&no_client), "Certificate"),
    ] {
        let error = secured.serves(&server, identity).await.unwrap_err();
        assert!(error.contains(alert), "{alert} in {error}");
    }
    secured.serves(&server, Some(&billing)).await.unwrap();
}

#[tokio::test]
async fn an_optional_certificate_may_be_absent_and_may_not_be_wrong() {
    let secured = Secured::with_clients("optional", "");
    let server = secured.home.start().await;
    secured.serves(&server, None).await.unwrap();
    secured.serves(&server, Some(&secured.authority.client("billing"))).await.unwrap();
    let stranger = Authority::new("another").client("billing");
    assert!(secured.serves(&server, Some(&stranger)).await.is_err());
}

#[tokio::test]
async fn quic_asks_for_the_same_certificates() {
    let secured = Secured::with_clients("required", "");
    let server = secured.home.start().await;
    let options = secured.quic_options(&server);
    let billing = identity(&secured.authority.client("billing"));
    publish_by_quic(options.clone().identity(billing.clone()), "1").await.unwrap();
    let by_name = ClientOptions { address: format!("localhost:{}", server.quic().port()), ..options.clone() };
    publish_by_quic(by_name.server_name("localhost").identity(billing.clone()), "2").await.unwrap();
    let pinned = ClientOptions::pinned(server.quic().to_string(), server.fingerprint().parse().unwrap());
    publish_by_quic(pinned.identity(billing), "3").await.unwrap();
    let past = identity(&secured.authority.client_of_the_past("billing"));
    let stranger = identity(&Authority::new("another").client("billing"));
    for refused in [options.clone(), options.clone().identity(past), options.clone().identity(stranger)] {
        let error = publish_by_quic(refused, "4").await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
    }
    assert!(publish_by_quic(ClientOptions::with_web_roots(server.quic().to_string()), "5").await.is_err());
    eventually("the client's names", async || {
        let log = secured.home.log_text();
        log.lines()
            .any(|line| line.contains("quic connection opened") && line.contains("billing"))
            .then_some(())
    })
    .await;
}

async fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().await.unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn what_certificates_create_makes_is_enough_for_mutual_tls_by_the_command_line() {
    let home = Home::new(&listen_tls("required"));
    let made = run(&mut home.command(&["certificates", "create", "tls", "--client", "billing"])).await;
    assert_eq!(made.0, Some(0), "{}", made.1);
    let again = run(&mut home.command(&["certificates", "create", "tls"])).await;
    assert_eq!(again.0, Some(1), "{}", again.1);
    let server = home.start().await;
    let url = format!("https://localhost:{}", server.api().address().port());
    let (cert, key) = ("tls/client.pem", "tls/client.key");
    let shown = ["--ca-file", "tls/ca.pem", "--client-cert", cert, "--client-key", key];
    let create = run(home.command(&["topics", "create", "orders", "--url", &url]).args(shown)).await;
    assert_eq!(create.0, Some(0), "{}", create.1);
    let listed = run(home
        .command(&["topics"])
        .env("EVENTAIL_URL", &url)
        .env("EVENTAIL_CA_FILE", "tls/ca.pem")
        .env("EVENTAIL_CLIENT_CERT", cert)
        .env("EVENTAIL_CLIENT_KEY", key))
    .await;
    assert!(listed.0 == Some(0) && listed.1.contains("orders"), "{listed:?}");

    let without = |arguments: &[&str]| {
        let mut command = home.command(&["topics", "--url", &url]);
        command.args(arguments);
        async move { run(&mut command).await }
    };
    let (exit, told) = without(&[]).await;
    assert!(exit == Some(3) && told.contains("--ca-file"), "{told}");
    let (exit, told) = without(&shown[..2]).await;
    assert!(exit == Some(3) && told.contains("--client-cert"), "{told}");
    let (exit, told) = without(&shown[..4]).await;
    assert!(exit == Some(2) && told.contains("--client-key"), "{told}");
    let plain = url.replace("https", "http");
    let (exit, told) = run(&mut home.command(&["topics", "--url", &plain])).await;
    assert!(exit == Some(4) && told.contains("https://"), "{told}");
}

/// curl or Python, where it is installed.
async fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().await.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn curl_and_python_speak_with_it() {
    let home = Home::new(&listen_tls("required"));
    let made = run(&mut home.command(&["certificates", "create", "tls"])).await;
    assert_eq!(made.0, Some(0), "{}", made.1);
    let server = home.start().await;
    let port = server.api().address().port();
    if installed("curl").await {
        let url = format!("https://localhost:{port}/v1/topics/orders/events?type=t&source=/curl");
        let mut curl = Command::new("curl");
        curl.current_dir(home.path()).args(["-sS", "--fail-with-body", "--noproxy", "*"]);
        curl.args(["--cacert", "tls/ca.pem", "--cert", "tls/client.pem", "--key", "tls/client.key"]);
        curl.args(["-H", "content-type: application/json", "-d", "{\"n\":1}", &url]);
        let (exit, told) = run(&mut curl).await;
        assert!(exit == Some(0) && told.contains("\"offset\":0"), "{told}");
    }
    let (exit, told) = python(home.path(), port).await;
    assert!(exit == Some(0) && told.contains("TLSv1.2 200") && told.contains("TLSv1.3 200"), "{told}");
}

/// Python's own TLS, by both versions, with all that its strictest checks of certificates ask for.
async fn python(folder: &Path, port: u16) -> (Option<i32>, String) {
    let program = format!(
        r#"
import http.client, ssl
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile="tls/ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain("tls/client.pem", "tls/client.key")
    connection = http.client.HTTPSConnection("127.0.0.1", {port}, context=context)
    connection.request("GET", "/v1/topics")
    status = connection.getresponse().status
    print(connection.sock.version(), status)
"#
    );
    run(Command::new("python3").current_dir(folder).args(["-c", &program])).await
}
