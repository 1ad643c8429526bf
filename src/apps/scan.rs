//! Finds apps in the worker directories and keeps what it found: flat (`shop@1.2.0/`), nested (`shop/1.2.0/`) and
//! simple (`shop/`) layouts, scoped names alike.
//!
//! A pass looks at all entries, or at those that something happened to. What did not change is not read again: of a
//! live version that is its directory's identity (replaced by rename = another directory) or, in development, the
//! stamp of its tree. What is no live app (broken, disabled, no entrypoint) is always judged by its tree, so repairing
//! it in place is noticed.

mod look;

use self::look::Look;
use super::Options;
use super::catalog::{Found, Off};
use super::disk::{Disk, Identity};
use super::ignored::Ignored;
use super::load::{Loader, Outcome, Reading};
use super::manifest::Ceilings;
use super::quiet::{LATEST, Quiet};
use super::tree::{self, Served, Sheets, View};
use crate::model::{App, AppName, AppVersion, Kind, VersionKey};
use crate::shortage::Shortage;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Entries of one worker or scope directory that are looked at.
const MAX_APPS: usize = 100_000;
/// Entries of one app's directory among which versions are looked for.
const MAX_VERSIONS: usize = 10_000;
/// A directory changed so recently may change again without its time of change telling (its clock ticks slowly).
const FRESH: Duration = Duration::from_secs(2);
/// When to look again at what could not be read for want of what the machine has too little of.
const STARVED: Duration = Duration::from_secs(1);
/// The stamp of what is not there.
const GONE: u64 = 0;

pub(super) struct Scanner {
    roots: Vec<Root>,
    loader: Loader,
    quiet: Quiet,
    development: bool,
    edited: bool,
    ignored: Ignored,
    reserved: Vec<String>,
    /// Whether a pass was made: what is there at start counts at once.
    started: bool,
    warned: BTreeSet<String>,
}

/// A worker directory.
struct Root {
    dir: PathBuf,
    /// The one entry of it that is an app, where it holds no others.
    sole: Option<(PathBuf, Label)>,
    scopes: BTreeSet<PathBuf>,
    entries: BTreeMap<PathBuf, Entry>,
    warnings: BTreeSet<String>,
}

/// `shop`, `shop@1.2.0` or `@team/shop` in a worker directory.
struct Entry {
    label: Label,
    /// Sub-directories that are named like versions, as last listed.
    listed: Vec<(PathBuf, AppVersion)>,
    /// What the directory was then, if that tells whether to list it again.
    stamp: Option<DirStamp>,
    versions: BTreeMap<PathBuf, Version>,
}

/// What an entry's name says; without a version it is nested or simple.
#[derive(Clone)]
struct Label {
    name: AppName,
    version: Option<AppVersion>,
}

/// A directory that stands for a version.
struct Version {
    version: AppVersion,
    identity: Identity,
    /// The stamp of its tree, where that decides.
    tree: Option<u64>,
    /// The style sheets in it, where apps are edited.
    sheets: Sheets,
    outcome: Outcome,
    warnings: Arc<[String]>,
}

/// Changes whenever something is added to, or taken from, a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DirStamp {
    identity: Identity,
    modified: SystemTime,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Entries by path.
    Only(BTreeSet<PathBuf>),
}

/// What a pass found out.
#[derive(Default)]
pub(super) struct Pass {
    /// All there is, the first of each name and version; none = nothing changed.
    pub found: Option<Vec<Found>>,
    /// Entries that are not quiet yet, and when to look at them again.
    pub unsettled: Vec<(PathBuf, Duration)>,
    /// When to look at everything again: a directory could not be listed for want of what the machine has too little of.
    pub again: Option<Duration>,
    /// Revisions that differ from those before in style sheets alone.
    pub restyled: Vec<(VersionKey, Vec<PathBuf>)>,
    /// What the operator was not told before.
    pub warnings: Vec<String>,
}

impl Scanner {
    pub fn new(options: Options, disk: Disk) -> Scanner {
        let Options {
            worker_dirs,
            reserved,
            ceilings,
            development,
            edited,
            sole,
            ignored,
            quiet,
            production,
            environment,
        } = options;
        let root = |dir: PathBuf| {
            let sole =
                sole.clone().map(|name| (dir.clone(), Label { name, version: Some(AppVersion::Latest) }));
            // To see it come back if another one is put in its place.
            let above = dir.parent().filter(|_| sole.is_some()).map(Path::to_owned);
            let (scopes, entries, warnings) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
            Root { dir: above.unwrap_or(dir), sole, scopes, entries, warnings }
        };
        Scanner {
            roots: worker_dirs.into_iter().map(root).collect(),
            loader: Loader { disk, ceilings, production, environment, next_key: 1 },
            quiet: Quiet::new(quiet, edited.then_some(LATEST)),
            development,
            edited,
            ignored,
            reserved,
            started: false,
            warned: BTreeSet::new(),
        }
    }

    /// What to look at after something happened at `path`.
    pub fn scope_of(&self, path: &Path) -> Scope {
        let mut entries = BTreeSet::new();
        for root in &self.roots {
            // It may have come to be, or is about to.
            if root.dir.starts_with(path) {
                return Scope::All;
            }
            if let Some((sole, _)) = &root.sole {
                let inside = path.strip_prefix(sole).ok().filter(|inside| !self.is_written(inside));
                entries.extend(inside.map(|_| sole.clone()));
                continue;
            }
            let Ok(inside) = path.strip_prefix(&root.dir) else { continue };
            let scoped = inside.components().next().is_some_and(|first| is_scope(first.as_os_str()));
            let wanted = if scoped { 2 } else { 1 };
            let parts: PathBuf = inside.components().take(wanted).collect();
            // Of a worker directory or a scope itself, anything may have changed.
            if parts.components().count() < wanted {
                return Scope::All;
            }
            let below: PathBuf = inside.components().skip(wanted).collect();
            if !parts.iter().any(is_ignored) && !self.is_written(&below) {
                entries.insert(root.dir.join(parts));
            }
        }
        Scope::Only(entries)
    }

    /// Whether a path within an app is of what nobody edits, where edits count: it may be written to all the time.
    fn is_written(&self, inside: &Path) -> bool {
        self.development && inside.iter().any(|name| self.ignored.has(name))
    }

    /// The entry of a worker directory that `path` is, or is inside of; none = it is none, or is inside of none.
    pub fn entry_of(&self, path: &Path) -> Option<PathBuf> {
        match self.scope_of(path) {
            Scope::Only(entries) => entries.into_iter().next(),
            Scope::All => None,
        }
    }

    /// Looks at `scope`. `now` is time since some fixed moment.
    pub fn pass(&mut self, scope: &Scope, now: Duration) -> Pass {
        self.pass_over(scope, None, now)
    }

    /// Looks at one entry, and takes what `path` (the entry, or a version in it) holds now as it is, without waiting for
    /// quiet: somebody knows that it is whole.
    pub fn pass_at_once(&mut self, entry: PathBuf, path: &Path, now: Duration) -> Pass {
        self.pass_over(&Scope::Only(BTreeSet::from([entry])), Some(path), now)
    }

    fn pass_over(&mut self, scope: &Scope, whole: Option<&Path>, now: Duration) -> Pass {
        let mut pass = Pass::default();
        let mut changed = !self.started;
        let mut roots = std::mem::take(&mut self.roots);
        for root in &mut roots {
            let paths = match scope {
                Scope::All => self.list_root(root, now, &mut pass),
                Scope::Only(paths) => {
                    paths.iter().filter(|path| path.starts_with(&root.dir)).cloned().collect()
                }
            };
            for path in paths {
                changed |= self.look(root, path, whole, now, &mut pass);
            }
        }
        self.roots = roots;
        self.started = true;
        if *scope == Scope::All {
            self.quiet.forget_unseen(now);
        }
        let (found, warnings) = self.assemble();
        pass.found = changed.then_some(found);
        pass.warnings = warnings.difference(&self.warned).cloned().collect();
        self.warned = warnings;
        pass
    }

    /// Gives a version a new key, as if it had been read again, and all there is. Keys are never used twice, and the one it
    /// had may have served.
    pub fn renew(&mut self, name: &AppName, version: &AppVersion) -> Vec<Found> {
        let version = version.identity();
        let entries = self.roots.iter_mut().flat_map(|root| root.entries.values_mut());
        for known in
            entries.filter(|entry| entry.label.name == *name).flat_map(|entry| entry.versions.values_mut())
        {
            if let Outcome::App(app) = &mut known.outcome
                && known.version.identity() == version
            {
                Arc::make_mut(app).key = self.loader.new_key();
            }
        }
        self.found()
    }

    /// Reads all versions again, under these ceilings, and gives all there is. One that would be run as before stays as it is.
    pub fn reread(&mut self, ceilings: Ceilings) -> Vec<Found> {
        self.loader.ceilings = ceilings;
        for entry in self.roots.iter_mut().flat_map(|root| root.entries.values_mut()) {
            for (path, known) in &mut entry.versions {
                let Reading { outcome, warnings, starved } =
                    self.loader.load(&entry.label.name, &known.version, path);
                if starved {
                    continue;
                }
                let is_same = match (&known.outcome, &outcome) {
                    (Outcome::App(known), Outcome::App(read)) => known.is_run_as(read),
                    (Outcome::Disabled, Outcome::Disabled) => true,
                    (Outcome::NoEntrypoint, Outcome::NoEntrypoint) => true,
                    _ => false,
                };
                if !is_same {
                    known.outcome = outcome;
                    // What is no live app is judged by its tree.
                    known.tree = known.tree.or_else(|| {
                        (!known.outcome.is_live()).then(|| {
                            tree::stamp(&self.loader.disk, path, &View::Source(self.ignored.clone()))
                        })
                    });
                }
                known.warnings = warnings.into();
            }
        }
        self.found()
    }

    /// Reads a directory that need not be one of those that are looked at. None = nothing in it can be served.
    pub fn read(&mut self, name: &AppName, version: &AppVersion, dir: &Path) -> Option<Arc<App>> {
        match self.loader.load(name, version, dir).outcome {
            Outcome::App(app) => Some(app),
            Outcome::Disabled | Outcome::NoEntrypoint => None,
        }
    }

    /// All there is, the first of each name and version.
    pub fn found(&self) -> Vec<Found> {
        self.assemble().0
    }

    /// The worker directories or, of one that is not there, what would hold it.
    pub fn nearest(&self) -> BTreeSet<PathBuf> {
        let is_there = |dir: &Path| self.loader.disk.stat(dir).is_ok_and(|meta| meta.is_dir());
        let nearest = |root: &Root| root.dir.ancestors().find(|dir| is_there(dir)).map(Path::to_owned);
        self.roots.iter().filter_map(nearest).collect()
    }

    /// Directories whose events matter: those that hold apps or versions, those that are to be repaired and, in
    /// development, those inside the apps. About `most` of them; the slow rescan sees to the rest.
    pub fn watched(&self, most: usize) -> BTreeSet<PathBuf> {
        let mut dirs = self.nearest();
        dirs.extend(self.roots.iter().flat_map(|root| root.scopes.iter().cloned()));
        for (path, entry) in self.roots.iter().flat_map(|root| &root.entries) {
            if dirs.len() >= most {
                break;
            }
            // A version may appear in it.
            if entry.label.version.is_none() {
                dirs.insert(path.clone());
            }
            for (path, version) in &entry.versions {
                if !version.outcome.is_live() && !self.edited {
                    dirs.insert(path.clone());
                } else if self.development {
                    let (view, room) = (self.view(Some(&version.outcome)), most.saturating_sub(dirs.len()));
                    dirs.extend(tree::source_dirs(&self.loader.disk, path, &view, room));
                }
            }
        }
        dirs
    }

    /// The paths of all entries of a worker directory, also of those known from before.
    fn list_root(&self, root: &mut Root, now: Duration, pass: &mut Pass) -> BTreeSet<PathBuf> {
        if let Some((sole, _)) = &root.sole {
            return BTreeSet::from([sole.clone()]);
        }
        root.warnings.clear();
        root.scopes.clear();
        let mut paths: BTreeSet<_> = root.entries.keys().cloned().collect();
        let mut open = vec![(root.dir.clone(), true)];
        while let Some((dir, is_root)) = open.pop() {
            let listing = match self.loader.disk.list(&dir, MAX_APPS) {
                Ok(listing) => listing,
                Err(error) => {
                    if Shortage::of(&error).is_some() {
                        pass.again = Some(now + STARVED);
                    }
                    root.warnings.insert(format!("cannot read the directory {}: {error}", dir.display()));
                    continue;
                }
            };
            if listing.cut {
                root.warnings.insert(format!(
                    "{} has more than {MAX_APPS} entries; the rest is left out",
                    dir.display()
                ));
            }
            for item in listing.items.into_iter().filter(|item| item.is_dir != Some(false)) {
                let path = dir.join(&item.name);
                if is_ignored(&item.name) {
                    continue;
                } else if is_root && is_scope(&item.name) {
                    root.scopes.insert(path.clone());
                    open.push((path, false));
                } else {
                    paths.insert(path);
                }
            }
        }
        paths
    }

    /// Looks at one entry. True = something counts as changed.
    fn look(
        &mut self,
        root: &mut Root,
        path: PathBuf,
        whole: Option<&Path>,
        now: Duration,
        pass: &mut Pass,
    ) -> bool {
        let mut entry = match root.entries.remove(&path) {
            Some(entry) => entry,
            None => match self.label(root, &path) {
                Ok(label) => Entry { label, listed: Vec::new(), stamp: None, versions: BTreeMap::new() },
                Err(Some(warning)) => {
                    root.warnings.insert(warning);
                    return false;
                }
                Err(None) => return false,
            },
        };
        let mut look =
            Look { scanner: self, now, whole, due: None, changed: false, restyled: &mut pass.restyled };
        let exists = look.entry(&path, &mut entry);
        let Look { due, changed, .. } = look;
        pass.unsettled.extend(due.map(|due| (path.clone(), due)));
        if exists || !entry.versions.is_empty() {
            root.entries.insert(path, entry);
        }
        changed
    }

    /// What an entry's name means; `Err(None)` = it is not there, or not a directory.
    fn label(&self, root: &Root, path: &Path) -> Result<Label, Option<String>> {
        if !self.loader.disk.stat(path).is_ok_and(|meta| meta.is_dir()) {
            return Err(None);
        }
        if let Some((_, label)) = &root.sole {
            return Ok(label.clone());
        }
        let skip = |why: &dyn std::fmt::Display| Some(format!("{}: {why}; skipped", path.display()));
        let relative = path.strip_prefix(&root.dir).unwrap_or(path);
        let text = relative.to_str().ok_or_else(|| skip(&"its name is not UTF-8"))?;
        let (name, version) = match text.rsplit_once('@') {
            Some((name, version)) if !name.is_empty() => (name, Some(version)),
            _ => (text, None),
        };
        let name = AppName::parse(name).map_err(|error| skip(&error))?;
        let version = version.map(AppVersion::parse).transpose().map_err(|error| skip(&error))?;
        if self.reserved.iter().any(|reserved| reserved == name.first_segment()) {
            return Err(skip(&format!("the path /{} is reserved", name.first_segment())));
        }
        Ok(Label { name, version })
    }

    /// What counts as a change of a version of which this was read last.
    fn view(&self, known: Option<&Outcome>) -> View {
        if !self.edited {
            return View::Source(self.ignored.clone());
        }
        let served = match known {
            Some(Outcome::App(app)) => {
                let inside = |path: &Path| path.strip_prefix(&app.dir).unwrap_or(path).to_owned();
                match &app.kind {
                    Kind::Worker { entrypoint } => Served::Module(inside(entrypoint)),
                    Kind::Static { root, .. } => Served::Site(inside(root)),
                    Kind::Broken { .. } => Served::Unknown,
                }
            }
            _ => Served::Unknown,
        };
        View::Edited(served, self.ignored.clone())
    }

    /// All there is, the earlier directory winning, and all there is to warn of.
    fn assemble(&self) -> (Vec<Found>, BTreeSet<String>) {
        let (mut all, mut taken, mut warnings) = (Vec::new(), HashSet::new(), BTreeSet::new());
        let mut off = Vec::new();
        for root in &self.roots {
            warnings.extend(root.warnings.iter().cloned());
            for entry in root.entries.values() {
                for (path, version) in &entry.versions {
                    warnings.extend(version.warnings.iter().cloned());
                    let app = match &version.outcome {
                        Outcome::App(app) => app,
                        Outcome::Disabled => {
                            off.push((&entry.label.name, path, version));
                            continue;
                        }
                        Outcome::NoEntrypoint => continue,
                    };
                    if taken.insert((&app.name, version.version.identity())) {
                        all.push(Found::App { app: app.clone(), warnings: version.warnings.clone() });
                    } else {
                        let (path, name) = (path.display(), &app.name);
                        let warning = format!("{path}: {name}@{} is there already; skipped", version.version);
                        warnings.insert(warning);
                    }
                }
            }
        }
        // What is disabled takes nobody's place.
        for (name, path, known) in off {
            if taken.insert((name, known.version.identity())) {
                let off = Off { name: name.clone(), version: known.version.clone(), dir: path.clone() };
                all.push(Found::Off { off: Arc::new(off), warnings: known.warnings.clone() });
            }
        }
        (all, warnings)
    }
}

fn is_scope(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"@")
}

fn is_ignored(name: &OsStr) -> bool {
    name == "node_modules" || name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests;
