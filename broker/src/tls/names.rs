//! Reading certificates: whom a client's names, when the server's ends.

use std::sync::Arc;

use eventail_wire::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The names of a peer by the chain that it proved to have, its own certificate first; none where there is no chain.
///
/// Only for a chain that was verified: whoever asks has it from a finished handshake. A handshake's messages are bounded by the
/// TLS library, and so are the names.
pub(crate) fn of_peer(chain: Option<&[CertificateDer<'_>]>) -> Arc<[String]> {
    chain.and_then(|chain| chain.first()).map(|leaf| of(leaf)).unwrap_or_default().into()
}

/// The DNS names (in lower case) and URIs of a certificate. The common name of its subject stands for them only in one that has no
/// alternative names at all (RFC 6125, section 6.4.4): whoever issues it checks those. Each once.
fn of(der: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some(certificate) = read(der) else { return names };
    let mut add = |name: String| {
        // What does not print is no name that an operator could have written down.
        if !name.is_empty() && !name.chars().any(char::is_control) && !names.contains(&name) {
            names.push(name);
        }
    };
    // One that cannot be read has names of which nothing is known: then nothing is.
    let Ok(alternatives) = certificate.subject_alternative_name() else { return Vec::new() };
    if let Some(alternatives) = alternatives {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => add(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => add((*uri).to_owned()),
                _ => {}
            }
        }
        return names;
    }
    for name in certificate.subject().iter_common_name() {
        if let Ok(name) = name.as_str() {
            add(name.to_owned());
        }
    }
    names
}

/// When a certificate ends; `None` where it is none.
pub(super) fn end_of(der: &[u8]) -> Option<Timestamp> {
    let seconds = read(der)?.validity().not_after.timestamp();
    Some(Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)))
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        change(&mut parameters);
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn dns_names_and_uris_are_names_and_addresses_are_not() {
        let der = certificate(|parameters| {
            parameters.subject_alt_names = vec![
                SanType::DnsName("Billing.Example.com".try_into().unwrap()),
                SanType::URI("spiffe://example.com/Billing".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
                SanType::Rfc822Name("a@example.com".try_into().unwrap()),
            ];
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, "billing");
            parameters.distinguished_name.push(DnType::OrganizationName, "Example");
        });
        let names = of_peer(Some(&[der.into()]));
        assert_eq!(*names, ["billing.example.com", "spiffe://example.com/Billing"]);
    }

    #[test]
    fn the_common_name_counts_only_where_there_are_no_alternative_names() {
        let named = |alternatives: Vec<SanType>| {
            let der = certificate(|parameters| {
                parameters.subject_alt_names = alternatives;
                parameters.distinguished_name = rcgen::DistinguishedName::new();
                parameters.distinguished_name.push(DnType::CommonName, "admin");
            });
            of(&der)
        };
        assert_eq!(named(vec![]), ["admin"]);
        assert_eq!(named(vec![SanType::DnsName("billing".try_into().unwrap())]), ["billing"]);
        assert!(named(vec![SanType::IpAddress("10.0.0.1".parse().unwrap())]).is_empty());
    }

    #[test]
    fn a_name_is_told_once_and_one_that_does_not_print_not_at_all() {
        let der = certificate(|parameters| {
            parameters.subject_alt_names = vec![SanType::DnsName("billing".try_into().unwrap())];
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, "billing");
        });
        assert_eq!(of(&der), ["billing"]);
        let der = certificate(|parameters| {
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, "admin\0.example.com");
        });
        assert!(of(&der).is_empty());
    }

    #[test]
    fn without_a_certificate_there_are_no_names() {
        assert!(of_peer(None).is_empty());
        assert!(of_peer(Some(&[])).is_empty());
        assert!(of(b"nothing").is_empty());
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let der = certificate(|parameters| parameters.not_after = date_time_ymd(2030, 1, 1));
        assert_eq!(end_of(&der), Timestamp::parse_rfc3339("2030-01-01T00:00:00Z"));
        assert_eq!(end_of(b"nothing"), None);
    }
}
