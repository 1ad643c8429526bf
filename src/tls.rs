//! TLS of those whom we ask.

use std::io;
use std::sync::Arc;

/// How servers are known: by the system's certificates. `needed` = there is no use without them.
///
/// # Errors
/// They cannot be read, and there is nothing else to know the other side by.
pub fn client(needed: bool) -> io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("the system has no certificates to know https servers by{why}");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
