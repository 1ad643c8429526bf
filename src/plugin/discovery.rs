//! Finds all plugins: `name/` and `@scope/name/` with a manifest in the plugin directories, and those that are linked in.
//!
//! What the operator changes goes into the manifest where that can be written, else into `{state}/plugins/NAME.yaml`, whose
//! keys take the place of the manifest's. It holds only what was changed, so that a new version of the plugin is not held
//! back by a copy of the old manifest.

use super::manifest::{self, Broken, Layer, MAX_MANIFEST, ManifestErrors, PluginManifest, PluginName, Rules};
use super::{ChangeError, Proposed};
use crate::apps::{Disk, first_writable};
use crate::manifest::ManifestError;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Entries of a plugin directory, or of a scope in one, that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Where plugins are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'p> {
    /// The earlier wins.
    pub dirs: &'p [PathBuf],
    pub linked: &'p [Linked<'p>],
    pub state_dir: &'p Path,
    /// What files are taken to say, whatever they say.
    pub changes: &'p [Proposed],
}

/// A native plugin, with the manifest that it has where no directory has one of its name.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'p> {
    pub name: &'p str,
    pub manifest: &'p str,
}

/// All plugins, each name once: those of the directories first, in the order of the directories and of names in them.
#[derive(Debug, Default)]
pub struct Discovery {
    pub found: Vec<Found>,
    /// One line each.
    pub warnings: Vec<String>,
    /// Plugin directories that are not there.
    pub missing: BTreeSet<PathBuf>,
    /// Why it cannot be told what is in a directory, one line each.
    unlisted: Vec<String>,
}

/// A plugin, on or off.
#[derive(Debug)]
pub struct Found {
    /// The manifest's; where that says none, its directory's.
    pub name: PluginName,
    pub manifest: Result<PluginManifest, Unusable>,
    /// Absolute, links resolved; none = it is in the binary alone.
    pub dir: Option<PathBuf>,
    pub source: Source,
    /// Where changes go. It need not be there yet.
    pub file: PathBuf,
    /// Whether a crate of that name is linked.
    pub native: bool,
}

/// Where what holds now was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Embedded,
    Dir,
    /// As one of these, with changes in the state directory.
    State,
}

/// A plugin that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// What it would be, as far as it can be told; else the worse.
    pub enabled: bool,
    pub required: bool,
    pub error: PluginError,
}

#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error(transparent)]
    Manifest(ManifestErrors),
    #[error("cannot read {file}: {error}")]
    Io { file: String, error: std::io::Error },
    #[error("{}: there is no such file in the plugin\n  hint: add it, or name another in `pluginEntry`", file.display())]
    NoEntry { file: PathBuf },
    #[error(
        "the base `{base}` is taken by {holder}, and {name} wants it too\n  hint: give one of them another `base`"
    )]
    BaseTaken { base: String, holder: PluginName, name: PluginName },
}

impl Discovery {
    pub fn named(&self, name: &str) -> Option<&Found> {
        self.found.iter().find(|found| found.name.as_str() == name)
    }

    /// Why there may be plugins that were not found. Nothing may be concluded then from one that is not there.
    pub fn blind(&self) -> Option<String> {
        (!self.unlisted.is_empty()).then(|| self.unlisted.join("\n"))
    }
}

impl PluginError {
    /// As the answer to whoever wanted it otherwise.
    pub fn refusal(&self) -> ChangeError {
        match self {
            PluginError::BaseTaken { .. } => ChangeError::BaseTaken(self.to_string()),
            _ => ChangeError::Invalid(self.to_string()),
        }
    }
}

impl Found {
    pub fn is_enabled(&self) -> bool {
        match &self.manifest {
            Ok(manifest) => manifest.enabled,
            Err(unusable) => unusable.enabled,
        }
    }

    pub fn is_required(&self) -> bool {
        match &self.manifest {
            Ok(manifest) => manifest.required,
            Err(unusable) => unusable.required,
        }
    }
}

/// Looks at all places, once.
pub fn discover(places: &Places<'_>, rules: &Rules<'_>) -> Discovery {
    let mut search = Search {
        places,
        rules,
        disk: Disk::default(),
        discovery: Discovery::default(),
        names: BTreeSet::new(),
    };
    for dir in places.dirs {
        search.directory(dir);
    }
    for linked in places.linked {
        search.embedded(linked);
    }
    refuse_taken_bases(&mut search.discovery.found);
    search.discovery
}

/// Looks at one directory, wherever it is, as at a plugin. None = it has no manifest.
pub fn inspect(dir: &Path, places: &Places<'_>, rules: &Rules<'_>) -> Option<Found> {
    let (disk, discovery, names) = (Disk::default(), Discovery::default(), BTreeSet::new());
    let mut search = Search { places, rules, disk, discovery, names };
    // It is called by its manifest alone.
    search.entry(dir, Path::new("unnamed"));
    search.discovery.found.pop()
}

/// The file of what is changed where the manifest cannot be written.
pub fn state_file(state_dir: &Path, name: &PluginName) -> PathBuf {
    // A name has no part that leads elsewhere.
    state_dir.join("plugins").join(format!("{name}.yaml"))
}

struct Search<'s> {
    places: &'s Places<'s>,
    rules: &'s Rules<'s>,
    disk: Disk,
    discovery: Discovery,
    names: BTreeSet<PluginName>,
}

/// A manifest before it is understood.
struct Text {
    file: String,
    text: String,
}

impl Text {
    fn layer(&self) -> Layer<'_> {
        Layer { file: &self.file, text: &self.text }
    }
}

impl Search<'_> {
    fn directory(&mut self, top: &Path) {
        for (path, name) in self.list(top) {
            if !name.as_encoded_bytes().starts_with(b"@") {
                self.entry(&path, Path::new(&name));
                continue;
            }
            for (path, inner) in self.list(&path) {
                self.entry(&path, &Path::new(&name).join(inner));
            }
        }
    }

    /// Directories in `dir`, links to directories among them.
    fn list(&mut self, dir: &Path) -> Vec<(PathBuf, std::ffi::OsString)> {
        let listing = match self.disk.list(dir, MAX_ENTRIES) {
            Ok(listing) => listing,
            // A default need not be there; what was named and is missing was said when the configuration was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.discovery.missing.insert(dir.to_owned());
                return Vec::new();
            }
            Err(error) => {
                let why = format!("cannot read the directory {}: {error}", dir.display());
                self.discovery.unlisted.push(why);
                return Vec::new();
            }
        };
        if listing.cut {
            self.warn(format!("{} has more than {MAX_ENTRIES} entries; the rest is left out", dir.display()));
        }
        let named = listing.items.into_iter().map(|item| (dir.join(&item.name), item.name));
        // What cannot be looked at may be one.
        let may_be_one = |path: &Path| match self.disk.stat(path) {
            Ok(meta) => meta.is_dir(),
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        named.filter(|(path, name)| !is_ignored(name) && may_be_one(path)).collect()
    }

    fn entry(&mut self, path: &Path, relative: &Path) {
        let label = relative.to_str().ok_or_else(|| "its name is not UTF-8".to_owned());
        let label = label.and_then(|text| PluginName::parse(text).map_err(|error| error.to_string()));
        let mut names = Vec::new();
        for name in manifest::FILES {
            match (self.disk.stat_link(&path.join(name)), &label) {
                (Ok(_), _) => names.push(name),
                (Err(error), _) if error.kind() == ErrorKind::NotFound => {}
                (Err(error), Ok(label)) => {
                    let error = PluginError::Io { file: path.join(name).display().to_string(), error };
                    let dir = self.disk.canonical(path).unwrap_or_else(|_| path.to_owned());
                    return self.unreadable(label.clone(), &dir, error);
                }
                // No plugin can be there: `lost+found`.
                (Err(_), Err(_)) => {}
            }
        }
        let Some(&name) = names.first() else { return };
        let label = match label {
            Ok(label) => label,
            Err(why) => return self.warn(format!("{}: {why}; skipped", path.display())),
        };
        let io = |error| PluginError::Io { file: path.display().to_string(), error };
        let dir = match self.disk.canonical(path).map_err(io) {
            Ok(dir) => dir,
            Err(error) => return self.unreadable(label, path, error),
        };
        let file = dir.join(name);
        let text = match names.len() {
            1 => self.text(&dir, name),
            _ => Err(at_start(&file, "there is a manifest.yml beside it; keep one of them")),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => return self.unreadable(label, &dir, error),
        };
        let name = manifest::name_of(&text.text).unwrap_or(label);
        if self.is_twice(&name, path) {
            return;
        }
        let native = self.places.linked.iter().any(|linked| linked.name == name.as_str());
        let (mut manifest, changed) = self.parse(&name, &text);
        if let Ok(read) = &manifest
            && !native
            && let Err(error) = self.check_entry(&dir, read)
        {
            manifest = Err(Unusable { enabled: read.enabled, required: read.required, error });
        }
        let source = if changed { Source::State } else { Source::Dir };
        let file = match changed || !can_be_replaced(&self.disk, &file) {
            true => state_file(self.places.state_dir, &name),
            false => file,
        };
        self.add(Found { name, manifest, dir: Some(dir), source, file, native });
    }

    fn embedded(&mut self, linked: &Linked<'_>) {
        let Ok(name) = PluginName::parse(linked.name) else {
            return self.warn(format!("`{}` is linked and has no name of a plugin; skipped", linked.name));
        };
        if self.names.contains(&name) {
            return;
        }
        let text = Text { file: format!("{name} (in the binary)"), text: linked.manifest.to_owned() };
        let (manifest, changed) = self.parse(&name, &text);
        let source = if changed { Source::State } else { Source::Embedded };
        let file = state_file(self.places.state_dir, &name);
        self.add(Found { name, manifest, dir: None, source, file, native: true });
    }

    /// What the manifest and the changes in the state directory say, and whether there are any.
    fn parse(&self, name: &PluginName, text: &Text) -> (Result<PluginManifest, Unusable>, bool) {
        let over = match self.changes(name) {
            Ok(over) => over,
            Err(error) => return (Err(Unusable { enabled: true, required: true, error }), true),
        };
        let parsed = manifest::parse(text.layer(), over.as_ref().map(Text::layer), self.rules);
        let manifest = parsed.map_err(|Broken { enabled, required, errors, .. }| Unusable {
            enabled,
            required,
            error: PluginError::Manifest(errors),
        });
        (manifest, over.is_some())
    }

    /// What a change that is not made yet says of a file.
    fn proposed(&self, file: &Path) -> Option<&String> {
        self.places.changes.iter().rev().find(|change| change.file == file).map(|change| &change.text)
    }

    fn changes(&self, name: &PluginName) -> Result<Option<Text>, PluginError> {
        let file = state_file(self.places.state_dir, name);
        if let Some(text) = self.proposed(&file) {
            return Ok(Some(Text { file: file.display().to_string(), text: text.clone() }));
        }
        if self.disk.stat_link(&file).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let dir = self.places.state_dir.join("plugins");
        let io = |error| PluginError::Io { file: dir.display().to_string(), error };
        let dir = self.disk.canonical(&dir).map_err(io)?;
        self.text(&dir, &format!("{name}.yaml")).map(Some)
    }

    fn text(&self, dir: &Path, name: &str) -> Result<Text, PluginError> {
        let path = dir.join(name);
        let file = path.display().to_string();
        if let Some(text) = self.proposed(&path) {
            return Ok(Text { file, text: text.clone() });
        }
        let bytes = self.disk.read_inside(dir, name, MAX_MANIFEST);
        let bytes = bytes.map_err(|error| PluginError::Io { file: file.clone(), error })?;
        let text = String::from_utf8(bytes).map_err(|_| at_start(&path, "not UTF-8"))?;
        Ok(Text { file, text })
    }

    /// The module of a script plugin must be a file in its directory.
    fn check_entry(&self, dir: &Path, manifest: &PluginManifest) -> Result<(), PluginError> {
        let file = dir.join(&manifest.plugin_entry);
        let inside = self.disk.canonical(&file).is_ok_and(|file| file.starts_with(dir));
        match inside && self.disk.is_file(&file) {
            true => Ok(()),
            false => Err(PluginError::NoEntry { file }),
        }
    }

    /// Whether an earlier directory has one of that name.
    fn is_twice(&mut self, name: &PluginName, path: &Path) -> bool {
        let twice = self.names.contains(name);
        if twice {
            self.warn(format!("{}: {name} is there already; skipped", path.display()));
        }
        twice
    }

    /// One whose manifest cannot even be read goes by the name of its directory.
    fn unreadable(&mut self, label: PluginName, dir: &Path, error: PluginError) {
        if self.is_twice(&label, dir) {
            return;
        }
        let native = self.places.linked.iter().any(|linked| linked.name == label.as_str());
        let file = state_file(self.places.state_dir, &label);
        let manifest = Err(Unusable { enabled: true, required: true, error });
        self.add(Found { name: label, manifest, dir: Some(dir.into()), source: Source::Dir, file, native });
    }

    fn add(&mut self, found: Found) {
        self.names.insert(found.name.clone());
        self.discovery.found.push(found);
    }

    fn warn(&mut self, warning: String) {
        self.discovery.warnings.push(warning);
    }
}

/// Of two that are on and want one base, the later is refused.
fn refuse_taken_bases(found: &mut [Found]) {
    let mut holders: BTreeMap<String, PluginName> = BTreeMap::new();
    for Found { name, manifest, .. } in found {
        let Ok(read) = manifest else { continue };
        let Some(base) = read.base.as_ref().filter(|_| read.enabled) else { continue };
        match holders.entry(base.as_str().to_owned()) {
            Entry::Vacant(free) => drop(free.insert(name.clone())),
            Entry::Occupied(taken) => {
                let (base, holder) = (taken.key().clone(), taken.get().clone());
                let error = PluginError::BaseTaken { base, holder, name: name.clone() };
                *manifest = Err(Unusable { enabled: true, required: read.required, error });
            }
        }
    }
}

/// Whether another file can be put in the place of this one, or of what it leads to.
fn can_be_replaced(disk: &Disk, file: &Path) -> bool {
    let target = disk.canonical(file).ok();
    let dir = target.as_deref().and_then(Path::parent).map(Path::to_owned);
    dir.is_some_and(|dir| first_writable(&[dir]).is_some())
}

fn at_start(file: &Path, message: &str) -> PluginError {
    let error = ManifestError::at_start(&file.display().to_string(), message.into());
    PluginError::Manifest(ManifestErrors(vec![error]))
}

fn is_ignored(name: &OsStr) -> bool {
    name == "node_modules" || name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests;
