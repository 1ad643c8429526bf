//! The host of plugins: which there are, in which order they stand, and the way of a request through them.
//!
//! Its rules are pure: `discovery` finds the plugins, `manifest` reads what they say of themselves, `settings` what the
//! operator has set, `order` says which of them start and when, and `edit` changes a manifest as a careful person would.

mod current;
pub mod discovery;
pub mod edit;
pub mod loaded;
pub mod manifest;
pub mod native;
pub mod order;
pub mod set;
pub mod settings;

pub use current::{Current, Left, Serving};
pub use loaded::{HookError, Loaded};
pub use manifest::{PluginManifest, PluginName};
pub use set::{Set, Stopped};
pub use settings::Settings;

use std::time::Duration;

/// How long a plugin may take until the head of its own answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
