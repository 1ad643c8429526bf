//! Reads one version's directory into an `App`.

use super::at_start;
use super::disk::{Disk, Listing};
use super::entrypoint::{self, Hints, Package};
use super::manifest::{self, Ceilings, MAX_MANIFEST, ManifestError};
use super::{App, Kind, dotenv};
use crate::model::version::MAX_VERSION;
use crate::model::{AppName, AppVersion, Manifest, PluginSeat, VersionKey};
use crate::shortage::Shortage;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries of an app's top directory that are looked at.
const MAX_LISTED: usize = 4096;
/// Longest `package.json` read, in bytes.
const MAX_PACKAGE: usize = 1 << 20;

/// Makes apps of directories; gives each a new key.
pub(super) struct Loader {
    pub disk: Disk,
    pub ceilings: Ceilings,
    pub production: bool,
    /// What `envPassthrough` may name.
    pub environment: BTreeMap<String, String>,
    pub next_key: u64,
}

/// What a directory turned out to be.
pub(super) struct Reading {
    pub outcome: Outcome,
    /// What the operator should know, one line each.
    pub warnings: Vec<String>,
    /// It could not be read for want of what the machine has too little of: that says nothing of the directory.
    pub starved: bool,
}

#[derive(Clone)]
pub(super) enum Outcome {
    App(Arc<App>),
    Disabled,
    NoEntrypoint,
}

impl Outcome {
    /// The app, if it is one that can be served.
    pub fn is_live(&self) -> bool {
        matches!(self, Outcome::App(app) if !app.kind.is_broken())
    }
}

/// What makes a version unavailable.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Entrypoint(#[from] entrypoint::EntrypointError),
    #[error(transparent)]
    Dotenv(#[from] dotenv::DotenvError),
    #[error("cannot read {file}: {error}")]
    Io { file: String, error: std::io::Error },
}

impl Loader {
    pub fn load(&mut self, name: &AppName, version: &AppVersion, dir: &Path) -> Reading {
        let (mut warnings, mut starved) = (Vec::new(), false);
        let io = |error| LoadError::Io { file: dir.display().to_string(), error };
        let absolute = self.disk.canonical(dir).map_err(io);
        let read = absolute.and_then(|absolute| self.read(version, absolute, &mut warnings));
        let draft = match read {
            Ok(Found::App(draft)) => *draft,
            Ok(Found::Disabled) => return Reading { outcome: Outcome::Disabled, warnings, starved: false },
            Ok(Found::Nothing) => {
                warnings.push(format!("{}: no entrypoint, so this is no app", dir.display()));
                return Reading { outcome: Outcome::NoEntrypoint, warnings, starved: false };
            }
            Err(error) => {
                starved = matches!(&error, LoadError::Io { error, .. } if Shortage::of(error).is_some());
                warnings.push(format!("{name}@{version} is unavailable: {error}"));
                Draft::broken(dir, &error)
            }
        };
        let key = self.new_key();
        let Draft { dir, manifest, kind, env, needs_fresh } = draft;
        let app = App {
            key,
            name: name.clone(),
            version: version.clone(),
            dir,
            manifest,
            kind,
            env,
            needs_fresh,
            plugin: None,
        };
        Reading { outcome: Outcome::App(Arc::new(app)), warnings, starved }
    }

    pub fn new_key(&mut self) -> VersionKey {
        let key = VersionKey(self.next_key);
        self.next_key += 1;
        key
    }

    pub fn read(
        &self,
        version: &AppVersion,
        dir: PathBuf,
        warnings: &mut Vec<String>,
    ) -> Result<Found, LoadError> {
        let io = |error| LoadError::Io { file: dir.display().to_string(), error };
        let listing = self.disk.list(&dir, MAX_LISTED).map_err(io)?;
        let stated = self.manifest(&dir, &listing)?;
        let (has_manifest, manifest) = (stated.is_some(), stated.unwrap_or_else(|| self.default_manifest()));
        if !manifest.enabled {
            return Ok(Found::Disabled);
        }
        let package = self.package(&dir, &listing, version, warnings);
        let hints =
            Hints { has_manifest, manifest: manifest.entrypoint.as_deref(), package: package.as_ref() };
        let Some(kind) = entrypoint::find(&self.disk, &dir, &listing, &hints)? else {
            return Ok(Found::Nothing);
        };
        Ok(Found::App(Box::new(self.draft(dir, &listing, manifest, kind)?)))
    }

    /// Reads a directory whose manifest is known, with its entrypoint.
    pub fn load_stated(
        &self,
        dir: &Path,
        key: VersionKey,
        (name, version): (AppName, AppVersion),
        manifest: Manifest,
        plugin: Option<Arc<PluginSeat>>,
    ) -> Result<App, LoadError> {
        let io = |error| LoadError::Io { file: dir.display().to_string(), error };
        let dir = self.disk.canonical(dir).map_err(io)?;
        let listing = self.disk.list(&dir, MAX_LISTED).map_err(io)?;
        let hints = Hints { has_manifest: true, manifest: manifest.entrypoint.as_deref(), package: None };
        let missing = || entrypoint::EntrypointError::Missing("index.html".into());
        let kind = entrypoint::find(&self.disk, &dir, &listing, &hints)?.ok_or_else(missing)?;
        let Draft { dir, manifest, kind, env, needs_fresh } = self.draft(dir, &listing, manifest, kind)?;
        Ok(App { key, name, version, dir, manifest, kind, env, needs_fresh, plugin })
    }

    fn draft(
        &self,
        dir: PathBuf,
        listing: &Listing,
        manifest: Manifest,
        kind: Kind,
    ) -> Result<Draft, LoadError> {
        let env = self.env(&dir, listing, &manifest)?;
        let bunfig = listing.may_have("bunfig.toml") && self.disk.is_file(&dir.join("bunfig.toml"));
        let needs_fresh = match (bunfig, manifest.low_memory, manifest.max_memory) {
            (true, _, _) => Some("bunfig.toml"),
            (_, true, _) => Some("lowMemory"),
            (_, _, Some(_)) => Some("maxMemory"),
            _ if at_start::reads_any(&env) => Some("a variable that acts at process start"),
            _ if at_start::reads_tsconfig(&self.disk, &dir, self.production) => Some("tsconfig.json"),
            _ => None,
        };
        Ok(Draft { dir, manifest, kind, env, needs_fresh })
    }

    /// The manifest and the `package.json` of a directory, where it has them.
    pub fn stated(&self, dir: &Path) -> Result<(Option<Manifest>, Option<Package>), LoadError> {
        let io = |error| LoadError::Io { file: dir.display().to_string(), error };
        let dir = self.disk.canonical(dir).map_err(io)?;
        let listing = self.disk.list(&dir, MAX_LISTED).map_err(io)?;
        let manifest = self.manifest(&dir, &listing)?;
        Ok((manifest, self.package(&dir, &listing, &AppVersion::Latest, &mut Vec::new())))
    }

    fn default_manifest(&self) -> Manifest {
        let default = Manifest::default();
        Manifest { max_body_size: default.max_body_size.min(self.ceilings.max_body_size), ..default }
    }

    fn manifest(&self, dir: &Path, listing: &Listing) -> Result<Option<Manifest>, LoadError> {
        let exists = |name: &&&str| listing.may_have(name) && self.disk.stat_link(&dir.join(**name)).is_ok();
        let names: Vec<_> = ["manifest.yaml", "manifest.yml"].iter().filter(exists).copied().collect();
        let Some(name) = names.first() else { return Ok(None) };
        let file = dir.join(name).display().to_string();
        if names.len() > 1 {
            let message = "there is a manifest.yml beside it; keep one of them".to_owned();
            return Err(ManifestError::at_start(&file, message).into());
        }
        let bytes = self.disk.read_inside(dir, name, MAX_MANIFEST);
        let bytes = bytes.map_err(|error| LoadError::Io { file: file.clone(), error })?;
        let text =
            String::from_utf8(bytes).map_err(|_| ManifestError::at_start(&file, "not UTF-8".into()))?;
        Ok(Some(manifest::parse(&file, &text, &self.ceilings)?))
    }

    /// A `package.json` that cannot be used is only a warning: Bun says more when it loads the app.
    fn package(
        &self,
        dir: &Path,
        listing: &Listing,
        version: &AppVersion,
        warnings: &mut Vec<String>,
    ) -> Option<Package> {
        let file = dir.join("package.json");
        if !listing.may_have("package.json") || !self.disk.is_file(&file) {
            return None;
        }
        let read = self.disk.read_inside(dir, "package.json", MAX_PACKAGE).map_err(|error| error.to_string());
        let parse = |bytes: Vec<u8>| Package::parse(&bytes).map_err(|error| error.to_string());
        let package = match read.and_then(parse) {
            Ok(package) => package,
            Err(error) => {
                warnings.push(format!("{}: {error}", file.display()));
                Package::default()
            }
        };
        if let (AppVersion::Semver(version), Some(other)) = (version, &package.version)
            && *other != version.to_string()
        {
            let (file, other) = (file.display(), other.chars().take(MAX_VERSION).collect::<String>());
            warnings.push(format!("{file} says version {other:?}; the directory decides: {version}"));
        }
        Some(package)
    }

    /// The manifest's `env`, `.env` over it, and what `envPassthrough` names over both: a variable that is really set
    /// wins over a file, as under Bun.
    fn env(
        &self,
        dir: &Path,
        listing: &Listing,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, String>, LoadError> {
        let passed = |name: &String| self.environment.get(name).map(|value| (name.clone(), value.clone()));
        let above: BTreeMap<_, _> = manifest.env_passthrough.iter().filter_map(passed).collect();
        let bytes = match listing.may_have(".env") && self.disk.is_file(&dir.join(".env")) {
            true => self.disk.read_inside(dir, ".env", dotenv::MAX_FILE),
            false => Ok(Vec::new()),
        };
        let bytes =
            bytes.map_err(|error| LoadError::Io { file: dir.join(".env").display().to_string(), error })?;
        Ok(dotenv::merge(&bytes, &manifest.env, &above)?)
    }
}

/// What a directory holds, as far as it can be used.
pub(super) enum Found {
    App(Box<Draft>),
    Disabled,
    Nothing,
}

/// An app before it has a key.
pub(super) struct Draft {
    dir: PathBuf,
    manifest: Manifest,
    kind: Kind,
    env: BTreeMap<String, String>,
    needs_fresh: Option<&'static str>,
}

impl Draft {
    fn broken(dir: &Path, error: &LoadError) -> Draft {
        let kind = Kind::Broken { error: error.to_string() };
        let manifest = Manifest::default();
        Draft { dir: dir.into(), manifest, kind, env: BTreeMap::new(), needs_fresh: None }
    }
}
