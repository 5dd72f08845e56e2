//! Tokens: what they look like, and what is kept of them. Pure.
//!
//! A token is 256 random bits, so that nobody can guess one or find it from its hash, with however much time. That is why a
//! single SHA-256 is kept and no slow hash: those are for passwords, of which there are few enough to try them all, and they
//! would make every request cost as much as a login.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventail_triggers::http::Secret;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that scanners for leaked secrets know it.
pub(crate) const PREFIX: &str = "evt_";
/// The randomness of a token.
const TOKEN_BYTES: usize = 32;
/// A text longer than this is no token, and is not hashed.
const TEXT_BYTES_MAX: usize = 128;
const HASH_BYTES: usize = 32;

/// Makes a token.
pub(crate) fn generate(rng: &mut impl CryptoRng) -> Secret {
    let mut bytes = [0; TOKEN_BYTES];
    rng.fill_bytes(&mut bytes);
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a token.
#[derive(Clone, Copy)]
pub(crate) struct TokenHash([u8; HASH_BYTES]);

impl TokenHash {
    /// The hash of a token; `None` where the text cannot be one.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let is_token = text.len() <= TEXT_BYTES_MAX && text.starts_with(PREFIX);
        is_token.then(|| Self(Sha256::digest(text).into()))
    }

    /// Reads the hexadecimal digits that [`TokenHash::hex`] writes.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; HASH_BYTES];
        if text.len() != HASH_BYTES * 2 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The hash as hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        let mut text = String::with_capacity(HASH_BYTES * 2);
        for byte in self.0 {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        text
    }

    /// Where to look for the token. How long such a look-up takes tells at most something of the hash of what was sent. Whoever
    /// sends it knows that already, and cannot choose it: a token whose hash begins as that of another has to be searched for
    /// by trying 2^64 of them, and then says nothing of that other token.
    pub(crate) const fn place(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether both are of the same token. It takes the same time, whatever they are.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn tokens_have_256_random_bits_and_are_never_the_same() {
        let mut rng = StdRng::seed_from_u64(1);
        let (one, other) = (generate(&mut rng), generate(&mut rng));
        assert_ne!(one.expose(), other.expose());
        let random = URL_SAFE_NO_PAD.decode(one.expose().strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(random.len() * 8, 256);
    }

    #[test]
    fn a_hash_is_the_sha_256_of_the_whole_token_and_reads_back() {
        let hash = TokenHash::of("evt_abc").unwrap();
        assert_eq!(hash.hex(), "cc262c9fcd478af38aed5c28f7de0d43dd4c356cd3c8320eddb2f6d4100ea525");
        let again = TokenHash::from_hex(&hash.hex()).unwrap();
        assert!(again.is(&hash));
        assert_eq!(again.place(), hash.place());
        assert!(!TokenHash::of("evt_abd").unwrap().is(&hash));
    }

    #[test]
    fn what_cannot_be_a_token_is_not_hashed() {
        for text in ["", "abc", "EVT_abc", &format!("{PREFIX}{}", "x".repeat(200))] {
            assert!(TokenHash::of(text).is_none(), "{text}");
        }
        for text in ["", "5f", &"g".repeat(64), &"é".repeat(32)] {
            assert!(TokenHash::from_hex(text).is_none(), "{text}");
        }
    }
}
