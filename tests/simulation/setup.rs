//! The topics and triggers of the simulation, and which events each of them wants.

use std::sync::Arc;

use eventail_broker::config::{
    Config, StartPosition, TargetOptions, TopicOptions, TopicTargetOptions, Trigger,
};
use eventail_storage::log::Durability;
use eventail_triggers::policy::{BatchPolicy, DeliveryPolicy, Ordering};
use eventail_triggers::target::Target;
use eventail_wire::{Event, TopicName, TriggerName};

use crate::plan::Plan;

/// The topic that loses nothing.
pub(crate) const ORDERS: &str = "orders";
/// The topic that is answered before its sync.
pub(crate) const CLICKS: &str = "clicks";
/// Where the events of `orders` are copied to.
pub(crate) const COPIES: &str = "copies";

/// The types of events.
pub(crate) const TYPES: [&str; 3] = ["order.created", "order.paid", "order.noted"];

/// How the trigger that is only there under some configurations is called.
pub(crate) const EXTRA: &str = "extra";

/// A trigger with a scripted target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) topic: &'static str,
    pattern: Option<&'static str>,
    wants: fn(&str) -> bool,
    pub(crate) is_keyed: bool,
    is_batched: bool,
}

const fn all(_: &str) -> bool {
    true
}

/// All of them.
pub(crate) const SCRIPTS: [Script; 7] = [
    Script {
        name: "ship",
        topic: ORDERS,
        pattern: Some(r#"{"type":["order.created"]}"#),
        wants: |kind| kind == "order.created",
        is_keyed: false,
        is_batched: false,
    },
    Script { name: "bill", topic: ORDERS, pattern: None, wants: all, is_keyed: true, is_batched: false },
    Script { name: "pack", topic: ORDERS, pattern: None, wants: all, is_keyed: false, is_batched: true },
    Script {
        name: "load",
        topic: ORDERS,
        pattern: Some(r#"{"type":["order.created","order.paid"]}"#),
        wants: |kind| kind != "order.noted",
        is_keyed: true,
        is_batched: true,
    },
    Script {
        name: EXTRA,
        topic: ORDERS,
        pattern: Some(r#"{"type":["order.paid"]}"#),
        wants: |kind| kind == "order.paid",
        is_keyed: false,
        is_batched: false,
    },
    Script { name: "copied", topic: COPIES, pattern: None, wants: all, is_keyed: false, is_batched: false },
    Script { name: "track", topic: CLICKS, pattern: None, wants: all, is_keyed: true, is_batched: false },
];

/// The trigger that copies.
pub(crate) const COPY: &str = "copy";

impl Script {
    pub(crate) fn wants(&self, event: &Event) -> bool {
        (self.wants)(event.event_type())
    }
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a name")
}

pub(crate) fn trigger(name: &str) -> TriggerName {
    TriggerName::new(name).expect("a name")
}

fn policy(plan: &Plan, script: &Script, variant: u32) -> DeliveryPolicy {
    let batch = script.is_batched.then(|| BatchPolicy {
        max_events: 2 + (variant as usize % 3) * 3,
        max_bytes: 64 << 10,
        window_ms: u64::from(variant % 2) * 40,
        bisect: plan.bisect,
    });
    DeliveryPolicy {
        concurrency: plan.concurrency + variant as usize % 2,
        timeout_ms: plan.timeout_ms,
        max_attempts: plan.max_attempts,
        backoff_initial_ms: 20 + u64::from(variant) * 10,
        backoff_max_ms: 600,
        retry_after_max_ms: 1_500,
        breaker_failures: plan.breaker_failures,
        breaker_open_ms: 100,
        breaker_open_max_ms: 1_500,
        parked_max: plan.parked_max,
        ordering: if script.is_keyed { Ordering::Key } else { Ordering::None },
        batch,
        ..DeliveryPolicy::default()
    }
}

/// The configuration of this seed in one of its variants: an even one has the extra trigger.
pub(crate) fn config(
    plan: &Plan,
    variant: u32,
    target: impl Fn(&'static Script) -> Arc<dyn Target>,
) -> Config {
    let mut config = Config::embedded("/data");
    config.drain_ms = 1_000;
    let defaults = TopicOptions {
        segment_bytes: plan.segment_bytes,
        dedup_window_ms: 24 * 60 * 60 * 1000,
        ..TopicOptions::default()
    };
    let clicks = TopicOptions {
        durability: Durability::Buffered,
        retention_bytes: plan.retention.then_some(4 * plan.segment_bytes),
        ..defaults
    };
    config.topics.named.insert(topic(CLICKS), clicks);
    config.topics.named.insert(topic(ORDERS), defaults.clone());
    config.topics.defaults = defaults;
    for script in &SCRIPTS {
        if script.name == EXTRA && variant % 2 == 1 {
            continue;
        }
        let declared = Trigger {
            topic: topic(script.topic),
            pattern: script.pattern.map(str::to_owned),
            policy: policy(plan, script, variant),
            start: StartPosition::Earliest,
            ..Trigger::new(TargetOptions::Handler(target(script)))
        };
        config.triggers.insert(trigger(script.name), declared);
    }
    let copy = Trigger {
        topic: topic(ORDERS),
        start: StartPosition::Earliest,
        policy: DeliveryPolicy { backoff_max_ms: 600, backoff_initial_ms: 20, ..DeliveryPolicy::default() },
        ..Trigger::new(TargetOptions::Topic(TopicTargetOptions { name: topic(COPIES) }))
    };
    config.triggers.insert(trigger(COPY), copy);
    config
}
