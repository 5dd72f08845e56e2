//! The gate as it stands between files, configurations and whoever asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventail_wire::{Clock, Code, Timestamp};

use super::file;
use super::token::TokenHash;
use super::*;
use crate::config::{AuthOptions, Config};
use crate::peer::Peer;

/// A clock that stands until it is moved.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct House {
    folder: tempfile::TempDir,
    clock: Arc<Hand>,
    gate: Gate,
    config: Arc<Config>,
}

impl House {
    fn with(change: impl FnOnce(&mut AuthOptions, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicU64::new(1_000_000_000)));
        let mut options = AuthOptions::default();
        change(&mut options, folder.path());
        let config = Config { auth: Some(options), ..Config::embedded(folder.path()) };
        Self { gate: Gate::new(clock.clone()), config: Arc::new(config), folder, clock }
    }

    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tokens.toml")
    }

    fn add(&self, name: &str, allow: &str, expires: Option<Timestamp>) {
        let hash = TokenHash::of(&format!("evt_{name}")).unwrap();
        let (name, created) = (name.to_owned(), self.clock.now());
        let allow = Arc::from([allow.parse().unwrap()]);
        let token = Token { name, hash, created, expires, allow };
        file::change(&self.path(), |tokens| tokens.add(token)).unwrap();
    }

    fn revoke(&self, name: &str) {
        file::change(&self.path(), |tokens| tokens.remove(name)).unwrap();
    }

    /// As long as a change may take to be seen.
    fn wait(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    fn admit(&self, token: Option<&str>) -> Result<Principal, Denied> {
        self.gate.admit(&self.config, &peer(&[]), token)
    }

    fn may_read(&self, token: &str) -> bool {
        self.admit(Some(token)).is_ok_and(|principal| principal.may(Scope::Read, Place::Topic("orders")))
    }
}

fn peer(names: &[&str]) -> Peer {
    let certificate_names = names.iter().map(|name| (*name).to_owned()).collect();
    Peer { address: "192.0.2.1:7".parse().unwrap(), certificate_names }
}

#[test]
fn without_authentication_everybody_may_do_everything_whatever_he_presents() {
    let mut house = House::new();
    house.config = Arc::new(Config::embedded(house.folder.path()));
    for token in [None, Some("evt_none"), Some("nonsense")] {
        assert!(house.admit(token).unwrap().may(Scope::Admin, Place::Everywhere), "{token:?}");
    }
}

#[test]
fn a_token_allows_what_its_line_says_from_when_it_is_there_to_when_it_goes() {
    let house = House::new();
    house.gate.open(&house.config).unwrap();
    assert_eq!(house.admit(Some("evt_a")).unwrap_err(), Denied::Unknown);
    house.add("a", "read:orders", None);
    house.wait(250);
    assert!(house.may_read("evt_a"));
    let principal = house.admit(Some("evt_a")).unwrap();
    assert_eq!(principal.who().to_string(), "token a");
    assert!(!principal.may(Scope::Read, Place::Topic("invoices")));
    house.revoke("a");
    house.wait(250);
    assert_eq!(house.admit(Some("evt_a")).unwrap_err(), Denied::Unknown);
}

#[test]
fn who_presents_a_wrong_token_is_not_let_in_for_what_he_is_otherwise() {
    let house = House::with(|options, _| {
        options.anonymous = Arc::from([Permission::everywhere(Scope::Admin)]);
    });
    assert!(house.admit(None).unwrap().may(Scope::Admin, Place::Everywhere));
    for token in ["evt_none", "nonsense", ""] {
        assert_eq!(house.admit(Some(token)).unwrap_err(), Denied::Unknown, "{token}");
    }
}

#[test]
fn a_token_ends_when_it_expires() {
    let house = House::new();
    house.add("a", "read:orders", Some(house.clock.now().plus_ms(1_000)));
    assert!(house.may_read("evt_a"));
    house.wait(1_000);
    let denied = house.admit(Some("evt_a")).unwrap_err();
    assert_eq!(denied.code(), Code::Unauthenticated);
    assert!(denied.to_string().contains("`a` expired at"), "{denied}");
}

#[test]
fn names_in_certificates_have_the_permissions_that_the_configuration_gives_them() {
    let house = House::with(|options, _| {
        let permissions = Arc::from([Permission::everywhere(Scope::Publish)]);
        options.certificates.insert("billing.example".to_owned(), permissions);
    });
    let admit = |names: &[&str]| house.gate.admit(&house.config, &peer(names), None).unwrap();
    assert!(admit(&["x", "billing.example"]).may(Scope::Publish, Place::Topic("orders")));
    for names in [&[][..], &["other.example"], &["*.example"], &["Billing.example.evil"]] {
        assert!(!admit(names).may(Scope::Publish, Place::Topic("orders")), "{names:?}");
    }
}

#[test]
fn a_file_that_broke_changes_nothing_and_one_that_is_broken_lets_nobody_start() {
    let house = House::new();
    house.add("a", "read:orders", None);
    assert!(house.may_read("evt_a"));
    std::fs::write(house.path(), "tokens = nonsense").unwrap();
    house.wait(250);
    assert!(house.may_read("evt_a"), "the last good list still holds");
    let anew = Gate::new(house.clock.clone());
    assert!(anew.open(&house.config).is_err());
    assert!(anew.admit(&house.config, &peer(&[]), Some("evt_a")).is_err());
}

#[test]
fn failures_are_held_back_by_address_and_a_right_token_is_taken_all_the_same() {
    let house = House::with(|options, _| options.failures_per_minute = 3);
    house.add("a", "read:orders", None);
    for _ in 0..3 {
        assert_eq!(house.admit(Some("evt_none")).unwrap_err(), Denied::Unknown);
    }
    let denied = house.admit(Some("evt_none")).unwrap_err();
    assert_eq!((denied.code(), denied.retry_after_ms()), (Code::TooManyAttempts, Some(20_000)));
    assert!(house.may_read("evt_a"));
    let elsewhere = Peer { address: "192.0.2.2:7".parse().unwrap(), ..peer(&[]) };
    let denied = house.gate.admit(&house.config, &elsewhere, Some("evt_none")).unwrap_err();
    assert_eq!(denied, Denied::Unknown);
}

#[test]
fn an_open_session_loses_what_its_token_loses() {
    let house = House::new();
    house.add("a", "read:orders", None);
    house.add("b", "read:orders", Some(house.clock.now().plus_ms(10_000)));
    let open =
        |token| house.gate.open_session(house.config.clone(), Arc::new(peer(&[])), Some(token)).unwrap();
    let (mut a, mut b) = (open("evt_a"), open("evt_b"));
    let renew = |session: &mut Session| house.gate.renew(session, house.config.clone());
    assert_eq!((renew(&mut a), renew(&mut b)), (Ok(()), Ok(())));
    house.revoke("a");
    house.wait(250);
    assert_eq!((renew(&mut a), renew(&mut b)), (Err(Denied::Unknown), Ok(())));
    house.wait(10_000);
    assert!(matches!(renew(&mut b), Err(Denied::Expired { .. })));
}

#[test]
fn an_open_session_follows_the_configuration() {
    let house =
        House::with(|options, _| options.anonymous = Arc::from([Permission::everywhere(Scope::Read)]));
    let mut session = house.gate.open_session(house.config.clone(), Arc::new(peer(&[])), None).unwrap();
    assert!(session.principal().may(Scope::Read, Place::Everywhere));
    let mut config = Config::clone(&house.config);
    config.auth = Some(AuthOptions::default());
    house.gate.renew(&mut session, Arc::new(config)).unwrap();
    assert!(!session.principal().may(Scope::Read, Place::Everywhere));
}

#[test]
fn the_audit_file_has_a_line_for_each_act_and_never_a_token() {
    let house = House::with(|options, folder| options.audit_file = Some(folder.join("audit.jsonl")));
    house.gate.open(&house.config).unwrap();
    house.add("a", "read:orders", None);
    house.wait(250);
    assert!(house.may_read("evt_a"));
    assert!(house.admit(Some("evt_secret")).is_err());
    house.revoke("a");
    house.wait(250);
    assert!(!house.may_read("evt_a"));
    let act = Act {
        at: house.clock.now(),
        who: "token a".to_owned(),
        from: "192.0.2.1".to_owned(),
        what: "POST /v1/triggers/{trigger}/pause",
        on: format!("trigger=ship\n{}", "x".repeat(1_000)),
        outcome: "done",
    };
    house.gate.audit().note(house.config.auth.as_ref(), &act);
    let text = std::fs::read_to_string(house.folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<(&str, &str, &str)> = lines
        .iter()
        .map(|line| [&line["what"], &line["on"], &line["outcome"]].map(|part| part.as_str().unwrap()))
        .map(|[what, on, outcome]| (what, &on[..on.len().min(12)], outcome))
        .collect();
    assert_eq!(
        acts,
        [
            ("add tokens", "a", "done"),
            ("authenticate", "", "unauthenticated"),
            ("revoke tokens", "a", "done"),
            ("authenticate", "", "unauthenticated"),
            ("POST /v1/triggers/{trigger}/pause", "trigger=ship", "done"),
        ]
    );
    assert!(lines[4]["on"].as_str().unwrap().chars().count() <= 256);
    assert!(!text.contains("evt_"), "{text}");
}
