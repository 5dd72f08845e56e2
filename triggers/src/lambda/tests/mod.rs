//! The Lambda target against a server on loopback that speaks as Lambda does.

mod answers;
mod batches;
mod chain;
mod credentials;
mod requests;
mod signature;

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use http::Response;
use http::response::Builder;
use http_body_util::Full;

use super::*;
use crate::http::Egress;
use crate::http::tests::{Server, event, invocation, is_acked, loopback, rejected, retried};
use crate::outcome::{BatchOutcome, Outcome, RejectReason, RetryClass};
use crate::payload::PayloadShape;
use crate::report::{Report, RunEnd};
use crate::target::{Answer, Invocation, Target as _};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn options(server: &Server) -> LambdaTargetOptions {
    LambdaTargetOptions {
        function: "ship".to_owned(),
        qualifier: None,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(format!("http://{}", server.address).parse().unwrap()),
        profile: None,
        invocation: InvocationType::Sync,
        payload: PayloadShape::CloudEvent,
    }
}

fn keys(token: Option<&str>) -> SharedCredentialsProvider {
    let token = token.map(str::to_owned);
    let ends = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    SharedCredentialsProvider::new(Credentials::new(KEY_ID, SECRET, token, Some(ends), "test"))
}

fn target(options: LambdaTargetOptions) -> LambdaTarget {
    LambdaTarget::with_credentials(options, loopback(), keys(None)).unwrap()
}

async fn invoke(target: &LambdaTarget) -> Answer {
    target.invoke(invocation(event())).await
}

/// An answer that begins like this.
fn answer(status: u16) -> Builder {
    Response::builder().status(status).header("x-amzn-requestid", "r-1")
}

fn with_body(builder: Builder, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    builder.body(Full::new(body.into())).unwrap()
}

/// A server that always gives the same answer.
async fn answering(builder: fn() -> Builder, body: &'static str) -> Server {
    Server::answering(move |_, _| with_body(builder(), body)).await
}
