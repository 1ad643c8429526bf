//! Names of plugins: npm's grammar, as names of apps.

use crate::model::AppName;
use crate::model::name::NameError;
use std::fmt;

/// A plugin's name: `hello` or `@buntime/plugin-authn`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(AppName);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of a plugin, which follows the rules of apps: {0}")]
pub struct PluginNameError(NameError);

impl PluginName {
    pub fn parse(text: &str) -> Result<PluginName, PluginNameError> {
        AppName::parse(text).map(PluginName).map_err(PluginNameError)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What the plugin's own app is called.
    pub fn as_app(&self) -> &AppName {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PluginName {
    type Err = PluginNameError;

    fn from_str(text: &str) -> Result<PluginName, PluginNameError> {
        PluginName::parse(text)
    }
}

impl std::borrow::Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}
