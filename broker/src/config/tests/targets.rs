//! Where targets may be, whose leave they give, and how requests say who sends them.

use eventail_triggers::http::{ClientAuthentication, HttpAuth, HttpTargetOptions, Secret};

use super::*;

fn target(keys: &str) -> String {
    format!("[triggers.t.target.http]\nurl = \"http://a/\"\n{keys}")
}

fn http(keys: &str) -> HttpTargetOptions {
    let config = parse(&target(keys)).unwrap_or_else(|errors| panic!("{errors}"));
    let TargetOptions::Http(http) = trigger(&config, "t").target.clone() else { panic!("HTTP") };
    http
}

fn refused(keys: &str) -> Vec<String> {
    errors(&target(keys))
}

#[test]
fn ports_and_the_senders_name_are_read() {
    let config =
        parse("[egress]\nports = [\"443\", \"8000-8999\"]\norigin = \"events.example.com\"\n").unwrap();
    let ports: Vec<_> = config.egress_ports.iter().map(|range| (range.first, range.last)).collect();
    assert_eq!(
        (ports, config.egress_origin.as_str()),
        (vec![(443, 443), (8_000, 8_999)], "events.example.com")
    );
    let told = errors("[egress]\nports = [\"443\", \"0\", \"9-8\"]\norigin = \"a b\"\n");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("2:17 `ports`: \"0\" are no ports") && told[0].contains("\"8000-8999\""),
        "{told:?}"
    );
    assert!(
        told[2].starts_with("3:10 `origin` cannot be \"a b\"") && told[2].contains("events.example.com"),
        "{told:?}"
    );
}

#[test]
fn each_way_of_saying_who_sends_is_read() {
    let secret = |text: &str| Secret::new(text.to_owned());
    assert_eq!(http("").auth, None);
    assert_eq!(
        http("auth = { basic = { user = \"u\", password = { env = \"MAIL_PASSWORD\" } } }").auth,
        Some(HttpAuth::Basic { user: "u".to_owned(), password: secret("hunter2") })
    );
    assert_eq!(http("auth.bearer = { env = \"CRM_TOKEN\" }").auth, Some(HttpAuth::Bearer(secret("hunter2"))));
    let Some(HttpAuth::Header { name, value }) =
        http("auth = { header = { name = \"X-Key\", value = { env = \"SEARCH_KEY\" } } }").auth
    else {
        panic!("a header")
    };
    assert_eq!((name.as_str(), value.expose()), ("x-key", "hunter2"));
    let keys = "[triggers.t.target.http.auth.oauth]\ntoken_url = \"https://login/token\"\nclient_id = \"c\"\nclient_secret = { env = \"BOOKS_SECRET\" }\n";
    let Some(HttpAuth::OAuth(oauth)) = http(keys).auth else { panic!("OAuth") };
    assert_eq!((oauth.token_url.host(), oauth.client_id.as_str()), (Some("login"), "c"));
    assert_eq!(
        (oauth.scope, oauth.audience, oauth.client_authentication),
        (None, None, ClientAuthentication::Basic)
    );
    let more = format!("{keys}scope = \"s\"\naudience = \"a\"\nclient_authentication = \"post\"\n");
    let Some(HttpAuth::OAuth(oauth)) = http(&more).auth else { panic!("OAuth") };
    assert_eq!((oauth.scope.as_deref(), oauth.audience.as_deref()), (Some("s"), Some("a")));
    assert_eq!(oauth.client_authentication, ClientAuthentication::Post);
    assert!(http("handshake = true").handshake && !http("").handshake);
}

#[test]
fn what_is_wrong_with_it_is_told_at_its_place() {
    assert!(refused("auth = {}")[0].starts_with("3:1 [triggers.t.target.http.auth] needs one of"));
    let two = refused(
        "auth = { bearer = { env = \"CRM_TOKEN\" }, header = { name = \"x\", value = { env = \"CRM_TOKEN\" } } }",
    );
    assert_eq!(
        two,
        ["3:42 [triggers.t.target.http.auth] has `bearer` and `header`, and a target takes one of them"]
    );
    let missing = refused("auth = { oauth = {} }");
    for key in ["token_url", "client_id", "client_secret"] {
        assert!(missing.iter().any(|told| told.contains(&format!("needs `{key}`"))), "{missing:?}");
    }
    let told = refused("auth = { basic = { user = \"a:b\", password = { env = \"CRM_TOKEN\" } } }");
    assert!(told[0].starts_with("3:1 the user of `auth` must not have a colon"), "{told:?}");
    let told = refused("headers = { authorization = \"x\" }\nauth.bearer = { env = \"CRM_TOKEN\" }");
    assert!(told[0].contains("the header `authorization` is what `auth` sets"), "{told:?}");
    let told = refused("auth = { header = { name = \"webhook-id\", value = { env = \"CRM_TOKEN\" } } }");
    assert!(told[0].starts_with("3:1 the header `webhook-id` is set by the delivery itself"), "{told:?}");
    let told = refused("auth = { header = { name = \"a b\", value = { env = \"CRM_TOKEN\" } } }");
    assert!(told[0].contains("a b"), "{told:?}");
    let told = errors("[triggers.t.target.http]\nurl = \"http://a/{$.id}\"\nhandshake = true");
    assert!(told[0].starts_with("3:1 ") && told[0].contains("one URL for all events"), "{told:?}");
    for url in ["http://a:99999/", "http://a:0/", "http://[::1%25lo]/", "http://%31/"] {
        let told = errors(&format!("[triggers.t.target.http]\nurl = \"{url}\""));
        assert!(told[0].starts_with("2:"), "{url}: {told:?}");
    }
}

#[test]
fn its_secrets_are_not_written_into_the_file_and_never_shown() {
    let oauth =
        "oauth = { token_url = \"http://u:hunter9@a/\", client_id = \"c\", client_secret = \"hunter9\" }";
    for auth in [
        "basic = { user = \"u\", password = \"hunter9\" }",
        "bearer = \"hunter9\"",
        "header = { name = \"x\", value = \"hunter9\" }",
        oauth,
    ] {
        let refused = parse(&target(&format!("auth = {{ {auth} }}"))).unwrap_err();
        let shown = format!("{refused} {} {refused:?}", refused.render(true));
        assert!(shown.contains("must not be written into the file") && !shown.contains("hunter9"), "{shown}");
    }
}
