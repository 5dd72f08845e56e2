//! Certificates from files: what is taken, what is refused, and how they are exchanged.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventail_wire::{Clock, Timestamp};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::store::Certificates;
use super::{Prepared, TlsError};
use crate::config::{ClientCertificates, TlsKey, TlsOptions};

/// A clock that is set by hand.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// A folder with a certificate, and what serves it on 1 June 2026.
struct Files {
    folder: TempDir,
    clock: Arc<Hand>,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(Hand(AtomicU64::new(at("2026-06-01T00:00:00Z").0))),
        };
        files.write(2030);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes another pair, which ends with this year's first day; answers the texts.
    fn write(&self, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 1, 1);
        let (certificate, key) = (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem());
        fs::write(self.path("server.pem"), &certificate).unwrap();
        fs::write(self.path("server.key"), &key).unwrap();
        (certificate, key)
    }

    fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: self.path("server.pem"),
            key: TlsKey::File(self.path("server.key")),
            clients: ClientCertificates::Off,
        }
    }

    fn open(&self) -> Certificates {
        Certificates::open(self.options(), self.clock.clone()).unwrap()
    }
}

#[test]
fn another_pair_in_the_files_is_served_from_then_on() {
    let files = Files::new();
    let certificates = files.open();
    let first = certificates.status();
    assert_eq!(first.expires_at, at("2030-01-01T00:00:00Z"));
    assert!(!certificates.refresh().unwrap());
    assert_eq!(certificates.status(), first);

    let mut renewals = certificates.subscribe();
    files.write(2031);
    assert!(certificates.refresh().unwrap());
    assert!(renewals.has_changed().unwrap());
    let second = certificates.status();
    assert_ne!(second.fingerprint, first.fingerprint);
    assert_eq!((second.expires_at, second.reloads), (at("2031-01-01T00:00:00Z"), 1));
    assert_eq!(renewals.borrow_and_update().fingerprint, second.fingerprint);
}

#[test]
fn a_certificate_that_does_not_fit_its_key_changes_nothing_and_is_told_once() {
    let files = Files::new();
    let certificates = files.open();
    let first = certificates.status();
    let (certificate, key) = files.write(2031);
    files.write(2032);
    fs::write(files.path("server.pem"), &certificate).unwrap();
    assert!(matches!(certificates.refresh(), Err(TlsError::Pair(_))));
    assert!(!certificates.refresh().unwrap());
    let broken = certificates.status();
    assert_eq!((&broken.fingerprint, broken.failures), (&first.fingerprint, 1));
    assert!(broken.last_error.is_some());

    fs::write(files.path("server.key"), &key).unwrap();
    assert!(certificates.refresh().unwrap());
    let mended = certificates.status();
    assert_ne!(mended.fingerprint, first.fingerprint);
    assert_eq!((mended.reloads, mended.last_error), (1, None));
}

#[test]
fn what_was_wrong_and_is_taken_back_is_wrong_no_more() {
    let files = Files::new();
    let certificates = files.open();
    let good = fs::read(files.path("server.pem")).unwrap();
    fs::write(files.path("server.pem"), "nothing").unwrap();
    assert!(matches!(certificates.refresh(), Err(TlsError::NoCertificate { .. })));
    fs::write(files.path("server.pem"), &good).unwrap();
    assert!(!certificates.refresh().unwrap());
    let status = certificates.status();
    assert_eq!((status.last_error, status.reloads, status.failures), (None, 0, 1));

    fs::remove_file(files.path("server.key")).unwrap();
    for _ in 0..3 {
        assert!(matches!(certificates.refresh(), Err(TlsError::File { .. })));
    }
    assert_eq!(certificates.status().failures, 2, "a file that is not there fails once");
}

#[test]
fn a_certificate_that_is_over_is_no_replacement_but_one_may_be_begun_with() {
    let files = Files::new();
    let certificates = files.open();
    let first = certificates.status().fingerprint;
    files.write(2026);
    assert!(matches!(certificates.refresh(), Err(TlsError::Expired { .. })));
    assert_eq!(certificates.status().fingerprint, first);
    assert!(matches!(certificates.prepare(files.options()), Err(TlsError::Expired { .. })));
    assert_eq!(files.open().status().expires_at, at("2026-01-01T00:00:00Z"));
}

#[test]
fn other_options_are_read_before_they_take_effect() {
    let files = Files::new();
    let certificates = files.open();
    let first = certificates.status().fingerprint;
    fs::create_dir(files.path("other")).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::rename(files.path(name), files.path("other").join(name)).unwrap();
    }
    files.write(2031);
    let options = files.options();
    let prepared: Prepared = certificates.prepare(options.clone()).unwrap();
    assert_eq!(certificates.status().fingerprint, first);
    certificates.install(prepared);
    assert_ne!(certificates.status().fingerprint, first);
    assert_eq!(certificates.options(), options);
    assert!(!certificates.refresh().unwrap());
}

#[test]
fn files_that_are_absent_or_no_pem_are_named_and_keys_are_not_told() {
    let files = Files::new();
    let open = |options| Certificates::open(options, files.clock.clone()).unwrap_err().message();
    let absent = TlsOptions { certificate: files.path("absent.pem"), ..files.options() };
    assert!(open(absent).contains("absent.pem"));
    fs::write(files.path("torn.pem"), "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let torn = TlsOptions { certificate: files.path("torn.pem"), ..files.options() };
    assert!(open(torn).contains("torn.pem"));
    let secret = eventail_triggers::http::Secret::new("hunter2".to_owned());
    let no_key = TlsOptions { key: TlsKey::Secret(secret), ..files.options() };
    assert_eq!(open(no_key), "the key is no private key in PEM");
    let clients = ClientCertificates::Required { ca: files.path("server.key") };
    let no_authority = TlsOptions { clients, ..files.options() };
    assert!(open(no_authority).contains("server.key has no certificate"));
}

#[test]
fn a_key_may_be_a_secret() {
    let files = Files::new();
    let (_, key) = files.write(2030);
    let key = TlsKey::Secret(eventail_triggers::http::Secret::new(key));
    let options = TlsOptions { key, ..files.options() };
    assert_eq!(options.files(), [files.path("server.pem")]);
    assert!(Certificates::open(options, files.clock).is_ok());
}
