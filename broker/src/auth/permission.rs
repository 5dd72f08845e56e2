//! Permissions: a scope, and the topics that it goes for. Pure.

use std::fmt;
use std::str::FromStr;

use eventail_wire::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::glob;

/// What may be done.
///
/// | scope | what it allows | what it implies |
/// | --- | --- | --- |
/// | `publish` | publishing events; on the topic `invocations` also invoking functions | |
/// | `subscribe` | deliveries of subscriptions of the client library | |
/// | `read` | reading events, and everything that is told of topics, triggers and what became of events | `metrics` |
/// | `operate` | pausing, moving, redriving, replaying, cancelling, creating topics | `read`, `metrics` |
/// | `metrics` | the metrics, which name all topics and triggers and show no event | |
/// | `admin` | loading the configuration again, and everything above, on all topics | all |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Looking.
    Read,
    /// Intervening.
    Operate,
    /// Counting.
    Metrics,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Publish, Self::Subscribe, Self::Read, Self::Operate, Self::Metrics, Self::Admin];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Whether it goes for topics: the others are for the broker as a whole.
    const fn has_topics(self) -> bool {
        !matches!(self, Self::Metrics | Self::Admin)
    }

    /// Whether who has this one may do what `other` allows, too.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operate => matches!(other, Self::Operate | Self::Read | Self::Metrics),
            Self::Read => matches!(other, Self::Read | Self::Metrics),
            Self::Publish => matches!(other, Self::Publish),
            Self::Subscribe => matches!(other, Self::Subscribe),
            Self::Metrics => matches!(other, Self::Metrics),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// It begins with no scope.
    #[error("{found:?} is no scope: it is publish, subscribe, read, operate, metrics or admin")]
    Scope {
        /// What it begins with.
        found: String,
    },
    /// A scope for the broker as a whole, with topics.
    #[error("{scope} is for the broker as a whole: it takes no topics")]
    NoTopics {
        /// Which.
        scope: Scope,
    },
    /// What follows the scope names no topics.
    #[error("{found:?} names no topics: write a topic's name, in which `*` is any characters")]
    Topics {
        /// What was written.
        found: String,
    },
}

impl PermissionError {
    /// Never: it has to be written in another way.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// A scope and the topics that it goes for: `publish:orders.*`. Without topics it goes for all of them; `admin` and `metrics` have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permission {
    scope: Scope,
    /// A topic's name in which `*` is any characters.
    topics: String,
}

/// All topics.
const EVERY_TOPIC: &str = "*";
/// What is kept of a text in an error.
const SHOWN_CHARS: usize = 80;

impl Permission {
    /// A scope on all topics.
    #[must_use]
    pub fn everywhere(scope: Scope) -> Self {
        Self { scope, topics: EVERY_TOPIC.to_owned() }
    }

    /// A scope on one topic, as it stands in what somebody is told to ask for.
    pub(crate) fn on(scope: Scope, topic: &str) -> Self {
        Self { scope, topics: topic.to_owned() }
    }

    /// Whether it allows this on a topic.
    #[must_use]
    pub fn allows(&self, scope: Scope, topic: &str) -> bool {
        self.scope.includes(scope) && glob::fits(&self.topics, topic)
    }

    /// Whether it allows this on every topic.
    #[must_use]
    pub fn allows_everywhere(&self, scope: Scope) -> bool {
        self.scope.includes(scope) && self.topics.bytes().all(|byte| byte == b'*')
    }

    /// Whether there may be a topic on which it allows this.
    #[must_use]
    pub const fn allows_somewhere(&self, scope: Scope) -> bool {
        self.scope.includes(scope)
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        let shown = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
        let (word, topics) = match text.split_once(':') {
            Some((word, topics)) => (word, Some(topics)),
            None => (text, None),
        };
        let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
        let scope = scope.ok_or_else(|| PermissionError::Scope { found: shown(word) })?;
        let Some(topics) = topics else { return Ok(Self::everywhere(scope)) };
        if !scope.has_topics() {
            return Err(PermissionError::NoTopics { scope });
        }
        if !is_pattern(topics) {
            return Err(PermissionError::Topics { found: shown(topics) });
        }
        Ok(Self { scope, topics: topics.to_owned() })
    }
}

/// Whether a text is a topic's name, or would be with other characters for `*`.
fn is_pattern(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'*';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|byte| is_letter(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scope.has_topics() {
            write!(f, "{}:{}", self.scope, self.topics)
        } else {
            write!(f, "{}", self.scope)
        }
    }
}

impl TryFrom<String> for Permission {
    type Error = PermissionError;
    fn try_from(text: String) -> Result<Self, PermissionError> {
        text.parse()
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permission(text: &str) -> Permission {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_permission_goes_for_its_topics_and_no_others() {
        let orders = permission("publish:orders.*");
        assert!(orders.allows(Scope::Publish, "orders.eu"));
        for (scope, topic) in [
            (Scope::Publish, "orders"),
            (Scope::Publish, "invoices"),
            (Scope::Read, "orders.eu"),
            (Scope::Subscribe, "orders.eu"),
        ] {
            assert!(!orders.allows(scope, topic), "{scope} {topic}");
        }
        assert!(orders.allows_somewhere(Scope::Publish) && !orders.allows_everywhere(Scope::Publish));
        assert!(permission("publish").allows_everywhere(Scope::Publish));
        assert!(permission("publish:**").allows_everywhere(Scope::Publish));
    }

    #[test]
    fn scopes_imply_what_their_table_says() {
        use Scope::{Admin, Metrics, Operate, Publish, Read, Subscribe};
        let implied: [(Scope, &[Scope]); 6] = [
            (Publish, &[Publish]),
            (Subscribe, &[Subscribe]),
            (Read, &[Read, Metrics]),
            (Operate, &[Operate, Read, Metrics]),
            (Metrics, &[Metrics]),
            (Admin, &[Publish, Subscribe, Read, Operate, Metrics, Admin]),
        ];
        for (scope, all) in implied {
            for other in Scope::ALL {
                assert_eq!(scope.includes(other), all.contains(&other), "{scope} {other}");
            }
        }
        assert!(permission("admin").allows(Operate, "anything"));
        assert!(!permission("read:orders").allows_everywhere(Metrics), "metrics tell of all topics");
    }

    #[test]
    fn permissions_print_as_they_parse() {
        for text in ["publish:orders.*", "read:*", "operate:a-b_c.d", "admin", "metrics", "subscribe:*.eu"] {
            assert_eq!(permission(text).to_string(), text);
        }
        assert_eq!(permission("read").to_string(), "read:*");
    }

    #[test]
    fn what_is_no_permission_is_told_why() {
        for (text, why) in [
            ("", "no scope"),
            ("write:orders", "\"write\" is no scope"),
            ("Publish:orders", "no scope"),
            ("admin:orders", "takes no topics"),
            ("metrics:orders", "takes no topics"),
            ("publish:", "names no topics"),
            ("publish:a/b", "names no topics"),
            ("publish:a,b", "names no topics"),
            ("publish:_internal", "names no topics"),
            ("publish: orders", "names no topics"),
        ] {
            let error = text.parse::<Permission>().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_taken_reads_back(text in "\\PC*", scope in 0usize..6, topics in "[a-z*._-]{0,12}") {
            let _refused = text.parse::<Permission>().is_err();
            if let Ok(permission) = format!("{}:{topics}", Scope::ALL[scope]).parse::<Permission>() {
                prop_assert_eq!(permission.to_string().parse::<Permission>().unwrap(), permission);
            }
        }
    }
}
