//! Whether strangers could use a broker: then it does not start, unless it is told to in as many words. Pure.

use std::net::SocketAddr;

use crate::config::{Config, ListenOptions};

/// Why a broker does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exposed {
    /// Everybody who reaches the address could do everything.
    #[error("`listen.{listener}` is {address}, which others can reach, and nobody is asked who he is")]
    NoAuthentication {
        /// The listener's key.
        listener: &'static str,
        /// Where it listens.
        address: SocketAddr,
    },
    /// Everybody on the way could read events and tokens.
    #[error(
        "`listen.{listener}` is {address}, which others can reach, and what is sent there is not encrypted"
    )]
    NoTls {
        /// The listener's key.
        listener: &'static str,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl Exposed {
    /// Never: the configuration has to be another one.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// What to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::NoAuthentication { .. } => {
                "add the section [auth] and make tokens with `eventail tokens create`; or listen on 127.0.0.1; or write \
                 `insecure = true` into [listen] where the network keeps strangers out"
            }
            Self::NoTls { .. } => {
                "add [listen.tls] with a certificate and a key; or listen on 127.0.0.1 behind a proxy that speaks TLS; or write \
                 `insecure = true` into [listen] where nobody else can listen on the network"
            }
        }
    }
}

/// Whether a broker with this configuration is safe to start. QUIC is always encrypted.
///
/// # Errors
/// The first reason why not.
pub fn check(config: &Config) -> Result<(), Exposed> {
    if config.listen.insecure {
        return Ok(());
    }
    for (listener, address, is_encrypted) in
        [("http", config.http, config.tls.is_some()), ("quic", config.quic, true)]
    {
        let Some(address) = address.filter(|address| !is_loopback(*address)) else { continue };
        if config.auth.is_none() {
            return Err(Exposed::NoAuthentication { listener, address });
        }
        if !is_encrypted {
            return Err(Exposed::NoTls { listener, address });
        }
    }
    Ok(())
}

/// What everybody who reaches a broker may do with it because its configuration says `insecure = true`; `None` where that opens nothing.
#[must_use]
pub fn opened(config: &Config) -> Option<String> {
    let closed =
        Config { listen: ListenOptions { insecure: false, ..config.listen.clone() }, ..config.clone() };
    check(&closed).err()?;
    let reached = |listener: &str, address: Option<SocketAddr>| {
        address.filter(|address| !is_loopback(*address)).map(|address| format!("{listener} {address}"))
    };
    let listeners: Vec<String> =
        [reached("http", config.http), reached("quic", config.quic)].into_iter().flatten().collect();
    let mut opened = Vec::new();
    if config.auth.is_none() {
        let all = listeners.join(" or ");
        opened.push(format!(
            "everybody who reaches {all} may do everything: read and publish events, and change the broker"
        ));
    }
    if let (None, Some(http)) = (&config.tls, reached("http", config.http)) {
        opened.push(format!(
            "everybody on the way to {http} can read the events and tokens that are sent there"
        ));
    }
    Some(opened.join("; "))
}

/// Whether only this machine reaches an address.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{AuthOptions, ClientCertificates, TlsKey, TlsOptions};

    fn config(http: &str, quic: &str) -> Config {
        let address = |text: &str| text.parse().ok();
        Config { http: address(http), quic: address(quic), ..Config::embedded("data") }
    }

    fn with_auth(config: Config) -> Config {
        Config { auth: Some(AuthOptions::default()), ..config }
    }

    fn with_tls(config: Config) -> Config {
        let (certificate, key) = (PathBuf::from("c"), TlsKey::File(PathBuf::from("k")));
        let clients = ClientCertificates::Off;
        Config { tls: Some(TlsOptions { certificate, key, clients }), ..config }
    }

    #[test]
    fn on_loopback_and_nowhere_everything_starts() {
        for (http, quic) in [
            ("127.0.0.1:1", "127.0.0.9:2"),
            ("[::1]:1", "off"),
            ("[::ffff:127.0.0.1]:1", "off"),
            ("off", "off"),
        ] {
            assert_eq!(check(&config(http, quic)), Ok(()), "{http} {quic}");
        }
    }

    #[test]
    fn what_others_can_reach_starts_with_authentication_and_encryption_only() {
        for any in ["0.0.0.0:1", "[::]:1", "192.168.0.2:1"] {
            let no_auth =
                |listener| Err(Exposed::NoAuthentication { listener, address: any.parse().unwrap() });
            assert_eq!(check(&config(any, "off")), no_auth("http"));
            assert_eq!(check(&config("off", any)), no_auth("quic"));
            assert_eq!(check(&with_tls(config(any, any))), no_auth("http"));
            let no_tls = Err(Exposed::NoTls { listener: "http", address: any.parse().unwrap() });
            assert_eq!(check(&with_auth(config(any, any))), no_tls);
            assert_eq!(check(&with_auth(config("127.0.0.1:1", any))), Ok(()), "QUIC is always encrypted");
            assert_eq!(check(&with_tls(with_auth(config(any, any)))), Ok(()));
        }
    }

    #[test]
    fn what_is_opened_is_told_in_as_many_words() {
        let open = |mut config: Config| {
            config.listen.insecure = true;
            opened(&config)
        };
        assert_eq!(open(config("127.0.0.1:1", "off")), None, "nobody else reaches it");
        assert_eq!(open(with_tls(with_auth(config("0.0.0.0:1", "0.0.0.0:2")))), None, "nothing is missing");
        let told = open(config("0.0.0.0:1", "0.0.0.0:2")).unwrap();
        assert!(
            told.starts_with("everybody who reaches http 0.0.0.0:1 or quic 0.0.0.0:2 may do everything"),
            "{told}"
        );
        assert!(told.contains("everybody on the way to http 0.0.0.0:1 can read"), "{told}");
        let told = open(with_auth(config("0.0.0.0:1", "off"))).unwrap();
        assert!(told.starts_with("everybody on the way to http 0.0.0.0:1"), "{told}");
        assert!(!open(config("127.0.0.1:1", "0.0.0.0:2")).unwrap().contains("http"));
    }

    #[test]
    fn who_says_so_in_as_many_words_starts_all_the_same() {
        let mut config = config("0.0.0.0:1", "0.0.0.0:2");
        config.listen.insecure = true;
        assert_eq!(check(&config), Ok(()));
        let refused = Exposed::NoTls { listener: "http", address: "0.0.0.0:1".parse().unwrap() };
        assert!(refused.help().contains("[listen.tls]") && refused.help().contains("insecure = true"));
        let refused = Exposed::NoAuthentication { listener: "http", address: "0.0.0.0:1".parse().unwrap() };
        assert!(refused.help().contains("[auth]") && refused.help().contains("insecure = true"));
    }
}
