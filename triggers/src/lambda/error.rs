//! Why options make no Lambda target.

use super::name::NameFault;
use crate::http::HttpTargetError;

/// Why options make no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LambdaTargetError {
    /// This binary was built without the cargo feature `aws`.
    #[error("this build of Eventail cannot call AWS Lambda: it was made without the cargo feature `aws`")]
    NotBuilt,
    /// The function's name is none.
    #[error("`{name}` cannot be a Lambda function's name: {fault}")]
    Name {
        /// What stands there.
        name: String,
        /// The rule.
        fault: NameFault,
    },
    /// The qualifier is none.
    #[error("`{qualifier}` is no version or alias: they are made of a-z, A-Z, 0-9, '_', '-' and '$'")]
    Qualifier {
        /// What stands there.
        qualifier: String,
    },
    /// The ARN has a qualifier, and there is another beside it.
    #[error("the function's ARN ends in the qualifier `{inner}`, and `{outer}` is given beside it")]
    TwoQualifiers {
        /// The ARN's.
        inner: String,
        /// The one beside it.
        outer: String,
    },
    /// The region is none.
    #[error("`{region}` is no AWS region, as eu-central-1 is one")]
    Region {
        /// What stands there.
        region: String,
    },
    /// The endpoint cannot be called.
    #[error("the endpoint of a Lambda target: {source}")]
    Endpoint {
        /// Why.
        source: HttpTargetError,
    },
    /// The endpoint is more than scheme, host, port and path.
    #[error("the endpoint of a Lambda target must have no query")]
    EndpointQuery,
}

/// Why calls of a target cannot be signed. Says nothing of secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// Nobody in the chain has credentials.
    #[error("{why}")]
    NoCredentials {
        /// What the chain says, cause by cause.
        why: String,
    },
    /// Nobody says which region.
    #[error("no AWS region: neither the target nor the credential chain names one")]
    NoRegion,
    /// The region makes no place that can be called.
    #[error(transparent)]
    Target(#[from] LambdaTargetError),
}

impl SigningError {
    /// Whether it may be otherwise the next time: somebody may have set credentials.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::NoCredentials { .. })
    }
}

impl LambdaTargetError {
    /// The same options fail again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}
