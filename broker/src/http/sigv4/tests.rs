//! The signatures of AWS's published test suite, and requests that somebody changed on the way.

use http::{Request, Uri};
use proptest::prelude::*;

use super::*;

/// The credentials, the scope and the time of the published suite.
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const AT: &str = "20150830T123600Z";

fn keys() -> BTreeMap<String, Secret> {
    BTreeMap::from([(KEY_ID.to_owned(), Secret::new(SECRET.to_owned()))])
}

fn now() -> Timestamp {
    timestamp(AT).unwrap()
}

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "{ALGORITHM} Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders={signed_headers}, Signature={signature}"
    )
}

/// A request of the suite: everything but its header `authorization`, and the signature that AWS publishes for it.
struct Published {
    method: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    signed: &'static str,
    body: &'static [u8],
    signature: &'static str,
}

const HOST: (&str, &str) = ("host", "example.amazonaws.com");
const DATE: (&str, &str) = (DATE_HEADER, AT);

const SUITE: &[Published] = &[
    // get-vanilla
    Published {
        method: "GET",
        target: "/",
        headers: &[HOST, DATE],
        signed: "host;x-amz-date",
        body: b"",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    // get-vanilla-query-order-key-case
    Published {
        method: "GET",
        target: "/?Param2=value2&Param1=value1",
        headers: &[HOST, DATE],
        signed: "host;x-amz-date",
        body: b"",
        signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    },
    // post-vanilla
    Published {
        method: "POST",
        target: "/",
        headers: &[HOST, DATE],
        signed: "host;x-amz-date",
        body: b"",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    // post-x-www-form-urlencoded
    Published {
        method: "POST",
        target: "/",
        headers: &[("content-type", "application/x-www-form-urlencoded"), HOST, DATE],
        signed: "content-type;host;x-amz-date",
        body: b"Param1=value1",
        signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    },
    // get-header-value-multiline and -trim are what collapses; this is get-header-value-trim
    Published {
        method: "GET",
        target: "/",
        headers: &[HOST, ("my-header1", " value1"), ("my-header2", " \"a   b   c\""), DATE],
        signed: "host;my-header1;my-header2;x-amz-date",
        body: b"",
        signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    },
    // get-header-key-duplicate
    Published {
        method: "GET",
        target: "/",
        headers: &[HOST, ("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1"), DATE],
        signed: "host;my-header1;x-amz-date",
        body: b"",
        signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    },
    // get-unreserved
    Published {
        method: "GET",
        target: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        headers: &[HOST, DATE],
        signed: "host;x-amz-date",
        body: b"",
        signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    },
];

impl Published {
    fn signed_parts(&self) -> request::Parts {
        let mut parts = parts(self.method, self.target, self.headers);
        let authorization = authorization(self.signed, self.signature);
        parts.headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        parts
    }
}

#[test]
fn the_published_signatures_are_right() {
    for published in SUITE {
        let verdict = verify(&published.signed_parts(), published.body, &keys(), "service", now());
        assert_eq!(verdict, Ok(()), "{} {} {}", published.method, published.target, published.signed);
    }
}

/// A request as an SDK would sign it, for what the suite has not.
fn sign(parts: request::Parts, body: &[u8]) -> request::Parts {
    let signer = Signer { key_id: KEY_ID, secret: SECRET, service: "service", at: AT };
    signer.sign(parts, body)
}

/// Who signs, and when.
pub(in crate::http) struct Signer<'a> {
    pub(in crate::http) key_id: &'a str,
    pub(in crate::http) secret: &'a str,
    pub(in crate::http) service: &'a str,
    /// `20150830T123600Z`
    pub(in crate::http) at: &'a str,
}

impl Signer<'_> {
    /// Adds the header `authorization` over all headers that are there.
    pub(in crate::http) fn sign(&self, mut parts: request::Parts, body: &[u8]) -> request::Parts {
        let names: std::collections::BTreeSet<String> =
            parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let canonical = canonical_request(&parts, &names, &hex(&Sha256::digest(body))).unwrap();
        let (date, at) = (&self.at[..8], self.at);
        let scope = format!("{date}/us-east-1/{}/{TERMINATOR}", self.service);
        let text = format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let key = signing_key(self.secret, date, "us-east-1", self.service);
        let signature = hex(&keyed(&key).chain_update(text).finalize().into_bytes());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.key_id,
            names.join(";")
        );
        parts.headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        parts
    }
}

#[test]
fn an_encoded_path_is_encoded_once_more_and_a_query_once() {
    let parts = parts("POST", "/functions/arn%3Aaws/x:y?b=%24LATEST&a=$", &[HOST]);
    let canonical = canonical_request(&parts, &["host"], "hash").unwrap();
    assert!(
        canonical.starts_with("POST\n/functions/arn%253Aaws/x%3Ay\na=%24&b=%24LATEST\nhost:"),
        "{canonical}"
    );
}

#[test]
fn the_host_of_http_2_is_in_its_address() {
    let one = canonical_request(&parts("GET", "/a", &[HOST]), &["host"], "").unwrap();
    let two = canonical_request(&parts("GET", "http://example.amazonaws.com/a", &[]), &["host"], "").unwrap();
    assert_eq!(one, two);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let body = b"{\"a\":1}";
    let token = ("x-amz-security-token", "session");
    let signed = || sign(parts("POST", "/f/x?Qualifier=1", &[HOST, DATE, token]), body);
    let check = |parts: &request::Parts, body: &[u8]| verify(parts, body, &keys(), "service", now());
    assert_eq!(check(&signed(), body), Ok(()));
    assert_eq!(check(&signed(), b"{\"a\":2}"), Err(SignatureError::Mismatch));
    for target in ["/f/y?Qualifier=1", "/f/x?Qualifier=2", "/f/x", "/f/%78?Qualifier=1"] {
        let mut changed = signed();
        changed.uri = target.parse::<Uri>().unwrap();
        assert_eq!(check(&changed, body), Err(SignatureError::Mismatch), "{target}");
    }
    let mut changed = signed();
    changed.method = http::Method::PUT;
    assert_eq!(check(&changed, body), Err(SignatureError::Mismatch));
    for (name, value) in [("host", "other"), ("x-amz-security-token", "other")] {
        let mut changed = signed();
        changed.headers.insert(name, value.parse().unwrap());
        assert_eq!(check(&changed, body), Err(SignatureError::Mismatch), "{name}");
    }
    let mut added = signed();
    added.headers.insert("x-amz-invocation-type", "DryRun".parse().unwrap());
    assert_eq!(check(&added, body), Err(SignatureError::Unsigned("x-amz-invocation-type")));
    let other = BTreeMap::from([(KEY_ID.to_owned(), Secret::new("other".to_owned()))]);
    assert_eq!(verify(&signed(), body, &other, "service", now()), Err(SignatureError::Mismatch));
    assert_eq!(verify(&signed(), body, &BTreeMap::new(), "service", now()), Err(SignatureError::UnknownKey));
    assert!(matches!(verify(&signed(), body, &keys(), "lambda", now()), Err(SignatureError::Scope(_))));
}

#[test]
fn a_signature_holds_for_five_minutes_either_way() {
    let signed = SUITE[0].signed_parts();
    let at = |time: Timestamp| verify(&signed, b"", &keys(), "service", time);
    let earlier = |milliseconds| Timestamp(now().0 - milliseconds);
    assert_eq!(at(now().plus_ms(300_000)), Ok(()));
    assert_eq!(at(now().plus_ms(300_001)), Err(SignatureError::Expired));
    assert_eq!(at(earlier(300_000)), Ok(()));
    assert_eq!(at(earlier(300_001)), Err(SignatureError::NotYet));
}

#[test]
fn a_body_must_be_the_one_that_was_signed() {
    let with = |hash: &str| {
        let signed = sign(parts("POST", "/", &[HOST, DATE, (CONTENT_HASH_HEADER, hash)]), b"x");
        verify(&signed, b"x", &keys(), "service", now())
    };
    assert_eq!(with(&hex(&Sha256::digest(b"x"))), Ok(()));
    assert_eq!(with("UNSIGNED-PAYLOAD"), Err(SignatureError::Body));
    assert_eq!(with(&hex(&Sha256::digest(b"y"))), Err(SignatureError::Body));
}

#[test]
fn what_is_no_signature_is_told_by_its_kind() {
    let with = |value: &str| {
        let parts = parts("GET", "/", &[HOST, DATE, ("authorization", value)]);
        verify(&parts, b"", &keys(), "service", now()).unwrap_err()
    };
    let unsigned = parts("GET", "/", &[HOST, DATE]);
    assert_eq!(verify(&unsigned, b"", &keys(), "service", now()), Err(SignatureError::Missing));
    let right = authorization("host;x-amz-date", SUITE[0].signature);
    for wrong in [
        "Bearer x".to_owned(),
        format!("{ALGORITHM} "),
        right.replace("Signature=5", "Signature="),
        right.replace("Signature=5", "Signature=F"),
        right.replace("host;x-amz-date", "x-amz-date;host"),
        right.replace("host;x-amz-date", "Host;x-amz-date"),
        right.replace("host;x-amz-date", "host;host;x-amz-date"),
        right.replace("Credential=AKIDEXAMPLE/", "Credential="),
        format!("{right}, More=1"),
    ] {
        let told = with(&wrong);
        assert!(
            matches!(told, SignatureError::Incomplete(_) | SignatureError::Scope(_)),
            "{wrong}: {told:?}"
        );
    }
    assert_eq!(with(&right.replace("host;x-amz-date", "x-amz-date")), SignatureError::Unsigned("host"));
    assert_eq!(with(&right.replace("host;x-amz-date", "host")), SignatureError::Unsigned(DATE_HEADER));
    assert!(matches!(with(&right.replace("/20150830/", "/20150831/")), SignatureError::Scope(_)));
    let undated = parts("GET", "/", &[HOST, ("authorization", &right)]);
    assert_eq!(verify(&undated, b"", &keys(), "service", now()), Err(SignatureError::Date));
}

proptest! {
    #[test]
    fn no_header_panics(value in "[ -~]{0,120}", date in "[0-9TZ]{0,20}") {
        let parts = parts("GET", "/", &[HOST, (DATE_HEADER, &date), ("authorization", &value)]);
        prop_assert!(verify(&parts, b"", &keys(), "service", now()).is_err());
    }
}
