//! `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3).

use eventail_wire::Timestamp;

/// The longest wait that is believed: a day. The trigger's policy may cut it further.
const RETRY_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds to wait from `now`, or `None` where the value is neither form.
pub(crate) fn parse(value: &str, now: Timestamp) -> Option<u64> {
    let value = value.trim();
    let after_ms = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds mean a very long time.
        value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000)
    } else {
        date(value)?.since_ms(now)
    };
    Some(after_ms.min(RETRY_AFTER_MS_MAX))
}

/// The one form of a date that senders may use: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(value: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    Timestamp::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nonsense_is_clamped_or_ignored() {
        let now = Timestamp::parse_rfc3339("1994-11-06T08:49:07Z").unwrap();
        for (value, after_ms) in [
            ("0", Some(0)),
            (" 120 ", Some(120_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Wed, 06 Nov 2094 08:49:37 GMT", Some(RETRY_AFTER_MS_MAX)),
            ("99999999999999999999999999", Some(RETRY_AFTER_MS_MAX)),
            ("18446744073709551615", Some(RETRY_AFTER_MS_MAX)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(parse(value, now), after_ms, "{value}");
        }
    }
}
