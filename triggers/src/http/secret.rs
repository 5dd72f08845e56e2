//! Secrets in memory: they never print, and what held them is wiped when it goes.
//!
//! It cannot promise that no copy is left: what a secret was read from, the buffers of a connection and the keys inside of the
//! cryptographic library are not its own.

use std::fmt;

use bytes::Bytes;
use http::header::{HeaderValue, InvalidHeaderValue};
use zeroize::Zeroizing;

/// A secret. It never prints, and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As a header's value, under the rules of [`header_value`].
    pub(super) fn header_value(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        header_value(Zeroizing::new(self.expose().as_bytes().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A secret text as a header's value. It prints as "Sensitive" wherever a request is debugged, HTTP/2 keeps it out of its
/// compression table, and its bytes are wiped with the last request that has it.
pub(super) fn header_value(text: Zeroizing<Vec<u8>>) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        let value = secret.header_value().unwrap();
        assert_eq!(value, "hunter2");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn what_no_header_can_have_is_refused() {
        for text in ["a\nb", "a\r", "a\0", "\u{7f}"] {
            assert!(Secret::new(text.to_owned()).header_value().is_err(), "{text:?}");
        }
    }
}
