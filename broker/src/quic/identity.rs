//! Who the server is where the configuration does not say it: a certificate and key that are made once and kept.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use eventail_storage::disk_io::create_private_dir;

use super::QuicError;
use crate::tls::Material;

/// The names of a certificate that is made here. Who pins its fingerprint does not look at them.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// Reads what was made before, or makes it: so the fingerprint stays over restarts. Blocks.
pub(super) fn load_or_generate(folder: &Path) -> Result<Material, QuicError> {
    let (certificate, key) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
    // The certificate is written last: with it, both are there.
    if !certificate.exists() {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
        let file = |path: &Path, source| QuicError::File { path: path.to_owned(), source };
        create_private_dir(folder).map_err(|source| file(folder, source))?;
        write(&key, &made.signing_key.serialize_pem(), 0o600).map_err(|source| file(&key, source))?;
        write(&certificate, &made.cert.pem(), 0o600).map_err(|source| file(&certificate, source))?;
    }
    Ok(Material::of_files(&certificate, &key)?)
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
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_certificate_that_is_made_stays_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let first = load_or_generate(&tls).unwrap();
        assert_eq!(first.fingerprint().len(), 64);
        assert_eq!(load_or_generate(&tls).unwrap().fingerprint(), first.fingerprint());
        assert_eq!(fs::metadata(tls.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_start_that_was_cut_off_before_the_certificate_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        load_or_generate(folder.path()).unwrap();
        fs::remove_file(folder.path().join(CERTIFICATE_FILE)).unwrap();
        let again = load_or_generate(folder.path()).unwrap();
        let clock: Arc<dyn eventail_wire::Clock> = Arc::new(SystemClock);
        assert!(crate::tls::quic(&again, &clock).is_ok());
    }
}
