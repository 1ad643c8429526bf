//! The host of plugins: which there are, in which order they stand, and the way of a request through them.

mod current;
pub mod loaded;
pub mod native;
pub mod set;

pub use current::{Current, Left, Serving};
pub use loaded::{HookError, Loaded};
pub use set::{Set, Stopped};

use std::time::Duration;

/// How long a plugin may take until the head of its own answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
