//! The tokens that there are, as they stand in their file: names, hashes and permissions, and never a token itself. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use eventail_wire::{NameError, Timestamp, name};
use serde::{Deserialize, Serialize};

use super::permission::Permission;
use super::token::TokenHash;

/// Tokens in one file: each is some hundred bytes of memory.
pub(crate) const TOKENS_MAX: usize = 10_000;
/// Permissions of one token: each is looked at with every request.
pub(crate) const PERMISSIONS_MAX: usize = 64;

/// What stands above the tokens in their file.
const PREFACE: &str = "# The tokens of an Eventail broker: their SHA-256 and what they allow. Made by `eventail tokens`; a running broker reads\n\
                       # this file again when it changes.\n\n";

/// What is known of one token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is called in listings and logs.
    pub name: String,
    /// Its hash.
    pub(crate) hash: TokenHash,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is good; for ever where absent.
    pub expires: Option<Timestamp>,
    /// What it allows.
    pub allow: Arc<[Permission]>,
}

impl Token {
    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether it is the same token with the same rights.
    fn is_like(&self, other: &Self) -> bool {
        self.hash.is(&other.hash) && self.expires == other.expires && self.allow == other.allow
    }
}

/// Why a text is no list of tokens, or a token cannot be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It is not what `eventail tokens` writes.
    #[error("the tokens cannot be read: {source}")]
    Format {
        /// What the parser says.
        source: toml::de::Error,
    },
    /// They cannot be written.
    #[error("the tokens cannot be written: {source}")]
    Write {
        /// Why not.
        source: toml::ser::Error,
    },
    /// A name that is none.
    #[error("{name:?} cannot be the name of a token: {source}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two tokens of one name.
    #[error("there is a token with the name {name:?} already")]
    Taken {
        /// Which.
        name: String,
    },
    /// No token has this name.
    #[error("there is no token with the name {name:?}")]
    Unknown {
        /// Which.
        name: String,
    },
    /// A hash that is none.
    #[error("the token {name:?} has a `sha256` that is not 64 hexadecimal digits")]
    Hash {
        /// Whose.
        name: String,
    },
    /// A token that allows nothing.
    #[error("the token {name:?} allows nothing")]
    NoPermissions {
        /// Which.
        name: String,
    },
    /// More than there may be.
    #[error("{what}: {value} is more than the limit of {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        value: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl TokensError {
    /// Never: something has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tokens: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    allow: Vec<Permission>,
}

/// All tokens, by their names and by their hashes.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_name: BTreeMap<String, Arc<Token>>,
    by_place: HashMap<u64, Vec<Arc<Token>>>,
}

impl Tokens {
    /// Reads what [`Tokens::render`] writes.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let document: Document = toml::from_str(text).map_err(|source| TokensError::Format { source })?;
        let mut tokens = Self::default();
        for Entry { name, sha256, created, expires, allow } in document.tokens {
            let hash =
                TokenHash::from_hex(&sha256).ok_or_else(|| TokensError::Hash { name: name.clone() })?;
            tokens.add(Token { name, hash, created, expires, allow: allow.into() })?;
        }
        Ok(tokens)
    }

    /// The text of a file with all of them.
    ///
    /// # Errors
    /// Where TOML has no words for it, as for a time that no calendar has.
    pub fn render(&self) -> Result<String, TokensError> {
        let entry = |token: &Arc<Token>| Entry {
            name: token.name.clone(),
            sha256: token.hash.hex(),
            created: token.created,
            expires: token.expires,
            allow: token.allow.to_vec(),
        };
        let document = Document { tokens: self.by_name.values().map(entry).collect() };
        let text = toml::to_string(&document).map_err(|source| TokensError::Write { source })?;
        Ok(format!("{PREFACE}{text}"))
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Token> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// Adds one.
    ///
    /// # Errors
    /// Where its name is none or taken, it allows nothing or too much, or there are as many as there may be.
    pub fn add(&mut self, token: Token) -> Result<(), TokensError> {
        let name = token.name.clone();
        name::check(&name).map_err(|source| TokensError::Name { name: name.clone(), source })?;
        if self.by_name.contains_key(&name) {
            return Err(TokensError::Taken { name });
        }
        if token.allow.is_empty() {
            return Err(TokensError::NoPermissions { name });
        }
        for (what, value, limit) in [
            ("permissions of a token", token.allow.len(), PERMISSIONS_MAX),
            ("tokens", self.by_name.len() + 1, TOKENS_MAX),
        ] {
            if value > limit {
                return Err(TokensError::TooMany { what, value, limit });
            }
        }
        let token = Arc::new(token);
        self.by_place.entry(token.hash.place()).or_default().push(Arc::clone(&token));
        self.by_name.insert(name, token);
        Ok(())
    }

    /// Takes one away.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<Arc<Token>, TokensError> {
        let token =
            self.by_name.remove(name).ok_or_else(|| TokensError::Unknown { name: name.to_owned() })?;
        if let Some(here) = self.by_place.get_mut(&token.hash.place()) {
            here.retain(|other| !Arc::ptr_eq(other, &token));
        }
        Ok(token)
    }

    /// The token with this hash.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<&Arc<Token>> {
        self.by_place.get(&hash.place())?.iter().find(|token| token.hash.is(hash))
    }

    /// What changed from an earlier list to this one. A name that stands for something else now is among both.
    pub(crate) fn changes_since(&self, earlier: &Self) -> Changes {
        let only_in = |one: &Self, other: &Self| {
            let is_new =
                |token: &&Token| !other.by_name.get(&token.name).is_some_and(|there| there.is_like(token));
            one.all().filter(is_new).map(|token| token.name.clone()).collect()
        };
        Changes { came: only_in(self, earlier), went: only_in(earlier, self) }
    }
}

/// The names of tokens that came and went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) came: Vec<String>,
    pub(crate) went: Vec<String>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.came.is_empty() && self.went.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str, allow: &[&str]) -> Token {
        Token {
            name: name.to_owned(),
            hash: TokenHash::of(secret).unwrap(),
            created: Timestamp(1_763_892_000_000),
            expires: Some(Timestamp(1_763_892_000_250)),
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn two() -> Tokens {
        let mut tokens = Tokens::default();
        tokens.add(token("billing", "evt_b", &["publish:orders.*", "read:orders.*"])).unwrap();
        tokens.add(Token { expires: None, ..token("ops", "evt_o", &["admin"]) }).unwrap();
        tokens
    }

    #[test]
    fn tokens_are_found_by_what_they_are_the_hash_of() {
        let mut tokens = two();
        let find = |tokens: &Tokens, text| {
            tokens.find(&TokenHash::of(text).unwrap()).map(|token| token.name.clone())
        };
        assert_eq!(find(&tokens, "evt_b").as_deref(), Some("billing"));
        assert_eq!(find(&tokens, "evt_x"), None);
        tokens.remove("billing").unwrap();
        assert_eq!(find(&tokens, "evt_b"), None);
        assert!(matches!(tokens.remove("billing"), Err(TokensError::Unknown { .. })));
    }

    #[test]
    fn a_file_reads_back_and_has_no_token_in_it() {
        let text = two().render().unwrap();
        assert!(!text.contains("evt_"), "{text}");
        assert_eq!(Tokens::parse(&text).unwrap().render().unwrap(), text);
        let read = Tokens::parse(&text).unwrap();
        assert!(read.find(&TokenHash::of("evt_b").unwrap()).is_some());
        let names: Vec<&str> = read.all().map(|token| token.name.as_str()).collect();
        assert_eq!(names, ["billing", "ops"]);
    }

    #[test]
    fn a_token_is_good_until_its_time() {
        let token = token("a", "evt_a", &["read"]);
        assert!(!token.is_expired(Timestamp(1_763_892_000_249)));
        assert!(token.is_expired(Timestamp(1_763_892_000_250)));
        assert!(!Token { expires: None, ..token }.is_expired(Timestamp::MAX));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let entry = |name: &str, hash: &str, allow: &str| {
            format!(
                "[[tokens]]\nname = {name:?}\nsha256 = {hash:?}\ncreated = \"2026-11-23T10:00:00Z\"\nallow = {allow}\n"
            )
        };
        let hash = "0".repeat(64);
        for (text, why) in [
            ("tokens = 1".to_owned(), "cannot be read"),
            ("other = 1".to_owned(), "cannot be read"),
            (entry("a", "0", "[\"admin\"]"), "64 hexadecimal digits"),
            (entry("a b", &hash, "[\"admin\"]"), "cannot be the name"),
            (entry("a", &hash, "[]"), "allows nothing"),
            (entry("a", &hash, "[\"write\"]"), "no scope"),
            (entry("a", &hash, &format!("[{}]", "\"admin\",".repeat(65))), "limit of 64"),
            (entry("a", &hash, "[\"admin\"]").repeat(2), "already"),
        ] {
            let error = Tokens::parse(&text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        assert_eq!(Tokens::parse("").unwrap().all().count(), 0);
    }

    #[test]
    fn what_changed_between_two_lists_is_told_by_name() {
        let (before, mut after) = (two(), two());
        after.remove("billing").unwrap();
        after.add(token("new", "evt_n", &["read"])).unwrap();
        after.remove("ops").unwrap();
        after.add(token("ops", "evt_o", &["read"])).unwrap();
        assert_eq!(
            after.changes_since(&before),
            Changes {
                came: vec!["new".to_owned(), "ops".to_owned()],
                went: vec!["billing".to_owned(), "ops".to_owned()],
            }
        );
        assert!(before.changes_since(&two()).is_empty());
    }
}
