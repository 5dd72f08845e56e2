//! Names of topics, triggers and functions: checked once, then trusted.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {NAME_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The name has a character that is not allowed at its place.
    #[error(
        "a name is made of a-z, A-Z, 0-9, '.', '_' and '-' and begins with a letter or a digit; {found:?} at place {place} is not allowed"
    )]
    Character {
        /// The character.
        found: char,
        /// Its place, counted from 1.
        place: usize,
    },
}

/// Whether `name` may be a name: letters, digits, `.`, `_`, `-`; the first a letter or a digit.
///
/// # Errors
/// Tells the first thing that is wrong.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    let allowed =
        |index: usize, c: char| c.is_ascii_alphanumeric() || (index > 0 && matches!(c, '.' | '_' | '-'));
    match name.chars().enumerate().find(|&(index, c)| !allowed(index, c)) {
        Some((index, found)) => Err(NameError::Character { found, place: index + 1 }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name.
            ///
            /// # Errors
            /// As [`check`].
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name).map(|()| Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// The name of a topic. Cheap to clone.
    TopicName
);
name!(
    /// The name of a trigger or another subscription. Cheap to clone.
    TriggerName
);
name!(
    /// The name of a function. Cheap to clone.
    FunctionName
);
name!(
    /// The name of a schedule. Cheap to clone.
    ScheduleName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_a_folder_can_be_called() {
        for name in ["a", "orders", "orders.eu-west_1", "9", "A.b"] {
            assert_eq!(TopicName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_with_the_place_of_the_mistake() {
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check("_internal"), Err(NameError::Character { found: '_', place: 1 }));
        assert_eq!(check("../etc"), Err(NameError::Character { found: '.', place: 1 }));
        assert_eq!(check("a/b"), Err(NameError::Character { found: '/', place: 2 }));
        assert_eq!(check(&"x".repeat(129)), Err(NameError::TooLong { bytes: 129 }));
    }
}
