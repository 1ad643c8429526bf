//! What is on disk, as it is told to people: every version, also those that nobody can ask for.

use super::App;
use super::slots::Slot;
use crate::model::{AppName, AppVersion, VersionKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A version as it was found on disk.
#[derive(Clone, Debug)]
pub(super) enum Found {
    App {
        app: Arc<App>,
        warnings: Arc<[String]>,
    },
    /// Its manifest says `enabled: false`, so no more of it was read.
    Off {
        off: Arc<Off>,
        warnings: Arc<[String]>,
    },
}

#[derive(Debug)]
pub(super) struct Off {
    pub name: AppName,
    pub version: AppVersion,
    pub dir: PathBuf,
}

/// One version of an app, for people.
#[derive(Clone, Debug)]
pub struct Listed {
    pub name: AppName,
    pub version: AppVersion,
    pub dir: PathBuf,
    /// The newest revision, with its key, its kind (a broken one says why it is) and why it needs a fresh worker. None = its
    /// manifest disables it, so nothing more is known.
    pub app: Option<Arc<App>>,
    /// The revision that requests for exactly this version get: `app`'s, or an older one that stands in until `app` is
    /// proven. None = it is disabled.
    pub serving: Option<VersionKey>,
    /// A worker of the serving revision was Ready, or it needs none.
    pub proven: bool,
    /// Names and ranges pass over it until it is proven, for a proven version is there.
    pub candidate: bool,
    pub disabled_by_manifest: bool,
    pub disabled_by_operator: bool,
    /// What was noticed when it was read.
    pub warnings: Arc<[String]>,
}

impl Found {
    pub fn app(&self) -> Option<&Arc<App>> {
        match self {
            Found::App { app, .. } => Some(app),
            Found::Off { .. } => None,
        }
    }

    pub fn name(&self) -> &AppName {
        match self {
            Found::App { app, .. } => &app.name,
            Found::Off { off, .. } => &off.name,
        }
    }

    pub fn version(&self) -> &AppVersion {
        match self {
            Found::App { app, .. } => &app.version,
            Found::Off { off, .. } => &off.version,
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Found::App { app, .. } => &app.dir,
            Found::Off { off, .. } => &off.dir,
        }
    }

    fn warnings(&self) -> &Arc<[String]> {
        match self {
            Found::App { warnings, .. } | Found::Off { warnings, .. } => warnings,
        }
    }
}

impl Listed {
    /// `slot` is where the index has it; none = it is disabled.
    pub(super) fn new(found: &Found, slot: Option<&Slot>, disabled_by_operator: bool) -> Listed {
        Listed {
            name: found.name().clone(),
            version: found.version().clone(),
            dir: found.dir().to_owned(),
            app: slot.map(Slot::newest).or(found.app()).cloned(),
            serving: slot.map(|slot| slot.serving().key),
            proven: slot.is_some_and(Slot::is_proven),
            candidate: slot.is_some_and(Slot::is_candidate),
            disabled_by_manifest: found.app().is_none(),
            disabled_by_operator,
            warnings: found.warnings().clone(),
        }
    }
}

#[cfg(test)]
impl From<Arc<App>> for Found {
    fn from(app: Arc<App>) -> Found {
        Found::App { app, warnings: Arc::default() }
    }
}
