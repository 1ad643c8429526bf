//! The host of plugins: which there are, in which order they stand, and the way of a request through them.
//!
//! What is on disk is found (`discovery`, `manifest`, `settings`) and put in order (`order`); a set is built of it and started
//! (`build`), natives (`native`) and scripts (`script`) alike, and swapped in (`exchange`). A request sees a `set` alone.

mod build;
mod carry;
mod change;
mod current;
mod demand;
pub mod discovery;
pub mod edit;
mod exchange;
mod follow;
mod host;
mod lent;
pub mod loaded;
pub mod manifest;
pub mod native;
pub mod order;
pub mod script;
mod secrets;
pub mod set;
pub mod settings;
mod status;

pub use build::Workshop;
pub use change::{Inspected, Placement};
pub use current::{Current, Left, Serving};
pub use demand::{ChangeError, Proposed};
pub use follow::follow;
pub use host::Host;
pub use loaded::{HookError, Loaded};
pub use manifest::{PluginManifest, PluginName};
pub use secrets::Secrets;
pub use set::{Set, Stopped};
pub use status::{Configuration, State, Status};

use std::time::Duration;

/// How long a plugin may take until the head of its own answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
pub(crate) mod tests;
