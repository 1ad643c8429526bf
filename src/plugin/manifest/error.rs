//! Why a manifest makes no plugin, and what can be said of the plugin all the same.

use super::PluginName;
use crate::manifest::{ManifestError, Problem};
use std::fmt;

/// What is wrong with a manifest and with what the operator put over it: an entry for each file that has errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors(pub Vec<ManifestError>);

/// A manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// None = it does not say, or that is wrong too.
    pub name: Option<PluginName>,
    /// Whether it would be on. What cannot be read counts as on.
    pub enabled: bool,
    /// Whether the runtime must not do without it. What cannot be read counts as required: it may be a guard, and the door
    /// must not stand open for a typing error.
    pub required: bool,
    pub errors: ManifestErrors,
}

impl ManifestErrors {
    pub fn all(&self, is: impl Fn(&Problem) -> bool) -> bool {
        self.0.iter().flat_map(|error| &error.problems).all(is)
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}
