//! The values that patterns and events hold, and how they compare.
//!
//! Numbers compare as doubles, where a double holds what was written; a number that no double holds compares by its text.
//! `-0` is `0`. Text in a pattern's list that is an IP address compares as an address. Text is compared as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Digits that a double keeps, whatever they are.
const SAFE_DIGITS: usize = 15;

/// Bytes of the longest text that is an IP address: an IPv6 one with an IPv4 one in it.
const ADDRESS_BYTES_MAX: usize = 45;

/// A value in a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Literal {
    Text(Box<str>),
    Address(IpAddr),
    /// The bits of a double.
    Number(u64),
    /// The text of a number that no double holds.
    LongNumber(Box<str>),
    Boolean(bool),
    Null,
}

/// A value in an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    Number(u64),
    LongNumber(&'a [u8]),
    Boolean(bool),
    Null,
}

impl Literal {
    /// A string of a field's list: an address if it is one.
    pub(super) fn text_or_address(text: &str) -> Self {
        address(text.as_bytes()).map_or_else(|| Self::Text(text.into()), Self::Address)
    }

    /// A number as written.
    pub(super) fn number(text: &str) -> Self {
        double(text.as_bytes()).map_or_else(|| Self::LongNumber(text.into()), Self::Number)
    }

    /// Whether an event's value is this one.
    pub(super) fn equals(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(text), Value::Text(found)) => text.as_bytes() == found,
            (Self::Address(wanted), Value::Text(found)) => address(found) == Some(*wanted),
            (Self::Number(bits), Value::Number(found)) => *bits == found,
            (Self::LongNumber(text), Value::LongNumber(found)) => text.as_bytes() == found,
            (Self::Boolean(truth), Value::Boolean(found)) => *truth == found,
            (Self::Null, Value::Null) => true,
            _ => false,
        }
    }
}

impl<'a> Value<'a> {
    /// A number of an event, from its JSON text.
    pub(super) fn number(text: &'a [u8]) -> Self {
        double(text).map_or(Self::LongNumber(text), Self::Number)
    }
}

/// The address that a text is, with an IPv4 address in IPv6 clothes taken out of them.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let first = *text.first()?;
    if text.len() > ADDRESS_BYTES_MAX || !(first.is_ascii_hexdigit() || first == b':') {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical());
    }
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// The bits of the double that a JSON number is, if a double holds the number: if its shortest spelling is the number again.
pub(super) fn double(text: &[u8]) -> Option<u64> {
    if let Some(number) = plain(text) {
        // Adding zero turns -0 into 0.
        return Some((number + 0.0).to_bits());
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let held = number.is_finite() && decimal(text) == decimal(format!("{number:e}").as_bytes());
    held.then(|| (number + 0.0).to_bits())
}

/// The double that a number without an exponent is, if it has so few digits that both they and the power of ten that divides
/// them are held exactly: a division is rounded right.
fn plain(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; SAFE_DIGITS] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
    let (sign, digits) = text.strip_prefix(b"-").map_or((1.0, text), |rest| (-1.0, rest));
    if digits.len() > SAFE_DIGITS || !digits.first()?.is_ascii_digit() {
        return None;
    }
    let (mut mantissa, mut point) = (0, None);
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let decimals = point.map_or(0, |point| digits.len() - point - 1);
    Some(sign * mantissa as f64 / POWERS[decimals])
}

/// A number's sign, its digits without zeros at either end, and the power of ten of the last of them.
fn decimal(text: &[u8]) -> Option<(bool, Vec<u8>, i64)> {
    let (is_negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = parts.next()?;
    let mut exponent = match parts.next() {
        Some(written) => std::str::from_utf8(written).ok()?.parse::<i64>().ok()?,
        None => 0,
    };
    let mut digits = Vec::with_capacity(mantissa.len());
    let mut parts = mantissa.splitn(2, |&byte| byte == b'.');
    digits.extend_from_slice(parts.next()?);
    if let Some(fraction) = parts.next() {
        digits.extend_from_slice(fraction);
        exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent = exponent.checked_add(1)?;
    }
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.drain(..zeros);
    if digits.is_empty() {
        return Some((false, digits, 0));
    }
    Some((is_negative, digits, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_however_they_are_spelt() {
        for same in ["300", "300.0", "3.0e2", "3E+2", "30000e-2", "300.00000000000000000000"] {
            assert_eq!(double(same.as_bytes()), double(b"300"), "{same}");
        }
        assert_eq!(double(b"-0"), double(b"0.0e5"));
        assert_eq!(double(b"0.1"), Some(0.1f64.to_bits()));
        assert_eq!(double(b"301.8"), double(b"3018e-1"));
    }

    #[test]
    fn a_number_that_no_double_holds_has_no_bits() {
        for long in ["1.0000000000000000001", "12345678901234567890", "1e400", "1e-400", "9007199254740993"] {
            assert_eq!(double(long.as_bytes()), None, "{long}");
        }
        assert!(double(b"9007199254740992").is_some());
        assert!(double(b"1e300").is_some());
        assert!(double(b"1e99999999999999999999").is_none());
    }

    #[test]
    fn an_address_is_the_same_in_every_spelling() {
        assert_eq!(address(b"::1"), address(b"0:0:0:0:0:0:0:1"));
        assert_eq!(address(b"::ffff:10.0.0.1"), address(b"10.0.0.1"));
        assert_eq!(address(b"10"), None);
        assert_eq!(address(b"beef"), None);
        assert_eq!(address(b""), None);
    }
}
