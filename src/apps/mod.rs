//! What can be served: app directories, their versions and manifests, kept in an index in memory.
//!
//! `Watcher` owns the directories: it scans and watches them, fills the `Index` and tells the pool of each `Change`.
//! `Lookout` has it look at once, and disables versions. `Index` answers requests from memory, aliases and splits (`Fork`)
//! included. `split_path` says what a request path asks for.

mod agenda;
mod alone;
mod at_start;
mod catalog;
mod disk;
mod dotenv;
mod edits;
mod entrypoint;
#[cfg(test)]
pub(crate) mod fixture;
mod fork;
mod ignored;
mod index;
pub mod inspect;
mod load;
mod lookout;
pub mod manifest;
mod mount;
mod notices;
mod quiet;
mod scan;
mod slots;
mod tree;
mod watch;

pub use alone::Alone;
pub use catalog::Listed;
pub(crate) use disk::Disk;
pub use disk::first_writable;
pub use edits::Edits;
pub use fork::{Fork, SPLIT_COOKIE};
pub use ignored::Ignored;
pub use index::{Dangling, Decisions, Index, Meaning, ResolveError};
pub use lookout::{LookError, Lookout};
pub use mount::{Mount, split_path};
pub use quiet::QUIET;
pub use watch::{Listener, Watcher};

use crate::model::AppName;
pub use crate::model::{App, Kind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where apps are, and what holds for all of them.
#[derive(Clone, Debug)]
pub struct Options {
    /// Absolute. Of two directories with the same name and version, the one in the earlier of these wins.
    pub worker_dirs: Vec<PathBuf>,
    /// First path segments that no app may have: `api` (or what the API's prefix begins with).
    pub reserved: Vec<String>,
    pub ceilings: manifest::Ceilings,
    /// Whether any changed file counts, not only a replaced directory.
    pub development: bool,
    /// Somebody edits the apps, and wants to see what came of it: build output counts for nothing, and a change that does not
    /// run takes the place of what ran all the same. Goes with `development`.
    pub edited: bool,
    /// The one worker directory is itself an app of this name; what stands beside it is none.
    pub sole: Option<AppName>,
    /// What in them nobody edits.
    pub ignored: Ignored,
    /// How long a tree must not change before it counts.
    pub quiet: Duration,
    /// `NODE_ENV` is `production`: Bun compiles JSX accordingly.
    pub production: bool,
    /// The supervisor's own variables that `envPassthrough` may name.
    pub environment: BTreeMap<String, String>,
}

/// What the index tells the pool, of apps of every `Kind`. Sent in order, from the watcher's thread (from the one that
/// calls `Watcher::start` for what is found at start).
///
/// `Added` and `Replaced` come before the new revision can be resolved, `Removed` after the old one no longer can.
#[derive(Clone, Debug)]
pub enum Change {
    /// A version can be asked for.
    Added(Arc<App>),
    /// Comes right after the `Added` or `Replaced` that named the app: a proven version stands in for it, so nobody
    /// will ask for it. Start a worker of it and report `Index::prove` or `Index::disprove`.
    Prove(Arc<App>),
    /// No longer resolves; drain its workers.
    Removed(Arc<App>),
    /// `new` takes the place of `old` (same name and version). While `old` was proven and `new` is not, requests still
    /// resolve to `old`: start a worker of `new` and report `Index::prove`, then retire `old`; or, if `old` has no
    /// live worker (now or later), report `Index::forget_old(old.key)`. A `new` that is static needs no proof and
    /// takes over at once; a `new` that is broken never can, and waits for `forget_old`. A revision that waited to be proven
    /// and gives way to a newer one is told of as an `old` of its own, before the one that stands in for both.
    Replaced { old: Arc<App>, new: Arc<App> },
    /// It was replaced by what runs no workers, and no longer resolves; drain its own.
    Outdated(Arc<App>),
}
