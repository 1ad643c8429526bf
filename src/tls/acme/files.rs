//! What must survive: the account, and for each name its certificate and key in one file, so that both are exchanged at once.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const ACCOUNT: &str = "account.json";

/// The files of one authority, in a directory of its own. All are this user's alone.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// `state` is the state directory, `directory` the authority's URL.
    pub fn new(state: &Path, directory: &str) -> Files {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = directory.trim_start_matches("https://").chars().map(plain).collect();
        // A name of a file has at most 255 bytes.
        let name = name.trim_matches(['-', '.']).chars().take(200).collect::<String>();
        Files(state.join("tls").join(name))
    }

    pub fn certificate(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.pem"))
    }

    pub fn account(&self) -> PathBuf {
        self.0.join(ACCOUNT)
    }

    /// None = it has not been got yet.
    pub fn read_certificate(&self, domain: &str) -> io::Result<Option<Vec<u8>>> {
        read(&self.certificate(domain))
    }

    pub fn read_account(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.account())
    }

    /// Writes one of them as a whole; it is on the disk when this returns.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let new = path.with_added_extension("new");
        // One that was left behind may have another mode.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(&self.0)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_authority_has_its_own_and_they_are_this_users_alone() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "https://acme.example:14000/dir");
        assert_eq!(files.read_certificate("a.test").unwrap(), None);
        assert_eq!(files.read_account().unwrap(), None);
        std::fs::create_dir_all(files.certificate("a.test").parent().unwrap()).unwrap();
        std::fs::write(files.certificate("a.test").with_added_extension("new"), "left behind").unwrap();
        for text in ["one", "two"] {
            files.write(&files.certificate("a.test"), text.as_bytes()).unwrap();
            assert_eq!(files.read_certificate("a.test").unwrap().unwrap(), text.as_bytes());
        }
        files.write(&files.account(), b"{}").unwrap();
        assert_eq!(files.read_account().unwrap().unwrap(), b"{}");
        let place = dir.path().join("tls/acme.example-14000-dir");
        let mut names: Vec<_> = place.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names, [place.join("a.test.pem"), place.join("account.json")]);
        for path in names {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let other = Files::new(dir.path(), "https://other.example/dir");
        assert_eq!(other.read_certificate("a.test").unwrap(), None);
    }

    #[test]
    fn no_url_leads_out_of_the_directory() {
        for url in ["https://a/../../x", "https://..", &format!("https://{}", "x/".repeat(500))] {
            let path = Files::new(Path::new("/state"), url).certificate("a.test");
            let mut parts = path.strip_prefix("/state/tls").unwrap().components();
            assert!(parts.all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
        }
    }
}
