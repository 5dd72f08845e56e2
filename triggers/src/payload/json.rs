//! Writing JSON by hand: values go straight from the event into the payload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventail_wire::Event;
use serde_json::value::RawValue;

/// An event's data as far as JSON can hold it.
pub(crate) enum Data<'a> {
    None,
    /// One JSON value.
    Json(&'a str),
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Tells what the data is. It is JSON where its media type says so, or none is given, and it really is; so data that lies
/// about itself cannot damage the payload.
pub(crate) fn data(event: &Event) -> Data<'_> {
    if !event.has_data() {
        return Data::None;
    }
    let data = event.data_slice();
    if event.is_json()
        && let Ok(value) = serde_json::from_slice::<&RawValue>(data)
    {
        return Data::Json(value.get());
    }
    std::str::from_utf8(data).map_or(Data::Binary(data), Data::Text)
}

/// Writes a string with its quotes.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and writing to memory does not fail");
}

/// Writes a string of Base64 with its quotes.
pub(crate) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    base64_text(bytes, out);
    out.push(b'"');
}

/// Writes Base64 alone.
pub(crate) fn base64_text(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    out.truncate(start + written.expect("four characters for every three bytes begun is the whole of it"));
}

/// Writes a number as decimal digits, without quotes.
pub(crate) fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // One digit fits any integer.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
