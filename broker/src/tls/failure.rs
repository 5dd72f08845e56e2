//! Why handshakes fail: counted by reason, and told in the log without letting anybody fill it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;

use crate::metrics::TLS_HANDSHAKE_FAILURES;

/// How often failed handshakes make a line in the log: whoever reaches the port can fail as often as he likes.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Why one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It took too long.
    Timeout,
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// The client has no certificate, or one that cannot be verified.
    ClientCertificate,
    /// The client does not trust the server, or found another fault with it.
    RefusedByClient,
    /// There is no version, cipher suite or protocol that both know.
    Incompatible,
    /// There are as many handshakes under way as there may be.
    TooMany,
    /// The connection ended, or what came is no TLS.
    Broken,
}

impl Failure {
    /// What an error of a handshake over TCP means.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::of_tls(error),
            None => Self::Broken,
        }
    }

    /// What an error of a handshake over QUIC means.
    pub(crate) fn of_quic(error: &quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::TimedOut => Self::Timeout,
            quinn::ConnectionError::ConnectionClosed(_) => Self::RefusedByClient,
            quinn::ConnectionError::TransportError(error) => Self::of_alert(u64::from(error.code)),
            quinn::ConnectionError::VersionMismatch => Self::Incompatible,
            _ => Self::Broken,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
                Self::ClientCertificate
            }
            rustls::Error::AlertReceived(_) => Self::RefusedByClient,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Broken,
        }
    }

    /// By the alert that we ended the connection with: RFC 9001, section 4.8, and RFC 8446, section 6.2.
    fn of_alert(code: u64) -> Self {
        match code.checked_sub(0x100) {
            // bad_certificate to certificate_unknown, unknown_ca, certificate_required
            Some(42..=46 | 48 | 116) => Self::ClientCertificate,
            // handshake_failure, protocol_version, no_application_protocol
            Some(40 | 70 | 120) => Self::Incompatible,
            _ => Self::Broken,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain_http",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Incompatible => "incompatible",
            Self::TooMany => "too_many",
            Self::Broken => "broken",
        }
    }
}

/// Counts the failures of one listener.
#[derive(Debug)]
pub(crate) struct Failures {
    listener: &'static str,
    told: Mutex<Told>,
}

/// What the log knows.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    untold: u64,
}

impl Failures {
    /// Of this listener: http or quic.
    pub(crate) fn new(listener: &'static str) -> Self {
        Self { listener, told: Mutex::default() }
    }

    /// Counts one.
    pub(crate) fn note(&self, remote: SocketAddr, failure: Failure, error: Option<&dyn std::error::Error>) {
        let (listener, reason) = (self.listener, failure.as_str());
        counter!(TLS_HANDSHAKE_FAILURES, "listener" => listener, "reason" => reason).increment(1);
        let error = error.map(ToString::to_string).unwrap_or_default();
        tracing::debug!(listener, %remote, reason, error, "handshake failed");
        // Whoever only knocks, as port scanners and health checks do, is no news.
        if matches!(failure, Failure::Broken | Failure::Timeout) {
            return;
        }
        if let Some(untold) = self.line(Instant::now()) {
            tracing::warn!(listener, %remote, reason, error, untold, "a client was not let in: its handshake failed");
        }
    }

    /// Whether it is time for a line, and of how many failures there was none since the last.
    fn line(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| now < at + LINE_INTERVAL) {
            told.untold += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_a_line_in_ten_seconds_and_learns_how_many_it_missed() {
        let failures = Failures::new("http");
        let start = Instant::now();
        let at = |seconds| failures.line(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(11), None);
    }

    #[test]
    fn errors_of_handshakes_are_told_apart() {
        let of = |error: rustls::Error| Failure::of_io(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(of(rustls::Error::NoCertificatesPresented), Failure::ClientCertificate);
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(of(expired), Failure::ClientCertificate);
        assert_eq!(
            of(rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA)),
            Failure::RefusedByClient
        );
        assert_eq!(of(rustls::Error::NoApplicationProtocol), Failure::Incompatible);
        assert_eq!(Failure::of_io(&io::ErrorKind::UnexpectedEof.into()), Failure::Broken);
        assert_eq!(Failure::of_alert(0x100 + 116), Failure::ClientCertificate);
        assert_eq!(Failure::of_alert(0x100 + 70), Failure::Incompatible);
        assert_eq!(Failure::of_alert(3), Failure::Broken);
    }
}
