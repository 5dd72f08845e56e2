//! Credentials: asked for rarely, replaced in time, let go of when AWS refuses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use super::signature::check;
use super::*;

/// Gives other keys every time that it is asked, unless it has none.
#[derive(Debug)]
struct Counting {
    asked: Arc<AtomicUsize>,
    lifetime_secs: Option<u64>,
}

impl ProvideCredentials for Counting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = match self.lifetime_secs {
            None => Err(CredentialsError::not_loaded("nobody has any")),
            Some(secs) => {
                let ends = UNIX_EPOCH + Duration::from_millis(invocation(event()).now.0 + secs * 1000);
                Ok(Credentials::new(format!("AKID{asked}"), SECRET, None, Some(ends), "test"))
            }
        };
        future::ProvideCredentials::ready(answer)
    }
}

fn counting(server: &Server, lifetime_secs: Option<u64>) -> (LambdaTarget, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = SharedCredentialsProvider::new(Counting { asked: Arc::clone(&asked), lifetime_secs });
    (LambdaTarget::with_credentials(options(server), loopback(), provider).unwrap(), asked)
}

async fn invoke_at(target: &LambdaTarget, secs: u64) -> Outcome {
    let mut invocation = invocation(event());
    invocation.now = invocation.now.plus_ms(secs * 1000);
    invocation.deadline = invocation.now.plus_ms(10_000);
    target.invoke(invocation).await.outcome
}

#[tokio::test]
async fn credentials_are_looked_up_once_and_refreshed_ahead_of_their_end() {
    let server = answering(|| answer(200), "{}").await;
    let (target, asked) = counting(&server, Some(3600));
    for secs in [0, 1, 3299] {
        assert!(is_acked(&invoke_at(&target, secs).await));
        check(&server.last(), "AKID1", SECRET, "eu-central-1");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Still signed with the old ones; the new ones come behind the call.
    assert!(is_acked(&invoke_at(&target, 3300).await));
    check(&server.last(), "AKID1", SECRET, "eu-central-1");
    while asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert!(is_acked(&invoke_at(&target, 3301).await));
    check(&server.last(), "AKID2", SECRET, "eu-central-1");
}

#[tokio::test]
async fn credentials_that_ended_are_replaced_before_the_call() {
    let server = answering(|| answer(200), "{}").await;
    let (target, _) = counting(&server, Some(3600));
    invoke_at(&target, 0).await;
    assert!(is_acked(&invoke_at(&target, 7200).await));
    check(&server.last(), "AKID2", SECRET, "eu-central-1");
}

#[tokio::test]
async fn without_credentials_the_target_is_unreachable_and_the_chain_rests() {
    let server = answering(|| answer(200), "{}").await;
    let (target, asked) = counting(&server, None);
    for secs in [0, 0, 4] {
        let (class, _, response) = retried(invoke_at(&target, secs).await);
        assert_eq!(class, RetryClass::Unreachable);
        assert!(response.error.starts_with("no AWS credentials: "), "{response:?}");
        assert!(response.error.contains("nobody has any"), "{response:?}");
    }
    assert_eq!((asked.load(Ordering::SeqCst), server.connections()), (1, 0));
    invoke_at(&target, 5).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn credentials_that_aws_refuses_are_looked_up_anew() {
    let server = Server::answering(|head, _| {
        let authorization = head.headers["authorization"].to_str().unwrap();
        if authorization.contains("AKID1/") {
            let builder = answer(403).header("x-amzn-errortype", "ExpiredTokenException");
            return with_body(
                builder,
                r#"{"message":"The security token included in the request is expired"}"#,
            );
        }
        with_body(answer(200), "{}")
    })
    .await;
    let (target, asked) = counting(&server, Some(3600));
    let (class, _, response) = retried(invoke_at(&target, 0).await);
    assert_eq!(class, RetryClass::Unreachable);
    assert!(response.error.contains("ExpiredTokenException: The security token"), "{response:?}");
    assert!(is_acked(&invoke_at(&target, 0).await));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_calls_at_once_look_credentials_up_once() {
    let server = answering(|| answer(200), "{}").await;
    let (target, asked) = counting(&server, Some(3600));
    let target = Arc::new(target);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let target = Arc::clone(&target);
            tokio::spawn(async move { is_acked(&invoke_at(&target, 0).await) })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn neither_errors_nor_debug_output_show_a_secret() {
    let provider = keys(Some("token-of-mine"));
    let text = format!("{provider:?}");
    assert!(!text.contains(SECRET) && !text.contains("token-of-mine"), "{text}");
}
