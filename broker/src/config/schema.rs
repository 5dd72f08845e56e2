//! The keys that a configuration file may have, section by section. The reader asks for no key that is not listed here,
//! and a test holds `config.default.toml` against the list.

/// The top of the file.
pub(super) const ROOT: &[&str] =
    &["data_dir", "drain", "listen", "tls", "limits", "egress", "topics", "triggers"];
/// `[listen]`
pub(super) const LISTEN: &[&str] = &["http", "quic"];
/// `[tls]`
pub(super) const TLS: &[&str] = &["certificate", "key"];
/// `[limits]`
pub(super) const LIMITS: &[&str] = &[
    "event_bytes_max",
    "batch_events_max",
    "batch_bytes_max",
    "connections_max",
    "in_flight_bytes_max",
    "header_bytes_max",
    "topics_max",
    "hops_max",
    "request_timeout",
];
/// `[egress]`
pub(super) const EGRESS: &[&str] = &["allow"];
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
/// `[triggers.NAME]`
pub(super) const TRIGGER: &[&str] = &[
    "topic",
    "pattern",
    "concurrency",
    "timeout",
    "ordering",
    "key",
    "start",
    "dead_letter_topic",
    "reply_topic",
    "parked_max",
    "retry",
    "breaker",
    "target",
];
/// `retry` of a trigger.
pub(super) const RETRY: &[&str] =
    &["max_attempts", "max_age", "backoff_initial", "backoff_max", "retry_after_max"];
/// `breaker` of a trigger.
pub(super) const BREAKER: &[&str] = &["failures", "open", "open_max"];
/// `target` of a trigger: one of these.
pub(super) const TARGET: &[&str] = &["http"];
/// `[triggers.NAME.target.http]`
pub(super) const HTTP: &[&str] = &["url", "mode", "headers", "secret", "statuses", "idle_connections"];
/// A secret.
pub(super) const SECRET: &[&str] = &["env", "file"];

/// Every section under the name that a message gives it.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("the top of the file", ROOT),
    ("[listen]", LISTEN),
    ("[tls]", TLS),
    ("[limits]", LIMITS),
    ("[egress]", EGRESS),
    ("[topics]", TOPICS),
    ("[topics.NAME]", TOPIC),
    ("[triggers.NAME]", TRIGGER),
    ("[triggers.NAME.retry]", RETRY),
    ("[triggers.NAME.breaker]", BREAKER),
    ("[triggers.NAME.target]", TARGET),
    ("[triggers.NAME.target.http]", HTTP),
    ("a secret", SECRET),
];

/// The first section that has this key.
pub(super) fn home_of(key: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| *section)
}
