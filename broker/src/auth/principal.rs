//! Who asks, and what he may do. Pure.

use std::fmt;
use std::sync::Arc;

use eventail_wire::Timestamp;

use super::permission::{Permission, Scope};
use super::tokens::Token;

/// Who somebody is, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Nobody is asked: there is no authentication.
    Everybody,
    /// Who said nothing of himself.
    Anonymous,
    /// Who has the token of this name.
    Token(String),
    /// Who has a certificate with this name.
    Certificate(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Token(name) => write!(f, "token {name}"),
            Self::Certificate(name) => write!(f, "certificate {name}"),
        }
    }
}

/// On what something is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// On one topic.
    Topic(&'a str),
    /// On any topic at all.
    Somewhere,
    /// On every topic.
    Everywhere,
}

/// Whether somebody may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// He may.
    Allowed,
    /// Not before he says who he is.
    Unauthenticated {
        /// What he needs.
        needed: Permission,
    },
    /// He may not.
    Forbidden {
        /// What he needs.
        needed: Permission,
    },
}

/// Somebody with his permissions.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    who: Who,
    /// Empty where nobody is asked.
    permissions: Vec<Arc<[Permission]>>,
    /// Until when this holds.
    expires: Option<Timestamp>,
}

impl Principal {
    /// Who may do everything, because nobody is asked.
    pub(crate) const fn everybody() -> Self {
        Self { who: Who::Everybody, permissions: Vec::new(), expires: None }
    }

    /// Somebody of whom nothing is known, with what everybody may.
    pub(crate) fn anonymous(permissions: &Arc<[Permission]>) -> Self {
        Self { who: Who::Anonymous, permissions: vec![Arc::clone(permissions)], expires: None }
    }

    /// The same with what a certificate of this name allows on top.
    pub(crate) fn and_certificate(&mut self, name: &str, permissions: &Arc<[Permission]>) {
        if self.who == Who::Anonymous {
            self.who = Who::Certificate(name.to_owned());
        }
        self.permissions.push(Arc::clone(permissions));
    }

    /// The same with what a token allows on top.
    pub(crate) fn and_token(&mut self, token: &Token) {
        self.who = Who::Token(token.name.clone());
        self.permissions.push(Arc::clone(&token.allow));
        self.expires = token.expires;
    }

    /// Who it is.
    pub(crate) const fn who(&self) -> &Who {
        &self.who
    }

    /// Whether what was found out about him is out of date.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether he may do this there.
    pub(crate) fn may(&self, scope: Scope, place: Place<'_>) -> bool {
        let allows = |permission: &Permission| match place {
            Place::Topic(topic) => permission.allows(scope, topic),
            Place::Somewhere => permission.allows_somewhere(scope),
            Place::Everywhere => permission.allows_everywhere(scope),
        };
        self.who == Who::Everybody || self.permissions.iter().flat_map(|some| some.iter()).any(allows)
    }

    /// Whether he may, and if not, what he needs.
    pub(crate) fn decide(&self, scope: Scope, place: Place<'_>) -> Decision {
        if self.may(scope, place) {
            return Decision::Allowed;
        }
        let needed = match place {
            Place::Topic(topic) => Permission::on(scope, topic),
            Place::Somewhere | Place::Everywhere => Permission::everywhere(scope),
        };
        match self.who {
            Who::Anonymous => Decision::Unauthenticated { needed },
            _ => Decision::Forbidden { needed },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(texts: &[&str]) -> Arc<[Permission]> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn permissions_of_all_that_is_known_of_somebody_add_up() {
        let mut principal = Principal::anonymous(&permissions(&["metrics"]));
        principal.and_certificate("billing.example", &permissions(&["publish:orders"]));
        principal.and_certificate("other.example", &permissions(&["publish:invoices"]));
        assert_eq!(principal.who().to_string(), "certificate billing.example");
        assert!(principal.may(Scope::Metrics, Place::Everywhere));
        assert!(principal.may(Scope::Publish, Place::Topic("orders")));
        assert!(principal.may(Scope::Publish, Place::Topic("invoices")));
        assert!(!principal.may(Scope::Publish, Place::Topic("other")));
        assert!(principal.may(Scope::Publish, Place::Somewhere));
        assert!(!principal.may(Scope::Publish, Place::Everywhere));
    }

    #[test]
    fn who_is_unknown_is_asked_and_who_is_known_is_refused() {
        let needed = || "read:orders".parse().unwrap();
        let nobody = Principal::anonymous(&permissions(&[]));
        let decision = nobody.decide(Scope::Read, Place::Topic("orders"));
        assert_eq!(decision, Decision::Unauthenticated { needed: needed() });
        let mut known = nobody;
        known.and_certificate("a", &permissions(&["publish:orders"]));
        let decision = known.decide(Scope::Read, Place::Topic("orders"));
        assert_eq!(decision, Decision::Forbidden { needed: needed() });
        assert_eq!(known.decide(Scope::Publish, Place::Topic("orders")), Decision::Allowed);
        let decision = Principal::everybody().decide(Scope::Admin, Place::Everywhere);
        assert_eq!(decision, Decision::Allowed);
    }
}
