//! The keys that a configuration file may have, section by section. The reader asks for no key that is not listed here,
//! and a test holds `config.default.toml` against the list.

/// The top of the file.
pub(super) const ROOT: &[&str] = &[
    "include",
    "tests",
    "data_dir",
    "drain",
    "listen",
    "limits",
    "egress",
    "topics",
    "hosts",
    "functions",
    "triggers",
    "schedules",
    "prices",
    "invoke",
    "timeline",
    "auth",
];
/// `[listen]`
pub(super) const LISTEN: &[&str] = &["http", "quic", "hosts", "origins", "insecure", "tls"];
/// `[auth]`
pub(super) const AUTH: &[&str] =
    &["tokens_file", "certificates", "anonymous", "audit_file", "failures_per_minute"];
/// `[listen.tls]`
pub(super) const TLS: &[&str] = &["certificate", "key", "client_ca", "client_certificates"];
/// `[limits]`
pub(super) const LIMITS: &[&str] = &[
    "event_bytes_max",
    "batch_events_max",
    "batch_bytes_max",
    "connections_max",
    "connections_per_address_max",
    "in_flight_bytes_max",
    "header_bytes_max",
    "topics_max",
    "hops_max",
    "delayed_events_max",
    "delayed_bytes_max",
    "request_timeout",
    "publish_wait",
];
/// `[egress]`
pub(super) const EGRESS: &[&str] = &["allow", "ports", "origin"];
/// `[topics]`, apart from the tables in it, which are topics.
pub(super) const TOPICS: &[&str] = &[
    "auto_create",
    "durability",
    "segment_bytes",
    "retention_age",
    "retention_bytes",
    "dedup_window",
    "dedup_ids_max",
];
/// `[topics.NAME]`
pub(super) const TOPIC: &[&str] =
    &["durability", "segment_bytes", "retention_age", "retention_bytes", "dedup_window", "dedup_ids_max"];
/// `[[tests]]`
pub(super) const TEST: &[&str] = &["name", "topic", "event", "triggers", "input"];
/// `[functions.NAME]`
pub(super) const FUNCTION: &[&str] = &[
    "command",
    "directory",
    "environment",
    "handler",
    "user",
    "group",
    "memory",
    "open_files_max",
    "processes_max",
    "timeout",
    "init_timeout",
    "min_instances",
    "max_instances",
    "idle_timeout",
];
/// `[triggers.NAME]`
pub(super) const TRIGGER: &[&str] = &[
    "topic",
    "pattern",
    "input",
    "concurrency",
    "timeout",
    "ordering",
    "key",
    "start",
    "dead_letter_topic",
    "reply_topic",
    "parked_max",
    "batch",
    "budget",
    "rate_limit",
    "dedup",
    "renamed_from",
    "retry",
    "breaker",
    "target",
];
/// `input` of a trigger: one of the first four.
pub(super) const INPUT: &[&str] = &["path", "constant", "template", "jq", "paths"];
/// `concurrency` of a trigger, where it adapts.
pub(super) const CONCURRENCY: &[&str] = &["min", "max"];
/// `batch` of a trigger.
pub(super) const BATCH: &[&str] = &["max_events", "max_bytes", "window", "bisect"];
/// `budget` of a trigger.
pub(super) const BUDGET: &[&str] = &["per_day", "action"];
/// `rate_limit` of a trigger or host.
pub(super) const RATE_LIMIT: &[&str] = &["per_second", "burst"];
/// `dedup` of a trigger.
pub(super) const DEDUP: &[&str] = &["key", "window"];
/// `[hosts.NAME]`
pub(super) const HOST: &[&str] = &["rate_limit"];
/// `retry` of a trigger.
pub(super) const RETRY: &[&str] =
    &["max_attempts", "max_age", "backoff_initial", "backoff_max", "retry_after_max"];
/// `breaker` of a trigger.
pub(super) const BREAKER: &[&str] = &["failures", "open", "open_max"];
/// `target` of a trigger: one of these.
pub(super) const TARGET: &[&str] = &["http", "function", "lambda", "topic"];
/// `[triggers.NAME.target.http]`
pub(super) const HTTP: &[&str] =
    &["url", "mode", "headers", "auth", "secret", "statuses", "idle_connections", "callback", "handshake"];
/// `auth` of an HTTP target: one of these.
pub(super) const HTTP_AUTH: &[&str] = &["basic", "bearer", "header", "oauth"];
/// `auth.basic`.
pub(super) const HTTP_BASIC: &[&str] = &["user", "password"];
/// `auth.header`.
pub(super) const HTTP_AUTH_HEADER: &[&str] = &["name", "value"];
/// `auth.oauth`.
pub(super) const HTTP_OAUTH: &[&str] =
    &["token_url", "client_id", "client_secret", "scope", "audience", "client_authentication"];
/// `[triggers.NAME.target.function]`: which function, or the keys of [`FUNCTION`] for one that is declared here.
pub(super) const FUNCTION_TARGET: &[&str] = &[
    "name",
    "payload",
    "command",
    "directory",
    "environment",
    "handler",
    "user",
    "group",
    "memory",
    "open_files_max",
    "processes_max",
    "timeout",
    "init_timeout",
    "min_instances",
    "max_instances",
    "idle_timeout",
];
/// `[triggers.NAME.target.topic]`
pub(super) const TOPIC_TARGET: &[&str] = &["name"];
/// `[triggers.NAME.target.lambda]`
pub(super) const LAMBDA: &[&str] =
    &["function", "qualifier", "region", "endpoint", "profile", "invocation", "payload"];
/// `[schedules.NAME]`
pub(super) const SCHEDULE: &[&str] = &[
    "expression",
    "timezone",
    "start",
    "end",
    "jitter",
    "missed",
    "missed_max",
    "enabled",
    "topic",
    "trigger",
    "source",
    "type",
    "data",
];
/// `[prices]`
pub(super) const PRICES: &[&str] = &["x86", "arm"];
/// The prices of one architecture.
pub(super) const PRICE: &[&str] = &["gib_second", "request"];
/// `[invoke]`
pub(super) const INVOKE: &[&str] = &["keys"];
/// `[timeline]`
pub(super) const TIMELINE: &[&str] = &["enabled", "bytes_max"];
/// A secret.
pub(super) const SECRET: &[&str] = &["env", "file"];

/// What a message calls the top of the file.
pub(super) const TOP: &str = "the top of the file";
/// Stands for a name that the operator gives.
const NAME: &str = "NAME";

/// Every section under the name that a message gives it. A word in capitals stands for others: NAME for any name, another for the
/// keys of the section above.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    (TOP, ROOT),
    ("[listen]", LISTEN),
    ("[listen.tls]", TLS),
    ("[limits]", LIMITS),
    ("[egress]", EGRESS),
    ("[topics]", TOPICS),
    ("[topics.NAME]", TOPIC),
    ("[triggers.NAME]", TRIGGER),
    ("[[tests]]", TEST),
    ("[functions.NAME]", FUNCTION),
    ("[triggers.NAME.input]", INPUT),
    ("[triggers.NAME.concurrency]", CONCURRENCY),
    ("[triggers.NAME.batch]", BATCH),
    ("[triggers.NAME.budget]", BUDGET),
    ("[triggers.NAME.rate_limit]", RATE_LIMIT),
    ("[triggers.NAME.dedup]", DEDUP),
    ("[hosts.NAME]", HOST),
    ("[hosts.NAME.rate_limit]", RATE_LIMIT),
    ("[triggers.NAME.retry]", RETRY),
    ("[triggers.NAME.breaker]", BREAKER),
    ("[triggers.NAME.target]", TARGET),
    ("[triggers.NAME.target.http]", HTTP),
    ("[triggers.NAME.target.http.auth]", HTTP_AUTH),
    ("[triggers.NAME.target.http.auth.basic]", HTTP_BASIC),
    ("[triggers.NAME.target.http.auth.header]", HTTP_AUTH_HEADER),
    ("[triggers.NAME.target.http.auth.oauth]", HTTP_OAUTH),
    ("[triggers.NAME.target.function]", FUNCTION_TARGET),
    ("[triggers.NAME.target.lambda]", LAMBDA),
    ("[triggers.NAME.target.topic]", TOPIC_TARGET),
    ("[schedules.NAME]", SCHEDULE),
    ("[prices]", PRICES),
    ("[prices.ARCHITECTURE]", PRICE),
    ("[invoke]", INVOKE),
    ("[timeline]", TIMELINE),
    ("[auth]", AUTH),
    ("a secret", SECRET),
];

/// The first section that has this key.
pub(super) fn home_of(key: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| *section)
}

/// The keys of a section.
pub(super) fn keys_of(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|(title, _)| *title == section).map_or(&[], |(_, keys)| keys)
}

/// A key as the list of its section has it.
pub(super) fn known_key(section: &str, key: &str) -> Option<&'static str> {
    keys_of(section).iter().copied().find(|known| *known == key)
}

/// The section that a path such as `triggers.ship.retry` leads to.
pub(super) fn section_at(path: &[&str]) -> Option<&'static str> {
    find(path, |word, step| word == step || is_stand_in(word))
}

/// The section that a key of this one holds.
pub(super) fn section_in(section: &str, key: &str) -> Option<&'static str> {
    let path = [words_of(section), vec![key]].concat();
    find(&path, |word, step| word == step || (is_stand_in(word) && word != NAME))
}

/// The section that every name in this key of a section holds.
pub(super) fn names_in(section: &str, key: &str) -> Option<&'static str> {
    let path = [words_of(section), vec![key, NAME]].concat();
    find(&path, |word, step| word == step)
}

/// Whether a section is one of a list of tables.
pub(super) fn is_list(section: &str) -> bool {
    section.starts_with("[[")
}

fn find(path: &[&str], fits: impl Fn(&str, &str) -> bool) -> Option<&'static str> {
    let mut titles = SECTIONS.iter().map(|(title, _)| *title).filter(|title| title.starts_with('['));
    titles.find(|title| {
        let words = words_of(title);
        words.len() == path.len() && words.iter().zip(path).all(|(word, step)| fits(word, step))
    })
}

/// The steps from the top of the file to a section.
pub(super) fn words_of(section: &str) -> Vec<&str> {
    if !section.starts_with('[') {
        return Vec::new();
    }
    section.trim_matches(['[', ']']).split('.').collect()
}

fn is_stand_in(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}
