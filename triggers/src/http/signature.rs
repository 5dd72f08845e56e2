//! Standard Webhooks 1.0.0 signatures over `id.timestamp.body`, one item per key: `v1,` and HMAC-SHA256 for a `whsec_` key, `v1a,`
//! and ed25519 for a `whsk_` key.
//!
//! Keys are made and signatures are checked here too, for whoever sets a receiver up. Where the randomness of a key comes from and
//! what time it is, the caller says.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use eventail_wire::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret;
use super::error::HttpTargetError;

const HMAC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const HMAC_VERSION: &str = "v1";
const ED25519_VERSION: &str = "v1a";
/// The specification's bounds for a key of HMAC.
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;
/// Of ed25519: the seed, and the public key.
const HALF_BYTES: usize = 32;
/// The longest item: `v1a,` and the Base64 of 64 bytes.
const ITEM_BYTES: usize = 4 + 88;

/// Secrets in use come with and without padding, as they come with and without their prefix.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A key that signs.
#[derive(Clone)]
enum SigningKey {
    /// It has the key mixed in already; a signature begins with a copy.
    Hmac(Hmac<Sha256>),
    Ed25519(Arc<Ed25519KeyPair>),
}

impl SigningKey {
    fn parse(secret: &str) -> Result<Self, &'static str> {
        if secret.starts_with(PUBLIC_PREFIX) {
            return Err("it is a public key, which signs nothing: its other half begins with `whsk_`");
        }
        match secret.strip_prefix(PRIVATE_PREFIX) {
            Some(text) => key_pair(text).map(|pair| Self::Ed25519(Arc::new(pair))),
            None => keyed(secret).map(Self::Hmac),
        }
    }

    fn sign(&self, content: [&[u8]; 5], items: &mut String) {
        match self {
            Self::Hmac(keyed) => {
                let mut mac = keyed.clone();
                content.iter().for_each(|part| mac.update(part));
                put(HMAC_VERSION, &mac.finalize().into_bytes(), items);
            }
            Self::Ed25519(pair) => put(ED25519_VERSION, pair.sign(&content.concat()).as_ref(), items),
        }
    }
}

fn put(version: &str, signature: &[u8], items: &mut String) {
    if !items.is_empty() {
        items.push(' ');
    }
    items.push_str(version);
    items.push(',');
    STANDARD.encode_string(signature, items);
}

/// Signs with every key of a target, the newest first, so that a receiver may hold any of them.
#[derive(Clone)]
pub(super) struct Signer {
    keys: Vec<SigningKey>,
}

impl Signer {
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, HttpTargetError> {
        let key = |(index, secret): (usize, &Secret)| {
            SigningKey::parse(secret.expose())
                .map_err(|why| HttpTargetError::Secret { index: index + 1, why })
        };
        Ok(Self { keys: secrets.iter().enumerate().map(key).collect::<Result<_, _>>()? })
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.keys.is_empty()
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut items = String::with_capacity(self.keys.len() * (ITEM_BYTES + 1));
        for key in &self.keys {
            key.sign(content(id, timestamp, body), &mut items);
        }
        items
    }
}

/// What is signed.
const fn content<'c>(id: &'c str, timestamp: &'c str, body: &'c [u8]) -> [&'c [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(text).map(Zeroizing::new).ok()
}

fn keyed(secret: &str) -> Result<Hmac<Sha256>, &'static str> {
    let text = secret.strip_prefix(HMAC_PREFIX).unwrap_or(secret);
    let key = decoded(text).ok_or("it must be `whsec_` and a key in Base64")?;
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err("its key must have between 24 and 64 bytes");
    }
    Hmac::new_from_slice(&key).map_err(|_| "its key cannot be used")
}

/// The seed alone, or the seed and the public key behind it, as libraries have it.
fn key_pair(text: &str) -> Result<Ed25519KeyPair, &'static str> {
    let key = decoded(text).ok_or("it must be `whsk_` and a key in Base64")?;
    match key.split_at_checked(HALF_BYTES) {
        Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
        Some((seed, public)) if public.len() == HALF_BYTES => {
            Ed25519KeyPair::from_seed_and_public_key(seed, public)
        }
        _ => return Err("its key must have 32 bytes, or 64 with its public half"),
    }
    .map_err(|_| "the two halves of its key do not belong together")
}

/// A key for signing requests, and what a receiver checks them with.
#[derive(Clone, Debug)]
pub struct WebhookKey {
    /// For the sender: `whsec_…`, which receivers need as well, or `whsk_…`, which nobody else may have.
    pub secret: Secret,
    /// For receivers, where it is another one: `whpk_…`.
    pub public: Option<String>,
}

impl WebhookKey {
    /// A key for HMAC-SHA256, of so many random bytes.
    #[must_use]
    pub fn hmac(random: &Zeroizing<[u8; HALF_BYTES]>) -> Self {
        Self { secret: text(HMAC_PREFIX, &random[..]), public: None }
    }

    /// A key for ed25519, of so many random bytes; `None` where nothing can be made of them.
    #[must_use]
    pub fn ed25519(random: &Zeroizing<[u8; HALF_BYTES]>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&random[..]).ok()?;
        let public = pair.public_key().as_ref();
        let whole = Zeroizing::new([&random[..], public].concat());
        let public = format!("{PUBLIC_PREFIX}{}", STANDARD.encode(public));
        Some(Self { secret: text(PRIVATE_PREFIX, &whole), public: Some(public) })
    }
}

fn text(prefix: &str, key: &[u8]) -> Secret {
    // Room for all of it at once: a text that grew would leave copies behind.
    let mut text = String::with_capacity(prefix.len() + 4 * key.len().div_ceil(3));
    text.push_str(prefix);
    STANDARD.encode_string(key, &mut text);
    Secret::new(text)
}

/// A request that says that it is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'r> {
    /// `webhook-id`.
    pub id: &'r str,
    /// `webhook-timestamp`.
    pub timestamp: &'r str,
    /// `webhook-signature`.
    pub signatures: &'r str,
    /// The body, byte for byte.
    pub body: &'r [u8],
}

/// Why a request is not believed. Nothing of a key is ever shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The key is none.
    #[error("the key: {why}")]
    Key {
        /// The rule.
        why: &'static str,
    },
    /// The timestamp is no number of seconds.
    #[error("the timestamp {timestamp:?} is no number of seconds")]
    Timestamp {
        /// What it is.
        timestamp: String,
    },
    /// It was signed too long ago, or will be.
    #[error("it was signed {seconds} seconds {}, and {tolerance_seconds} are taken", if *is_ahead { "from now" } else { "ago" })]
    Stale {
        /// How far away.
        seconds: u64,
        /// How far it may be.
        tolerance_seconds: u64,
        /// Whether it lies ahead.
        is_ahead: bool,
    },
    /// No signature is of the key's kind.
    #[error("none of its signatures is one of {version}, which is the key's kind")]
    NoneOfKind {
        /// `v1` or `v1a`.
        version: &'static str,
    },
    /// No signature is the key's.
    #[error("none of its signatures was made with this key over this id, timestamp and body")]
    NoneFits,
}

impl VerifyError {
    /// The same request is refused again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// Checks a request as a receiver should: with the secret that it shares with the sender (`whsec_…`), or with the sender's public
/// key (`whpk_…`; its private half will do). `now` and the tolerance say how old it may be; without them it may have any age.
///
/// # Errors
/// Why it is not to be believed.
pub fn verify(
    key: &Secret,
    request: &SignedRequest<'_>,
    within: Option<(Timestamp, u64)>,
) -> Result<(), VerifyError> {
    let refused = |why| VerifyError::Key { why };
    let key = VerifyingKey::parse(key.expose()).map_err(refused)?;
    if let Some((now, tolerance_seconds)) = within {
        check_age(request.timestamp, now, tolerance_seconds)?;
    }
    let version = key.version();
    let items = request.signatures.split(' ').filter_map(|item| item.split_once(','));
    let mut own =
        items.filter(|(of, _)| *of == version).filter_map(|(_, text)| STANDARD.decode(text).ok()).peekable();
    if own.peek().is_none() {
        return Err(VerifyError::NoneOfKind { version });
    }
    let content = content(request.id, request.timestamp, request.body);
    if own.any(|signature| key.fits(content, &signature)) { Ok(()) } else { Err(VerifyError::NoneFits) }
}

fn check_age(timestamp: &str, now: Timestamp, tolerance_seconds: u64) -> Result<(), VerifyError> {
    let unreadable = |_| VerifyError::Timestamp { timestamp: timestamp.to_owned() };
    let signed_at: u64 = timestamp.parse().map_err(unreadable)?;
    let now = now.0 / 1_000;
    let seconds = now.abs_diff(signed_at);
    if seconds > tolerance_seconds {
        return Err(VerifyError::Stale { seconds, tolerance_seconds, is_ahead: signed_at > now });
    }
    Ok(())
}

enum VerifyingKey {
    Hmac(Hmac<Sha256>),
    Ed25519(UnparsedPublicKey<Vec<u8>>),
}

impl VerifyingKey {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let public = |bytes: &[u8]| Self::Ed25519(UnparsedPublicKey::new(&ED25519, bytes.to_vec()));
        if let Some(text) = text.strip_prefix(PUBLIC_PREFIX) {
            let key = decoded(text).filter(|key| key.len() == HALF_BYTES);
            return key.map(|key| public(&key)).ok_or("it must be `whpk_` and 32 bytes in Base64");
        }
        match text.strip_prefix(PRIVATE_PREFIX) {
            Some(text) => key_pair(text).map(|pair| public(pair.public_key().as_ref())),
            None => keyed(text).map(Self::Hmac),
        }
    }

    const fn version(&self) -> &'static str {
        match self {
            Self::Hmac(_) => HMAC_VERSION,
            Self::Ed25519(_) => ED25519_VERSION,
        }
    }

    /// In constant time.
    fn fits(&self, content: [&[u8]; 5], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(keyed) => {
                let mut mac = keyed.clone();
                content.iter().for_each(|part| mac.update(part));
                mac.verify_slice(signature).is_ok()
            }
            Self::Ed25519(public) => public.verify(&content.concat(), signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn signer(secrets: &[&str]) -> Result<Signer, HttpTargetError> {
        Signer::new(&secrets.iter().map(|text| secret(text)).collect::<Vec<_>>())
    }

    fn sign(secrets: &[&str]) -> String {
        signer(secrets).unwrap().sign(ID, TIMESTAMP, BODY)
    }

    fn check(key: &str, signatures: &str) -> Result<(), VerifyError> {
        let request = SignedRequest { id: ID, timestamp: TIMESTAMP, signatures, body: BODY };
        verify(&secret(key), &request, None)
    }

    fn ed25519(byte: u8) -> (String, String) {
        let key = WebhookKey::ed25519(&Zeroizing::new([byte; HALF_BYTES])).unwrap();
        (key.secret.expose().to_owned(), key.public.unwrap())
    }

    #[test]
    fn each_key_adds_an_item_in_order() {
        // A constant of the upstream suites.
        assert_eq!(sign(&[FIRST]), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let (private, _) = ed25519(7);
        let all = [FIRST, &private, SECOND];
        assert_eq!(sign(&all), all.map(|key| sign(&[key])).join(" "));
        assert!(signer(&[]).unwrap().is_idle());
    }

    #[test]
    fn an_ed25519_key_signs_as_rfc_8032_says() {
        // Its second test vector, whose message is one byte.
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = WebhookKey::ed25519(&Zeroizing::new(seed)).unwrap();
        assert_eq!(key.public.unwrap(), "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=");
        let SigningKey::Ed25519(pair) = SigningKey::parse(key.secret.expose()).unwrap() else {
            panic!("ed25519")
        };
        assert!(STANDARD.encode(pair.sign(&[0x72])).starts_with("kqAJqfDUyrhyDoILX2QlQKKye1QWUD+P"));
    }

    #[test]
    fn a_private_key_comes_with_and_without_its_public_half() {
        let (private, public) = ed25519(7);
        let whole = STANDARD.decode(private.strip_prefix("whsk_").unwrap()).unwrap();
        let seed = format!("whsk_{}", STANDARD.encode(&whole[..32]));
        assert_eq!(sign(&[&private]), sign(&[&seed]));
        assert_eq!(public.strip_prefix("whpk_").unwrap(), STANDARD.encode(&whole[32..]));
        let other = STANDARD.encode([&whole[..32], &[9; 32]].concat());
        let error = signer(&[&format!("whsk_{other}")]).err().unwrap();
        assert!(error.to_string().ends_with("the two halves of its key do not belong together"), "{error}");
    }

    #[test]
    fn while_keys_change_a_receiver_may_hold_any_of_them() {
        let ((old, old_public), (new, new_public)) = (ed25519(1), ed25519(2));
        let overlap = sign(&[&new, &old, FIRST]);
        for key in [&old, &new, &old_public, &new_public, FIRST] {
            assert_eq!(check(key, &overlap), Ok(()));
        }
        assert_eq!(check(&old_public, &sign(&[&new])), Err(VerifyError::NoneFits));
        assert_eq!(check(SECOND, &overlap), Err(VerifyError::NoneFits));
        assert_eq!(check(FIRST, &sign(&[&new])), Err(VerifyError::NoneOfKind { version: "v1" }));
        assert_eq!(
            check(&new_public, "v1,AAAA nonsense v2"),
            Err(VerifyError::NoneOfKind { version: "v1a" })
        );
    }

    #[test]
    fn whatever_is_signed_is_covered() {
        let (private, public) = ed25519(3);
        let signatures = &sign(&[&private, FIRST]);
        let right = SignedRequest { id: ID, timestamp: TIMESTAMP, signatures, body: BODY };
        for wrong in [
            SignedRequest { id: "msg_2", ..right },
            SignedRequest { timestamp: "1614265331", ..right },
            SignedRequest { body: b"{}", ..right },
        ] {
            for key in [public.as_str(), FIRST] {
                assert_eq!(verify(&secret(key), &right, None), Ok(()));
                assert_eq!(verify(&secret(key), &wrong, None), Err(VerifyError::NoneFits));
            }
        }
    }

    #[test]
    fn what_is_too_old_or_ahead_of_its_time_is_refused() {
        let signatures = &sign(&[FIRST]);
        let request = SignedRequest { id: ID, timestamp: TIMESTAMP, signatures, body: BODY };
        let at = |seconds: u64| verify(&secret(FIRST), &request, Some((Timestamp(seconds * 1_000), 300)));
        assert_eq!((at(1_614_265_630), at(1_614_265_030)), (Ok(()), Ok(())));
        assert!(at(1_614_265_631).unwrap_err().to_string().contains("301 seconds ago"));
        assert!(at(1_614_265_029).unwrap_err().to_string().contains("301 seconds from now"));
        let request = SignedRequest { timestamp: "soon", ..request };
        assert!(verify(&secret(FIRST), &request, Some((Timestamp(0), 300))).is_err());
    }

    #[test]
    fn a_generated_key_can_be_used_at_once() {
        let key = WebhookKey::hmac(&Zeroizing::new([5; HALF_BYTES]));
        assert!(key.public.is_none() && key.secret.expose().starts_with("whsec_"));
        assert_eq!(check(key.secret.expose(), &sign(&[key.secret.expose()])), Ok(()));
    }

    #[test]
    fn secrets_that_are_none_are_refused_without_being_shown() {
        let (_, public) = ed25519(1);
        for secret in [
            "",
            "whsec_",
            "whsk_",
            "whsk_%%%",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &public,
            "whsec_%%%",
            "whsec_c2hvcnQ=",
            &format!("whsec_{}", "A".repeat(88)),
        ] {
            let error = signer(&[FIRST, secret]).err().unwrap();
            assert!(matches!(error, HttpTargetError::Secret { index: 2, .. }), "{secret}");
            assert!(secret.len() < 8 || !error.to_string().contains(&secret[6..]));
        }
    }
}
