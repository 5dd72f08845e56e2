//! Several events in one call.

use super::*;
use crate::payload::encode_batch;

fn batch(ids: &[&str], data: &str) -> Vec<Invocation> {
    let one = |id: &&str| {
        let event = eventail_wire::Event::builder(*id, "/s", "t").json_data(data.to_owned()).build().unwrap();
        Invocation { delivery_id: format!("msg_{id}").into(), ..invocation(event) }
    };
    ids.iter().map(one).collect()
}

fn acked(outcomes: BatchOutcome) -> Vec<bool> {
    match outcomes {
        BatchOutcome::Each(outcomes) => outcomes.iter().map(is_acked).collect(),
        BatchOutcome::Whole(outcome) => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_one_call_and_the_listed_events_fail() {
    let listing = r#"{"batchItemFailures":[{"itemIdentifier":"msg_b"}]}"#;
    let server = answering(|| answer(200), listing).await;
    let sqs = target(LambdaTargetOptions { payload: PayloadShape::Sqs, ..options(&server) });
    let events = batch(&["a", "b", "c"], "1");
    let answer = sqs.invoke_batch(events.clone()).await;
    assert_eq!(acked(answer.outcome), [true, false, true]);
    assert_eq!(answer.report.unwrap().end, RunEnd::Succeeded);
    assert_eq!(server.seen.lock().unwrap().len(), 1);
    let place = crate::payload::Place { region: "eu-central-1", ..Default::default() };
    assert_eq!(server.last().1, crate::payload::encode_batch_at(place, PayloadShape::Sqs, &events));

    let one = sqs.invoke(batch(&["b"], "1").remove(0)).await;
    assert_eq!(retried(one.outcome).0, RetryClass::Failed);
}

#[tokio::test]
async fn a_failure_is_the_whole_batchs() {
    let failing = || answer(200).header("x-amz-function-error", "Unhandled");
    let server = answering(failing, r#"{"errorType":"E","errorMessage":"m"}"#).await;
    let answer = target(options(&server)).invoke_batch(batch(&["a", "b"], "1")).await;
    let BatchOutcome::Whole(outcome) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(retried(outcome).0, RetryClass::Failed);
    assert_eq!(server.last().1, encode_batch(PayloadShape::CloudEvent, &batch(&["a", "b"], "1")));
}

#[tokio::test]
async fn an_asynchronous_batch_is_taken_when_lambda_takes_it() {
    let server = answering(|| answer(202), "").await;
    let target = target(LambdaTargetOptions { invocation: InvocationType::Async, ..options(&server) });
    let answer = target.invoke_batch(batch(&["a", "b"], "1")).await;
    assert!(matches!(answer.outcome, BatchOutcome::Whole(Outcome::Ack { reply: None })));
    assert!(answer.report.is_none());
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts_and_only_what_is_too_large_alone_is_refused() {
    const LOG: &str = "UkVQT1JUIFJlcXVlc3RJZDogcglEdXJhdGlvbjogMiBtcwlCaWxsZWQgRHVyYXRpb246IDMgbXM=";
    let server = answering(|| answer(200).header("x-amz-log-result", LOG), "null").await;
    let raw = target(LambdaTargetOptions { payload: PayloadShape::Raw, ..options(&server) });
    let third = format!("\"{}\"", "x".repeat(2 << 20));
    let answer = raw.invoke_batch(batch(&["a", "b", "c", "d"], &third)).await;
    assert_eq!(acked(answer.outcome), [true; 4]);
    assert_eq!(server.seen.lock().unwrap().len(), 2);
    let report = answer.report.unwrap();
    assert_eq!((report.duration_ms, report.billed_ms), (4.0, Some(6)));

    let mut mixed = batch(&["a", "b"], "1");
    mixed.extend(batch(&["c"], &format!("\"{}\"", "x".repeat(6 << 20))));
    let BatchOutcome::Each(outcomes) = raw.invoke_batch(mixed).await.outcome else { panic!() };
    assert!(is_acked(&outcomes[0]) && is_acked(&outcomes[1]));
    assert_eq!(rejected(outcomes[2].clone()).0, RejectReason::TooLarge);
}

#[tokio::test]
async fn figures_beyond_all_measure_are_added_without_harm() {
    // `Billed Duration: 1e30 ms`
    const LOG: &str = "UkVQT1JUIFJlcXVlc3RJZDogcglEdXJhdGlvbjogMiBtcwlCaWxsZWQgRHVyYXRpb246IDFlMzAgbXM=";
    let server = answering(|| answer(200).header("x-amz-log-result", LOG), "null").await;
    let raw = target(LambdaTargetOptions { payload: PayloadShape::Raw, ..options(&server) });
    let answer = raw.invoke_batch(batch(&["a", "b"], &format!("\"{}\"", "x".repeat(4 << 20)))).await;
    assert_eq!(acked(answer.outcome), [true; 2]);
    assert_eq!(answer.report.unwrap().billed_ms, Some(u64::MAX));
}
