//! The operators once more, each as plainly as it can be said, with values as JSON text.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

/// A member of a field's list.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// As JSON text.
    Exact(&'static str),
    Exists(bool),
    /// An operator and its text.
    Text(Operator, &'static str),
    /// Bounds, each with its operator.
    Numeric(Vec<(&'static str, i32)>),
    Cidr(&'static str),
    Not(Vec<&'static str>),
    NotText(Operator, Vec<&'static str>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Exactly,
    Prefix,
    Suffix,
    IgnoreCase,
    PrefixIgnoreCase,
    SuffixIgnoreCase,
    Wildcard,
}

/// Values of events, with some twice in different spellings.
pub(super) const PLAINS: &[&str] = &[
    "\"x\"",
    "\"y\"",
    "\"xy\"",
    "\"\"",
    "\"\\u0078\"",
    "\"X\"",
    "\"yXyx\"",
    "\"ß\"",
    "\"SS\"",
    "\"x*y\"",
    "\"x\\\\\"",
    "1",
    "1e0",
    "2",
    "-1.5",
    "100000000000000000001",
    "true",
    "false",
    "null",
    "\"::1\"",
    "\"0:0::1\"",
    "\"10.1.2.3\"",
    "\"::ffff:10.1.2.3\"",
];
const EXCLUDED_TEXTS: &[&str] = &["\"x\"", "\"y\"", "\"xy\"", "\"::1\"", "\"\""];
const EXCLUDED_NUMBERS: &[&str] = &["1", "1.0", "2"];
const TEXTS: &[&str] = &["", "x", "y", "X", "xy", "YX", "ß", "ss", "s", ":", "10.1.2.3"];
const WILDCARDS: &[&str] =
    &["", "*", "x", "x*", "*y", "*x*", "x*y", "y*y*x", "*x*y*", r"x\*y", r"*\**", r"*\\", "*.1.*", "*:*:*1"];
const BLOCKS: &[&str] = &["10.1.2.0/24", "10.0.0.0/8", "0.0.0.0/0", "::/0", "::/127", "11.0.0.0/7"];

fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

fn equals(literal: &str, found: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    match (parse(literal), parse(found)) {
        (Value::Number(_), Value::Number(_)) => literal == found || number(literal) == number(found),
        (left, right) => left == right,
    }
}

/// A number as a double; those here that no double holds are long, and are made what equals nothing.
fn number(text: &str) -> Option<f64> {
    if text.len() > 20 { Some(f64::NAN) } else { text.parse().ok() }
}

fn address(text: &str) -> Option<IpAddr> {
    string(text).and_then(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical())
}

fn in_block(block: &str, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
    };
    let (base, mask) = block.split_once('/').unwrap();
    let (base, address, mask) = (bits(base.parse().unwrap()), bits(address), mask.parse::<usize>().unwrap());
    base.len() == address.len() && base[..mask] == address[..mask]
}

/// Tries every length for every star.
fn wild(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        (['*', rest @ ..], _) => (0..=text.len()).any(|taken| wild(rest, &text[taken..])),
        (['\\', escaped, rest @ ..], [first, others @ ..]) => escaped == first && wild(rest, others),
        ([plain, rest @ ..], [first, others @ ..]) => plain == first && wild(rest, others),
        (_, []) => false,
    }
}

impl Operator {
    fn accepts(self, operand: &str, text: &str) -> bool {
        let fold = |text: &str| text.to_uppercase();
        let characters = |text: &str| text.chars().collect::<Vec<char>>();
        match self {
            Self::Exactly => text == operand,
            Self::Prefix => text.starts_with(operand),
            Self::Suffix => text.ends_with(operand),
            Self::IgnoreCase => fold(text) == fold(operand),
            Self::PrefixIgnoreCase => fold(text).starts_with(&fold(operand)),
            Self::SuffixIgnoreCase => fold(text).ends_with(&fold(operand)),
            Self::Wildcard => wild(&characters(operand), &characters(text)),
        }
    }

    /// Around the operand, which is printed as JSON.
    fn print(self, operand: &str) -> String {
        match self {
            Self::Exactly => format!("{{\"exactly\":{operand}}}"),
            Self::Prefix => format!("{{\"prefix\":{operand}}}"),
            Self::Suffix => format!("{{\"suffix\":{operand}}}"),
            Self::IgnoreCase => format!("{{\"equals-ignore-case\":{operand}}}"),
            Self::PrefixIgnoreCase => format!("{{\"prefix\":{{\"equals-ignore-case\":{operand}}}}}"),
            Self::SuffixIgnoreCase => format!("{{\"suffix\":{{\"equals-ignore-case\":{operand}}}}}"),
            Self::Wildcard => format!("{{\"wildcard\":{operand}}}"),
        }
    }
}

impl Wanted {
    pub(super) fn accepts(&self, found: &str) -> bool {
        match self {
            Self::Exact(literal) => {
                equals(literal, found)
                    || address(literal).is_some_and(|wanted| address(found) == Some(wanted))
            }
            Self::Exists(wanted) => *wanted,
            Self::Text(operator, operand) => {
                string(found).is_some_and(|text| operator.accepts(operand, &text))
            }
            Self::Numeric(bounds) => number(found).is_some_and(|found| {
                bounds.iter().all(|(operator, bound)| {
                    let bound = f64::from(*bound) / 2.0;
                    match *operator {
                        "=" => found == bound,
                        "<" => found < bound,
                        "<=" => found <= bound,
                        ">" => found > bound,
                        _ => found >= bound,
                    }
                })
            }),
            Self::Cidr(block) => address(found).is_some_and(|address| in_block(block, address)),
            Self::Not(literals) => !literals.iter().any(|literal| equals(literal, found)),
            Self::NotText(operator, operands) => {
                !operands.iter().any(|operand| Self::Text(*operator, operand).accepts(found))
            }
        }
    }

    pub(super) fn print(&self) -> String {
        let json = |text: &str| Value::from(text).to_string();
        match self {
            Self::Exact(literal) => (*literal).to_owned(),
            Self::Exists(wanted) => format!("{{\"exists\":{wanted}}}"),
            Self::Text(operator, operand) => operator.print(&json(operand)),
            Self::Numeric(bounds) => {
                let print =
                    |(operator, bound): &(&str, i32)| format!("\"{operator}\",{}", f64::from(*bound) / 2.0);
                format!("{{\"numeric\":[{}]}}", bounds.iter().map(print).collect::<Vec<_>>().join(","))
            }
            Self::Cidr(block) => format!("{{\"cidr\":\"{block}\"}}"),
            Self::Not(literals) => format!("{{\"anything-but\":[{}]}}", literals.join(",")),
            Self::NotText(operator, operands) => {
                let operands: Vec<String> = operands.iter().map(|operand| json(operand)).collect();
                format!("{{\"anything-but\":{}}}", operator.print(&format!("[{}]", operands.join(","))))
            }
        }
    }
}

fn text() -> impl Strategy<Value = Wanted> {
    use Operator::*;
    let plain = select(&[Exactly, Prefix, Suffix, IgnoreCase, PrefixIgnoreCase, SuffixIgnoreCase][..]);
    prop_oneof![
        2 => (plain, select(TEXTS)).prop_map(|(operator, text)| Wanted::Text(operator, text)),
        1 => select(WILDCARDS).prop_map(|text| Wanted::Text(Wildcard, text)),
    ]
}

fn not_text() -> impl Strategy<Value = Wanted> {
    use Operator::*;
    prop_oneof![
        // Empty ones are refused here.
        (select(&[Prefix, Suffix][..]), subsequence(&TEXTS[1..], 1..=2))
            .prop_map(|(operator, texts)| (operator, texts)),
        subsequence(TEXTS, 1..=2).prop_map(|texts| (IgnoreCase, texts)),
        subsequence(WILDCARDS, 1..=2).prop_map(|texts| (Wildcard, texts)),
    ]
    .prop_map(|(operator, texts)| Wanted::NotText(operator, texts))
}

fn numeric() -> impl Strategy<Value = Wanted> {
    let one = (select(&["=", "<", "<=", ">", ">="][..]), -4i32..6).prop_map(|bound| vec![bound]);
    let (low, high) = (select(&[">", ">="][..]), select(&["<", "<="][..]));
    let two = (low, -4i32..5, high, 1i32..4)
        .prop_map(|(low, bottom, high, width)| vec![(low, bottom), (high, bottom + width)]);
    prop_oneof![one, two].prop_map(Wanted::Numeric)
}

pub(super) fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        6 => select(PLAINS).prop_map(Wanted::Exact),
        3 => any::<bool>().prop_map(Wanted::Exists),
        4 => text(),
        2 => numeric(),
        1 => select(BLOCKS).prop_map(Wanted::Cidr),
        1 => subsequence(EXCLUDED_TEXTS, 1..=3).prop_map(Wanted::Not),
        1 => subsequence(EXCLUDED_NUMBERS, 1..=2).prop_map(Wanted::Not),
        2 => not_text(),
    ]
}
