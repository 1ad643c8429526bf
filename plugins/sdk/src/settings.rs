//! A plugin's settings: what its manifest says, checked against its own `config` schema.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// The values, defaults filled in. A `duration` is its milliseconds, a `size` its bytes.
#[derive(Clone, Default, PartialEq)]
pub struct Settings(Value);

impl Settings {
    pub fn new(values: Value) -> Settings {
        Settings(values)
    }

    /// The settings as a type of the plugin's.
    ///
    /// # Errors
    /// The type wants what the schema does not promise: a fault of the plugin.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.0)
            .map_err(|error| Error::new("the settings do not fit the plugin").because(error))
    }

    pub fn value(&self) -> &Value {
        &self.0
    }
}

/// There may be secrets among them.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(…)")
    }
}

/// `#[serde(with = "buntime_plugin::settings::millis")]` for a `duration`.
pub mod millis {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    /// # Errors
    /// It is no whole number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
