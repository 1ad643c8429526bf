//! One certificate with its chain and its key, from PEM files.

use super::x509::Facts;
use crate::model::secret::mode_for_others;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes; a larger file is none of ours.
const MAX_FILE: u64 = 1 << 20;

/// What is shown to clients that ask for one of its names.
#[derive(Debug)]
pub struct Pair {
    pub key: Arc<CertifiedKey>,
    pub facts: Facts,
}

/// Where a pair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate, then those that lead from it to its root.
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("{} cannot be read: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{} is no file, or larger than {MAX_FILE} bytes", file.display())]
    NoFile { file: PathBuf },
    /// `mode` is that of a key.
    #[error("others than its owner can read {} (mode {mode:04o})", file.display())]
    Open { file: PathBuf, mode: u32 },
    #[error("{} is no PEM file with {wanted}: {reason}", file.display())]
    Pem { file: PathBuf, wanted: &'static str, reason: String },
    #[error("the certificate in {} is not valid: {reason}", file.display())]
    Certificate { file: PathBuf, reason: String },
    #[error("the key in {} is not valid: {reason}", file.display())]
    Key { file: PathBuf, reason: String },
    #[error("the key in {} is not that of the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
}

impl Pair {
    /// Reads a pair. `credentials` is the directory in which systemd puts them: what is there is this user's alone, by a list
    /// (acl(5)) that its mode does not show.
    ///
    /// # Errors
    /// A file cannot be read, the key is open to others, either is not what it should be, or they do not belong together.
    pub fn read(files: &PairFiles, credentials: Option<&Path>) -> Result<Pair, PairError> {
        let cert = read(&files.cert, None)?;
        let key = read(&files.key, Some(credentials))?;
        Pair::parse(&cert, &key, files)
    }

    /// The same of what was read; `files` are named in errors.
    pub fn parse(cert: &[u8], key: &[u8], files: &PairFiles) -> Result<Pair, PairError> {
        let pem = |file: &Path, wanted, error: PemError| {
            let reason = match error {
                PemError::NoItemsFound => "there is none".to_owned(),
                // The others would show lines of the file, which may be those of a key.
                PemError::MissingSectionEnd { .. } => "its end is missing".to_owned(),
                PemError::Base64Decode(_) => "it is damaged".to_owned(),
                _ => "it is malformed".to_owned(),
            };
            PairError::Pem { file: file.to_owned(), wanted, reason }
        };
        let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| pem(&files.cert, "a certificate", error))?;
        let invalid =
            |reason: &str| PairError::Certificate { file: files.cert.clone(), reason: reason.to_owned() };
        let Some(first) = chain.first() else {
            return Err(pem(&files.cert, "a certificate", PemError::NoItemsFound));
        };
        let facts = Facts::read(first).ok_or_else(|| invalid("it cannot be understood"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| pem(&files.key, "a private key", error))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                PairError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
            }
            rustls::Error::InvalidCertificate(error) => invalid(&error.to_string()),
            error => PairError::Key { file: files.key.clone(), reason: error.to_string() },
        })?;
        Ok(Pair { key: Arc::new(key), facts })
    }

    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.facts.not_after < now
    }
}

/// `secret`: a key, with the directory that may be open.
fn read(path: &Path, secret: Option<Option<&Path>>) -> Result<Vec<u8>, PairError> {
    let failed = |source| PairError::Read { file: path.to_owned(), source };
    // A pipe would keep us waiting for whoever writes to it.
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(PairError::NoFile { file: path.to_owned() });
    }
    let may_be_open = |credentials: Option<&Path>| credentials.is_some_and(|dir| path.starts_with(dir));
    let is_to_be_closed = secret.is_some_and(|credentials| !may_be_open(credentials));
    if let Some(mode) = mode_for_others(&meta).filter(|_| is_to_be_closed) {
        return Err(PairError::Open { file: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::made;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    fn files(dir: &Path) -> PairFiles {
        PairFiles { cert: dir.join("a.crt"), key: dir.join("a.key") }
    }

    fn error(files: &PairFiles) -> String {
        Pair::read(files, None).unwrap_err().to_string()
    }

    #[test]
    fn a_pair_is_read_with_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        made(&["a.test"], |_| {}).write(&files.cert, &files.key);
        assert_eq!(*Pair::read(&files, None).unwrap().facts.names, ["a.test".into()]);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (files, other) = (files(dir.path()), dir.path().join("b"));
        made(&["a.test"], |_| {}).write(&files.cert, &files.key);
        made(&["a.test"], |_| {}).write(&other, &files.key);
        let [cert, key] = [&files.cert, &files.key].map(|file| file.display());
        assert_eq!(error(&files), format!("the key in {key} is not that of the certificate in {cert}"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_but_for_a_credential() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        made(&["a.test"], |_| {}).write(&files.cert, &files.key);
        for mode in [0o640, 0o604, 0o660, 0o777] {
            set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
            assert!(error(&files).ends_with(&format!("(mode {mode:04o})")));
            assert!(Pair::read(&files, Some(dir.path())).is_ok());
        }
        set_permissions(&files.key, Permissions::from_mode(0o400)).unwrap();
        set_permissions(&files.cert, Permissions::from_mode(0o644)).unwrap();
        assert!(Pair::read(&files, None).is_ok());
    }

    #[test]
    fn what_is_no_pair_is_refused_with_the_file_and_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let whole = || made(&["a.test"], |_| {}).write(&files.cert, &files.key);
        whole();
        std::fs::remove_file(&files.cert).unwrap();
        assert!(error(&files).contains("a.crt cannot be read: No such file"), "{}", error(&files));
        std::fs::create_dir(&files.cert).unwrap();
        assert!(error(&files).contains("a.crt is no file"), "{}", error(&files));
        std::fs::remove_dir(&files.cert).unwrap();
        whole();
        let key = std::fs::read_to_string(&files.key).unwrap();
        write(&files.cert, &key).unwrap();
        assert!(error(&files).ends_with("a.crt is no PEM file with a certificate: there is none"));
        write(&files.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(error(&files).ends_with("a.crt is not valid: it cannot be understood"));
        whole();
        let key = std::fs::read_to_string(&files.key).unwrap();
        for broken in ["", &key[..key.len() / 2], &key.replace('M', "!"), &key.replace('M', "A")] {
            write(&files.key, broken).unwrap();
            let error = error(&files);
            assert!(error.contains("a.key"), "{error}");
            assert!(
                key.lines().filter(|line| !line.contains("KEY")).all(|line| !error.contains(line)),
                "{error}"
            );
        }
        // Nobody writes to it.
        std::fs::remove_file(&files.key).unwrap();
        nix::unistd::mkfifo(&files.key, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(error(&files).contains("a.key is no file"), "{}", error(&files));
    }
}
