//! Where the key of `ordering = "key"`, and that of `dedup`, is found in an event.

use std::str::FromStr;

use eventail_wire::Event;
use eventail_wire::event::rules;
use rapidhash::v3::rapidhash_v3;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where a key is found: an attribute, or a place in JSON data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPath {
    /// The attribute of this name.
    Attribute(String),
    /// The member that these names lead to, beginning in `data`.
    Data(Vec<String>),
}

/// Why a text names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no key: give an attribute such as `partitionkey`, or a path such as `$.data.customer.id`"
)]
pub struct KeyPathError {
    text: String,
}

impl FromStr for KeyPath {
    type Err = KeyPathError;

    fn from_str(text: &str) -> Result<Self, KeyPathError> {
        let refuse = || KeyPathError { text: text.to_owned() };
        let Some(path) = text.strip_prefix("$.") else {
            return rules::check_name(text).map(|()| Self::Attribute(text.to_owned())).map_err(|_| refuse());
        };
        let mut names = path.split('.');
        let first = names.next().unwrap_or_default();
        let rest: Vec<String> = names.map(str::to_owned).collect();
        if rest.iter().any(String::is_empty) {
            return Err(refuse());
        }
        match (first, rest.is_empty()) {
            ("data", false) => Ok(Self::Data(rest)),
            (name, true) if rules::check_name(name).is_ok() => Ok(Self::Attribute(name.to_owned())),
            _ => Err(refuse()),
        }
    }
}

impl KeyPath {
    /// A number that stands for the event's key; `None` where it has none, and then it keeps no order.
    #[must_use]
    pub fn key_of(&self, event: &Event) -> Option<u64> {
        self.with_text_of(event, |text| rapidhash_v3(text.as_bytes()))
    }

    /// Looks at the key as text.
    fn with_text_of<T>(&self, event: &Event, look: impl FnOnce(&str) -> T) -> Option<T> {
        match self {
            Self::Attribute(name) => event.attribute(name).map(look),
            Self::Data(path) => {
                let data: Value = serde_json::from_slice(event.data_slice()).ok()?;
                let found = path.iter().try_fold(&data, |value, name| value.get(name))?;
                match found {
                    Value::Null => None,
                    Value::String(text) => Some(look(text)),
                    other => Some(look(&other.to_string())),
                }
            }
        }
    }
}

/// The business key that repeats are told by. Two that differ must never be taken for one, whoever chose them: what a trigger does
/// not deliver is gone, so keys are compared by a hash for which nobody finds such a pair.
#[derive(Clone, Debug)]
pub struct DedupKey {
    path: KeyPath,
    /// Has the path: what another path leads to is another key, even where it reads the same.
    salted: Sha256,
}

impl FromStr for DedupKey {
    type Err = KeyPathError;

    fn from_str(text: &str) -> Result<Self, KeyPathError> {
        let path = text.parse()?;
        Ok(Self { path, salted: Sha256::new().chain_update(text).chain_update([0]) })
    }
}

impl DedupKey {
    /// What stands for the event's key; `None` where it has none, and then it is no repeat of anything.
    #[must_use]
    pub fn key_of(&self, event: &Event) -> Option<u128> {
        let hash = |text: &str| self.salted.clone().chain_update(text).finalize();
        let hash = self.path.with_text_of(event, hash)?;
        hash.first_chunk().map(|half| u128::from_be_bytes(*half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_an_attribute_or_a_place_in_the_data() {
        let event = Event::builder("1", "/s", "t")
            .extension("partitionkey", "k")
            .json_data(r#"{"customer":{"id":7,"name":"k"}}"#)
            .build()
            .unwrap();
        let key = |text: &str| text.parse::<KeyPath>().unwrap().key_of(&event);
        assert_eq!(key("partitionkey"), key("$.data.customer.name"));
        assert_eq!(key("$.partitionkey"), key("partitionkey"));
        assert!(key("$.data.customer.id").is_some());
        assert_eq!(key("$.data.customer.none"), None);
        assert_eq!(key("absent"), None);
    }

    #[test]
    fn keys_that_read_the_same_in_different_places_are_different() {
        let event = Event::builder("1", "/s", "t")
            .extension("orderid", "7")
            .extension("userid", "7")
            .json_data(r#"{"order":7,"none":null}"#)
            .build()
            .unwrap();
        let key = |text: &str| text.parse::<DedupKey>().unwrap().key_of(&event);
        assert!(key("orderid").is_some() && key("$.data.order").is_some());
        assert_ne!(key("orderid"), key("userid"));
        assert_eq!((key("$.data.none"), key("absent")), (None, None));
        let other = event.to_builder().extension("userid", "8").build().unwrap();
        assert_eq!("orderid".parse::<DedupKey>().unwrap().key_of(&other), key("orderid"));
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for text in ["", "$.", "$.data", "$.data.", "$.other.x", "Upper Case", "$.data..x"] {
            assert!(text.parse::<KeyPath>().is_err(), "{text}");
        }
    }
}
