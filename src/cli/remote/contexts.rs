//! Saved contexts: a file of addresses and keys, for its owner alone.

use super::Key;
use crate::cli::failure::Failure;
use crate::config::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name that means the admin socket.
pub const LOCAL: &str = "local";
/// Longest file, in bytes.
const MAX: u64 = 1 << 20;

/// All saved contexts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that counts where no other is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
    /// What its owner should know of the file.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// One runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Context {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "key")]
    pub key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_prefix: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_http: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    #[error("cannot {what} the contexts in {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the file of contexts {} is not valid: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("there is no place for contexts: neither XDG_CONFIG_HOME nor HOME is set")]
    NoPlace,
}

impl From<ContextsError> for Failure {
    fn from(error: ContextsError) -> Failure {
        Failure::usage(error.to_string())
    }
}

/// Where the file is, by the rules of XDG: a relative directory does not count.
pub fn path(environment: &Environment) -> Result<PathBuf, ContextsError> {
    let absolute = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let dir = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Ok(dir.ok_or(ContextsError::NoPlace)?.join("buntime/contexts.yaml"))
}

/// A name that is no flag and needs no quotes.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name == LOCAL {
        Err(format!("`{LOCAL}` is the admin socket"))
    } else if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(plain) {
        Err("a context's name has 1 to 64 letters, digits and `-._`, and does not begin with `-`".into())
    } else {
        Ok(())
    }
}

impl Contexts {
    /// No file = no contexts.
    pub fn read(path: &Path) -> Result<Contexts, ContextsError> {
        let io = |source| ContextsError::Io { what: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
            file => file.map_err(io)?,
        };
        let open = file.metadata().map_err(io)?.mode() & 0o077 != 0;
        let mut text = String::new();
        file.take(MAX).read_to_string(&mut text).map_err(io)?;
        let syntax = |reason: String| ContextsError::Syntax { path: path.to_owned(), reason };
        let mut contexts = match text.trim() {
            "" => Contexts::default(),
            // What the parser says may quote the file: the place is enough, a key must not be shown.
            _ => serde_yaml::from_str::<Contexts>(&text).map_err(|error| {
                let place = error.location().map(|at| format!("line {}, column {}", at.line(), at.column()));
                syntax(place.unwrap_or_else(|| "it cannot be read".into()))
            })?,
        };
        if open && contexts.contexts.values().any(|context| context.key.is_some()) {
            let shown = path.display();
            contexts.warning =
                Some(format!("others can read the keys in {shown}; `chmod 600 {shown}` keeps them private"));
        }
        Ok(contexts)
    }

    /// Replaces the file at once, mode 0600.
    pub fn write(&self, path: &Path) -> Result<(), ContextsError> {
        let io = |source| ContextsError::Io { what: "write", path: path.to_owned(), source };
        let text = serde_yaml::to_string(self).map_err(|error| io(io::Error::other(error)))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let fresh = path.with_extension(format!("yaml.{}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written.map_err(io)
    }
}

/// A key as a text of the file.
mod key {
    use super::Key;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(key: &Option<Key>, serializer: S) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => serializer.serialize_str(key.reveal()),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Key>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Key::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn contexts() -> Contexts {
        let key = Key::parse("btk_secret").unwrap();
        let context =
            Context { url: "https://a".into(), key: Some(key), api_prefix: None, insecure_http: false };
        Contexts {
            current: Some("a".into()),
            contexts: BTreeMap::from([("a".into(), context)]),
            warning: None,
        }
    }

    #[test]
    fn the_file_is_for_its_owner_alone_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/buntime/contexts.yaml");
        assert!(Contexts::read(&path).unwrap().contexts.is_empty());
        for _ in 0..2 {
            contexts().write(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
            let read = Contexts::read(&path).unwrap();
            assert_eq!(read.current.as_deref(), Some("a"));
            assert_eq!(read.contexts["a"].key, contexts().contexts["a"].key);
            assert_eq!(read.warning, None);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contexts.yaml");
        contexts().write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let warning = Contexts::read(&path).unwrap().warning.unwrap();
        assert!(warning.starts_with("others can read the keys in "), "{warning}");
    }

    #[test]
    fn keys_are_masked_wherever_they_are_shown() {
        let shown = format!("{:?} {}", contexts(), contexts().contexts["a"].key.as_ref().unwrap());
        assert!(!shown.contains("secret") && shown.contains("btk_********"), "{shown}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contexts.yaml");
        fs::write(&path, "contexts: {a: {url: b, key: 'btk_sec ret'}}").unwrap();
        let error = Contexts::read(&path).unwrap_err().to_string();
        assert!(!error.contains("ret'") && error.contains("is not valid"), "{error}");
    }

    #[test]
    fn a_relative_directory_does_not_count() {
        let of = |variables: &[(&str, &str)]| path(&variables.iter().copied().collect());
        let file = |dir: &str| PathBuf::from(dir).join("buntime/contexts.yaml");
        assert_eq!(of(&[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]).unwrap(), file("/c"));
        assert_eq!(of(&[("XDG_CONFIG_HOME", "c"), ("HOME", "/h")]).unwrap(), file("/h/.config"));
        assert!(of(&[("HOME", "")]).is_err());
    }

    #[test]
    fn a_name_is_a_plain_word() {
        assert!(["a", "prod-1", "a.b_c"].iter().all(|name| check_name(name).is_ok()));
        assert!(
            ["", "-a", "a b", "local", "ä", &"a".repeat(65)].iter().all(|name| check_name(name).is_err())
        );
    }
}
