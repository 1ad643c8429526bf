//! How an ACME server is shown that a name is ours: by a file over HTTP (RFC 8555 §8.3) or in a handshake (RFC 8737).

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The protocol of a handshake that is such a proof and nothing else.
pub const PROTOCOL: &[u8] = b"acme-tls/1";
/// Where the file is asked for.
pub const PATH: &str = "/.well-known/acme-challenge/";

/// What is to be shown at the moment.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Answers by their tokens.
    files: Mutex<HashMap<String, String>>,
    /// Certificates by the names that they are the proof for.
    certificates: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// One that is shown until this is dropped.
pub struct Shown {
    challenges: Arc<Challenges>,
    what: What,
}

enum What {
    File(String),
    Certificate(String),
}

impl Challenges {
    /// What stands in the file for this path of a request, if it is asked for one that is shown.
    pub fn file(&self, path: &str) -> Option<String> {
        lock(&self.files).get(path.strip_prefix(PATH)?).cloned()
    }

    pub fn show_file(self: &Arc<Self>, token: &str, answer: &str) -> Shown {
        lock(&self.files).insert(token.to_owned(), answer.to_owned());
        Shown { challenges: Arc::clone(self), what: What::File(token.to_owned()) }
    }

    /// `digest` is the SHA-256 of the answer.
    ///
    /// # Errors
    /// A certificate for `name` cannot be made.
    pub fn show_certificate(self: &Arc<Self>, name: &str, digest: &[u8; 32]) -> Result<Shown, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let cert = params.self_signed(&key)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key =
            provider.key_provider.load_private_key(key).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        let key = CertifiedKey::new(vec![cert.der().clone()], key);
        lock(&self.certificates).insert(name.to_owned(), Arc::new(key));
        Ok(Shown { challenges: Arc::clone(self), what: What::Certificate(name.to_owned()) })
    }
}

/// For handshakes of [`PROTOCOL`].
impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        lock(&self.certificates).get(&hello.server_name()?.to_ascii_lowercase()).cloned()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.what {
            What::File(token) => drop(lock(&self.challenges.files).remove(token)),
            What::Certificate(name) => drop(lock(&self.challenges.certificates).remove(name)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_shown_at_its_path_for_as_long_as_it_is_wanted() {
        let challenges = Arc::new(Challenges::default());
        let shown = challenges.show_file("token", "token.thumb");
        assert_eq!(challenges.file("/.well-known/acme-challenge/token").as_deref(), Some("token.thumb"));
        for other in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/other", "/token", ""] {
            assert_eq!(challenges.file(other), None);
        }
        drop(shown);
        assert_eq!(challenges.file("/.well-known/acme-challenge/token"), None);
    }
}
