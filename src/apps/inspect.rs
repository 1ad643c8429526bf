//! Reads one directory as an app without serving it: for packages, before they are put in their place.

use super::disk::Disk;
use super::entrypoint::EntrypointError;
use super::load::{Found, LoadError, Loader};
use super::manifest::{Ceilings, ManifestError};
use crate::model::AppVersion;
use std::collections::BTreeMap;
use std::path::Path;

/// What a directory says it is. Not judged yet.
#[derive(Debug, Default)]
pub struct Stated {
    pub manifest_name: Option<String>,
    pub manifest_version: Option<String>,
    pub package_name: Option<String>,
    pub package_version: Option<String>,
}

/// Why a directory cannot be served as an app.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Manifest(ManifestError),
    #[error("there is no entrypoint, so this is no app")]
    NoEntrypoint,
    #[error(transparent)]
    Entrypoint(EntrypointError),
    /// Another file that an app is read from.
    #[error("{0}")]
    Other(String),
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Fault {
        match error {
            LoadError::Manifest(error) => Fault::Manifest(error),
            LoadError::Entrypoint(error) => Fault::Entrypoint(error),
            other => Fault::Other(other.to_string()),
        }
    }
}

/// The names and versions in the manifest and in `package.json`.
pub fn stated(dir: &Path, ceilings: &Ceilings) -> Result<Stated, Fault> {
    let (manifest, package) = loader(ceilings).stated(dir)?;
    let manifest = manifest.unwrap_or_default();
    let package = package.unwrap_or_default();
    Ok(Stated {
        manifest_name: manifest.name,
        manifest_version: manifest.version,
        package_name: package.name,
        package_version: package.version,
    })
}

/// Reads an app as the scanner will. Returns its warnings.
pub fn inspect(dir: &Path, version: &AppVersion, ceilings: &Ceilings) -> Result<Vec<String>, Fault> {
    let mut warnings = Vec::new();
    let loader = loader(ceilings);
    let absolute = loader.disk.canonical(dir).map_err(|error| Fault::Other(error.to_string()))?;
    match loader.read(version, absolute, &mut warnings)? {
        Found::App(_) => {}
        Found::Disabled => {
            warnings.push("the manifest says `enabled: false`, so it is not served".to_owned())
        }
        Found::Nothing => return Err(Fault::NoEntrypoint),
    }
    Ok(warnings)
}

/// Whether a directory is itself an app, be it a broken one, rather than a directory of apps.
pub fn is_app(dir: &Path) -> bool {
    let loader = loader(&Ceilings { max_body_size: u64::MAX, cores: 1 });
    let Ok(absolute) = loader.disk.canonical(dir) else { return false };
    // What cannot be read as one has a manifest, or another file that only an app has.
    !matches!(loader.read(&AppVersion::Latest, absolute, &mut Vec::new()), Ok(Found::Nothing))
}

fn loader(ceilings: &Ceilings) -> Loader {
    Loader {
        disk: Disk::default(),
        ceilings: *ceilings,
        production: true,
        environment: BTreeMap::new(),
        next_key: 0,
    }
}
