//! One app version as it was read from its directory: what the index hands out and the pool runs.

use super::{AppName, AppVersion, Manifest, PluginSeat, VersionKey};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One revision of one version of an app. Immutable.
#[derive(Clone, Debug)]
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
    /// None = an ordinary app, no script plugin.
    pub plugin: Option<Arc<PluginSeat>>,
}

impl App {
    /// Whether it would be run in the same way, whatever its files hold.
    pub fn is_run_as(&self, other: &App) -> bool {
        let App { key: _, name, version, dir, manifest, kind, env, needs_fresh, plugin: _ } = self;
        (name, version, dir, manifest) == (&other.name, &other.version, &other.dir, &other.manifest)
            && (kind, env, needs_fresh) == (&other.kind, &other.env, &other.needs_fresh)
    }

    /// Where its own files are, below the directory of all data. No app's name begins with a capital, so none has a plugin's, nor
    /// that of a plugin's own app.
    pub fn data_name(&self) -> Cow<'_, str> {
        match &self.plugin {
            Some(seat) => Cow::Owned(format!("Plugins/{}", seat.name)),
            None if self.key.is_plugins() => Cow::Owned(format!("PluginApps/{}", self.name)),
            None => Cow::Borrowed(self.name.as_str()),
        }
    }

    /// The directory that no other app sees: a plugin's, be this its module or its own app.
    pub fn plugin_dir(&self) -> Option<&Path> {
        self.key.is_plugins().then_some(&*self.dir)
    }

    /// Its name as an app, of which namespaces and the index know: a plugin has none.
    pub fn app_name(&self) -> Option<&AppName> {
        self.plugin.is_none().then_some(&self.name)
    }

    /// As metrics call it. No app's name begins with an underscore, so none has a plugin's.
    pub fn label(&self) -> Cow<'_, str> {
        match &self.plugin {
            None => Cow::Borrowed(self.name.as_str()),
            Some(seat) => Cow::Owned(format!("_plugin:{}", seat.name)),
        }
    }

    pub fn plugin_name(&self) -> Option<&AppName> {
        self.plugin.as_ref().map(|seat| &seat.name)
    }
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

impl Kind {
    pub fn is_worker(&self) -> bool {
        matches!(self, Kind::Worker { .. })
    }

    pub fn is_static(&self) -> bool {
        matches!(self, Kind::Static { .. })
    }

    pub fn is_broken(&self) -> bool {
        matches!(self, Kind::Broken { .. })
    }
}
