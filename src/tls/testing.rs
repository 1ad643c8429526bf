//! Certificates for tests.

use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub struct Made {
    pub cert: rcgen::Certificate,
    pub key: KeyPair,
}

/// One that signs itself. What is no DNS name is an address.
pub fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    Made { cert: params.self_signed(&key).unwrap(), key }
}

impl Made {
    /// Writes it as files, the key for its owner alone.
    pub fn write(&self, cert: &Path, key: &Path) {
        std::fs::create_dir_all(cert.parent().unwrap()).unwrap();
        std::fs::write(cert, self.cert.pem()).unwrap();
        std::fs::write(key, self.key.serialize_pem()).unwrap();
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
