//! Reads a plugin's `manifest.yaml`: every key checked, every error with its line and column, all of them at once.

mod error;
mod hooks;
mod keys;
mod layers;
mod name;
mod values;

pub use error::{Broken, ManifestErrors};
pub use hooks::{Hook, Hooks, RequestHook};
pub(in crate::plugin) use keys::KEYS;
pub(in crate::plugin) use layers::FIXED;
pub use layers::{Layer, MAX_MANIFEST};
pub use name::{PluginName, PluginNameError};
pub use values::{Base, Dependency, Menu};

use super::settings::{Lookup, Schema, Settings};
use crate::apps::manifest::Ceilings;
use crate::model::Manifest;
use semver::Version;
use std::time::Duration;

/// What a manifest may be called.
pub const FILES: [&str; 2] = ["manifest.yaml", "manifest.yml"];
/// The module of a script plugin whose manifest names none.
pub const DEFAULT_ENTRY: &str = "plugin.ts";
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a plugin says of itself, and what the operator has set.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginManifest {
    pub name: PluginName,
    /// 0.0.0 where the manifest states none: that fits no range but those that name it.
    pub version: Version,
    pub enabled: bool,
    /// Where its routes and its app are mounted; none = nowhere.
    pub base: Option<Base>,
    /// Relative path that stays inside its directory; of a script plugin.
    pub plugin_entry: String,
    /// Its own app, which the pool serves at `base`.
    pub app: Option<Manifest>,
    pub dependencies: Vec<Dependency>,
    pub optional_dependencies: Vec<Dependency>,
    pub menus: Vec<Menu>,
    pub schema: Schema,
    /// Of a plugin that is on, never an error. One that is off need not have what it takes to be on.
    pub settings: Result<Settings, ManifestErrors>,
    /// Whether the runtime must not start without it.
    pub required: bool,
    /// Whether it keeps people out.
    pub guards: bool,
    pub hooks: Hooks,
    pub hook_timeout: Duration,
    /// Whether requests go on when one of its hooks fails.
    pub fail_open: bool,
    /// Names of the variables that it may add to workers' environments.
    pub worker_env: Vec<String>,
}

/// What holds for all plugins and does not stand in their manifests.
#[derive(Clone, Copy)]
pub struct Rules<'r> {
    /// First path segments that no plugin may have: `api`, or what the API's prefix begins with.
    pub reserved: &'r [String],
    /// For the plugins' apps.
    pub ceilings: Ceilings,
    /// The variables that settings may take values from.
    pub environment: Lookup<'r>,
}

/// Reads a manifest and, where there is one, what the operator put over it: each key of `over` takes the place of the same
/// key of `manifest`. Reports all that is wrong with both.
pub fn parse(
    manifest: Layer<'_>,
    over: Option<Layer<'_>>,
    rules: &Rules<'_>,
) -> Result<PluginManifest, Broken> {
    match layers::Layers::read(manifest, over) {
        Ok(layers) => keys::read(&layers, rules),
        Err(errors) => Err(Broken { name: None, enabled: true, required: true, errors }),
    }
}

/// The name that a manifest states, whatever else is wrong with it.
pub fn name_of(text: &str) -> Option<PluginName> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: serde_yaml::Value,
    }
    let named: Named = serde_yaml::from_str(text).ok()?;
    PluginName::parse(named.name.as_str()?).ok()
}

#[cfg(test)]
mod tests;
