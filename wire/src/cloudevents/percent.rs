//! The encoding of attribute values in HTTP headers (HTTP binding, section 3.1.3.2).

use std::borrow::Cow;

/// Percent-encodes what a header value must not show: the UTF-8 bytes of space, `"`, `%` and all outside U+0021 to U+007E.
pub(super) fn encode(value: &str) -> Cow<'_, str> {
    if value.bytes().all(is_plain) {
        return Cow::Borrowed(value);
    }
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(out)
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%'
}

/// Takes the quotes off a quoted value, then decodes one round of percent escapes.
///
/// The error is the rule that was broken.
pub(super) fn decode(value: &[u8]) -> Result<String, &'static str> {
    let value = value.trim_ascii();
    let plain = match value {
        [b'"', quoted @ ..] => Cow::Owned(unquote(quoted)?),
        _ => Cow::Borrowed(value),
    };
    let bytes = if plain.contains(&b'%') { unescape(&plain)? } else { plain.into_owned() };
    String::from_utf8(bytes).map_err(|_| "the value is not UTF-8")
}

fn unquote(quoted: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' if bytes.as_slice().is_empty() => return Ok(out),
            b'"' => return Err("the value goes on behind its closing quote"),
            b'\\' => match bytes.next() {
                Some(&escaped) => out.push(escaped),
                None => break,
            },
            _ => out.push(byte),
        }
    }
    Err("the quoted value does not end with a quote")
}

fn unescape(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some((&[high, low], behind)) = rest.split_first_chunk() else { return Err(NO_ESCAPE) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(NO_ESCAPE) };
        out.push(high << 4 | low);
        rest = behind;
    }
    Ok(out)
}

const NO_ESCAPE: &str = "a % that begins no escape must itself be sent as %25";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_encoded_as_the_binding_shows() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%c"), "a%22b%25c");
        assert!(matches!(encode("plain/1~"), Cow::Borrowed(_)));
    }

    #[test]
    fn values_are_decoded_once_and_leniently() {
        for (header, value) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%e2%82%ac", "€"),
            ("%41%25%32%30", "A%20"),
            ("\"a \\\"b\\\\\"", "a \"b\\"),
            ("\"%20\"", " "),
            (" padded ", "padded"),
            ("mid\"quote", "mid\"quote"),
            ("", ""),
            ("€", "€"),
        ] {
            assert_eq!(decode(header.as_bytes()).as_deref(), Ok(value), "{header}");
        }
    }

    #[test]
    fn what_is_not_utf8_or_not_whole_is_refused() {
        for header in ["%ff", "%C0%A0", "%ED%A0%80", "100%", "%zz", "%4", "\"open", "\"a\"b", "\"a\\"] {
            assert!(decode(header.as_bytes()).is_err(), "{header}");
        }
        assert!(decode(b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(value in any::<String>()) {
            prop_assert_eq!(decode(encode(&value).as_bytes()), Ok(value));
        }

        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            drop(decode(&bytes));
        }
    }
}
