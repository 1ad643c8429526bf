//! What the operator changes: on, off, settings. The manifest is edited in place; where it cannot be, changes stand in the
//! state directory.

use super::demand::{ChangeError, Demand, Proposed};
use super::discovery::{Found, Source, state_file};
use super::edit::{self, EditError, private};
use super::host::{Host, aside};
use super::manifest::{self, FIXED, KEYS, PluginName};
use super::secrets::states_secret;
use super::settings::MASK;
use crate::apps::manifest::AppKeys;
use serde_json::{Map, Value};
use serde_yaml::Value as Yaml;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is put in a plugin's place. Dropped, it stays, once the set before has ended. Both may wait for the disk.
pub trait Placement: Send {
    /// The new set did not start: everything is to be as before.
    fn undo(self: Box<Self>);
}

/// What a directory would be as a plugin.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub name: PluginName,
    pub version: String,
    pub enabled: bool,
}

/// Where the operator's changes to a plugin go, and what lies below them.
struct Subject {
    file: PathBuf,
    /// What the file lies over, where it does not hold the manifest itself.
    below: Option<Below>,
    enabled: bool,
    is_valid: bool,
    /// Its settings' names, where the schema is known.
    settings: Option<Vec<String>>,
}

enum Below {
    Dir(PathBuf),
    Embedded(&'static str),
}

impl Host {
    /// Turns a plugin on or off.
    ///
    /// # Errors
    /// It would not be loaded, or one that is loaded needs it; nothing has changed then.
    pub async fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), ChangeError> {
        let _turn = self.turn().await;
        let subject = self.look(name, |found| Ok(Subject::of(found, self.workshop.embedded(&found.name))))?;
        let by = if enabled { Vec::new() } else { self.needed_by(name) };
        if !by.is_empty() {
            return Err(ChangeError::Needed { plugin: name.to_owned(), by });
        }
        if subject.enabled == enabled && (subject.is_valid || !enabled) {
            return match enabled && self.current.load().find(name).is_none() {
                // It is on and out: perhaps it starts now.
                true => self.exchange(&[], Demand::Loaded(name)).await.map(drop),
                false => Ok(()),
            };
        }
        let change = aside(|| subject.edited(|text| edit::set(text, &["enabled"], &enabled.into())))?;
        let demand = if enabled { Demand::Loaded(name) } else { Demand::Off(name) };
        self.exchange(&[change], demand).await.map(drop)
    }

    /// Merges `patch` into the settings as they are stated (RFC 7396); `null` gives a setting its default back.
    ///
    /// # Errors
    /// They are not valid, or the plugin does not start with them; nothing has changed then.
    pub async fn configure(&self, name: &str, patch: &Map<String, Value>) -> Result<(), ChangeError> {
        let _turn = self.turn().await;
        let subject = self.look(name, |found| Ok(Subject::of(found, self.workshop.embedded(&found.name))))?;
        let enabled = subject.enabled;
        let change = aside(|| subject.configured(name, patch))?;
        let demand = if enabled { Demand::Loaded(name) } else { Demand::Valid(name) };
        match change {
            Some(change) => self.exchange(&[change], demand).await.map(drop),
            None => Ok(()),
        }
    }

    /// Reads a directory as a plugin that might come in, in the place of what has its name.
    ///
    /// # Errors
    /// It is none, or not a valid one.
    pub fn inspect(&self, dir: &Path) -> Result<Inspected, ChangeError> {
        let none = || ChangeError::Invalid("the package has no manifest.yaml at its root".to_owned());
        let found = self.workshop.inspect(dir, &[]).ok_or_else(none)?;
        match found.manifest {
            Ok(manifest) => Ok(Inspected {
                name: manifest.name,
                version: manifest.version.to_string(),
                enabled: manifest.enabled,
            }),
            Err(unusable) => Err(unusable.error.refusal()),
        }
    }

    /// Puts the operator's part of the manifest of a plugin that is there into the one that is to take its place: whether it is
    /// on, its limits and its settings. What the new manifest has no place for is named, and left out.
    ///
    /// # Errors
    /// The one cannot be read, or the other not written.
    pub fn carry_over(&self, old: &Path, dir: &Path) -> Result<Vec<String>, ChangeError> {
        let Some((old_file, old)) = read_manifest(old)? else { return Ok(Vec::new()) };
        let Some((file, text)) = read_manifest(dir)? else { return Ok(Vec::new()) };
        // One that is broken has nothing that could be told apart.
        let parse = |text: &str| serde_yaml::from_str::<serde_yaml::Mapping>(text).unwrap_or_default();
        let (old, new) = (parse(&old), parse(&text));
        let schema = new.get("config").and_then(Yaml::as_mapping);
        let is_setting = |key: &str| schema.is_some_and(|schema| schema.contains_key(key));
        let (mut kept, mut left) = (Vec::new(), Vec::new());
        for (key, value) in old {
            let Yaml::String(key) = key else { continue };
            match &*key {
                // The author's: who the plugin is, and how its app is run.
                key if FIXED.contains(&key) || (AppKeys::has(key) && !KEYS.contains(&key)) => {}
                known if KEYS.contains(&known) || is_setting(known) => kept.push((key, Some(value))),
                _ => left.push(key),
            }
        }
        let changed = edit::set_all(&text, kept).map_err(|error| wrong(&file, &error))?;
        if changed == text {
            return Ok(left);
        }
        // Under the name that it is found by.
        let found_as = file.canonicalize().map_err(ChangeError::NotWritten)?;
        let found = self.workshop.inspect(dir, &[Proposed { file: found_as, text: changed.clone() }]);
        if found.is_none_or(|found| states_secret(&found, &changed)) {
            let mode = old_file.metadata().map_err(ChangeError::NotWritten)?.permissions();
            std::fs::set_permissions(&file, private(&mode)).map_err(ChangeError::NotWritten)?;
        }
        std::fs::write(&file, changed).map_err(ChangeError::NotWritten)?;
        Ok(left)
    }

    /// Puts a plugin's directory in its place, or takes it away, and loads everything anew. What is on of that name must start.
    /// Returns what `placing` has to tell beside.
    ///
    /// # Errors
    /// `placing` failed, or the set would not start; everything is as before then.
    pub async fn place<T, E: From<ChangeError>>(
        &self,
        name: &str,
        placing: impl Future<Output = Result<(Box<dyn Placement>, T), E>>,
    ) -> Result<T, E> {
        let _turn = self.turn().await;
        let (placed, told) = placing.await?;
        match self.exchange(&[], Demand::Placed(name)).await {
            Ok(retiring) => {
                tokio::spawn(async move {
                    let _ = retiring.await; // its end is that nobody tells any more
                    tokio::task::spawn_blocking(move || drop(placed));
                });
                Ok(told)
            }
            Err(error) => {
                let _ = tokio::task::spawn_blocking(move || placed.undo()).await; // likewise
                Err(error.into())
            }
        }
    }

    /// The file in which changes to a plugin stand that its manifest could not take.
    pub fn changes_of(&self, name: &PluginName) -> PathBuf {
        state_file(&self.workshop.state_dir, name)
    }
}

impl Subject {
    fn of(found: &Found, embedded: Option<&'static str>) -> Subject {
        let lies_over = found.source != Source::Dir || found.dir.as_deref() != found.file.parent();
        let below = match &found.dir {
            Some(dir) => Some(Below::Dir(dir.clone())),
            None => embedded.map(Below::Embedded),
        };
        let schema = found.manifest.as_ref().ok().map(|manifest| &manifest.schema);
        Subject {
            file: found.file.clone(),
            below: below.filter(|_| lies_over),
            enabled: found.is_enabled(),
            is_valid: found.manifest.is_ok(),
            settings: schema.map(|schema| schema.names().map(str::to_owned).collect()),
        }
    }

    /// The file as it would be.
    fn edited(
        &self,
        change: impl FnOnce(&str) -> Result<String, EditError>,
    ) -> Result<Proposed, ChangeError> {
        let text = change(&self.text()?).map_err(|error| wrong(&self.file, &error))?;
        Ok(Proposed { file: self.file.clone(), text })
    }

    fn text(&self) -> Result<String, ChangeError> {
        match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            text => text.map_err(ChangeError::NotWritten),
        }
    }

    /// None = nothing would change.
    fn configured(&self, name: &str, patch: &Map<String, Value>) -> Result<Option<Proposed>, ChangeError> {
        for (key, value) in patch {
            let known = match &self.settings {
                Some(settings) => settings.contains(key),
                None => !KEYS.contains(&&**key),
            };
            if !known {
                return Err(ChangeError::Invalid(format!("the plugin {name} has no setting `{key}`")));
            }
            if has_mask(value) {
                let what = format!(
                    "`{key}` holds {MASK}, which stands for a secret\n\nhint: leave a secret out to keep it"
                );
                return Err(ChangeError::Invalid(what));
            }
        }
        let text = self.text()?;
        let above = map_of(&self.file, &text)?;
        let below = match &self.below {
            None => None,
            Some(Below::Embedded(text)) => Some(map_of(&self.file, text)?),
            Some(Below::Dir(dir)) => match read_manifest(dir)? {
                Some((file, text)) => Some(map_of(&file, &text)?),
                None => None,
            },
        };
        let mut values = Vec::new();
        for (key, value) in patch {
            let stated = above.get(key).or_else(|| below.as_ref()?.get(key));
            // JSON has no value that YAML has not.
            let value =
                serde_yaml::to_value(value).map_err(|error| ChangeError::Invalid(error.to_string()))?;
            let merged = match value {
                Yaml::Null => None,
                value => Some(merged(stated.cloned(), value)),
            };
            values.push((key.clone(), merged));
        }
        let changed = self.edited(|text| edit::set_all(text, values))?;
        Ok(Some(changed).filter(|changed| changed.text != text))
    }
}

/// RFC 7396.
fn merged(stated: Option<Yaml>, patch: Yaml) -> Yaml {
    let Yaml::Mapping(patch) = patch else { return patch };
    let mut map = match stated {
        Some(Yaml::Mapping(map)) => map,
        _ => serde_yaml::Mapping::new(),
    };
    for (key, value) in patch {
        match value {
            Yaml::Null => drop(map.shift_remove(&key)),
            value => {
                let stated = map.get(&key).cloned();
                map.insert(key, merged(stated, value));
            }
        }
    }
    Yaml::Mapping(map)
}

fn map_of(file: &Path, text: &str) -> Result<serde_yaml::Mapping, ChangeError> {
    let map: Option<serde_yaml::Mapping> =
        serde_yaml::from_str(text).map_err(|error| wrong(file, &EditError::Yaml(error.to_string())))?;
    Ok(map.unwrap_or_default())
}

/// The manifest in a directory, and where it is.
fn read_manifest(dir: &Path) -> Result<Option<(PathBuf, String)>, ChangeError> {
    for name in manifest::FILES {
        let file = dir.join(name);
        match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            text => return text.map(|text| Some((file, text))).map_err(ChangeError::NotWritten),
        }
    }
    Ok(None)
}

fn wrong(file: &Path, error: &EditError) -> ChangeError {
    ChangeError::Invalid(format!("{}: {error}", file.display()))
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text == MASK,
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(map) => map.values().any(has_mask),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7396, appendix A.
    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        for (stated, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let value = |text: &str| serde_yaml::from_str::<Yaml>(text).unwrap();
            assert_eq!(merged(Some(value(stated)), value(patch)), value(result), "{stated} {patch}");
        }
    }
}
