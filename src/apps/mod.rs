//! What can be served: app directories, their versions and manifests, kept in an index in memory.
// The types below are the contract with `pool` and `http`.

use crate::model::{AppName, AppVersion, Manifest, VersionKey};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One revision of one version of an app, as it was read from its directory. Immutable.
#[derive(Debug)]
pub struct App {
    pub key: VersionKey,
    pub name: AppName,
    pub version: AppVersion,
    /// Absolute.
    pub dir: PathBuf,
    pub manifest: Manifest,
    pub kind: Kind,
    /// The app's own variables: the manifest's `env`, `.env` over it, and what `envPassthrough` names.
    pub env: BTreeMap<String, String>,
    /// Why a spare cannot take this version (`bunfig.toml`, `lowMemory`, …); none = it can.
    pub needs_fresh: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A server module, run by a worker. Absolute path.
    Worker { entrypoint: PathBuf },
    /// A directory of files, served by the supervisor. Absolute path of the directory, name of its index file.
    Static { root: PathBuf, index: String },
    /// Its manifest or entrypoint is wrong: 503 with this text in the log and the development page.
    Broken { error: String },
}

/// What the index tells the pool. Sent in order, from whatever thread noticed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A version can be asked for.
    Added(Arc<App>),
    /// A version appeared that a proven one stands in for: start a worker of it and report `Index::prove`.
    Prove(Arc<App>),
    /// No longer resolves; drain its workers.
    Removed(Arc<App>),
    /// `new` takes the place of `old` (same name and version). While `old` has live workers and `new` is not
    /// proven, requests still resolve to `old`; the pool retires `old` when `new` is Ready.
    Replaced { old: Arc<App>, new: Arc<App> },
}
