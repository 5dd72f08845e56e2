//! `[listen.tls]`.

use super::*;

const PAIR: &str = "[listen.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

fn tls(text: &str) -> TlsOptions {
    parse(text).unwrap().tls.unwrap()
}

#[test]
fn a_certificate_and_its_key_are_enough() {
    let read = tls(PAIR);
    assert_eq!(read.certificate, std::path::Path::new("c.pem"));
    assert_eq!(read.key, TlsKey::File("k.pem".into()));
    assert_eq!(read.clients, ClientCertificates::Off);
    assert!(parse("").unwrap().tls.is_none());
    assert_eq!(errors("[listen.tls]\nkey = \"k\"\n"), ["1:9 [listen.tls] needs `certificate`"]);
    assert_eq!(errors("[listen.tls]\ncertificate = \"c\"\n"), ["1:9 [listen.tls] needs `key`"]);
}

#[test]
fn a_key_in_a_secret_is_taken_and_one_in_a_file_is_left_there() {
    let with = |key: &str| tls(&format!("[listen.tls]\ncertificate = \"c.pem\"\nkey = {key}\n")).key;
    assert_eq!(with("{ file = \"k.pem\" }"), TlsKey::File("k.pem".into()));
    let TlsKey::Secret(secret) = with("{ env = \"INVOKE_SECRET\" }") else { panic!("a secret") };
    assert_eq!(secret.expose(), "hunter2");
    let told = errors("[listen.tls]\ncertificate = \"c\"\nkey = { env = \"ABSENT\" }\n");
    assert!(told.len() == 1 && told[0].contains("ABSENT"), "{told:?}");
}

#[test]
fn who_asks_for_certificates_says_who_vouches_for_them() {
    let ca = std::path::PathBuf::from("ca.pem");
    let with = |keys: &str| format!("{PAIR}{keys}");
    for (keys, clients) in [
        (
            "client_ca = \"ca.pem\"\nclient_certificates = \"required\"",
            ClientCertificates::Required { ca: ca.clone() },
        ),
        ("client_ca = \"ca.pem\"\nclient_certificates = \"optional\"", ClientCertificates::Optional { ca }),
        ("client_ca = \"ca.pem\"\nclient_certificates = \"off\"", ClientCertificates::Off),
        ("client_certificates = \"off\"", ClientCertificates::Off),
    ] {
        assert_eq!(tls(&with(keys)).clients, clients, "{keys}");
    }
    let one = |keys: &str| errors(&with(keys));
    assert_eq!(one("client_certificates = \"required\""), ["1:9 [listen.tls] needs `client_ca`"]);
    assert_eq!(one("client_ca = \"ca.pem\""), ["1:9 [listen.tls] needs `client_certificates`"]);
    let told = one("client_ca = \"ca.pem\"\nclient_certificates = \"require\"");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("5:23 `client_certificates` cannot be \"require\""), "{told:?}");
}
