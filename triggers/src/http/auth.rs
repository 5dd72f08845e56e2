//! How requests say who sends them: a header that is the same on all of them, or an access token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::Secret;
use super::error::HttpTargetError;
use super::oauth::OAuthOptions;
use super::secret::header_value;

/// What requests carry so that the target knows who sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAuth {
    /// `Authorization: Basic`.
    Basic {
        /// Who; no colon.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Bearer`, with a token that does not change.
    Bearer(Secret),
    /// A header of the target's own.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: Bearer`, with a token that is fetched and renewed.
    OAuth(OAuthOptions),
}

impl HttpAuth {
    /// The header that they use.
    pub(super) fn header_name(&self) -> HeaderName {
        match self {
            Self::Header { name, .. } => name.clone(),
            Self::Basic { .. } | Self::Bearer(_) | Self::OAuth(_) => AUTHORIZATION,
        }
    }

    /// The header's value, where it is always the same.
    pub(super) fn header_value(&self) -> Result<Option<HeaderValue>, HttpTargetError> {
        let value = match self {
            Self::Basic { user, .. } if user.contains(':') => return Err(HttpTargetError::BasicUser),
            Self::Basic { user, password } => basic(user, password.expose()),
            Self::Bearer(token) => bearer(token.expose()),
            Self::Header { value, .. } => value.header_value(),
            Self::OAuth(_) => return Ok(None),
        };
        value.map(Some).map_err(|_| HttpTargetError::AuthValue { name: self.header_name() })
    }
}

/// `Basic` and user and password in Base64.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let plain = Zeroizing::new([user.as_bytes(), b":", password.as_bytes()].concat());
    // Room for all of it at once: a text that grew would leave copies behind.
    let mut text = String::with_capacity("Basic ".len() + 4 * plain.len().div_ceil(3));
    text.push_str("Basic ");
    STANDARD.encode_string(&plain, &mut text);
    header_value(Zeroizing::new(text.into_bytes()))
}

/// `Bearer` and the token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    header_value(Zeroizing::new([b"Bearer ", token.as_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn each_way_has_its_header() {
        let name = HeaderName::from_static("x-api-key");
        for (auth, header, value) in [
            (
                HttpAuth::Basic { user: "Aladdin".to_owned(), password: secret("open sesame") },
                "authorization",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (HttpAuth::Bearer(secret("mF_9.B5f-4.1JqM")), "authorization", "Bearer mF_9.B5f-4.1JqM"),
            (HttpAuth::Header { name, value: secret("k1") }, "x-api-key", "k1"),
        ] {
            let made = auth.header_value().unwrap().unwrap();
            assert_eq!((auth.header_name().as_str(), made.to_str().unwrap()), (header, value));
            assert!(made.is_sensitive());
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_being_shown() {
        for auth in [
            HttpAuth::Basic { user: "a:b".to_owned(), password: secret("hunter2") },
            HttpAuth::Bearer(secret("hunter2\n")),
            HttpAuth::Header { name: HeaderName::from_static("x-api-key"), value: secret("hunter2\r\nx: y") },
        ] {
            let error = auth.header_value().unwrap_err();
            assert!(!error.to_string().contains("hunter2") && !format!("{auth:?}").contains("hunter2"));
        }
    }
}
