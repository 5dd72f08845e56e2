//! The target: what a trigger's events become, and what becomes of them.

use std::sync::Arc;

use eventail_wire::{Event, Offset, Timestamp, TopicName, TriggerName};

use super::support::{Folder, until};
use crate::function::{FunctionOptions, FunctionTarget};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, RetryClass};
use crate::payload::PayloadShape;
use crate::report::RunEnd;
use crate::target::{Invocation, Target};

fn invocation(id: &str, data: &str) -> Invocation {
    let event = Event::builder(id, "/s", "t").json_data(data.to_owned()).build().unwrap();
    let now = Timestamp(1_800_000_000_000);
    Invocation {
        topic: TopicName::new("orders").unwrap(),
        offset: Offset(7),
        appended_at: now,
        trigger: TriggerName::new("ship").unwrap(),
        attempt: 1,
        delivery_id: format!("msg_{}", event.id()).into(),
        event,
        now,
        deadline: now.plus_ms(20_000),
        wants_reply: false,
        callback: None,
        input: None,
        is_replay: false,
    }
}

fn target(
    folder: &Folder,
    shape: PayloadShape,
    change: impl FnOnce(&mut FunctionOptions),
) -> (Arc<crate::function::Function>, FunctionTarget) {
    let function = folder.function(change);
    let target = FunctionTarget::new(Arc::clone(&function), shape);
    (function, target)
}

fn retry(outcome: &Outcome) -> (RetryClass, &str, &str) {
    let Outcome::Retry { class, response, .. } = outcome else { panic!("{outcome:?}") };
    (*class, &response.error, &response.log)
}

/// Does to the first event what its data say.
const BY_DATA: &str = "
while True:
    id, headers, event = take()
    event = event['data'] if 'data' in event else event
    say('doing ' + event['do'])
    if event['do'] == 'fail':
        fail(id, 'Sad', 'as asked')
    elif event['do'] == 'crash':
        os._exit(1)
    elif event['do'] == 'sleep':
        time.sleep(600)
    elif event['do'] == 'reply':
        answer(id, {'specversion': '1.0', 'id': 'r', 'source': '/f', 'type': 'made', 'data': id})
    else:
        answer(id, None)
";

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_a_run_has_its_class() {
    let folder = Folder::new(BY_DATA);
    let (function, target) = target(&folder, PayloadShape::CloudEvent, |options| options.timeout_ms = 1_000);
    assert_eq!(target.shared_key().as_deref(), Some("function tried"));

    let answer = target.invoke(invocation("1", r#"{"do":"nothing"}"#)).await;
    assert!(matches!(answer.outcome, Outcome::Ack { reply: None }));
    let report = answer.report.unwrap();
    assert_eq!((&*report.function, report.end), ("function tried", RunEnd::Succeeded));
    let whole = report.init_ms.unwrap() + report.duration_ms;
    #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
    let billed = report.billed_ms.unwrap() as f64;
    assert!(billed >= whole && billed < whole + 1.0, "{report:?}");

    let answer = target.invoke(invocation("2", r#"{"do":"fail"}"#)).await;
    assert_eq!(retry(&answer.outcome), (RetryClass::Failed, "Sad: as asked", "doing fail\n"));
    let answer = target.invoke(invocation("3", r#"{"do":"crash"}"#)).await;
    let (class, error, log) = retry(&answer.outcome);
    assert_eq!((class, log), (RetryClass::Failed, "doing crash\n"));
    assert!(error.contains("exit status 1"), "{error}");
    let answer = target.invoke(invocation("4", r#"{"do":"sleep"}"#)).await;
    let (class, error, log) = retry(&answer.outcome);
    assert_eq!((class, log), (RetryClass::Timeout, "doing sleep\n"));
    assert!(error.contains("timed out after 1.00 seconds"), "{error}");
    assert_eq!(answer.report.unwrap().end, RunEnd::Timeout);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_start_is_unreachable_and_a_busy_one_throttles() {
    let folder = Folder::new("sys.exit('bad')");
    let (function, target) = target(&folder, PayloadShape::CloudEvent, |_| {});
    let answer = target.invoke(invocation("1", "1")).await;
    let (class, error, log) = retry(&answer.outcome);
    assert_eq!((class, log), (RetryClass::Unreachable, "bad\n"));
    assert!(error.contains("exit status 1"), "{error}");
    assert_eq!(answer.report.unwrap().end, RunEnd::InitError);
    function.close().await;

    let folder = Folder::new(BY_DATA);
    let (function, target) = self::target(&folder, PayloadShape::Raw, |_| {});
    let target = Arc::new(target);
    let busy = Arc::clone(&target);
    let busy = tokio::spawn(async move { busy.invoke(invocation("1", r#"{"do":"sleep"}"#)).await });
    until(&function, |status| status.busy == 1).await;
    let mut second = invocation("2", r#"{"do":"nothing"}"#);
    second.deadline = second.now.plus_ms(20);
    assert_eq!(retry(&target.invoke(second).await.outcome).0, RetryClass::Throttled);
    busy.abort();
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_in_the_answer_is_the_reply() {
    let folder = Folder::new(BY_DATA);
    let (function, target) = target(&folder, PayloadShape::CloudEvent, |_| {});
    let mut wanted = invocation("1", r#"{"do":"reply"}"#);
    wanted.wants_reply = true;
    let answer = target.invoke(wanted).await;
    let Outcome::Ack { reply: Some(reply) } = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(reply.event_type(), "made");
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_run_and_may_fail_in_part() {
    let folder = Folder::new(
        "
def handle(event):
    say(f\"{len(event['Records'])} records\")
    bad = [record['messageId'] for record in event['Records'] if record['body'] == '\"bad\"']
    return {'batchItemFailures': [{'itemIdentifier': id} for id in bad]}
serve(handle)
",
    );
    let (function, target) = target(&folder, PayloadShape::Sqs, |_| {});
    let batch = [("1", "1"), ("2", r#""bad""#), ("3", "3")].map(|(id, data)| invocation(id, data)).to_vec();
    let answer = target.invoke_batch(batch).await;
    let BatchOutcome::Each(outcomes) = answer.outcome else { panic!("{answer:?}") };
    assert!(matches!(outcomes[0], Outcome::Ack { .. }) && matches!(outcomes[2], Outcome::Ack { .. }));
    let (class, error, log) = retry(&outcomes[1]);
    assert_eq!((class, log), (RetryClass::Failed, "3 records\n"));
    assert!(error.contains("batchItemFailures"), "{error}");
    assert!(answer.report.is_some());
    assert_eq!(function.status().starts, 1);
    function.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_too_large_is_refused_for_good() {
    let folder = Folder::new(BY_DATA);
    let (function, target) = target(&folder, PayloadShape::Raw, |_| {});
    let large = invocation("1", &format!("\"{}\"", "x".repeat(4 << 20)));
    let answer = target.invoke_batch(vec![large.clone(), large]).await;
    let BatchOutcome::Whole(Outcome::Reject { reason, response, .. }) = answer.outcome else { panic!() };
    assert_eq!(reason, RejectReason::TooLarge);
    assert!(response.error.contains("at most 6291556"), "{}", response.error);
    assert_eq!(function.status().starts, 0);
    function.close().await;
}
