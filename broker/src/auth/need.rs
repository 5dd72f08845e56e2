//! What a route or a frame needs. Every one of them says so in its table; there is no default. Pure.

use std::fmt;

use super::permission::{Permission, Scope};
use crate::config::INVOCATIONS_TOPIC;

/// What a route or frame needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: everybody may.
    Nothing,
    /// The token of one delivery, which cannot be guessed and is a part of what is sent.
    DeliveryToken,
    /// A signature of the Lambda Invoke API, or `publish` on the topic of invocations.
    Invocation,
    /// A scope on the topic that is named.
    Topic(Scope),
    /// A scope on the topic of the trigger that is named.
    Trigger(Scope),
    /// A scope on whatever topics the answer is about: the handler shows or does nothing of others.
    Each(Scope),
    /// A scope on every topic.
    All(Scope),
}

impl Need {
    /// The scope without which nothing is answered, whatever the topic.
    pub(crate) const fn scope(self) -> Option<Scope> {
        match self {
            Self::Nothing | Self::DeliveryToken | Self::Invocation => None,
            Self::Topic(scope) | Self::Trigger(scope) | Self::Each(scope) | Self::All(scope) => Some(scope),
        }
    }

    /// Whether it is an administrator's or operator's, so that it belongs into the audit log where it changes something.
    pub(crate) const fn is_administrative(self) -> bool {
        matches!(self.scope(), Some(Scope::Operate | Scope::Admin))
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::DeliveryToken => f.write_str("the delivery's token"),
            Self::Invocation => write!(f, "a signature or {}:{INVOCATIONS_TOPIC}", Scope::Publish),
            Self::Topic(scope) => write!(f, "{scope}:{{topic}}"),
            Self::Trigger(scope) => write!(f, "{scope}:{{topic of the trigger}}"),
            Self::Each(scope) => write!(f, "{scope}:{{each topic}}"),
            Self::All(scope) => Permission::everywhere(*scope).fmt(f),
        }
    }
}
