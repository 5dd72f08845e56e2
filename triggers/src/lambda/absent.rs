//! What stands in for the Lambda target where it was not built in.

use eventail_wire::Timestamp;

use super::{LambdaTargetError, LambdaTargetOptions, SigningError};
use crate::http::Egress;
use crate::target::{Answer, BoxFuture, Invocation, Target};

/// A Lambda target that was not built in: there is none.
#[derive(Clone, Copy, Debug)]
pub enum LambdaTarget {}

impl LambdaTarget {
    /// Refuses.
    ///
    /// # Errors
    /// Always [`LambdaTargetError::NotBuilt`].
    pub fn new(_options: LambdaTargetOptions, _egress: Egress) -> Result<Self, LambdaTargetError> {
        Err(LambdaTargetError::NotBuilt)
    }

    /// Whether there are credentials.
    ///
    /// # Errors
    /// None, as there is no such target.
    #[allow(clippy::unused_async)] // As the target that it stands in for.
    pub async fn check_signing(&self, _now: Timestamp) -> Result<(), SigningError> {
        match *self {}
    }

    /// What is invoked, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match *self {}
    }
}

impl Target for LambdaTarget {
    fn invoke(&self, _invocation: Invocation) -> BoxFuture<'_, Answer> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::InvocationType;
    use crate::payload::PayloadShape;

    #[test]
    fn a_lambda_target_is_refused_with_the_reason() {
        let options = LambdaTargetOptions {
            function: "ship".to_owned(),
            qualifier: None,
            region: None,
            endpoint: None,
            profile: None,
            invocation: InvocationType::Sync,
            payload: PayloadShape::CloudEvent,
        };
        let refused = LambdaTarget::new(options, Egress::new([])).unwrap_err();
        assert_eq!(refused, LambdaTargetError::NotBuilt);
        assert!(refused.to_string().contains("cargo feature `aws`"));
    }
}
