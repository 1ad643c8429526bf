//! Reads YAML that people write: values typed, every error with its line and column. Which keys there are is said where a
//! manifest belongs: `apps::manifest`, `plugin::manifest`.

mod error;
mod position;
mod read;

pub(crate) use error::Finding;
pub use error::{ManifestError, Problem};
pub(crate) use position::Step;
pub(crate) use read::{Reader, VARIABLE_HINT, is_variable, set, shorten};
