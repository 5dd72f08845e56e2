//! Checks signatures of AWS Signature Version 4, as every AWS SDK makes them: who signed, that nothing of the request was
//! changed, and that it is fresh.
//!
//! It is pure: keys and the time come in. It must not tell what a right signature would have been, and compares in constant
//! time. A path is taken as it came over the wire, so it must not be decoded or normalised before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use eventail_triggers::http::Secret;
use eventail_wire::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, header, request};
use sha2::{Digest, Sha256};

use super::query;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What ends every credential.
const TERMINATOR: &str = "aws4_request";
/// How far the signer's clock may be off, either way.
const SKEW_MS_MAX: u64 = 5 * 60 * 1000;
const DATE_HEADER: &str = "x-amz-date";
const CONTENT_HASH_HEADER: &str = "x-amz-content-sha256";
/// What changes the meaning of a request must be signed where it is there. `host` must be there.
const MUST_BE_SIGNED: &[&str] = &[
    "host",
    DATE_HEADER,
    CONTENT_HASH_HEADER,
    "x-amz-security-token",
    "x-amz-invocation-type",
    "x-amz-log-type",
    "x-amz-client-context",
];

/// Why a request is not taken for its signer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// There is no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The header `authorization` is not one of Signature Version 4.
    #[error("the Authorization header {0}")]
    Incomplete(&'static str),
    /// Nobody has this access key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The credential is for something else.
    #[error("Credential should be scoped to {0}.")]
    Scope(&'static str),
    /// Something is not signed that must be.
    #[error("the header '{0}' must be signed")]
    Unsigned(&'static str),
    /// There is no usable date.
    #[error("the header x-amz-date must be there once, such as 20261123T100000Z")]
    Date,
    /// Its time is over.
    #[error("Signature expired: the request's x-amz-date is more than 5 minutes ago")]
    Expired,
    /// Its time has not come.
    #[error("Signature not yet current: the request's x-amz-date is more than 5 minutes ahead")]
    NotYet,
    /// The body is not the one that was signed, or was not signed at all.
    #[error("x-amz-content-sha256 is not the SHA-256 of the body")]
    Body,
    /// The signature is another.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
}

impl SignatureError {
    /// What AWS calls it.
    pub(super) const fn aws_type(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            _ => "InvalidSignatureException",
        }
    }
}

/// The parts of the header `authorization`.
struct Authorization<'a> {
    key_id: &'a str,
    /// `20150830/us-east-1/service/aws4_request`
    scope: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: [u8; 32],
}

/// Checks that a request to `service` was signed with one of `keys` at about `now`.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn verify(
    parts: &request::Parts,
    body: &[u8],
    keys: &BTreeMap<String, Secret>,
    service: &'static str,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let authorization = Authorization::of(&parts.headers)?;
    let secret = keys.get(authorization.key_id).ok_or(SignatureError::UnknownKey)?;
    if authorization.service != service {
        return Err(SignatureError::Scope("the correct service"));
    }
    let at = one(&parts.headers, DATE_HEADER).ok_or(SignatureError::Date)?;
    check_time(at, &authorization, now)?;
    for &name in MUST_BE_SIGNED {
        let is_there = name == "host" || parts.headers.contains_key(name);
        if is_there && !authorization.signed_headers.contains(&name) {
            return Err(SignatureError::Unsigned(name));
        }
    }
    let body_hash = hex(&Sha256::digest(body));
    let announced = parts.headers.get(CONTENT_HASH_HEADER);
    if announced.is_some_and(|announced| announced.as_bytes() != body_hash.as_bytes()) {
        return Err(SignatureError::Body);
    }
    let canonical = canonical_request(parts, &authorization.signed_headers, &body_hash)?;
    let text =
        format!("{ALGORITHM}\n{at}\n{}\n{}", authorization.scope, hex(&Sha256::digest(canonical.as_bytes())));
    let key = signing_key(secret.expose(), authorization.date, authorization.region, service);
    keyed(&key)
        .chain_update(text)
        .verify_slice(&authorization.signature)
        .map_err(|_| SignatureError::Mismatch)
}

impl<'a> Authorization<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, SignatureError> {
        use SignatureError::Incomplete;
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(SignatureError::Missing);
        }
        let text = one(headers, "authorization").ok_or(Incomplete("must be there once, as text"))?;
        let rest = text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' '));
        let rest = rest.ok_or(Incomplete("must begin with AWS4-HMAC-SHA256"))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in rest.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => return Err(Incomplete("has a field that is none of its three")),
            }
        }
        let (key_id, scope) = credential
            .and_then(|credential| credential.split_once('/'))
            .ok_or(Incomplete("needs a 'Credential'"))?;
        let parts: Vec<&str> = scope.split('/').collect();
        let [date, region, service, TERMINATOR] = parts[..] else {
            return Err(SignatureError::Scope("a date, a region, a service and 'aws4_request'"));
        };
        let signed_headers: Vec<&str> =
            signed_headers.ok_or(Incomplete("needs 'SignedHeaders'"))?.split(';').collect();
        if !signed_headers.is_sorted_by(|a, b| a < b)
            || signed_headers.iter().any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()))
        {
            return Err(Incomplete("must have its 'SignedHeaders' in lower case and sorted"));
        }
        let signature = signature.and_then(unhex).ok_or(Incomplete("needs a 'Signature' of 64 digits"))?;
        Ok(Self { key_id, scope, date, region, service, signed_headers, signature })
    }
}

/// The text of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn check_time(at: &str, authorization: &Authorization<'_>, now: Timestamp) -> Result<(), SignatureError> {
    let signed_at = timestamp(at).ok_or(SignatureError::Date)?;
    if at.get(..8) != Some(authorization.date) {
        return Err(SignatureError::Scope("the date of x-amz-date"));
    }
    if now.since_ms(signed_at) > SKEW_MS_MAX {
        return Err(SignatureError::Expired);
    }
    if signed_at.since_ms(now) > SKEW_MS_MAX {
        return Err(SignatureError::NotYet);
    }
    Ok(())
}

/// `20150830T123600Z`
fn timestamp(text: &str) -> Option<Timestamp> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 || !is_digits(date) || !is_digits(time) {
        return None;
    }
    let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
    let (hour, minute, second) = (&time[..2], &time[2..4], &time[4..]);
    Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The request as both sides spell it.
fn canonical_request(
    parts: &request::Parts,
    signed_headers: &[&str],
    body_hash: &str,
) -> Result<String, SignatureError> {
    let mut canonical = format!("{}\n", parts.method);
    // Of an encoded path every `%` is encoded once more: so it is for every service but S3.
    encode_into(&mut canonical, parts.uri.path(), true);
    canonical.push('\n');
    canonical.push_str(&canonical_query(parts.uri.query().unwrap_or_default())?);
    canonical.push('\n');
    for name in signed_headers {
        canonical.push_str(name);
        canonical.push(':');
        push_header(&mut canonical, parts, name);
        canonical.push('\n');
    }
    canonical.push('\n');
    canonical.push_str(&signed_headers.join(";"));
    canonical.push('\n');
    canonical.push_str(body_hash);
    Ok(canonical)
}

fn canonical_query(query: &str) -> Result<String, SignatureError> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut encoded = (String::new(), String::new());
        for (part, out) in [(name, &mut encoded.0), (value, &mut encoded.1)] {
            let decoded = query::decode(part, false).map_err(|_| SignatureError::Mismatch)?;
            encode_into(out, &decoded, false);
        }
        pairs.push(encoded);
    }
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(pairs.join("&"))
}

/// Writes all values of a header, trimmed, runs of spaces made one. A header that is not there is empty, as its signer had
/// it; HTTP/2 has the host in the address.
fn push_header(out: &mut String, parts: &request::Parts, name: &str) {
    let authority = parts.uri.authority().filter(|_| name == "host" && !parts.headers.contains_key(name));
    if let Some(authority) = authority {
        out.push_str(authority.as_str());
        return;
    }
    for (at, value) in parts.headers.get_all(name).iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        for (at, word) in text.split_ascii_whitespace().enumerate() {
            if at > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
}

/// Percent-encodes all but the unreserved characters, and `/` where it parts a path.
fn encode_into(out: &mut String, text: &str, is_path: bool) {
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_plain || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let first = keyed(format!("AWS4{secret}").as_bytes()).chain_update(date).finalize().into_bytes().into();
    [region, service, TERMINATOR]
        .iter()
        .fold(first, |key: [u8; 32], part| keyed(&key).chain_update(part).finalize().into_bytes().into())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != bytes.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = &text[at * 2..at * 2 + 2];
        let is_hex = pair.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests;
