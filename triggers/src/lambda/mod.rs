//! The Lambda target: `Invoke` over our own HTTP client, signed with SigV4.

use crate::payload::PayloadShape;

/// Whether the answer is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvocationType {
    /// `RequestResponse`: the function's answer ends the attempt.
    #[default]
    Sync,
    /// `Event`: Lambda's acceptance ends the attempt; Lambda retries by itself.
    Async,
}

/// A trigger's use of an AWS Lambda function.
#[derive(Clone, Debug)]
pub struct LambdaTargetOptions {
    /// A name, a partial or a full ARN; either ARN may end in a qualifier.
    pub function: String,
    /// A version or an alias.
    pub qualifier: Option<String>,
    /// Where the function is; `None` is the ARN's region, or else what the credential chain says.
    pub region: Option<String>,
    /// Another endpoint than AWS's, for instance another Eventail: `http` or `https`.
    pub endpoint: Option<http::Uri>,
    /// The profile of the shared configuration that credentials are taken from; `None` is the chain's default.
    pub profile: Option<String>,
    /// Whether the answer is waited for.
    pub invocation: InvocationType,
    /// What the function gets to see.
    pub payload: PayloadShape,
}
