//! App names: npm's grammar.
// STUB: to be filled in
use std::sync::Arc;

/// An app's name: `shop` or `@team/shop`. Lower case, digits, `-._~`, at most 214 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(pub(crate) Arc<str>);

impl AppName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AppName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
