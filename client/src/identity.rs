//! Who the client is: the certificate that it shows to a server which asks for one.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::trust::{TrustError, certificates};

/// A certificate chain with its key, for mutual TLS. Its key never prints.
#[derive(Clone)]
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads PEM: the chain with the client's own certificate first, and the key of that.
    ///
    /// # Errors
    /// Where the texts hold no certificate or no key. Whether they belong together is seen when they are used.
    ///
    /// ```no_run
    /// use eventail_client::{ClientOptions, Identity};
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let identity = Identity::from_pem(&std::fs::read("tls/client.pem")?, &std::fs::read("tls/client.key")?)?;
    /// let options = ClientOptions::with_roots("bus.internal:4081", std::fs::read("tls/ca.pem")?).identity(identity);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TrustError> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TrustError::Key)?;
        Ok(Self { chain, key: Arc::new(key) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Trust, crypto};

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn an_identity_is_read_from_pem_and_its_key_does_not_print() {
        let (certificate, key) = pair();
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(format!("{identity:?}"), "Identity { certificates: 1, .. }");
        assert!(crypto(&Trust::WebRoots, Some(&identity)).is_ok());
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let ((certificate, _), (_, key)) = (pair(), pair());
        let other = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert!(matches!(crypto(&Trust::WebRoots, Some(&other)).map(drop), Err(TrustError::Tls(_))));
        assert!(matches!(Identity::from_pem(b"", key.as_bytes()), Err(TrustError::Certificates { .. })));
        assert!(matches!(Identity::from_pem(certificate.as_bytes(), b"hunter2"), Err(TrustError::Key)));
    }
}
