//! The Lambda target: `Invoke` over our own HTTP client, signed with SigV4.
//!
//! It promises that no retry but ours happens, that credentials are cached, refreshed ahead of their end and never shown,
//! that a payload which Lambda would refuse for its size is not sent, and that every attempt ends by its deadline with an
//! outcome that says whose fault a failure was. Whatever keeps us from signing (no credentials, expired ones, a clock that
//! is off) is an outage of the target and burns no attempt of any event.
//!
//! The way of an attempt: `access` has the credentials, from the standard chain of the AWS SDK (environment, profile, web
//! identity, container, instance), which calls out through `connector`; `request` signs; `crate::http` sends; `classify`
//! judges the answer.
//!
//! Endpoints of AWS, its metadata services among them, are named by the operator's environment and are not screened: they
//! lie at private addresses where a VPC has endpoints of its own. An `endpoint` in the configuration is screened like any
//! HTTP target's.
//!
//! Without the cargo feature `aws` there is only a [`LambdaTarget::new`] that refuses.

#[cfg(not(feature = "aws"))]
mod absent;
#[cfg(feature = "aws")]
mod access;
#[cfg(feature = "aws")]
mod classify;
#[cfg(feature = "aws")]
mod connector;
mod error;
mod name;
#[cfg(feature = "aws")]
mod request;
#[cfg(feature = "aws")]
mod target;
#[cfg(feature = "aws")]
#[cfg(test)]
mod tests;

use eventail_wire::limits;

use crate::payload::PayloadShape;

#[cfg(not(feature = "aws"))]
pub use absent::LambdaTarget;
pub use error::{LambdaTargetError, SigningError};
pub use name::{FunctionName, NameFault};
#[cfg(feature = "aws")]
pub use target::LambdaTarget;

/// Whether the answer is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvocationType {
    /// `RequestResponse`: the function's answer ends the attempt.
    #[default]
    Sync,
    /// `Event`: Lambda's acceptance ends the attempt; Lambda retries by itself.
    Async,
}

impl InvocationType {
    /// The largest payload that Lambda takes with it.
    #[must_use]
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            Self::Sync => limits::INVOKE_SYNC_BYTES_MAX,
            Self::Async => limits::INVOKE_ASYNC_BYTES_MAX,
        }
    }
}

/// A trigger's use of an AWS Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
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
