//! In what two configurations differ, and what of it a running broker can take over. Pure.
//!
//! Everything about triggers, functions and topics takes effect at once, as do `drain`, `egress.allow`, `limits.topics_max`,
//! `limits.hops_max`, `prices`, `invoke.keys`, the certificate, what `[auth]` says, `listen.hosts` and `listen.origins`. The data folder, the
//! listeners, whether they speak TLS, whether there is `[auth]` at all, the other limits (which listeners tell their peers), and whether a
//! topic deduplicates at all wait for the next start: [`in_effect`] is the configuration that a broker runs with until then.

use std::collections::BTreeMap;

use eventail_wire::{FunctionName, TopicName, TriggerName};

use crate::config::{Config, Limits, TopicOptions, Topics, Trigger};
use crate::status::{ConfigAction, ConfigChange, ConfigPart, ReloadPlan};

/// What a reload from `running` to `new` changes. `has_past` tells whether something is kept of a trigger of this topic and name that is
/// not running.
pub(crate) fn plan(
    running: &Config,
    new: &Config,
    has_past: &dyn Fn(&TopicName, &TriggerName) -> bool,
) -> ReloadPlan {
    let mut changes = settings(running, new);
    changes.extend(topics(&running.topics, &new.topics));
    changes.extend(functions(running, new));
    changes.extend(triggers(running, new, has_past));
    ReloadPlan { changes }
}

/// The new configuration with what a running broker cannot take over left as it is.
pub(crate) fn in_effect(running: &Config, new: &Config) -> Config {
    let mut config = new.clone();
    config.data_dir.clone_from(&running.data_dir);
    (config.http, config.quic) = (running.http, running.quic);
    config.listen.insecure = running.listen.insecure;
    if switches_auth(running, new) {
        config.auth.clone_from(&running.auth);
    }
    if switches_tls(running, new) {
        config.tls.clone_from(&running.tls);
    }
    config.limits =
        Limits { topics_max: new.limits.topics_max, hops_max: new.limits.hops_max, ..running.limits.clone() };
    keep_deduplication(&running.topics.defaults, &mut config.topics.defaults);
    for (name, options) in &mut config.topics.named {
        // A topic that is new may be there already all the same, under the defaults.
        keep_deduplication(options_of(&running.topics, name), options);
    }
    config
}

/// Whether listeners begin or cease to speak TLS. What they speak it with is exchanged while they run.
fn switches_tls(running: &Config, new: &Config) -> bool {
    running.tls.is_some() != new.tls.is_some()
}

fn keep_deduplication(running: &TopicOptions, new: &mut TopicOptions) {
    if switches_deduplication(running, new) {
        new.dedup_window_ms = running.dedup_window_ms;
    }
}

fn change(part: ConfigPart, name: impl ToString, action: ConfigAction) -> ConfigChange {
    ConfigChange { part, name: name.to_string(), action, keys: Vec::new(), from: None, needs_restart: false }
}

fn settings(running: &Config, new: &Config) -> Vec<ConfigChange> {
    let (old_limits, limits) = (&running.limits, &new.limits);
    let at_once = [
        ("drain", running.drain_ms != new.drain_ms),
        ("egress.allow", running.egress_allow != new.egress_allow),
        ("egress.ports", running.egress_ports != new.egress_ports),
        ("egress.origin", running.egress_origin != new.egress_origin),
        ("hosts", running.hosts != new.hosts),
        ("topics.auto_create", running.topics.auto_create != new.topics.auto_create),
        ("limits.topics_max", old_limits.topics_max != limits.topics_max),
        ("limits.publish_wait", old_limits.publish_wait_ms != limits.publish_wait_ms),
        ("limits.hops_max", old_limits.hops_max != limits.hops_max),
        ("prices", running.prices != new.prices),
        ("invoke.keys", running.invoke_keys != new.invoke_keys),
        ("auth", running.auth != new.auth && !switches_auth(running, new)),
        ("listen.hosts", running.listen.hosts != new.listen.hosts),
        ("listen.origins", running.listen.origins != new.listen.origins),
        ("listen.tls", running.tls != new.tls && !switches_tls(running, new)),
    ];
    let at_start = [
        ("data_dir", running.data_dir != new.data_dir),
        ("listen.http", running.http != new.http),
        ("listen.quic", running.quic != new.quic),
        ("listen.insecure", running.listen.insecure != new.listen.insecure),
        ("auth", switches_auth(running, new)),
        ("listen.tls", switches_tls(running, new)),
        ("limits.event_bytes_max", old_limits.event_bytes_max != limits.event_bytes_max),
        ("limits.batch_events_max", old_limits.batch_events_max != limits.batch_events_max),
        ("limits.batch_bytes_max", old_limits.batch_bytes_max != limits.batch_bytes_max),
        ("limits.connections_max", old_limits.connections_max != limits.connections_max),
        ("limits.connections_per_address_max", old_limits.per_address() != limits.per_address()),
        ("limits.in_flight_bytes_max", old_limits.in_flight_bytes_max != limits.in_flight_bytes_max),
        ("limits.header_bytes_max", old_limits.header_bytes_max != limits.header_bytes_max),
        ("limits.request_timeout", old_limits.request_timeout_ms != limits.request_timeout_ms),
    ];
    let of = |(key, differs): (&str, bool), needs_restart| {
        let changed = change(ConfigPart::Setting, key, ConfigAction::Changed);
        differs.then_some(ConfigChange { needs_restart, ..changed })
    };
    let at_once = at_once.into_iter().filter_map(|key| of(key, false));
    at_once.chain(at_start.into_iter().filter_map(|key| of(key, true))).collect()
}

/// None ever goes by itself: one that is not named any more is kept as the defaults say.
fn topics(running: &Topics, new: &Topics) -> Vec<ConfigChange> {
    let mut changes = Vec::new();
    if running.defaults != new.defaults {
        let changed = change(ConfigPart::Setting, "topics", ConfigAction::Changed);
        changes.push(topic_change(changed, &running.defaults, &new.defaults));
    }
    let mut names: Vec<&TopicName> = running.named.keys().chain(new.named.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let action = match (running.named.get(name), new.named.get(name)) {
            (None, Some(_)) => ConfigAction::Added,
            (Some(_), None) => ConfigAction::Removed,
            (Some(old), Some(new)) if old != new => ConfigAction::Changed,
            _ => continue,
        };
        let (old, new) = (options_of(running, name), options_of(new, name));
        changes.push(topic_change(change(ConfigPart::Topic, name, action), old, new));
    }
    changes
}

fn options_of<'c>(topics: &'c Topics, name: &TopicName) -> &'c TopicOptions {
    topics.named.get(name).unwrap_or(&topics.defaults)
}

fn topic_change(change: ConfigChange, old: &TopicOptions, new: &TopicOptions) -> ConfigChange {
    let keys = differing([
        ("durability", old.durability != new.durability),
        ("segment_bytes", old.segment_bytes != new.segment_bytes),
        ("retention_age", old.retention_age_ms != new.retention_age_ms),
        ("retention_bytes", old.retention_bytes != new.retention_bytes),
        ("dedup_window", old.dedup_window_ms != new.dedup_window_ms),
        ("dedup_ids_max", old.dedup_ids_max != new.dedup_ids_max),
    ]);
    let needs_restart = switches_deduplication(old, new);
    ConfigChange { keys, needs_restart, ..change }
}

/// A listener that others reach must not lose its authentication on the way.
const fn switches_auth(running: &Config, new: &Config) -> bool {
    running.auth.is_some() != new.auth.is_some()
}

/// A log that is open remembers ids or does not.
const fn switches_deduplication(old: &TopicOptions, new: &TopicOptions) -> bool {
    (old.dedup_window_ms == 0) != (new.dedup_window_ms == 0)
}

fn functions(running: &Config, new: &Config) -> Vec<ConfigChange> {
    let mut names: Vec<&FunctionName> = running.functions.keys().chain(new.functions.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &FunctionName| match (running.functions.get(name), new.functions.get(name)) {
        (None, Some(_)) => Some(change(ConfigPart::Function, name, ConfigAction::Added)),
        (Some(_), None) => Some(change(ConfigPart::Function, name, ConfigAction::Removed)),
        (Some(old), Some(new)) if old != new => {
            let keys = differing([
                ("command", old.command != new.command),
                ("directory", old.directory != new.directory),
                ("environment", old.environment != new.environment),
                ("handler", old.handler != new.handler),
                ("user", old.confinement.user != new.confinement.user),
                ("group", old.confinement.group != new.confinement.group),
                ("memory", old.memory_mb != new.memory_mb),
                ("open_files_max", old.confinement.open_files_max != new.confinement.open_files_max),
                ("processes_max", old.confinement.processes_max != new.confinement.processes_max),
                ("timeout", old.timeout_ms != new.timeout_ms),
                ("init_timeout", old.init_timeout_ms != new.init_timeout_ms),
                ("min_instances", old.min_instances != new.min_instances),
                ("max_instances", old.max_instances != new.max_instances),
                ("idle_timeout", old.idle_timeout_ms != new.idle_timeout_ms),
            ]);
            Some(ConfigChange { keys, ..change(ConfigPart::Function, name, ConfigAction::Changed) })
        }
        _ => None,
    };
    names.into_iter().filter_map(of).collect()
}

fn triggers(
    running: &Config,
    new: &Config,
    has_past: &dyn Fn(&TopicName, &TriggerName) -> bool,
) -> Vec<ConfigChange> {
    let mut changes = BTreeMap::new();
    let mut moved = Vec::new();
    for (name, trigger) in &new.triggers {
        let action = match running.triggers.get(name) {
            Some(old) if old == trigger => continue,
            Some(old) => {
                let keys = trigger_keys(old, trigger);
                let changed = change(ConfigPart::Trigger, name, ConfigAction::Changed);
                changes.insert(name.clone(), ConfigChange { keys, ..changed });
                continue;
            }
            None if has_past(&trigger.topic, name) => ConfigAction::Resumed,
            None => ConfigAction::Added,
        };
        let mut change = change(ConfigPart::Trigger, name, action);
        if action == ConfigAction::Added
            && let Some(old) = renamed_from(running, new, trigger, has_past)
        {
            moved.push(old);
            (change.action, change.from) = (ConfigAction::Renamed, Some(old.to_string()));
        }
        changes.insert(name.clone(), change);
    }
    for name in running.triggers.keys().filter(|name| !new.triggers.contains_key(name)) {
        if !moved.contains(&name) {
            changes.insert(name.clone(), change(ConfigPart::Trigger, name, ConfigAction::Removed));
        }
    }
    changes.into_values().collect()
}

/// What a trigger without a past takes over, if there is something.
fn renamed_from<'c>(
    running: &Config,
    new: &Config,
    trigger: &'c Trigger,
    has_past: &dyn Fn(&TopicName, &TriggerName) -> bool,
) -> Option<&'c TriggerName> {
    let old = trigger.renamed_from.as_ref().filter(|old| !new.triggers.contains_key(*old))?;
    // Offsets of one topic mean nothing in another.
    let runs = running.triggers.get(old).is_some_and(|old| old.topic == trigger.topic);
    (runs || has_past(&trigger.topic, old)).then_some(old)
}

/// The keys in which two triggers differ, as the file has them.
fn trigger_keys(old: &Trigger, new: &Trigger) -> Vec<String> {
    let (was, is) = (&old.policy, &new.policy);
    let mut keys = differing([
        ("topic", old.topic != new.topic),
        ("pattern", old.pattern != new.pattern),
        ("target", old.target != new.target),
        ("key", old.key != new.key),
        ("start", old.start != new.start),
        ("dead_letter_topic", old.dead_letter_topic != new.dead_letter_topic),
        ("reply_topic", old.reply_topic != new.reply_topic),
        ("budget", old.budget != new.budget),
        ("input", old.input != new.input),
        ("dedup", old.dedup != new.dedup),
        ("rate_limit", old.rate_limit != new.rate_limit),
        ("renamed_from", old.renamed_from != new.renamed_from),
        ("concurrency", (was.concurrency, was.concurrency_min) != (is.concurrency, is.concurrency_min)),
        ("batch", was.batch != is.batch),
        ("timeout", was.timeout_ms != is.timeout_ms),
        ("ordering", was.ordering != is.ordering),
        ("parked_max", was.parked_max != is.parked_max),
        ("retry.max_attempts", was.max_attempts != is.max_attempts),
        ("retry.max_age", was.max_age_ms != is.max_age_ms),
        ("retry.backoff_initial", was.backoff_initial_ms != is.backoff_initial_ms),
        ("retry.backoff_max", was.backoff_max_ms != is.backoff_max_ms),
        ("retry.retry_after_max", was.retry_after_max_ms != is.retry_after_max_ms),
        ("breaker.failures", was.breaker_failures != is.breaker_failures),
        ("breaker.open", was.breaker_open_ms != is.breaker_open_ms),
        ("breaker.open_max", was.breaker_open_max_ms != is.breaker_open_max_ms),
    ]);
    keys.sort_unstable();
    keys
}

fn differing<const N: usize>(keys: [(&str, bool); N]) -> Vec<String> {
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use eventail_triggers::function::FunctionTargetOptions;
    use eventail_triggers::payload::PayloadShape;

    use super::*;
    use crate::config::TargetOptions;

    fn parse(text: &str) -> Config {
        Config::parse("eventail.toml", text, &|_| None).unwrap()
    }

    /// Each change as `part name action(from) [keys] !`, the last where it waits for a restart.
    fn shown(running: &Config, new: &Config, past: &[&str]) -> Vec<String> {
        let has_past = |topic: &TopicName, name: &TriggerName| past.contains(&&*format!("{topic}/{name}"));
        let of = |change: &ConfigChange| {
            let from = change.from.as_ref().map(|old| format!("({old})")).unwrap_or_default();
            let waits = if change.needs_restart { " !" } else { "" };
            let (part, action) = (change.part.as_str(), change.action.as_str());
            format!("{part} {} {action}{from} {:?}{waits}", change.name, change.keys).replace('"', "")
        };
        plan(running, new, &has_past).changes.iter().map(of).collect()
    }

    fn trigger(name: &str, keys: &str) -> String {
        format!("[triggers.{name}]\n{keys}\n[triggers.{name}.target.http]\nurl = \"http://a/\"\n")
    }

    #[test]
    fn the_same_text_changes_nothing() {
        let text = trigger("ship", "");
        assert_eq!(shown(&parse(&text), &parse(&text), &[]), Vec::<String>::new());
    }

    #[test]
    fn triggers_come_go_change_and_come_back() {
        let running = parse(&(trigger("a", "concurrency = 1") + &trigger("b", "")));
        let new = parse(
            &(trigger("a", "concurrency = 2\nretry.max_attempts = 3")
                + &trigger("c", "")
                + &trigger("d", "")),
        );
        let changes = shown(&running, &new, &["default/d"]);
        let wanted = [
            "trigger a changed [concurrency, retry.max_attempts]",
            "trigger b removed []",
            "trigger c added []",
            "trigger d resumed []",
        ];
        assert_eq!(changes, wanted);
    }

    #[test]
    fn a_name_is_moved_only_where_there_is_something_to_move() {
        let running = parse(&trigger("old", ""));
        let renamed = |keys: &str| parse(&trigger("new", &format!("renamed_from = \"old\"\n{keys}")));
        assert_eq!(shown(&running, &renamed(""), &[]), ["trigger new renamed(old) []"]);
        let elsewhere = ["trigger new added []", "trigger old removed []"];
        assert_eq!(shown(&running, &renamed("topic = \"other\""), &[]), elsewhere);
        let nothing = parse("");
        assert_eq!(shown(&nothing, &renamed(""), &["default/old"]), ["trigger new renamed(old) []"]);
        assert_eq!(shown(&nothing, &renamed(""), &[]), ["trigger new added []"]);
        let has_its_own = ["trigger new resumed []", "trigger old removed []"];
        assert_eq!(shown(&running, &renamed(""), &["default/new"]), has_its_own);
    }

    #[test]
    fn settings_say_whether_they_wait_for_a_restart() {
        let new = parse(
            "drain = \"1s\"\n[listen]\nquic = \"off\"\n[limits]\nhops_max = 3\nheader_bytes_max = \"16KiB\"\n\
             [egress]\nallow = [\"10.0.0.0/8\"]",
        );
        let wanted = [
            "setting drain changed []",
            "setting egress.allow changed []",
            "setting limits.hops_max changed []",
            "setting listen.quic changed [] !",
            "setting limits.header_bytes_max changed [] !",
        ];
        let running = parse("");
        assert_eq!(shown(&running, &new, &[]), wanted);
        let runs = in_effect(&running, &new);
        assert_eq!((runs.quic, runs.limits.hops_max), (running.quic, 3));
        let waits = plan(&runs, &new, &|_, _| false).needs_restart();
        assert_eq!(waits, ["setting listen.quic", "setting limits.header_bytes_max"]);
    }

    #[test]
    fn another_certificate_takes_effect_at_once_and_to_begin_with_tls_waits_for_a_restart() {
        let with =
            |name: &str| parse(&format!("[listen.tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\""));
        let (none, first, second) = (parse(""), with("a"), with("b"));
        assert_eq!(shown(&first, &second, &[]), ["setting listen.tls changed []"]);
        assert_eq!(in_effect(&first, &second).tls, second.tls);
        for (running, new) in [(&none, &first), (&first, &none)] {
            assert_eq!(shown(running, new, &[]), ["setting listen.tls changed [] !"]);
            assert_eq!(in_effect(running, new).tls, running.tls);
        }
    }

    #[test]
    fn only_whether_a_topic_deduplicates_at_all_waits_for_a_restart() {
        let running = parse("[topics.a]\n[topics.b]\n[topics.c]");
        let new = parse("[topics.a]\nretention_age = \"1d\"\n[topics.b]\ndedup_window = \"0s\"\n[topics.d]");
        let wanted = [
            "topic a changed [retention_age]",
            "topic b changed [dedup_window] !",
            "topic c removed []",
            "topic d added []",
        ];
        assert_eq!(shown(&running, &new, &[]), wanted);
    }

    #[test]
    fn functions_are_told_by_their_keys_and_so_is_a_trigger_that_calls_another() {
        let with =
            |timeout: &str| parse(&format!("[functions.f]\ncommand = [\"x\"]\ntimeout = \"{timeout}\""));
        let changes = shown(&with("3s"), &with("4s"), &[]);
        assert_eq!(changes[0], "function f changed [timeout]");
        let (mut old, mut new) = (Config::embedded("x"), Config::embedded("x"));
        for (config, function) in [(&mut old, "f"), (&mut new, "g")] {
            let options =
                FunctionTargetOptions { function: function.parse().unwrap(), payload: PayloadShape::Raw };
            config.triggers.insert("t".parse().unwrap(), Trigger::new(TargetOptions::Function(options)));
        }
        assert_eq!(shown(&old, &new, &[]), ["trigger t changed [target]"]);
    }
}
