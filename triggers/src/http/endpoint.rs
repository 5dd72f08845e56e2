//! Where a target is: its URL taken apart once, so that no attempt parses it again.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;
use http::header::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme};
use rustls::pki_types::ServerName;

use super::error::HttpTargetError;

/// A target's URL in the forms that connections and requests need.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The host's name or address, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    /// Set for https: the name that the certificate must have.
    pub(super) server_name: Option<ServerName<'static>>,
    /// What an HTTP/1.1 request names: path and query.
    pub(super) origin_form: Uri,
    /// What an HTTP/2 request names: the whole URL.
    pub(crate) absolute_form: Uri,
    /// The Host header.
    pub(crate) authority: HeaderValue,
}

impl Endpoint {
    pub(super) fn new(url: &Uri) -> Result<Self, HttpTargetError> {
        let is_https = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(HttpTargetError::Scheme),
        };
        let bad_host = || HttpTargetError::Host { host: url.host().unwrap_or_default().to_owned() };
        let authority = url.authority().ok_or_else(bad_host)?;
        if authority.as_str().contains('@') {
            return Err(HttpTargetError::UserInfo);
        }
        let host = host(authority.host()).ok_or_else(bad_host)?.to_owned();
        let port = port(authority)?;
        let server_name =
            if is_https { Some(ServerName::try_from(host.clone()).map_err(|_| bad_host())?) } else { None };
        let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self {
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            server_name,
            origin_form: Uri::from(path),
            absolute_form: url.clone(),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| bad_host())?,
            host,
        })
    }
}

/// The name or address, without the brackets of IPv6. In brackets stands an address of IPv6 and nothing else: no zone, which names
/// an interface of this machine, and no name. A `%` outside is the beginning of a zone too, or of a letter in disguise.
fn host(written: &str) -> Option<&str> {
    let host = match written.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').filter(|inside| inside.parse::<Ipv6Addr>().is_ok())?,
        None => written,
    };
    (!host.is_empty() && !host.contains(['%', '[', ']'])).then_some(host)
}

/// The port as it is written, if it is. One that is none must not pass for the usual one.
fn port(authority: &Authority) -> Result<Option<u16>, HttpTargetError> {
    let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let Some(written) = behind.strip_prefix(':') else { return Ok(None) };
    let digits = Some(written).filter(|written| written.bytes().all(|byte| byte.is_ascii_digit()));
    let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
    port.map(Some).ok_or_else(|| HttpTargetError::Port { port: written.to_owned() })
}

impl Endpoint {
    /// The whole URL with another path and query.
    pub(super) fn with_path(&self, path: PathAndQuery) -> Uri {
        let mut parts = self.absolute_form.clone().into_parts();
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_else(|_| self.absolute_form.clone())
    }

    /// `host:port`, in lower case.
    pub(super) fn host_and_port(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host.to_ascii_lowercase(), self.port)
    }

    /// `scheme://host:port`, in lower case: what all URLs of one server have in common.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.host_and_port())
    }

    const fn scheme(&self) -> &'static str {
        if self.server_name.is_some() { "https" } else { "http" }
    }
}

impl fmt::Display for Endpoint {
    /// The URL without its query, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let (scheme, path) = (self.scheme(), self.origin_form.path());
        write!(f, "{scheme}://{open}{}{close}:{}{path}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_printed_without_its_query() {
        for (url, host, port, origin, printed) in [
            ("http://example.com", "example.com", 80, "/", "http://example.com:80/"),
            ("https://Example.com/a?token=x", "Example.com", 443, "/a?token=x", "https://Example.com:443/a"),
            ("http://[::1]:9000/x", "::1", 9000, "/x", "http://[::1]:9000/x"),
            ("http://127.0.0.1:1?q", "127.0.0.1", 1, "/?q", "http://127.0.0.1:1/"),
        ] {
            let endpoint = Endpoint::new(&url.parse().unwrap()).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{url}");
            assert_eq!(endpoint.origin_form.to_string(), origin);
            assert_eq!(endpoint.to_string(), printed);
            assert_eq!(endpoint.server_name.is_some(), url.starts_with("https"));
            assert!(printed.to_ascii_lowercase().starts_with(&endpoint.origin()), "{}", endpoint.origin());
            assert!(endpoint.origin().ends_with(&endpoint.host_and_port()));
        }
    }

    #[test]
    fn urls_that_cannot_be_called_are_refused() {
        for (url, error) in [
            ("ftp://example.com/", HttpTargetError::Scheme),
            ("/path", HttpTargetError::Scheme),
            ("http://user:secret@example.com/", HttpTargetError::UserInfo),
        ] {
            assert_eq!(Endpoint::new(&url.parse().unwrap()).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn a_host_or_port_that_could_be_read_in_two_ways_is_refused() {
        for url in [
            "http://a:99999/",
            "http://a:0/",
            "http://a:/",
            "http://a:8o/",
            "http://a:+80/",
            "http://[::1]:70000/",
            "http://[fe80::1%25eth0]/",
            "http://[::1%251]/",
            "http://[127.0.0.1]/",
            "http://[localhost]/",
            "http://%31%32%37.0.0.1/",
            "http://fe80::1%25eth0/",
            "http://user@127.0.0.1/",
            "http://public.example@127.0.0.1:80/",
            "http://a@b@127.0.0.1/",
            "http://public.example\\@127.0.0.1/",
            "http://１２７.０.０.１/",
            "http://127。0。0。1/",
            "http://a b/",
            "//127.0.0.1/",
        ] {
            let refused = url.parse().map_or(true, |url| Endpoint::new(&url).is_err());
            assert!(refused, "{url}");
        }
    }
}
