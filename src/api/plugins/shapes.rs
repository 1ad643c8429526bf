//! What is said of plugins.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginList {
    /// By name.
    pub plugins: Vec<Plugin>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// `hello`, `@buntime/plugin-logs`.
    pub name: String,
    /// None = its manifest cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub kind: PluginKind,
    /// Whether it is to be on.
    pub enabled: bool,
    /// What became of that.
    pub state: PluginState,
    /// Why it is out or degraded, or what is wrong with its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where it is mounted: `/` or `/logs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Apps that its base keeps requests from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<String>,
    /// Its directory; none = it is in the binary alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The file that changes are written to.
    pub file: String,
    /// Others that it needs, perhaps with a range: `@buntime/plugin-keyval@^1`.
    pub dependencies: Vec<String>,
    /// Others that it uses if they are there.
    pub optional_dependencies: Vec<String>,
    /// The runtime does not start without it.
    pub required: bool,
    /// It keeps people out.
    pub guards: bool,
    /// Requests go on where one of its hooks fails.
    pub fail_open: bool,
    /// In which phases it sees requests, while it is loaded.
    pub phases: Vec<String>,
    /// What it has in the menu of the admin interface.
    pub menus: Vec<PluginMenu>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PluginKind {
    /// A part of the binary.
    Native,
    /// It runs in a process of its own.
    Script,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PluginState {
    Loaded,
    /// It serves, but not all of it.
    Degraded,
    /// It is on and not loaded.
    Out,
    Disabled,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginMenu {
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    pub path: String,
    #[schema(no_recursion)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<PluginMenu>,
}

/// What can be set of a plugin, and what is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfig {
    pub name: String,
    /// `********` in the place of each secret. None = the error says what is wrong or missing.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Map<String, Value>>,
    /// By name: type, label, description, default, limits. None = the manifest cannot be used.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Map<String, Value>>,
    /// Settings (as JSON pointers) that the environment decides, with the variables: a change of them has no effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overridden: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The file that changes are written to.
    pub file: String,
}

/// A plugin that came in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstalledPlugin {
    pub plugin: Plugin,
    /// Another one of its name was there.
    pub replaced: bool,
    pub files: u64,
    pub bytes: u64,
    /// Settings of the one before that it does not have any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedPlugin {
    pub name: String,
    /// It is a part of the binary, and there still, turned off.
    pub built_in: bool,
}
