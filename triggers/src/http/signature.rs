//! Standard Webhooks 1.0.0 signatures: `v1,` and HMAC-SHA256 over `id.timestamp.body`, one item per key.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Secret;
use super::error::HttpTargetError;

const PREFIX: &str = "whsec_";
/// The specification's bounds for a key.
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;
/// An item: `v1,` and the Base64 of 32 bytes.
const ITEM_BYTES: usize = 3 + 44;

/// Secrets in use come with and without padding, as they come with and without their prefix.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Signs with every key of a target, the newest first, so that a receiver may hold any of them.
#[derive(Clone)]
pub(super) struct Signer {
    /// Each has its key mixed in already; a signature begins with a copy.
    keyed: Vec<Hmac<Sha256>>,
}

impl Signer {
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, HttpTargetError> {
        let key = |(index, secret): (usize, &Secret)| {
            keyed(secret.expose()).map_err(|why| HttpTargetError::Secret { index: index + 1, why })
        };
        Ok(Self { keyed: secrets.iter().enumerate().map(key).collect::<Result<_, _>>()? })
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.keyed.is_empty()
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut items = String::with_capacity(self.keyed.len() * (ITEM_BYTES + 1));
        for keyed in &self.keyed {
            let mut mac = keyed.clone();
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            if !items.is_empty() {
                items.push(' ');
            }
            items.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut items);
        }
        items
    }
}

fn keyed(secret: &str) -> Result<Hmac<Sha256>, &'static str> {
    let text = secret.strip_prefix(PREFIX).unwrap_or(secret);
    let key = LENIENT.decode(text).map_err(|_| "it must be `whsec_` and a key in Base64")?;
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err("its key must have between 24 and 64 bytes");
    }
    Hmac::new_from_slice(&key).map_err(|_| "its key cannot be used")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&str]) -> Result<Signer, HttpTargetError> {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        Signer::new(&secrets)
    }

    #[test]
    fn each_key_adds_an_item_in_order() {
        let (first, second) =
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let sign = |secrets: &[&str]| {
            signer(secrets).unwrap().sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                br#"{"test": 2432232314}"#,
            )
        };
        // A constant of the upstream suites.
        assert_eq!(sign(&[first]), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(sign(&[first, second]), format!("{} {}", sign(&[first]), sign(&[second])));
        assert!(signer(&[]).unwrap().is_idle());
    }

    #[test]
    fn secrets_that_are_none_are_refused_without_being_shown() {
        for secret in [
            "",
            "whsec_",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_%%%",
            "whsec_c2hvcnQ=",
            &format!("whsec_{}", "A".repeat(88)),
        ] {
            let error = signer(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", secret]).err().unwrap();
            assert!(matches!(error, HttpTargetError::Secret { index: 2, .. }), "{secret}");
            assert!(secret.len() < 8 || !error.to_string().contains(&secret[6..]));
        }
    }
}
