//! Requests that a web page sends without its reader's knowledge. Pure.
//!
//! A page of any site can let the browser of its reader send a simple POST to a broker on the reader's machine or network. The browser
//! says so in `Origin`. A page whose own name was pointed at the broker meanwhile (DNS rebinding) is of one origin with it, and reads the
//! answers, too; but the request is addressed to that name. Programs send neither a foreign origin nor a foreign host.

use http::{HeaderMap, Method, Uri, header};

use crate::config::ListenOptions;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A page of another origin sent it.
    Origin,
    /// It is addressed to a name that is not this broker's.
    Host,
}

/// Whether a request may come from a foreign page. `is_open` says that nobody is asked who he is, on a listener that only this
/// machine reaches: then the host is looked at as well.
pub(super) fn check(
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
    listen: &ListenOptions,
    is_open: bool,
) -> Result<(), Foreign> {
    if is_open && hosts(headers, uri).any(|host| !host.is_some_and(|host| is_own_host(host, listen))) {
        return Err(Foreign::Host);
    }
    let changes_something = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes_something && is_foreign(headers, uri, listen) {
        return Err(Foreign::Origin);
    }
    Ok(())
}

/// Whether a page of another origin sent the request.
pub(super) fn is_foreign(headers: &HeaderMap, uri: &Uri, listen: &ListenOptions) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().map(str::to_ascii_lowercase).unwrap_or_default();
        !listen.origins.contains(&origin) && !is_own_origin(&origin, headers, uri, listen)
    })
}

/// Whether an origin is the broker's own: that of a page which the broker itself served.
fn is_own_origin(origin: &str, headers: &HeaderMap, uri: &Uri, listen: &ListenOptions) -> bool {
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let is_asked = |host: Option<&str>| host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
    // An address cannot be pointed elsewhere, as a name can.
    let is_ours = is_own_host(authority, listen) || is_address(host_of(authority));
    is_ours && hosts(headers, uri).any(is_asked)
}

/// The hosts that a request is addressed to, in its address and in its header; `None` for one that is no text. A request of a browser
/// always has one.
fn hosts<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> impl Iterator<Item = Option<&'r str>> {
    let in_headers = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    in_headers.chain(uri.authority().map(|authority| Some(authority.as_str())))
}

/// Whether a host is this machine's loopback, or a configured one.
fn is_own_host(authority: &str, listen: &ListenOptions) -> bool {
    let host = host_of(authority);
    let is_configured =
        |known: &String| known.eq_ignore_ascii_case(authority) || known.eq_ignore_ascii_case(host);
    is_loopback(host) || listen.hosts.iter().any(is_configured)
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_localhost = |name: &str| name.eq_ignore_ascii_case("localhost");
    is_localhost(name)
        || name.rsplit_once('.').is_some_and(|(_, last)| is_localhost(last))
        || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

fn is_address(host: &str) -> bool {
    address(host).is_some()
}

fn address(host: &str) -> Option<std::net::IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// An authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn listen() -> ListenOptions {
        ListenOptions {
            hosts: vec!["host.docker.internal".to_owned(), "bus.example:8080".to_owned()],
            origins: vec!["https://console.example".to_owned()],
            insecure: false,
        }
    }

    fn checked(method: Method, headers: &[(&str, &str)], is_open: bool) -> Result<(), Foreign> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        check(&method, &map, &Uri::from_static("/v1/topics"), &listen(), is_open)
    }

    #[test]
    fn an_open_broker_answers_to_its_own_names_only() {
        for host in [
            "localhost",
            "LOCALHOST:4080",
            "localhost.:4080",
            "bus.localhost:4080",
            "127.0.0.1",
            "127.0.0.1:4080",
            "127.1.2.3",
            "[::1]",
            "[::1]:4080",
            "[::ffff:127.0.0.1]:80",
            "host.docker.internal",
            "host.docker.internal:4080",
            "Host.Docker.Internal",
            "bus.example:8080",
        ] {
            assert_eq!(checked(Method::GET, &[("host", host)], true), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4080",
            "localhost.evil.example",
            "notlocalhost",
            "192.168.0.1:4080",
            "127.0.0.1.evil.example",
            "bus.example",
            "bus.example:9",
            "",
            ":4080",
        ] {
            assert_eq!(checked(Method::GET, &[("host", host)], true), Err(Foreign::Host), "{host}");
            assert_eq!(checked(Method::GET, &[("host", host)], false), Ok(()), "{host}");
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(checked(Method::GET, &two, true), Err(Foreign::Host));
        assert_eq!(checked(Method::GET, &[], true), Ok(()), "no browser leaves it out");
    }

    #[test]
    fn the_host_of_http_2_is_looked_at_as_well() {
        let of = |uri: &'static str| {
            check(&Method::GET, &HeaderMap::new(), &Uri::from_static(uri), &listen(), true)
        };
        assert_eq!(of("http://localhost:4080/"), Ok(()));
        assert_eq!(of("http://evil.example/"), Err(Foreign::Host));
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let asked = |method, origin, host| checked(method, &[("origin", origin), ("host", host)], false);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            for origin in [
                "https://evil.example",
                "null",
                "",
                "http://127.0.0.1:9999",
                "http://127.0.0.1:4080.evil.example",
                "file://",
                "https://console.example.evil.example",
            ] {
                let answer = asked(method.clone(), origin, "127.0.0.1:4080");
                assert_eq!(answer, Err(Foreign::Origin), "{method} {origin}");
            }
            for (origin, host) in [
                ("http://127.0.0.1:4080", "127.0.0.1:4080"),
                ("https://console.example", "127.0.0.1:4080"),
                ("https://CONSOLE.example", "127.0.0.1:4080"),
                ("http://10.0.0.7:4080", "10.0.0.7:4080"),
                ("http://localhost", "localhost"),
            ] {
                assert_eq!(asked(method.clone(), origin, host), Ok(()), "{method} {origin}");
            }
            assert_eq!(checked(method, &[("host", "localhost")], false), Ok(()));
        }
        assert_eq!(
            asked(Method::GET, "https://evil.example", "localhost"),
            Ok(()),
            "browsers keep the answer from the page"
        );
        // The name of a page that was pointed here is its host as well.
        let rebound = asked(Method::POST, "http://evil.example:4080", "evil.example:4080");
        assert_eq!(rebound, Err(Foreign::Origin));
    }
}
