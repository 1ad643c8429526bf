//! How servers that we ask are known.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How servers are known: by the system's certificates. `needed` = there is no use without them.
///
/// # Errors
/// They cannot be read, and there is nothing else to know the other side by.
pub fn client(needed: bool) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("the system has no certificates to know https servers by{why}");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
    }
    client_with(roots)
}

/// The same by these certificates alone.
///
/// # Errors
/// None, as the provider has what the protocol needs.
pub fn client_with(roots: RootCertStore) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates in a PEM file, to know servers by.
///
/// # Errors
/// It cannot be read, or one of them is none, or there is none.
pub fn roots(file: &Path) -> io::Result<RootCertStore> {
    let invalid =
        |reason: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, reason.to_string());
    let pem = std::fs::read(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|error| invalid(&error))?).map_err(|error| invalid(&error))?;
    }
    if roots.is_empty() { Err(invalid(&"there is no certificate in it")) } else { Ok(roots) }
}
