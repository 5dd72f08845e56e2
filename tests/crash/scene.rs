//! The triggers under test and the one target of them all, which knows what it took.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventail_tests::{Received, Receiver, Reply};

use crate::account::number;
use crate::is_poison;

/// One of so many events is refused at its first attempts.
const STUBBORN_EVERY: usize = 7;
/// What a target takes that does not keep up with what is trimmed.
const SLOW: Duration = Duration::from_millis(30);

/// What the topic `short` keeps.
pub(crate) const RETENTION_BYTES: u64 = 256 << 10;

const TOPICS: &str = r#"
[topics.load]
segment_bytes = "1MiB"
[topics.side]
[topics.later]
[topics.short]
segment_bytes = "64KiB"
retention_bytes = "256KiB"
"#;

/// What the target took.
#[derive(Debug, Default)]
struct Taken {
    /// Trigger and id of the event.
    events: Mutex<HashSet<(String, String)>>,
    healed: AtomicBool,
}

/// See the module.
pub(crate) struct Scene {
    pub(crate) receiver: Receiver,
    taken: Arc<Taken>,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let taken = Arc::new(Taken::default());
        let script = Arc::clone(&taken);
        let receiver = Receiver::forgetful(move |request| {
            let reply = judge(request, script.healed.load(Ordering::Relaxed));
            if matches!(reply, Reply::Status(204)) {
                let path = request.path.trim_start_matches('/').to_owned();
                let mut events = script.events.lock().unwrap_or_else(PoisonError::into_inner);
                events.insert((path, request.id().to_owned()));
            }
            if request.path == "/trimmed" { Reply::After(SLOW, Box::new(reply)) } else { reply }
        })
        .await;
        Self { receiver, taken }
    }

    /// From now on the trigger `redriven` gets whatever it sends accepted.
    pub(crate) fn heal(&self) {
        self.taken.healed.store(true, Ordering::Relaxed);
    }

    /// Which of these events the trigger's target never took.
    pub(crate) fn missing<'a>(&self, trigger: &str, ids: &'a [String]) -> Vec<&'a String> {
        let events = self.taken.events.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter(|id| !events.contains(&(trigger.to_owned(), (*id).clone()))).collect()
    }

    /// The configuration after so many changes: each renames one trigger, and adds or removes another.
    pub(crate) fn tables(&self, generation: u64) -> String {
        let mut tables = TOPICS.to_owned();
        tables += &self.trigger("all", "all", "load", "concurrency = 16", 4);
        tables += &self.trigger(
            "keyed",
            "keyed",
            "load",
            "concurrency = 16\nordering = \"key\"\nkey = \"partitionkey\"",
            4,
        );
        for name in ["redriven", "replayed"] {
            tables += &self.trigger(name, name, "side", "concurrency = 8", 3);
        }
        tables += &self.trigger("later", "later", "later", "concurrency = 4", 4);
        tables += &self.trigger("trimmed", "trimmed", "short", "concurrency = 1", 4);
        let from = match generation.checked_sub(1) {
            Some(before) => format!("renamed_from = \"{}\"\n", wanderer(before)),
            None => String::new(),
        };
        tables += &self.trigger(&wanderer(generation), "wanderer", "side", &from, 4);
        if has_guest(generation) {
            tables += &self.trigger("guest", "guest", "side", "", 4);
        }
        tables
    }

    fn trigger(&self, name: &str, path: &str, topic: &str, keys: &str, attempts: u32) -> String {
        let url = self.receiver.url("");
        format!(
            r#"
[triggers.{name}]
topic = "{topic}"
start = "earliest"
{keys}
retry = {{ max_attempts = {attempts}, backoff_initial = "20ms", backoff_max = "200ms" }}
breaker = {{ failures = 10000 }}
[triggers.{name}.target.http]
url = "{url}/{path}"
"#
        )
    }
}

/// What the trigger that is renamed again and again is called.
pub(crate) fn wanderer(generation: u64) -> String {
    format!("wanderer-{generation}")
}

/// Whether the trigger that comes and goes is there.
pub(crate) const fn has_guest(generation: u64) -> bool {
    generation.is_multiple_of(2)
}

/// What the target makes of an event, by the number at the end of its id.
fn judge(request: &Received, healed: bool) -> Reply {
    let number = number(request.id());
    if is_poison(number) && !(healed && request.path == "/redriven") {
        Reply::Text(500, "poison".to_owned())
    } else if number.is_multiple_of(STUBBORN_EVERY) && request.header("eventail-attempt") < "3" {
        Reply::Status(500)
    } else {
        Reply::Status(204)
    }
}
