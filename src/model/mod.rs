//! Values everyone speaks. Parsed once at the edge; inside, they are valid.

pub mod alias;
pub mod app;
pub mod hop;
pub mod manifest;
pub mod mix;
pub mod name;
pub mod plugin;
pub mod quantity;
pub mod route;
pub mod secret;
pub mod version;

pub use alias::{AliasName, Split};
pub use app::{App, Kind};
pub use buntime_plugin::rfc3339;
pub use manifest::Manifest;
pub use name::AppName;
pub use plugin::PluginSeat;
pub use route::{Bucket, Route, Sticky};
pub use version::{AppVersion, VersionSpec};

/// Identifies one revision of one version of an app for the life of this process: a version whose directory is
/// replaced gets a new key. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionKey(pub u64);

impl VersionKey {
    /// The `number`th key of what belongs to plugins, their modules and their own apps: apart from all keys of apps, which
    /// count from 1.
    pub fn of_plugin(number: u64) -> VersionKey {
        VersionKey(number | 1 << 63)
    }

    pub fn is_plugins(self) -> bool {
        self.0 >> 63 == 1
    }
}

/// Identifies one worker process for the life of this process. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "w{}", self.0)
    }
}
