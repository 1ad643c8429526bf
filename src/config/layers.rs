//! The layers: for each setting the first of flag, variable and file that has it.

use super::file::{ConfigFile, Value};
use super::settings::{CONFIG, Setting};
use super::{ConfigError, Environment, Source};
use crate::model::AppName;
use std::path::{Path, PathBuf};

/// The flags that were given, unparsed.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: Vec<(&'static Setting, String)>,
    dev: Option<Develop>,
}

/// What `buntime dev` was told beside the flags of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Develop {
    /// Instead of worker directories; none = those that are set.
    pub dir: Option<PathBuf>,
    /// It is one app, of this name.
    pub sole: Option<AppName>,
    /// Names of what nobody edits; `*` stands for any number of characters.
    pub ignored: Vec<String>,
}

/// A setting's text and where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    pub setting: &'static Setting,
    pub value: Value,
    pub source: Source,
}

#[derive(Debug)]
pub struct Layers<'a> {
    flags: Flags,
    environment: &'a Environment,
    file: ConfigFile,
}

impl Flags {
    pub fn set(&mut self, setting: &'static Setting, value: String) {
        self.given.push((setting, value));
    }

    /// `buntime dev`: apps are served while somebody edits them.
    pub fn develop(&mut self, dev: Develop) {
        self.dev = Some(dev);
    }
}

impl<'a> Layers<'a> {
    /// Takes the flags and the environment, and reads the file that they name, or `buntime.yaml` in the working
    /// directory if that is there.
    pub fn read(
        flags: Flags,
        environment: &'a Environment,
        working_dir: &Path,
    ) -> Result<(Self, Option<Found>), ConfigError> {
        let mut layers = Layers { flags, environment, file: ConfigFile::default() };
        let named = layers.find(&CONFIG)?;
        layers.file = match &named {
            Some(found) => ConfigFile::read(&working_dir.join(found.text()?), true)?,
            None => ConfigFile::read(&working_dir.join("buntime.yaml"), false)?,
        };
        Ok((layers, named))
    }

    pub fn dev(&self) -> Option<&Develop> {
        self.flags.dev.as_ref()
    }

    /// The file that was read, if there was one.
    pub fn file(&self) -> Option<&Path> {
        (!self.file.path.as_os_str().is_empty()).then_some(self.file.path.as_path())
    }

    pub fn find(&self, setting: &'static Setting) -> Result<Option<Found>, ConfigError> {
        if let Some((_, text)) = self.flags.given.iter().find(|(given, _)| *given == setting) {
            let source = Source::Flag(setting.flag);
            return Ok(Some(Found { setting, value: Value::Text(text.clone()), source }));
        }
        if let Some(value) = self.environment.get(setting.variable) {
            let source = Source::Variable(setting.variable);
            let Some(text) = value.to_str() else {
                return Err(ConfigError::Invalid {
                    place: source.to_string(),
                    value: value.to_string_lossy().into_owned(),
                    reason: "it is not UTF-8".into(),
                    allowed: setting.allowed,
                });
            };
            return Ok(Some(Found { setting, value: Value::Text(text.to_owned()), source }));
        }
        let Some((value, place)) = setting.key.and_then(|key| self.file.get(key)) else { return Ok(None) };
        Ok(Some(Found { setting, value: value.clone(), source: Source::File(place) }))
    }
}

impl Found {
    /// The value as one text that is not empty.
    pub fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            Value::Text(text) | Value::Number(text) if !text.is_empty() => Ok(text),
            Value::Text(_) | Value::Number(_) => Err(self.invalid("it is empty")),
            Value::List(_) => Err(self.invalid("one value is wanted")),
        }
    }

    /// The values of a list, which is written with separators where it is one text.
    pub fn items(&self, separator: char) -> Vec<&str> {
        match &self.value {
            Value::List(items) => items.iter().map(String::as_str).collect(),
            Value::Text(text) | Value::Number(text) => text.split(separator).collect(),
        }
    }

    pub fn invalid(&self, reason: impl std::fmt::Display) -> ConfigError {
        ConfigError::Invalid {
            place: self.source.to_string(),
            value: self.shown(),
            reason: reason.to_string(),
            allowed: self.setting.allowed,
        }
    }

    /// The value as it was written.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::List(items) => items.join(", "),
        }
    }
}
