//! The configuration file: a flat YAML mapping whose keys are the flags in camelCase.

use super::ConfigError;
use super::settings::SETTINGS;
use buntime_plugin::settings::nearest;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes; a larger file is refused.
const LIMIT: u64 = 1 << 20;

/// The file that was read; empty when there is none.
#[derive(Debug, Default)]
pub struct ConfigFile {
    pub path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    value: Value,
    /// Counted from 1.
    line: usize,
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    /// Written without quotes; kept as text.
    Number(String),
    List(Vec<String>),
}

impl ConfigFile {
    /// Reads `path`. A file that is not there is an error only if it was asked for (`required`).
    pub fn read(path: &Path, required: bool) -> Result<ConfigFile, ConfigError> {
        let failed = |source| ConfigError::FileRead { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound && !required => return Ok(ConfigFile::default()),
            Err(e) => return Err(failed(e)),
        };
        let mut text = String::new();
        file.take(LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > LIMIT {
            return Err(ConfigError::FileTooLarge { path: path.to_owned(), limit: LIMIT });
        }
        ConfigFile::parse(path, &text)
    }

    pub fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
        let syntax = |reason: String| ConfigError::FileSyntax { path: path.to_owned(), reason };
        let mapping = match serde_yaml::from_str::<serde_yaml::Value>(text) {
            Ok(serde_yaml::Value::Mapping(mapping)) => mapping,
            Ok(serde_yaml::Value::Null) => return Ok(ConfigFile::default()),
            Ok(_) => return Err(syntax("it must be a mapping of keys to values".into())),
            Err(e) => return Err(syntax(e.to_string())),
        };
        let mut file = ConfigFile { path: path.to_owned(), entries: Vec::new() };
        for (key, value) in mapping {
            let Some(key) = key.as_str() else {
                return Err(syntax(format!("the key {key:?} is not text")));
            };
            let line = line_of(text, key);
            let place = file.place(key, line);
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == Some(key)) else {
                let known = SETTINGS.iter().filter_map(|setting| setting.key);
                return Err(ConfigError::UnknownKey { place, suggestion: nearest(key, known) });
            };
            let value = read_value(&value).map_err(|shown| ConfigError::Invalid {
                place,
                value: shown.to_owned(),
                reason: "it is neither text nor a number".into(),
                allowed: setting.allowed,
            })?;
            file.entries.push(Entry { key: key.to_owned(), value, line });
        }
        Ok(file)
    }

    /// The value of a key and where it stands.
    pub fn get(&self, key: &str) -> Option<(&Value, String)> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some((&entry.value, self.place(key, entry.line)))
    }

    fn place(&self, key: &str, line: usize) -> String {
        format!("{key} ({}, line {line})", self.path.display())
    }
}

fn read_value(value: &serde_yaml::Value) -> Result<Value, &'static str> {
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::String(text) => Ok(Value::Text(text.clone())),
        Yaml::Number(number) => Ok(Value::Number(number.to_string())),
        Yaml::Sequence(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(Value::List).ok_or("a list of other things than text")
        }
        Yaml::Null => Err(""),
        Yaml::Bool(true) => Err("true"),
        Yaml::Bool(false) => Err("false"),
        Yaml::Mapping(_) | Yaml::Tagged(_) => Err("a mapping"),
    }
}

/// The line of a top-level key. The YAML library reports none for values that are well formed.
fn line_of(text: &str, key: &str) -> usize {
    let starts = |line: &str| {
        let line = line.trim_start_matches(['"', '\'']);
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    text.lines().position(starts).map_or(1, |index| index + 1)
}
