//! Rate limits, business keys, hosts, and topics as targets.

use eventail_triggers::policy::{DedupPolicy, RateLimit};

use super::*;

const TARGET: &str = "target.http.url = \"http://api.example.com:8080/hook\"\n";

#[test]
fn rate_limits_and_business_keys_of_a_trigger_are_read() {
    let text = format!(
        "[triggers.t]\n{TARGET}rate_limit = {{ per_second = 0.1, burst = 3 }}\ndedup = {{ key = \"$.data.id\", window = \"5m\" }}\n"
    );
    let config = parse(&text).unwrap();
    let read = trigger(&config, "t");
    assert_eq!(read.rate_limit, Some(RateLimit { per_second: 0.1, burst: 3 }));
    assert_eq!(read.dedup, Some(DedupPolicy { key: "$.data.id".to_owned(), window_ms: 300_000 }));
    let config = parse(&format!("[triggers.t]\n{TARGET}rate_limit.per_second = 5\n")).unwrap();
    assert_eq!(trigger(&config, "t").rate_limit, Some(RateLimit { per_second: 5.0, burst: 1 }));
}

#[test]
fn what_is_wrong_with_them_is_told_with_its_place() {
    let one = |keys: &str| trigger_errors(&format!("[triggers.t]\n{keys}"));
    assert_eq!(one("rate_limit = {}"), ["2:1 [triggers.t.rate_limit] needs `per_second`"]);
    assert_eq!(one("rate_limit.per_second = 0"), ["2:25 `per_second` is 0, and must be 0.000001 to 1000000"]);
    assert_eq!(
        one("rate_limit = { per_second = 1, burst = 0 }"),
        ["2:40 `burst` is 0, and must be 1 to 1000000"]
    );
    assert_eq!(one("dedup.key = \"orderid\""), ["2:1 [triggers.t.dedup] needs `window`"]);
    let told = one("dedup = { key = \"Order Id\", window = \"8d\" }");
    assert!(told[0].starts_with("2:17 `Order Id` names no key"), "{told:?}");
    assert_eq!(told[1], "2:38 `window` is 8d, and must be 1ms to 7d");
}

#[test]
fn a_host_is_found_by_its_name_and_before_that_by_its_name_and_port() {
    let text = "[hosts.\"API.example.com\"]\nrate_limit.per_second = 1\n[hosts.\"api.example.com:8080\"]\nrate_limit.per_second = 2\n";
    let config = parse(text).unwrap();
    let rate = |url: &str| {
        let (_, host) = config.host_of(&url.parse().unwrap())?;
        host.rate_limit.map(|limit| limit.per_second)
    };
    assert_eq!(rate("https://api.example.com/x"), Some(1.0));
    assert_eq!(rate("http://api.example.com:8080/x"), Some(2.0));
    assert_eq!(rate("http://api.example.com:9090/x"), Some(1.0));
    assert_eq!(rate("http://example.com/x"), None);
    assert_eq!(
        errors("[hosts.\"a/b\"]\n"),
        [
            "1:8 \"a/b\" is no host that a URL can name (write a name, or a name and a port, such as \"api.example.com\" or \"127.0.0.1:9000\")"
        ]
    );
    assert!(errors("[hosts.a]\nrate = 1\n")[0].starts_with("2:1 unknown key `rate` in [hosts.\"a\"]"));
}

#[test]
fn a_topic_is_a_target_in_both_forms() {
    for form in ["target = { topic = \"audit\" }", "[triggers.t.target.topic]\nname = \"audit\""] {
        let config = parse(&format!("[triggers.t]\n{form}\n")).unwrap();
        let TargetOptions::Topic(target) = &trigger(&config, "t").target else { panic!("{form}") };
        assert_eq!(target.name.as_str(), "audit");
    }
    assert!(parse("[triggers.t]\ntarget.topic = \"audit\"\nbatch = { max_events = 10 }\n").is_ok());
    assert_eq!(errors("[triggers.t.target.topic]\n"), ["1:20 [triggers.t.target.topic] needs `name`"]);
    assert!(errors("[triggers.t]\ntarget.topic = \"a b\"\n")[0].starts_with("2:16 `a b` cannot be a name"));
    assert_eq!(
        errors("[triggers.t]\nreply_topic = \"r\"\ntarget.topic = \"audit\"\n"),
        ["2:1 `reply_topic` does nothing with `target.topic`: a topic answers nothing"]
    );
    let among = errors("[triggers.t]\ntarget.topic = \"dead-letters\"\n");
    assert!(among[0].contains("is the trigger's dead-letter topic"), "{among:?}");
}
