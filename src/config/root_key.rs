//! Where the operator's root key comes from: a variable, a file that a variable names, or a credential of systemd. Never
//! from a flag or the configuration file, which others can read.

use super::{ConfigError, Environment, Secrets};
use crate::access::RootKey;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

const KEY: &str = "RUNTIME_ROOT_KEY";
const FILE: &str = "RUNTIME_ROOT_KEY_FILE";
/// In the directory that systemd names (systemd.exec(5), Credentials).
const CREDENTIAL: &str = "root-key";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// The root key and the place that it came from; none = there is none.
///
/// # Errors
/// It is set in two places, cannot be read, or is none that is taken. No message holds any of it.
pub fn load(
    secrets: &Secrets,
    environment: &Environment,
    working_dir: &Path,
) -> Result<Option<(RootKey, &'static str)>, ConfigError> {
    let (key, file) = (secrets.get(KEY), secrets.get(FILE));
    let (text, place, from) = match (key, file) {
        (Some(_), Some(_)) => return Err(ConfigError::RootKeyTwice),
        (Some(key), None) => {
            (key.to_str().map(str::to_owned).ok_or("it is no text".to_owned()), KEY, KEY.into())
        }
        (None, Some(file)) => {
            let path = working_dir.join(file);
            (read(&path), FILE, format!("{FILE}={}", path.display()))
        }
        (None, None) => {
            let Some(path) = credential(environment) else { return Ok(None) };
            (read(&path), "systemd credential", path.display().to_string())
        }
    };
    let refuse = |reason| ConfigError::RootKey { place: from, reason };
    match text.and_then(|text| RootKey::parse(&text).map_err(|error| error.to_string())) {
        Ok(key) => Ok(Some((key, place))),
        Err(reason) => Err(refuse(reason)),
    }
}

fn credential(environment: &Environment) -> Option<PathBuf> {
    let dir = environment.get("CREDENTIALS_DIRECTORY").filter(|dir| *dir != OsStr::new(""))?;
    Some(Path::new(dir).join(CREDENTIAL)).filter(|path| path.exists())
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
        loaded.map(|found| found.map(|(_, place)| place)).map_err(|error| error.to_string())
    }

    #[test]
    fn it_comes_from_the_variable_the_file_or_the_credential() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_from(&[], dir.path()), Ok(None));
        assert_eq!(load_from(&[(KEY, ROOT)], dir.path()), Ok(Some(KEY)));
        std::fs::write(dir.path().join("key"), format!("{ROOT}\n")).unwrap();
        assert_eq!(load_from(&[(FILE, "key")], dir.path()), Ok(Some(FILE)));
        std::fs::create_dir(dir.path().join("credentials")).unwrap();
        std::fs::write(dir.path().join("credentials/root-key"), ROOT).unwrap();
        assert_eq!(load_from(&[], dir.path()), Ok(Some("systemd credential")));
        assert_eq!(load_from(&[(KEY, ROOT)], dir.path()), Ok(Some(KEY)));
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
