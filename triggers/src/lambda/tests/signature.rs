//! SigV4 checked by its specification ("Create a signed AWS API request"), without any of the code that signs.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every character but the unreserved ones, and the slash, once more.
fn encoded_again(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Panics unless the request is signed with these keys for this region; gives back the names of the signed headers.
pub(super) fn check((head, body): &(Parts, Bytes), key_id: &str, secret: &str, region: &str) -> Vec<String> {
    let header = |name: &str| head.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap();
    let stamp = header("x-amz-date");
    let scope = format!("{}/{region}/lambda/aws4_request", &stamp[..8]);
    let fields = header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
    let field = |name: &str| {
        let mut fields = fields.split(", ").filter_map(|field| field.split_once('='));
        fields.find(|(found, _)| *found == name).unwrap().1
    };
    assert_eq!(field("Credential"), format!("{key_id}/{scope}"));

    let signed: Vec<String> = field("SignedHeaders").split(';').map(str::to_owned).collect();
    let mut canonical = format!("{}\n{}\n", head.method, encoded_again(head.uri.path()));
    let mut query: Vec<&str> = head.uri.query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    canonical += &query.join("&");
    canonical += "\n";
    for name in &signed {
        canonical += &format!("{name}:{}\n", header(name).trim());
    }
    canonical += &format!("\n{}\n{}", field("SignedHeaders"), hex(&Sha256::digest(body)));
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), &stamp[..8]);
    for part in [region, "lambda", "aws4_request"] {
        key = hmac(&key, part);
    }
    assert_eq!(field("Signature"), hex(&hmac(&key, &to_sign)), "signed was not:\n{canonical}");
    signed
}
