//! Query strings, strictly: a parameter that a route does not know, or one that is given twice, is an error that names it.
//! Nothing is passed over in silence, because a misspelt filter would quietly select everything.

use std::borrow::Cow;

use eventail_wire::{Offset, Timestamp, limits};

use super::problem::Problem;

/// The parameters of one request, decoded.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    given: Vec<(&'static str, String)>,
}

impl Parameters {
    /// Parses `a=1&b=2` (`application/x-www-form-urlencoded`) against the names that the route knows.
    pub(super) fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Self, Problem> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true)?;
            let Some(&name) = known.iter().find(|known| **known == name) else {
                return Err(Problem::parameter(unknown(&name, known)));
            };
            if given.iter().any(|(there, _)| *there == name) {
                return Err(Problem::parameter(format!("the parameter `{name}` is given twice")));
            }
            given.push((name, decode(value, true)?.into_owned()));
        }
        Ok(Self { given })
    }

    /// A parameter's text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as what it stands for; `expected` says in words what that is.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.get(name)
            .map(|text| {
                parse(text)
                    .ok_or_else(|| Problem::parameter(format!("`{name}` must be {expected}, not {text:?}")))
            })
            .transpose()
    }

    /// The parameter `limit`: how many items a page may have.
    pub(super) fn limit(&self, default: usize) -> Result<usize, Problem> {
        let max = limits::PAGE_EVENTS_MAX;
        let expected = format!("a number from 1 to {max}");
        let within = |text: &str| text.parse().ok().filter(|limit| (1..=max).contains(limit));
        Ok(self.parsed("limit", &expected, within)?.unwrap_or(default))
    }

    /// A parameter that is a moment.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.parsed(name, "an RFC 3339 time such as 2026-11-23T10:00:00Z", Timestamp::parse_rfc3339)
    }

    /// A parameter that is `true` or `false`; its mere presence is `true`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "" | "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Ok(self.parsed(name, "true or false", read)?.unwrap_or(false))
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let name: String = name.chars().take(limits::NAME_BYTES_MAX).collect();
    if known.is_empty() {
        return format!("{name:?} is no parameter of this route: it has none");
    }
    format!("{name:?} is no parameter of this route: it has {}", known.join(", "))
}

/// Undoes percent-encoding, and `+` for a space where `plus` says so.
pub(super) fn decode(text: &str, plus: bool) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let pair = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = pair else {
                    return Err(Problem::parameter(
                        "a % in the address is not followed by two hexadecimal digits",
                    ));
                };
                high << 4 | low
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Problem::parameter("a percent-encoded part of the address is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Parses an offset.
pub(super) fn offset(text: &str) -> Option<Offset> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(Offset)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_decoded_and_found_by_name() {
        let parameters =
            Parameters::parse(Some("type=a%2Fb&source=x+y&id="), &["type", "source", "id"]).unwrap();
        assert_eq!(parameters.get("type"), Some("a/b"));
        assert_eq!(parameters.get("source"), Some("x y"));
        assert_eq!(parameters.get("id"), Some(""));
        assert_eq!(parameters.get("subject"), None);
    }

    #[test]
    fn what_is_unknown_or_twice_or_broken_is_named() {
        for (query, named) in [
            ("limt=3", "\"limt\""),
            ("limit=1&limit=2", "`limit` is given twice"),
            ("limit=%zz", "two hexadecimal digits"),
            ("limit=%ff", "not UTF-8"),
            ("limit=%f", "two hexadecimal digits"),
        ] {
            let problem = Parameters::parse(Some(query), &["limit"]).unwrap_err();
            assert!(problem.detail().contains(named), "{query}: {}", problem.detail());
        }
        let limits = |query: &str| Parameters::parse(Some(query), &["limit"]).and_then(|p| p.limit(7));
        assert_eq!(limits("").unwrap(), 7);
        assert_eq!(limits("limit=1000").unwrap(), 1000);
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=x"] {
            assert!(limits(query).unwrap_err().detail().contains("from 1 to 1000"), "{query}");
        }
    }

    #[test]
    fn an_offset_is_digits_and_nothing_else() {
        assert_eq!(offset("12"), Some(Offset(12)));
        for text in ["+1", "-1", "", "1e3", "99999999999999999999"] {
            assert_eq!(offset(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for query in [query, text] {
                let parsed = Parameters::parse(Some(&query), &["from", "limit", "wait"]);
                if let Ok(parameters) = parsed {
                    let _ = (parameters.limit(1), parameters.time("from"), parameters.flag("wait"));
                }
                let _ = (decode(&query, false), offset(&query));
            }
        }
    }
}
