//! What is demanded of a change, and why nothing was changed.

use std::io;
use std::path::PathBuf;

/// What a file is to say from now on.
#[derive(Clone, Debug)]
pub struct Proposed {
    pub file: PathBuf,
    pub text: String,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no plugin `{0}`")]
    Unknown(String),
    /// The new set did not start; the old one serves.
    #[error("the plugin {plugin} would not be loaded: {reason}")]
    NotLoaded { plugin: String, reason: String },
    #[error("{0}")]
    Invalid(String),
    /// Others that are loaded could not go on without it.
    #[error("the plugin {plugin} is needed by {}\n\nhint: disable what needs it first", by.join(", "))]
    Needed { plugin: String, by: Vec<String> },
    #[error("{0}")]
    BaseTaken(String),
    /// The pool has no room for so many script plugins.
    #[error("{0}\n\nhint: raise `poolSize` (RUNTIME_POOL_SIZE), or disable a plugin")]
    Crowded(String),
    #[error("the change could not be written: {0}")]
    NotWritten(io::Error),
    /// What plugins there are cannot be told.
    #[error("{0}")]
    Unreadable(String),
    #[error("the runtime is ending")]
    Ending,
}

/// What a change is about, and what must become of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand<'a> {
    /// All that is on and required, or was loaded, is loaded, as it is on disk.
    Whole,
    /// This plugin is off.
    Off(&'a str),
    /// What is written of this plugin, which is off, is right.
    Valid(&'a str),
    /// This plugin is loaded.
    Loaded(&'a str),
    /// This plugin is loaded unless it is off, or not there.
    Placed(&'a str),
}

impl<'a> Demand<'a> {
    /// The one plugin that is changed. All others that serve go on serving, if need be as they are.
    pub fn about(self) -> Option<&'a str> {
        match self {
            Demand::Whole => None,
            Demand::Off(name) | Demand::Valid(name) | Demand::Loaded(name) | Demand::Placed(name) => {
                Some(name)
            }
        }
    }
}
