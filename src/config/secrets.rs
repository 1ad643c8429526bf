//! The secret variables that were set, taken out of the environment.

use std::ffi::{OsStr, OsString};

/// Names (of [`settings::SECRETS`](super::settings::SECRETS)) and values. Prints names only.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(&'static str, OsString)>);

impl Secrets {
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_os_str())
    }

    pub fn push(&mut self, name: &'static str, value: OsString) {
        self.0.push((name, value));
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }
}

impl FromIterator<(&'static str, OsString)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (&'static str, OsString)>>(secrets: I) -> Self {
        Secrets(secrets.into_iter().collect())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
