//! Who the server is: its certificate and key, from files or made once and kept.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::QuicError;
use crate::config::TlsFiles;

/// The names of a certificate that is made here. Who pins its fingerprint does not look at them.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// A certificate chain and its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads what an operator provides.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, QuicError> {
        let wrong = |path: &Path, what: String| QuicError::Pem { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|error| wrong(&files.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&files.certificate, "there is no certificate in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| wrong(&files.key, error.to_string()))?;
        Ok(Self { chain, key })
    }

    /// Reads what was made before, or makes it: so the fingerprint stays over restarts.
    pub(super) fn load_or_generate(folder: &Path) -> Result<Self, QuicError> {
        let files = TlsFiles { certificate: folder.join(CERTIFICATE_FILE), key: folder.join(KEY_FILE) };
        // The certificate is written last: with it, both are there.
        if !files.certificate.exists() {
            let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
            let file = |path: &Path, source| QuicError::File { path: path.to_owned(), source };
            fs::create_dir_all(folder).map_err(|source| file(folder, source))?;
            let key = made.signing_key.serialize_pem();
            write(&files.key, &key, 0o600).map_err(|source| file(&files.key, source))?;
            let certificate = made.cert.pem();
            write(&files.certificate, &certificate, 0o644)
                .map_err(|source| file(&files.certificate, source))?;
        }
        Self::load(&files)
    }

    /// The SHA-256 of the certificate, in hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.chain.first().map_or(&[][..], |certificate| certificate));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, QuicError> {
    fs::read(path).map_err(|source| QuicError::File { path: path.to_owned(), source })
}

/// Writes a file that is whole or not there, and that only its mode may read.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(&new)?;
    // A file that an interrupted start left behind keeps the mode that it has.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_certificate_that_is_made_stays_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let first = Identity::load_or_generate(&tls).unwrap();
        assert_eq!(first.fingerprint().len(), 64);
        assert_eq!(Identity::load_or_generate(&tls).unwrap().fingerprint(), first.fingerprint());
        assert_eq!(fs::metadata(tls.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_start_that_was_cut_off_before_the_certificate_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        Identity::load_or_generate(folder.path()).unwrap();
        fs::remove_file(folder.path().join(CERTIFICATE_FILE)).unwrap();
        let again = Identity::load_or_generate(folder.path()).unwrap();
        assert!(super::super::transport::server_config(again).is_ok());
    }

    #[test]
    fn files_that_are_absent_or_no_pem_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let error = Identity::load(&files).unwrap_err();
        assert!(matches!(&error, QuicError::File { path, .. } if *path == files.certificate), "{error}");
        fs::write(&files.certificate, "nothing").unwrap();
        let error = Identity::load(&files).unwrap_err();
        assert!(error.to_string().contains("c.pem"), "{error}");
    }
}
