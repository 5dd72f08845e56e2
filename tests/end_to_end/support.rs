//! What the modules share: configurations in a few words, and the questions they all ask.

use eventail_tests::{Api, until};
use serde_json::Value;

/// Retries that do not keep a test waiting, and a breaker that never opens for the few events of one.
pub(crate) const QUICK: &str = r#"
retry = { max_attempts = 3, backoff_initial = "10ms", backoff_max = "50ms" }
breaker = { failures = 1000, open = "50ms", open_max = "200ms" }
"#;

/// A trigger on the topic `orders`, from its start, that calls `url`; with more keys.
pub(crate) fn trigger(name: &str, url: &str, keys: &str) -> String {
    trigger_to(name, url, keys, "")
}

/// The same with more keys for its target.
pub(crate) fn trigger_to(name: &str, url: &str, keys: &str, target_keys: &str) -> String {
    format!(
        "[triggers.{name}]\ntopic = \"orders\"\nstart = \"earliest\"\n{keys}\n[triggers.{name}.target.http]\nurl = \"{url}\"\n{target_keys}\n"
    )
}

/// A trigger on the topic `orders`, from its start, that calls a local function; with more keys, and more for its target.
pub(crate) fn trigger_function(name: &str, function: &str, keys: &str, target_keys: &str) -> String {
    format!(
        "[triggers.{name}]\ntopic = \"orders\"\nstart = \"earliest\"\n{keys}\n[triggers.{name}.target.function]\nname = \"{function}\"\n{target_keys}\n"
    )
}

/// The one dead letter there is, which must be the trigger's.
pub(crate) async fn only_letter(api: Api, trigger: &str) -> Value {
    let letters = api.dead_letters("").await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["trigger"], trigger, "{letters:?}");
    letters[0].clone()
}

/// One number of a trigger's account.
pub(crate) fn count(status: &Value, name: &str) -> u64 {
    status["account"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"))
}

/// Waits until the trigger has nothing pending and has matched `matched` events; answers its status. The account must be
/// complete.
pub(crate) async fn at_rest(api: Api, name: &str, matched: u64) -> Value {
    let what = format!("{name} to be at rest with {matched} matched");
    let rests = |status: &Value| count(status, "matched") == matched && count(status, "pending") == 0;
    let status = until(&what, rests, async || api.trigger(name).await).await;
    assert_complete(&status);
    status
}

/// `matched = delivered + dead_lettered + expired + deduplicated + pending`.
#[track_caller]
pub(crate) fn assert_complete(status: &Value) {
    let settled = ["delivered", "dead_lettered", "expired", "deduplicated"]
        .map(|name| count(status, name))
        .iter()
        .sum::<u64>();
    assert_eq!(count(status, "matched"), settled + count(status, "pending"), "{status}");
}

/// Waits until the trigger's status is as wished, and answers it.
pub(crate) async fn trigger_until(api: Api, name: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
    until(what, wish, async || api.trigger(name).await).await
}
