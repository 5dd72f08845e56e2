//! What a jq expression may call: jq's own library, without whatever reads the clock, the environment or further inputs,
//! writes logs, ends the process, or matches regular expressions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jaq_core::load::parse::Def;
use jaq_core::native::{Filter, Fun, bome, run, unary, v};
use jaq_core::{Error, RunPtr, ValR};
use jaq_json::{Num, Val};
use jaq_std::ValT as _;

use super::value::{VALUE_DEPTH_MAX, Value};
use super::{Machine, meter};
use crate::pattern::cursor::Cursor;

/// Definitions of the standard library that are left out, each with its number of arguments: they need what is not there.
const LEFT_OUT: &[(&str, usize)] = &[
    ("stderr", 0),
    ("debug", 0),
    ("debug", 1),
    ("halt", 0),
    ("halt_error", 0),
    ("halt_error", 1),
    ("logb", 0),
    ("significand", 0),
    ("pow10", 0),
    ("drem", 2),
    ("nexttoward", 2),
    ("scalb", 2),
    ("gamma", 0),
    ("capture_of_match", 0),
    ("test", 2),
    ("scan_", 2),
    ("match", 2),
    ("capture", 2),
    ("split", 2),
    ("splits", 2),
    ("sub", 3),
    ("gsub", 3),
    ("scan", 2),
    ("test", 1),
    ("scan", 1),
    ("match", 1),
    ("capture", 1),
    ("splits", 1),
    ("sub", 2),
    ("gsub", 2),
    ("@htmld", 0),
    ("@urid", 0),
];

/// What is written in jq.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let standard = jaq_std::defs().filter(|def| !LEFT_OUT.contains(&(def.name, def.args.len())));
    jaq_core::defs().chain(standard).chain(jaq_json::defs())
}

/// What is written in Rust.
pub(super) fn functions() -> impl Iterator<Item = Fun<Machine>> {
    let standard = jaq_std::base_funs::<Machine>().filter(|(name, ..)| *name != "halt");
    jaq_core::funs::<Machine>()
        .chain(standard)
        .chain(own().into_iter().map(|function| run::<Machine>(function)))
}

fn own() -> Box<[Filter<RunPtr<Machine>>]> {
    Box::new([
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("tojson", v(0), |cv| bome(Ok(Value::text(cv.1.to_string())))),
        ("length", v(0), |cv| bome(length(cv.1))),
        ("contains", v(1), |cv| unary(cv, |whole, part| Ok(contains(&whole, &part)))),
        ("has", v(1), |cv| unary(cv, has)),
        ("indices", v(1), |cv| unary(cv, indices)),
        ("escape_html", v(0), |cv| bome(map_text(&cv.1, escape_html))),
        ("encode_uri", v(0), |cv| bome(map_text(&cv.1, encode_uri))),
        ("encode_base64", v(0), |cv| bome(map_text(&cv.1, |text| STANDARD.encode(text)))),
        ("decode_base64", v(0), |cv| bome(decode_base64(&cv.1))),
        ("fromdateiso8601", v(0), |cv| bome(from_date(&cv.1))),
        ("todateiso8601", v(0), |cv| bome(to_date(&cv.1))),
        ("sqrt", v(0), |cv| bome(calculate(&cv.1, f64::sqrt))),
        ("fabs", v(0), |cv| bome(calculate(&cv.1, f64::abs))),
        ("trunc", v(0), |cv| bome(calculate(&cv.1, f64::trunc))),
        ("exp", v(0), |cv| bome(calculate(&cv.1, f64::exp))),
        ("log", v(0), |cv| bome(calculate(&cv.1, f64::ln))),
        ("log2", v(0), |cv| bome(calculate(&cv.1, f64::log2))),
        ("log10", v(0), |cv| bome(calculate(&cv.1, f64::log10))),
        ("pow", v(2), |mut cv| {
            let exponent = cv.0.pop_var();
            let base = cv.0.pop_var();
            bome(number(&exponent).and_then(|exponent| calculate(&base, |base| base.powf(exponent))))
        }),
    ])
}

/// Reads JSON text: nothing but JSON, no deeper than other values may be, and numbers of a sane length.
pub(super) fn read_json(text: &[u8]) -> Result<Val, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let mut cursor = Cursor::new(text.as_bytes(), 0);
    cursor.skip_value(0)?;
    cursor.end()?;
    if has_long_number(text.as_bytes()) {
        return Err("it has a number of more than 1000 digits");
    }
    jaq_json::read::parse_single(text.as_bytes()).map_err(|_| "it has text that is no Unicode")
}

/// The time to read a whole number grows with the square of its digits.
fn has_long_number(text: &[u8]) -> bool {
    const DIGITS_MAX: usize = 1000;
    let (mut is_quoted, mut digits, mut at) = (false, 0, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' => at += 1,
            _ => {}
        }
        digits = if !is_quoted && byte.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > DIGITS_MAX {
            return true;
        }
        at += 1;
    }
    false
}

fn from_json(text: &Value) -> ValR<Value> {
    let bytes = text.as_utf8_bytes().ok_or_else(|| Error::typ(text.clone(), "string"))?;
    // A node has two bytes or more.
    meter::take(bytes.len() as u64 / 4);
    read_json(bytes).map(Value).map_err(|why| Error::str(format_args!("this is no JSON: {why}")))
}

fn length(value: Value) -> ValR<Value> {
    let length = match &value.0 {
        Val::Null => 0,
        Val::Arr(items) => items.len(),
        Val::Obj(members) => members.len(),
        Val::TStr(text) => {
            meter::take_bytes(text.len() * 4);
            String::from_utf8_lossy(text).chars().count()
        }
        Val::BStr(bytes) => bytes.len(),
        Val::Num(number) => {
            let is_negative = jaq_std::ValT::as_f64(&value.0).is_some_and(|number| number < 0.0);
            return if is_negative { -value } else { Ok(Value(Val::Num(number.clone()))) };
        }
        Val::Bool(_) => return Err(Error::str(format_args!("{value} has no length"))),
    };
    Ok(length.into())
}

/// Whether a string is within the other, every element within some element, every member within the same member.
fn contains(whole: &Value, part: &Value) -> Value {
    fn is_within(part: &Val, whole: &Val, depth: usize) -> bool {
        meter::take(1);
        if depth > VALUE_DEPTH_MAX {
            meter::stop(meter::Stop::Depth);
        }
        match (whole, part) {
            (Val::TStr(whole), Val::TStr(part)) | (Val::BStr(whole), Val::BStr(part)) => {
                meter::take_bytes(whole.len().saturating_mul(part.len().max(1)));
                part.is_empty() || whole.windows(part.len()).any(|window| window == &***part)
            }
            (Val::Arr(whole), Val::Arr(part)) => {
                part.iter().all(|part| whole.iter().any(|whole| is_within(part, whole, depth + 1)))
            }
            (Val::Obj(whole), Val::Obj(part)) => part.iter().all(|(key, part)| {
                Value(key.clone()).weigh();
                whole.get(key).is_some_and(|whole| is_within(part, whole, depth + 1))
            }),
            (Val::Arr(_) | Val::Obj(_), _) | (_, Val::Arr(_) | Val::Obj(_)) => false,
            (whole, part) => whole == part,
        }
    }
    is_within(&part.0, &whole.0, 0).into()
}

fn has(value: Value, key: Value) -> ValR<Value> {
    key.weigh();
    match (&value.0, &key.0) {
        (Val::Obj(members), key) => Ok(members.contains_key(key).into()),
        (Val::Arr(items), Val::Num(Num::Int(at))) => {
            let length = items.len();
            let at = usize::try_from(*at).ok().or_else(|| length.checked_sub(at.unsigned_abs()));
            Ok(at.is_some_and(|at| at < length).into())
        }
        _ => Err(Error::index(value, key)),
    }
}

/// The places of a string in a string, or of an element or a list in a list.
fn indices(whole: Value, part: Value) -> ValR<Value> {
    let (many, few) = (whole.weigh(), part.weigh());
    meter::take(many.saturating_mul(few) / 8);
    let found: Vec<usize> = match (&whole.0, &part.0) {
        (Val::TStr(whole), Val::TStr(part)) if !part.is_empty() => {
            meter::take_bytes(whole.len().saturating_mul(part.len()));
            let text = String::from_utf8_lossy(whole);
            let starts = text.char_indices().enumerate();
            starts
                .filter(|(_, (at, _))| text.as_bytes()[*at..].starts_with(part))
                .map(|(nth, _)| nth)
                .collect()
        }
        (Val::Arr(_), Val::Arr(part)) if part.is_empty() => Vec::new(),
        (Val::TStr(_), Val::TStr(_)) => Vec::new(),
        (Val::Arr(whole), Val::Arr(part)) => {
            let windows = whole.windows(part.len()).enumerate();
            windows.filter(|(_, window)| *window == &***part).map(|(at, _)| at).collect()
        }
        (Val::Arr(whole), part) => {
            whole.iter().enumerate().filter(|(_, item)| *item == part).map(|(at, _)| at).collect()
        }
        _ => return Err(Error::index(whole, part)),
    };
    Ok(found.into_iter().map(Value::from).collect())
}

fn map_text(text: &Value, map: impl FnOnce(&[u8]) -> String) -> ValR<Value> {
    let bytes = text.as_utf8_bytes().ok_or_else(|| Error::typ(text.clone(), "string"))?;
    Ok(Value::from(map(bytes)))
}

fn escape_html(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(character),
        }
    }
    out
}

fn encode_uri(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    crate::input::percent::encode(text, &mut out);
    out
}

fn decode_base64(text: &Value) -> ValR<Value> {
    let bytes = text.as_utf8_bytes().ok_or_else(|| Error::typ(text.clone(), "string"))?;
    let decoded = STANDARD.decode(bytes).map_err(|_| Error::str("this is not Base64 with padding"))?;
    Ok(Value::from_utf8_bytes(decoded))
}

fn number(value: &Value) -> Result<f64, Error<Value>> {
    value.as_f64().ok_or_else(|| Error::typ(value.clone(), "number"))
}

fn calculate(value: &Value, function: impl FnOnce(f64) -> f64) -> ValR<Value> {
    number(value).map(|number| function(number).into())
}

/// Seconds since 1970.
fn from_date(text: &Value) -> ValR<Value> {
    let bytes = text.as_utf8_bytes().ok_or_else(|| Error::typ(text.clone(), "string"))?;
    let time: Option<jiff::Timestamp> = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    let time = time.ok_or_else(|| Error::str("this is no date and time such as 2026-11-23T10:00:00Z"))?;
    if time.subsec_nanosecond() == 0
        && let Ok(seconds) = isize::try_from(time.as_second())
    {
        return Ok(seconds.into());
    }
    Ok((time.as_nanosecond() as f64 / 1e9).into())
}

fn to_date(seconds: &Value) -> ValR<Value> {
    let time = match seconds.as_isize() {
        Some(seconds) => {
            i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        }
        None => jiff::SignedDuration::try_from_secs_f64(number(seconds)?)
            .ok()
            .and_then(|since| jiff::Timestamp::from_duration(since).ok()),
    };
    let time = time.ok_or_else(|| Error::str("this is no time that a date can be given for"))?;
    Ok(Value::from(time.to_string()))
}
