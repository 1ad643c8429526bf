//! Where the operator's root key comes from: a variable, a file that a variable names, or a credential of systemd. Never
//! from a flag or the configuration file, which others can read.

use super::{ConfigError, Environment, Secrets};
use crate::access::RootKey;
use crate::model::secret::mode_for_others;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};

const KEY: &str = "RUNTIME_ROOT_KEY";
const FILE: &str = "RUNTIME_ROOT_KEY_FILE";
/// In the directory that systemd names (systemd.exec(5), Credentials).
const CREDENTIAL: &str = "root-key";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// A root key, and the place that it came from.
pub struct Found {
    pub key: RootKey,
    pub place: &'static str,
    /// The file that holds it.
    pub file: Option<PathBuf>,
}

/// None = there is none.
///
/// # Errors
/// It is set in two places, cannot be read, can be read by others, or is none that is taken. No message holds any of it.
pub fn load(
    secrets: &Secrets,
    environment: &Environment,
    working_dir: &Path,
) -> Result<Option<Found>, ConfigError> {
    let credentials = environment.get("CREDENTIALS_DIRECTORY").filter(|dir| *dir != OsStr::new(""));
    let credentials = credentials.map(Path::new);
    let (key, file) = (secrets.get(KEY), secrets.get(FILE));
    let (text, place, from, file) = match (key, file) {
        (Some(_), Some(_)) => return Err(ConfigError::RootKeyTwice),
        (Some(key), None) => {
            (key.to_str().map(str::to_owned).ok_or("it is no text".to_owned()), KEY, KEY.into(), None)
        }
        (None, Some(file)) => {
            let path = working_dir.join(file);
            let from = format!("{FILE}={}", path.display());
            // Those of systemd are for this user alone, by a list (acl(5)) that their mode does not show.
            let is_credential = credentials.is_some_and(|dir| path.starts_with(dir));
            let meta = std::fs::metadata(&path).ok().filter(Metadata::is_file);
            if let Some(mode) = meta.as_ref().and_then(mode_for_others).filter(|_| !is_credential) {
                return Err(ConfigError::KeyOpen { place: from, path, mode });
            }
            (read(&path), FILE, from, Some(path))
        }
        (None, None) => {
            let path = credentials.map(|dir| dir.join(CREDENTIAL)).filter(|path| path.exists());
            let Some(path) = path else { return Ok(None) };
            (read(&path), "systemd credential", path.display().to_string(), Some(path))
        }
    };
    match text.and_then(|text| RootKey::parse(&text).map_err(|error| error.to_string())) {
        Ok(key) => Ok(Some(Found { key, place, file })),
        Err(reason) => Err(ConfigError::RootKey { place: from, reason }),
    }
}

/// Without the white space at its end.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| error.to_string())?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "0123456789abcdef0123456789abcdef";

    fn secrets(set: &[(&'static str, &str)]) -> Secrets {
        set.iter().map(|&(name, value)| (name, value.into())).collect()
    }

    fn load_from(set: &[(&'static str, &str)], dir: &Path) -> Result<Option<&'static str>, String> {
        let environment = [("CREDENTIALS_DIRECTORY", dir.join("credentials"))].into_iter().collect();
        let loaded = load(&secrets(set), &environment, dir);
        loaded.map(|found| found.map(|found| found.place)).map_err(|error| error.to_string())
    }

    #[test]
    fn it_comes_from_the_variable_the_file_or_the_credential() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_from(&[], dir.path()), Ok(None));
        assert_eq!(load_from(&[(KEY, ROOT)], dir.path()), Ok(Some(KEY)));
        std::fs::write(dir.path().join("key"), format!("{ROOT}\n")).unwrap();
        mode(&dir.path().join("key"), 0o600);
        assert_eq!(load_from(&[(FILE, "key")], dir.path()), Ok(Some(FILE)));
        std::fs::create_dir(dir.path().join("credentials")).unwrap();
        std::fs::write(dir.path().join("credentials/root-key"), ROOT).unwrap();
        assert_eq!(load_from(&[], dir.path()), Ok(Some("systemd credential")));
        assert_eq!(load_from(&[(KEY, ROOT)], dir.path()), Ok(Some(KEY)));
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_a_hint_but_for_a_credential() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["key", "credentials/root-key"] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), ROOT).unwrap();
        }
        let key = dir.path().join("key");
        for bits in [0o644, 0o640, 0o604, 0o660, 0o777] {
            mode(&key, bits);
            let refused = load_from(&[(FILE, "key")], dir.path()).unwrap_err();
            assert!(refused.contains(&format!("(mode {bits:04o})\n\nhint: chmod 600 ")), "{refused}");
            assert!(!refused.contains(ROOT));
        }
        mode(&key, 0o400);
        assert_eq!(load_from(&[(FILE, "key")], dir.path()), Ok(Some(FILE)));
        mode(&dir.path().join("credentials/root-key"), 0o440);
        assert_eq!(load_from(&[(FILE, "credentials/root-key")], dir.path()), Ok(Some(FILE)));
        std::fs::remove_file(key).unwrap();
        assert_eq!(load_from(&[], dir.path()), Ok(Some("systemd credential")));
    }

    #[test]
    fn one_that_is_not_fit_is_an_error_that_does_not_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let short = load_from(&[(KEY, "hunter2")], dir.path()).unwrap_err();
        assert!(short.starts_with("RUNTIME_ROOT_KEY: the root key must be 32 to 512"), "{short}");
        assert!(!short.contains("hunter2"));
        assert!(load_from(&[(KEY, "")], dir.path()).is_err(), "empty is not unset");
        let gone = load_from(&[(FILE, "gone")], dir.path()).unwrap_err();
        assert!(gone.contains("gone: No such file"), "{gone}");
        let twice = load_from(&[(KEY, ROOT), (FILE, "key")], dir.path()).unwrap_err();
        assert!(twice.contains("hint: keep one of them"), "{twice}");
    }
}
