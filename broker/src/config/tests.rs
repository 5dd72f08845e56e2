//! What the reader takes, what it refuses, and where it says that it is wrong.

mod described;
mod documents;
mod functions;
mod inputs;
mod schedules;
mod targets;
mod tls;
mod traffic;

use std::fmt::Write as _;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn environment(variable: &str) -> Option<String> {
    match variable {
        "SHIP_SECRET" => Some(SECRET.to_owned()),
        "SHIP_TOKEN" => Some("Bearer hunter2".to_owned()),
        "BAD_SECRET" => Some("hunter3".to_owned()),
        "THUMBNAIL_API_KEY" | "INVOKE_SECRET" | "CRM_TOKEN" | "MAIL_PASSWORD" | "SEARCH_KEY"
        | "BOOKS_SECRET" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("eventail.toml", text, &environment)
}

/// Each error as `line:column message`, and `(help)` where there is one.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the configuration must be refused");
    let shown = |error: &ConfigError| {
        let mut line = format!("{}:{} {}", error.line(), error.column(), error.problem());
        if let Some(help) = error.problem().help() {
            write!(line, " ({help})").unwrap();
        }
        line
    };
    errors.errors().iter().map(shown).collect()
}

/// One error of a trigger that is right but for `keys`, counted from their first line.
fn trigger_errors(keys: &str) -> Vec<String> {
    errors(&format!("{keys}\n[triggers.t.target.http]\nurl = \"http://a/\"\n"))
}

fn trigger<'c>(config: &'c Config, name: &str) -> &'c Trigger {
    &config.triggers[&eventail_wire::TriggerName::new(name).unwrap()]
}

/// The default file with its examples turned on.
fn with_examples() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example.to_owned(),
        _ => line.to_owned(),
    };
    DEFAULT_FILE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The same, as far as this build can read it.
fn readable_examples() -> String {
    let text = with_examples();
    let lambda = text.find("[triggers.billing").map(|from| from..from + text[from..].find("\n\n").unwrap());
    match lambda {
        Some(lambda) if !cfg!(feature = "aws") => text.replace(&text[lambda], ""),
        _ => text,
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(format!("{:?}", parse("").unwrap()), format!("{:?}", Config::standalone()));
}

#[test]
fn the_default_file_equals_the_defaults_of_the_model() {
    assert_eq!(format!("{:?}", parse(DEFAULT_FILE).unwrap()), format!("{:?}", Config::standalone()));
}

#[test]
fn the_examples_of_the_default_file_parse_and_show_the_defaults() {
    let config = parse(&readable_examples()).unwrap();
    let trigger = trigger(&config, "ship");
    let mut policy = eventail_triggers::policy::DeliveryPolicy::default();
    policy.ordering = eventail_triggers::policy::Ordering::Key;
    assert_eq!(trigger.policy, policy);
    assert_eq!(trigger.topic.as_str(), DEFAULT_TOPIC);
    assert_eq!(trigger.dead_letter_topic.as_str(), DEFAULT_DEAD_LETTER_TOPIC);
    assert_eq!((trigger.key.as_str(), trigger.start), (DEFAULT_KEY, StartPosition::Latest));
    assert!(config.tls.is_some());
}

#[test]
fn every_key_that_the_reader_knows_is_in_the_default_file() {
    let text = with_examples();
    for (section, keys) in schema::SECTIONS {
        for key in *keys {
            let there = [
                format!("\n{key} = "),
                format!("[{key}]"),
                format!("{key} = {{"),
                format!(".{key}]"),
                format!("{{ {key} = "),
                format!(", {key} = "),
                format!(".{key}."),
                format!("[{key}."),
            ];
            assert!(
                there.iter().any(|form| text.contains(form.as_str())) || *key == "file" || *key == "triggers",
                "{section}: {key}"
            );
        }
    }
    assert!(DEFAULT_FILE.contains("{ file = ") && text.contains("[triggers."));
}

#[test]
fn unknown_keys_are_told_with_their_place_and_what_was_meant() {
    assert_eq!(
        errors("[listen]\nhtpp = \"off\"\n"),
        ["2:1 unknown key `htpp` in [listen] (did you mean `http`?)"]
    );
    assert_eq!(
        errors("timeout = \"1s\"\n"),
        ["1:1 unknown key `timeout` in the file (`timeout` is a key of [triggers.NAME])"]
    );
    assert_eq!(
        errors("[egress]\n  colour = 1\n"),
        ["2:3 unknown key `colour` in [egress] (the keys here are allow, ports, origin)"]
    );
    assert_eq!(
        errors("[topics]\nauto_creat = true\n"),
        ["2:1 unknown key `auto_creat` in [topics] (did you mean `auto_create`?)"]
    );
    assert_eq!(errors("[topics.a]\nretention = \"1d\"\n").len(), 1);
}

#[test]
fn several_errors_come_at_once_and_in_order() {
    let text =
        "drain = 10\n[limits]\nevent_bytes_max = \"1MB\"\ntopics_max = 0\n[triggers.t]\ntopic = \"a/b\"\n";
    assert_eq!(
        errors(text),
        [
            "1:9 `drain`: \"10\" has no unit (write a number and a unit (ms, s, m, h or d), such as \"250ms\", \"10s\" or \"7d\")",
            "3:19 `event_bytes_max`: \"MB\" is no unit (write a number and a unit (KiB, MiB, GiB or TiB), such as \"64KiB\" or \"10GiB\", or a plain number of bytes)",
            "4:14 `topics_max` is 0, and must be 1 to 1000000",
            "5:11 [triggers.t] needs `target`",
            "6:9 `a/b` cannot be a name: a name is made of a-z, A-Z, 0-9, '.', '_' and '-' and begins with a letter or a digit; '/' at place 2 is not allowed",
        ]
    );
}

#[test]
fn text_that_is_not_toml_is_told_with_its_place() {
    let told = errors("a = \n[listen\n");
    assert!(told[0].starts_with("1:") && told[0].contains("this is not TOML"), "{told:?}");
    assert!(told.iter().any(|error| error.starts_with("2:")), "{told:?}");
}

#[test]
fn wrong_types_are_told() {
    assert_eq!(errors("data_dir = 1"), ["1:12 `data_dir` must be a string, and this is an integer"]);
    assert_eq!(errors("listen = true"), ["1:10 `listen` must be a table, and this is a boolean"]);
    assert_eq!(
        errors("topics.auto_create = \"yes\""),
        ["1:22 `auto_create` must be true or false, and this is a string"]
    );
    assert_eq!(errors("egress.allow = \"x\""), ["1:16 `allow` must be an array, and this is a string"]);
    assert_eq!(
        errors("drain = 1.5"),
        ["1:9 `drain` must be a duration such as \"10s\", and this is a float"]
    );
    assert_eq!(
        errors("limits.hops_max = -1"),
        ["1:19 `hops_max` is -1, and must be 0 to 18446744073709551615"]
    );
}

#[test]
fn listeners_networks_and_certificates_are_checked() {
    assert!(parse("listen = { http = \"off\", quic = \"[::1]:0\" }").unwrap().http.is_none());
    assert!(
        errors("listen.http = \"localhost:80\"")[0]
            .starts_with("1:15 `http`: \"localhost:80\" is no address")
    );
    assert!(
        errors("egress.allow = [\"127.0.0.0/8\", \"10.0.0/8\"]")[0]
            .starts_with("1:32 `allow`: \"10.0.0/8\" is no network")
    );
}

#[test]
fn limits_must_fit_each_other_and_their_ceilings() {
    assert_eq!(
        errors("[limits]\nevent_bytes_max = \"16MiB\"\n"),
        ["2:19 `event_bytes_max` is 16MiB, which is more than `batch_bytes_max`, 8MiB"]
    );
    assert_eq!(
        errors("limits.event_bytes_max = \"1GiB\""),
        ["1:26 `event_bytes_max` is 1GiB, and must be 1KiB to 16MiB"]
    );
    assert_eq!(errors("topics.dedup_window = \"8d\""), ["1:23 `dedup_window` is 8d, and must be 0s to 7d"]);
}

#[test]
fn topics_take_the_defaults_of_all_topics() {
    let config =
        parse("[topics]\nretention_age = \"7d\"\n[topics.orders]\ndurability = \"buffered\"\n").unwrap();
    let orders = config.topics.named.values().next().unwrap();
    assert_eq!(orders.retention_age_ms, Some(7 * 86_400_000));
    assert_eq!(orders.durability, eventail_storage::log::Durability::Buffered);
    assert_eq!(
        errors("[topics.orders]\ndurability = \"synced\"\n"),
        ["2:14 `durability` cannot be \"synced\" (did you mean \"sync\"? It may be \"sync\", \"buffered\")"]
    );
}

#[test]
fn a_trigger_is_read_whole() {
    let config = parse(&readable_examples()).unwrap();
    let trigger = trigger(&config, "ship");
    let TargetOptions::Http(http) = &trigger.target else { panic!("an HTTP target") };
    assert_eq!(http.url.to_string(), "http://127.0.0.1:9000/ship");
    assert_eq!(http.signing_secrets[0].expose(), SECRET);
    let headers: Vec<_> = http.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("authorization", "Bearer hunter2"), ("x-team", "logistics")]);
    assert_eq!(http.statuses.keys().copied().collect::<Vec<_>>(), [404, 422]);
    assert_eq!(
        trigger.pattern.as_deref(),
        Some(r#"{"data":{"total":[{"exists":true}]},"type":["order.created"]}"#)
    );
}

#[test]
fn the_values_of_a_trigger_are_checked_against_each_other() {
    assert_eq!(
        trigger_errors("[triggers.t]\nkey = \"subject\""),
        [
            "2:1 `key` does nothing without `ordering = \"key\"` (add `ordering = \"key\"`, or take the key away)"
        ]
    );
    assert_eq!(
        trigger_errors("[triggers.t]\ntopic = \"x\"\ndead_letter_topic = \"x\""),
        [
            "3:21 `dead_letter_topic` is the topic that the trigger reads: what it gives up on would come back to it (name another topic)"
        ]
    );
    assert_eq!(trigger_errors("[triggers.t]\nreply_topic = \"dead-letters\"").len(), 1);
    assert!(
        parse("[triggers.t]\ntopic = \"x\"\nreply_topic = \"x\"\ntarget.http.url = \"http://a/\"").is_ok()
    );
    assert_eq!(
        trigger_errors("[triggers.t]\nretry = { backoff_initial = \"1h\" }"),
        ["2:29 `backoff_initial` is 1h, which is more than `backoff_max`, 10m"]
    );
    assert_eq!(
        trigger_errors("[triggers.t]\nbreaker.open_max = \"10ms\""),
        ["2:20 `open` is 1s, which is more than `open_max`, 10ms"]
    );
}

#[test]
fn starts_and_keys_are_checked() {
    let start = |value: &str| format!("[triggers.t]\nstart = {value}\ntarget.http.url = \"http://a/\"");
    let position = |value: &str| parse(&start(value)).unwrap().triggers.into_values().next().unwrap().start;
    assert_eq!(position("\"earliest\""), StartPosition::Earliest);
    let time = eventail_wire::Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
    assert_eq!(position("\"2026-11-23T10:00:00Z\""), StartPosition::At(time));
    assert_eq!(position("2026-11-23T10:00:00Z"), StartPosition::At(time));
    assert!(errors(&start("2026-11-23"))[0].starts_with("2:9 `start` is no place to start from"));
    let key = |value: &str| {
        format!("[triggers.t]\nordering = \"key\"\nkey = \"{value}\"\ntarget.http.url = \"http://a/\"")
    };
    assert!(parse(&key("$.data.customer.id")).is_ok());
    assert!(errors(&key("$.data..id"))[0].starts_with("3:7 `$.data..id` names no key"));
}

#[test]
fn patterns_are_checked_and_the_mistake_is_pointed_at() {
    let pattern = |value: &str| format!("[triggers.t]\npattern = {value}\ntarget.http.url = \"http://a/\"");
    assert!(parse(&pattern("'{\"type\": [\"a\"]}'")).is_ok());
    for (value, column) in [
        ("{ type = \"order.created\" }", 20),
        ("{ type = [\"a\"], data = { total = [\"x\", { numerc = 1 }] } }", 50),
        ("'{\"type\": '", 11),
        ("{ time = [2026-11-23] }", 11),
        ("[]", 11),
    ] {
        let told = errors(&pattern(value));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("2:{column} `pattern")), "{told:?}");
    }
}

#[test]
fn a_pattern_may_be_a_file_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let read = |pattern: &str| {
        std::fs::write(folder.path().join("ship.json"), pattern).unwrap();
        let text = "[triggers.t]\npattern = { file = \"ship.json\" }\ntarget.http.url = \"http://a/\"";
        let name = folder.path().join("eventail.toml").display().to_string();
        Config::parse(&name, text, &environment)
    };
    let pattern = "{\"type\": [\"a\"],\n \"$or\": [{\"b\": [1]}, {\"c\": [1]}]}\n";
    assert_eq!(trigger(&read(pattern).unwrap(), "t").pattern.as_deref(), Some(pattern));
    let refused = read("{\"type\":\n \"a\"}").unwrap_err().errors()[0].problem().help().unwrap();
    assert_eq!(refused, "look at line 2, column 2 of the pattern");
    let missing = trigger_errors("[triggers.t]\npattern = { file = \"nowhere.json\" }");
    assert!(missing[0].starts_with("2:11 `pattern`: nowhere.json cannot be read"), "{missing:?}");
    let field = "[triggers.t]\npattern = { file = [\"x\"] }\ntarget.http.url = \"http://a/\"";
    assert!(parse(field).is_ok(), "a field of this name is still one");
}

#[test]
fn wildcards_of_a_topic_have_a_budget_together() {
    let trigger = |n: usize, topic: &str| {
        let wildcards = "{ wildcard = \"*a*a*a*a*a\" }, ".repeat(100);
        format!(
            "[triggers.t{n}]\ntopic = \"{topic}\"\npattern.subject = [{wildcards}]\ntarget.http.url = \"http://a/\"\n"
        )
    };
    let many = |count: usize| (10..10 + count).map(|n| trigger(n, "orders")).collect::<String>();
    assert!(parse(&(many(20) + &trigger(90, "other"))).is_ok());
    let told = errors(&many(21));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("83:") && told[0].contains("21000, and 20000 are the limit"), "{told:?}");
}

#[test]
fn urls_headers_and_statuses_of_a_target_are_checked() {
    let target = |keys: &str| errors(&format!("[triggers.t.target.http]\n{keys}"));
    assert_eq!(target(""), ["1:20 [triggers.t.target.http] needs `url`"]);
    for (url, why) in [
        ("ftp://a/", "must begin with http"),
        ("http://user:hunter2@a/", "user info"),
        ("/hook", "must begin with http"),
        ("http://a/#x", "fragment"),
        ("http://a b/", "cannot be read"),
    ] {
        let told = target(&format!("url = \"{url}\""));
        assert!(told[0].starts_with("2:7 `url` is no URL") && told[0].contains(why), "{told:?}");
    }
    let told = target(
        "url = \"http://a/\"\nheaders = { webhook-id = \"x\" }\nstatuses = { \"42\" = \"ack\", \"404\" = \"rejekt\" }",
    );
    assert_eq!(
        told,
        [
            "3:13 the header `webhook-id` is set by the delivery itself",
            "4:14 \"42\" is no status that a target can answer (write a status as three digits in quotes, such as \"404\")",
            "4:36 `404` cannot be \"rejekt\" (did you mean \"reject\"? It may be \"ack\", \"retry\", \"throttle\", \"reject\")",
        ]
    );
}

#[test]
fn secrets_come_from_the_environment_or_files_only() {
    let target = |keys: &str| errors(&format!("[triggers.t.target.http]\nurl = \"http://a/\"\n{keys}"));
    assert_eq!(
        target("secret = { env = \"ABSENT\" }"),
        [
            "3:18 `secret`: the environment variable ABSENT is not set (set ABSENT, or write { file = \"path\" })"
        ]
    );
    assert!(
        target("secret = { file = \"/nowhere/s\" }")[0]
            .starts_with("3:19 `secret`: the file /nowhere/s cannot be read: ")
    );
    assert_eq!(
        target("secret = {}"),
        ["3:10 `secret` needs one of `env` and `file` (write { env = \"VARIABLE\" } or { file = \"path\" })"]
    );
    assert_eq!(
        target("secret = { env = \"BAD_SECRET\" }"),
        ["3:1 signing secret 1: its key must have between 24 and 64 bytes"]
    );
    assert!(target("secret = \"whsec_abc\"")[0].contains("must not be written into the file"));
}

#[test]
fn secrets_of_files_lose_their_newline() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let file = folder.path().join("eventail.toml");
    std::fs::write(
        &file,
        "[triggers.t.target.http]\nurl = \"http://a/\"\nsecret = [{ file = \"secret\" }]\n",
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    let TargetOptions::Http(http) = &config.triggers.values().next().unwrap().target else { panic!("HTTP") };
    assert_eq!(http.signing_secrets[0].expose(), SECRET);
}

#[test]
fn no_secret_is_ever_printed() {
    let text = "[triggers.t]\nbad = 1\n[triggers.t.target.http]\nurl = \"http://user:hunter2@a/\"\nheaders = { x = \"hunter2\", y = 1 }\nsecret = [\"hunter2\", { env = \"BAD_SECRET\" }]\n";
    let refused = parse(text).unwrap_err();
    for shown in [refused.to_string(), refused.render(true), format!("{:?}", refused)] {
        assert!(!shown.contains("hunter"), "{shown}");
    }
    for broken in
        ["headers = { z = \"hunter2\" ", "x = hunter2", "pattern = { type = [\"hunter2 ] }", "hunter2"]
    {
        let told = parse(&format!("[triggers.t.target.http]\n{broken}")).unwrap_err();
        assert!(!told.to_string().contains("hunter") && told.to_string().contains("TOML"), "{told}");
    }
    let taken = parse(&readable_examples()).unwrap();
    assert!(!format!("{taken:?}").contains("hunter2") && !format!("{taken:?}").contains(SECRET));
}

#[test]
fn what_stands_under_the_name_of_a_secret_is_never_shown_wherever_it_stands() {
    for text in [
        "[auth]\ntoken = \"hunter2\"",
        "[auth]\ntokens = [\"hunter2\", { allow = \"hunter2\" }]",
        "[listen]\nauth = \"hunter2\"",
        "[listen]\nauth = { bearer = \"hunter2\" }",
        "[listen]\npassword = \"hunter2\"",
        "[listen]\nPassword = 'hunter2'",
        "[listen]\ntls = { key_password = \"hunter2\" }",
        "[limits]\napi_key = \"\"\"\nhunter2\nhunter2\"\"\"",
        "[topics.t]\naccess-token = \"hunter2\"",
        "token = \"hunter2\"",
        "API_KEY = \"hunter2\"",
        // None of these is TOML.
        "[auth]\ntoken = \"hunter2",
        "[auth]\ntokens = [\n\"hunter2\",\n[\"hunter2\"],\nhunter2\n]",
        "[auth] token = \"hunter2\"",
        "[listen]\npassword = hunter2",
        "[listen]\nhttp = { TOKEN = hunter2",
        "[listen.tls]\nkey = \"\"\"hunter2\nhunter2",
        "[limits]\nApi-Key = hunter2",
        "password: hunter2",
    ] {
        let told = parse(text).unwrap_err();
        for shown in [told.to_string(), told.render(true), format!("{told:?}")] {
            assert!(!shown.contains("hunter"), "{text}\n{shown}");
        }
    }
    let told = parse("[auth]\ntokens_file = 5").unwrap_err().to_string();
    assert!(told.contains("tokens_file = 5"), "{told}");
}

#[test]
fn errors_are_shown_as_rustc_shows_them() {
    let refused = parse("[listen]\nhtpp = \"off\"\n").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "error: unknown key `htpp` in [listen]\n \
         --> eventail.toml:2:1\n  \
         |\n\
         2 | htpp = \"off\"\n  \
         | ^^^^\n  \
         |\n  \
         = help: did you mean `http`?"
    );
    assert!(!refused.render(false).contains('\u{1b}') && refused.render(true).contains('\u{1b}'));
}

#[test]
fn a_file_that_is_not_there_is_told_by_name() {
    let refused = Config::load("/nowhere/eventail.toml").unwrap_err();
    assert!(refused.to_string().contains("/nowhere/eventail.toml"), "{refused}");
}

#[test]
fn the_timeline_is_bounded_and_can_be_left_out() {
    let config = parse("[timeline]\nenabled = false\nbytes_max = \"64MiB\"\n").unwrap();
    assert_eq!(config.timeline, TimelineOptions { enabled: false, bytes_max: 64 << 20 });
    let told = errors("[timeline]\nbytes_max = \"1KiB\"\nsize = 1\n");
    assert!(told.iter().any(|error| error.contains("bytes_max") && error.contains("1MiB")), "{told:?}");
    assert!(told.iter().any(|error| error.contains("size")), "{told:?}");
}

#[test]
fn a_trigger_may_say_what_it_was_called_before() {
    let target = |name: &str| format!("[triggers.{name}.target.http]\nurl = \"http://a/\"\n");
    let config = parse(&format!("[triggers.t]\nrenamed_from = \"s\"\n{}", target("t"))).unwrap();
    assert_eq!(trigger(&config, "t").renamed_from.as_ref().unwrap().as_str(), "s");
    let text = format!("[triggers.t]\nrenamed_from = \"s\"\n{}{}", target("t"), target("s"));
    let wanted = "2:16 `renamed_from` names the trigger `s`, which is still in the configuration";
    assert_eq!(errors(&text), [wanted]);
    let text = format!(
        "[triggers.t]\nrenamed_from = \"s\"\n{}[triggers.u]\nrenamed_from = \"s\"\n{}",
        target("t"),
        target("u")
    );
    assert_eq!(errors(&text), ["6:16 `renamed_from` names `s`, as that of the trigger `t` does"]);
    let text = format!("[triggers.t]\nrenamed_from = \"t\"\n{}", target("t"));
    assert_eq!(
        errors(&text),
        ["2:16 `renamed_from` names the trigger `t`, which is still in the configuration"]
    );
}
