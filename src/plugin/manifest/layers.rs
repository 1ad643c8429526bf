//! A manifest and what the operator put over it, read as one.

use super::error::ManifestErrors;
use crate::manifest::{Finding, ManifestError, Step};
use crate::model::quantity::kind_of;
use serde_yaml::{Mapping, Value};
use std::collections::BTreeSet;

/// Longest manifest read, in bytes. Much more than an app's: settings may be a table with 100,000 hosts.
pub const MAX_MANIFEST: usize = 16 << 20;

/// Keys that say what the plugin *is*. Its author decides them, and a new version may change them: a file that lies over the
/// manifest must not hold them back.
pub(in crate::plugin) const FIXED: [&str; 11] = [
    "name",
    "version",
    "pluginEntry",
    "entrypoint",
    "dependencies",
    "optionalDependencies",
    "menus",
    "config",
    "guards",
    "hooks",
    "workerEnv",
];

/// One file.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'t> {
    /// Its name in errors.
    pub file: &'t str,
    pub text: &'t str,
}

/// The files of one plugin and the values of all their keys.
pub(super) struct Layers<'t> {
    bottom: Layer<'t>,
    top: Option<Layer<'t>>,
    /// Keys whose values are the top's.
    from_top: BTreeSet<String>,
    pub map: Mapping,
}

impl<'t> Layers<'t> {
    /// Each key of `top` takes the place of the same key of `bottom`.
    pub fn read(bottom: Layer<'t>, top: Option<Layer<'t>>) -> Result<Layers<'t>, ManifestErrors> {
        let (below, above) = (map_of(bottom), top.map(map_of).unwrap_or_else(|| Ok(Mapping::new())));
        let (mut map, above) = match (below, above) {
            (Ok(below), Ok(above)) => (below, above),
            (below, above) => {
                return Err(ManifestErrors([below.err(), above.err()].into_iter().flatten().collect()));
            }
        };
        let mut from_top = BTreeSet::new();
        for (key, value) in above {
            if let Value::String(name) = &key {
                from_top.insert(name.clone());
            }
            map.insert(key, value);
        }
        Ok(Layers { bottom, top, from_top, map })
    }

    /// Keys that the file on top must not have.
    pub fn misplaced(&self) -> impl Iterator<Item = &'static str> {
        FIXED.into_iter().filter(|key| self.from_top.contains(*key))
    }

    /// Gives each finding its place in the file that it is about.
    pub fn locate(&self, findings: Vec<Finding>) -> ManifestErrors {
        let in_top = |finding: &Finding| matches!(finding.path.first(), Some(Step::Key(key)) if self.from_top.contains(key));
        let (above, below): (Vec<_>, Vec<_>) = findings.into_iter().partition(in_top);
        let located = |layer: Layer<'_>, findings: Vec<Finding>| {
            (!findings.is_empty()).then(|| ManifestError::locate(layer.file, layer.text, findings))
        };
        let above = self.top.and_then(|top| located(top, above));
        ManifestErrors(located(self.bottom, below).into_iter().chain(above).collect())
    }
}

fn map_of(Layer { file, text }: Layer<'_>) -> Result<Mapping, ManifestError> {
    if text.len() > MAX_MANIFEST {
        let message = format!("the file has {} bytes, more than {MAX_MANIFEST}", text.len());
        return Err(ManifestError::at_start(file, message));
    }
    match serde_yaml::from_str(text).map_err(|error| ManifestError::from_yaml(file, &error))? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(map) => Ok(map),
        other => {
            let message = format!("a manifest is a map of keys to values, this is {}", kind_of(&other));
            Err(ManifestError::at_start(file, message))
        }
    }
}
