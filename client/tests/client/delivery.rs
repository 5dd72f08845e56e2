//! Callbacks against a server that answers by script.

use std::time::Duration;

use crate::scripted::{Scripted, Stream, code, cut};
use eventail_client::{CallbackOutcome, ClientError, Code, Timestamp};
use eventail_wire::frame::{CallbackAction, CalledBack, Frame};
use quinn::Connection;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Takes one callback and answers it.
async fn answer(connection: &Connection, outcome: CallbackOutcome) -> CallbackAction {
    let mut stream = Stream::welcome(connection).await;
    let Frame::CallBack(call) = stream.frame().await else { panic!("a callback was expected") };
    assert_eq!(call.token, TOKEN);
    stream.send(Frame::CalledBack(CalledBack { request: call.request, outcome })).await;
    assert_eq!(stream.frame().await, Frame::Goodbye);
    stream.end().await;
    call.action
}

#[tokio::test]
async fn each_call_says_what_it_says_and_tells_what_became_of_it() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let delivery = client.delivery(TOKEN);
    let deadline = Timestamp(7);

    let outcome = CallbackOutcome::Extended { deadline };
    let (told, said) =
        tokio::join!(delivery.extend(Some(Duration::from_secs(2))), answer(&connection, outcome));
    assert_eq!((told.unwrap(), said), (outcome, CallbackAction::Extend { by_ms: Some(2_000) }));

    let (told, said) = tokio::join!(delivery.extend(None), answer(&connection, outcome));
    assert_eq!((told.unwrap(), said), (outcome, CallbackAction::Extend { by_ms: None }));

    let outcome = CallbackOutcome::Retry { at: Timestamp(9) };
    let nack = delivery.nack(Some(Duration::from_millis(5)), "busy");
    let (told, said) = tokio::join!(nack, answer(&connection, outcome));
    let action = CallbackAction::Nack { after_ms: Some(5), reason: "busy".to_owned() };
    assert_eq!((told.unwrap(), said), (outcome, action));

    let outcome = CallbackOutcome::DeadLettered;
    let (told, said) = tokio::join!(delivery.reject("bad"), answer(&connection, outcome));
    assert_eq!((told.unwrap(), said), (outcome, CallbackAction::Reject { reason: "bad".to_owned() }));

    for outcome in [CallbackOutcome::Delivered, CallbackOutcome::Kept] {
        let (told, said) = tokio::join!(delivery.ack(), answer(&connection, outcome));
        assert_eq!((told.unwrap(), said), (outcome, CallbackAction::Ack));
    }
}

#[tokio::test]
async fn a_refused_callback_says_why() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let refuse = async {
        let mut stream = Stream::welcome(&connection).await;
        let Frame::CallBack(call) = stream.frame().await else { panic!("a callback was expected") };
        stream.refused(call.request, Code::DeliveryNotFound).await;
        stream
    };
    let (told, _stream) = tokio::join!(async { client.delivery(TOKEN).ack().await }, refuse);
    assert_eq!(code(told), Some(Code::DeliveryNotFound));
}

#[tokio::test]
async fn a_callback_whose_connection_is_lost_fails_and_the_next_finds_a_new_one() {
    let server = Scripted::start();
    let (client, connection) = server.connect().await;
    let delivery = client.delivery(TOKEN);
    let lose = async {
        let mut stream = Stream::welcome(&connection).await;
        assert!(matches!(stream.frame().await, Frame::CallBack(_)));
        cut(&connection);
    };
    let (told, ()) = tokio::join!(delivery.ack(), lose);
    assert!(told.unwrap_err().is_retryable());
    let again = async { answer(&server.connection().await, CallbackOutcome::Delivered).await };
    let (told, _) = tokio::join!(delivery.ack(), again);
    assert_eq!(told.unwrap(), CallbackOutcome::Delivered);
    client.close().await;
    assert!(matches!(delivery.ack().await, Err(ClientError::Closed)));
}

#[test]
fn a_token_never_prints() {
    let call =
        eventail_wire::frame::CallBack { request: 1, token: TOKEN.to_owned(), action: CallbackAction::Ack };
    assert!(!format!("{call:?} {:?}", Frame::CallBack(call.clone())).contains(TOKEN));
}
