//! A plugin's settings: the schema that its manifest declares, and the values that follow from the manifest, the
//! environment and the schema's defaults.
//!
//! A value is what `env` of the schema names, if that variable is set; else what the file says, with `${VAR}` and
//! `${VAR:-default}` filled in; else the default. Durations become whole milliseconds and sizes bytes.

mod describe;
mod interpolate;
mod quantity;
mod resolve;
mod schema;
mod words;

pub use resolve::is_missing;
pub use schema::{Field, Kind, Limits, Schema, Shape};

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Looks a variable up. `may_be_used` says which are never asked for.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// All settings of a plugin, valid. Prints its secrets masked.
#[derive(Clone, PartialEq)]
pub struct Settings {
    value: Value,
    secrets: BTreeSet<String>,
    overridden: BTreeMap<String, String>,
}

impl Settings {
    /// An object with an entry for each setting that has a value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The same, with `********` for each secret.
    pub fn masked(&self) -> Value {
        let mut masked = self.value.clone();
        for pointer in &self.secrets {
            if let Some(secret) = masked.pointer_mut(pointer) {
                *secret = MASK.into();
            }
        }
        masked
    }

    /// JSON pointers (RFC 6901) of the secrets.
    pub fn secrets(&self) -> &BTreeSet<String> {
        &self.secrets
    }

    /// JSON pointers of what the environment decides, by the schema's `env`, with the variables: what the file says there
    /// has no effect.
    pub fn overridden(&self) -> &BTreeMap<String, String> {
        &self.overridden
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            value: Value::Object(serde_json::Map::new()),
            secrets: BTreeSet::new(),
            overridden: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", self.masked())
    }
}

/// Whether settings may take a value from this variable: not from those that hold the runtime's own secrets.
pub fn may_be_used(variable: &str) -> bool {
    !crate::config::settings::SECRETS.iter().any(|secret| variable.starts_with(secret))
}

#[cfg(test)]
mod tests;
