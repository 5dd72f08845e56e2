//! Inputs as targets see them, single and in batches.

use std::collections::BTreeMap;

use eventail_triggers::input::InputOptions;
use eventail_triggers::outcome::BatchOutcome;
use eventail_triggers::policy::BatchPolicy;

use super::*;
use crate::core::BrokerError;

/// Takes everything, and remembers the inputs of each call.
#[derive(Default)]
struct Keeper(Mutex<Vec<Vec<String>>>);

impl Keeper {
    fn seen(&self) -> Vec<Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, call: &[Invocation]) {
        let input = |one: &Invocation| {
            let input = one.input.as_ref().expect("the trigger has an input");
            String::from_utf8_lossy(&input.bytes).into_owned()
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call.iter().map(input).collect());
    }
}

impl Target for Keeper {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Answer> {
        self.keep(&[invocation]);
        Box::pin(async { Outcome::Ack { reply: None }.into() })
    }

    fn invoke_batch(&self, batch: Vec<Invocation>) -> BoxFuture<'_, Answer<BatchOutcome>> {
        self.keep(&batch);
        Box::pin(async { BatchOutcome::Whole(Outcome::Ack { reply: None }).into() })
    }
}

fn with_total(id: &str, data: &'static str) -> Event {
    event(id).to_builder().data_content_type("application/json").data(data).build().unwrap()
}

async fn run(batch: Option<usize>) -> (Vec<Vec<String>>, u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let target = Arc::new(Keeper::default());
    let mut config = config(&dir, target.clone());
    let trigger = config.triggers.get_mut(&name()).unwrap();
    trigger.input = Some(InputOptions::Path("$.data.total".to_owned()));
    trigger.policy.concurrency = 1;
    trigger.policy.batch =
        batch.map(|max_events| BatchPolicy { max_events, max_bytes: 1 << 20, window_ms: 0, bisect: false });
    let broker = Broker::open(config).await.unwrap();
    let events = [("0", r#"{"total":1}"#), ("1", "{}"), ("2", r#"{"total":3}"#), ("3", "{}")];
    broker.publish(&topic(), events.map(|(id, data)| with_total(id, data)).to_vec()).await.unwrap();
    settled(&broker, 4).await;
    let account = broker.trigger(&name()).unwrap().account;
    broker.shutdown().await.unwrap();
    (target.seen(), account.delivered, account.dead_lettered)
}

#[tokio::test]
async fn a_target_gets_the_input_and_what_makes_none_is_a_dead_letter_without_a_call() {
    let (seen, delivered, dead_lettered) = run(None).await;
    assert_eq!(seen, [["1"], ["3"]]);
    assert_eq!((delivered, dead_lettered), (2, 2));
}

#[tokio::test]
async fn in_a_batch_only_what_makes_no_input_is_left_out() {
    let (seen, delivered, dead_lettered) = run(Some(4)).await;
    assert_eq!(seen, [["1", "3"]]);
    assert_eq!((delivered, dead_lettered), (2, 2));
}

#[tokio::test]
async fn a_batch_in_which_nothing_makes_an_input_calls_nobody() {
    let (seen, delivered, dead_lettered) = run(Some(1)).await;
    assert_eq!(seen, [["1"], ["3"]]);
    assert_eq!((delivered, dead_lettered), (2, 2));
}

#[tokio::test]
async fn an_input_that_cannot_be_compiled_opens_no_broker() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, Arc::new(Keeper::default()));
    let template = InputOptions::Template { paths: BTreeMap::new(), template: "<x>".to_owned() };
    config.triggers.get_mut(&name()).unwrap().input = Some(template);
    let error = Broker::open(config).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, BrokerError::Input { .. }), "{error}");
}
