//! Apps for the tests of this module: made in memory, or written to a directory.

use super::catalog::Found;
use super::disk::Disk;
use super::scan::{Scanner, Scope};
use super::{App, Change, Index, Kind, Meaning, Options, ResolveError, manifest::Ceilings};
use crate::model::{AppName, AppVersion, Manifest, Route, Split, Sticky, VersionKey};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An app that needs no directory. `id` is `shop@1.2.0`.
pub fn app(key: u64, id: &str, kind: Kind) -> Arc<App> {
    let (name, version) = id.rsplit_once('@').unwrap();
    Arc::new(App {
        key: VersionKey(key),
        name: AppName::parse(name).unwrap(),
        version: AppVersion::parse(version).unwrap(),
        dir: PathBuf::from("/apps").join(id),
        manifest: Manifest::default(),
        kind,
        env: BTreeMap::new(),
        needs_fresh: None,
        plugin: None,
    })
}

pub fn worker(key: u64, id: &str) -> Arc<App> {
    app(key, id, Kind::Worker { entrypoint: "/apps/index.ts".into() })
}

pub fn static_site(key: u64, id: &str) -> Arc<App> {
    app(key, id, Kind::Static { root: "/apps".into(), index: "index.html".into() })
}

pub fn broken(key: u64, id: &str) -> Arc<App> {
    app(key, id, Kind::Broken { error: "its manifest is wrong".into() })
}

/// A change in a few characters: `+shop@1.0.0`, `?…` to be proven, `-…`, `~…` replaced, `x…` outdated.
pub fn show(change: &Change) -> String {
    let (sign, app) = match change {
        Change::Added(app) => ('+', app),
        Change::Prove(app) => ('?', app),
        Change::Removed(app) => ('-', app),
        Change::Outdated(app) => ('x', app),
        Change::Replaced { new, .. } => ('~', new),
    };
    format!("{sign}{}@{}", app.name, app.version)
}

pub fn options(worker_dirs: &[&Path]) -> Options {
    Options {
        worker_dirs: worker_dirs.iter().map(|dir| dir.to_path_buf()).collect(),
        reserved: vec!["api".into(), ".well-known".into(), "@plugin".into()],
        ceilings: Ceilings { max_body_size: 100 << 20, cores: 4 },
        development: false,
        edited: false,
        sole: None,
        ignored: super::Ignored::default(),
        quiet: super::QUIET,
        production: true,
        environment: [("SHARED", "from outside"), ("RUNTIME_ROOT_KEY", "secret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

/// Writes a file and the directories above it. The file is there at once, as editors do it: one that is emptied and then written may
/// be seen to change twice.
pub fn write(dir: &Path, file: &str, text: &str) {
    let (path, aside) = (dir.join(file), dir.join(".aside"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&aside, text).unwrap();
    fs::rename(&aside, path).unwrap();
}

/// Writes an empty `index.ts` into each of these directories.
pub fn apps(dir: &Path, names: &[&str]) {
    for name in names {
        write(dir, &format!("{name}/index.ts"), "");
    }
}

/// What the scanner finds in a worker directory at start: `shop@1.2.0` and where it is.
pub fn found(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut scanner = Scanner::new(options(&[dir]), Disk::default());
    let pass = scanner.pass(&Scope::All, std::time::Duration::ZERO);
    let found = pass.found.unwrap();
    let apps = found.iter().filter_map(|found| found.app());
    apps.map(|app| (format!("{}@{}", app.name, app.version), app.dir.clone())).collect()
}

/// An index of these apps in which an alias is split like this.
pub fn split_index(
    apps: &[Arc<App>],
    name: &str,
    alias: &str,
    parts: &[(&str, u8)],
    sticky: Sticky,
) -> Arc<Index> {
    let index = Index::new();
    index.replace_all(apps.iter().cloned().map(Found::from).collect(), &mut |_| {});
    index.set_route(&name.parse().unwrap(), &alias.parse().unwrap(), Some(Route { sticky, ..route(parts) }));
    index
}

/// A split between these versions, by cookie.
pub fn route(parts: &[(&str, u8)]) -> Route {
    let parts = parts.iter().map(|(version, weight)| (version.parse().unwrap(), *weight));
    Split::new(parts.collect()).unwrap().into()
}

/// What a request means that meets no split.
pub fn one(index: &Index, name: &str, spec: Option<&str>) -> Result<Arc<App>, ResolveError> {
    match index.resolve(name, spec)? {
        Meaning::One(app) => Ok(app),
        Meaning::Split(_) => panic!("{name}@{spec:?} is a split"),
    }
}
