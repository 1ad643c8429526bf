//! The index in memory: which app a name and a version spec mean. Answers for each request without disk, without
//! formatting and, but for ranges, without a lock.

use super::disk::Disk;
use super::slots::{Slot, Slots};
use super::{App, Change};
use crate::model::{AppName, AppVersion, VersionKey, VersionSpec};
use arc_swap::ArcSwap;
use lru::LruCache;
use semver::{Version, VersionReq};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ranges whose parsed forms are kept.
const KEPT_RANGES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// All apps that can be asked for. One owner writes it (`Watcher`); everybody reads it.
pub struct Index {
    snapshot: ArcSwap<Snapshot>,
    state: Mutex<State>,
    ranges: Mutex<LruCache<Box<str>, Arc<VersionReq>>>,
    disk: Disk,
}

/// Why a request means no app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// 404.
    #[error("there is no app of this name")]
    UnknownApp,
    /// 404.
    #[error("this app has no such version")]
    UnknownVersion,
    /// 404.
    #[error("this app has no such tag")]
    UnknownTag,
    /// 400.
    #[error("not a version or a range that can be asked for: {hint}")]
    BadRange { hint: &'static str },
}

struct State {
    slots: Slots,
    /// Apps whose changes are being told: what they resolve to changes only afterwards.
    telling: HashSet<AppName>,
}

/// What the readers see; replaced as a whole.
#[derive(Default)]
struct Snapshot {
    apps: HashMap<AppName, Arc<Entry>>,
}

/// One name, its picks made beforehand.
struct Entry {
    default: Arc<App>,
    latest: Option<Arc<App>>,
    /// Highest first.
    versions: Vec<Pick>,
}

struct Pick {
    /// Without build metadata.
    version: Version,
    app: Arc<App>,
    /// Names and ranges take it only when nothing else fits.
    passed_over: bool,
}

impl Index {
    /// An index that knows no app yet; `Watcher::start` fills it.
    pub fn new() -> Arc<Index> {
        Arc::new(Index {
            snapshot: ArcSwap::default(),
            state: Mutex::new(State { slots: Slots::default(), telling: HashSet::new() }),
            ranges: Mutex::new(LruCache::new(KEPT_RANGES)),
            disk: Disk::default(),
        })
    }

    /// The app that `name` and, if given, `spec` (what stood behind the `@`) mean now.
    pub fn resolve(&self, name: &str, spec: Option<&str>) -> Result<Arc<App>, ResolveError> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.apps.get(name).ok_or(ResolveError::UnknownApp)?;
        let Some(text) = spec else { return Ok(entry.default.clone()) };
        if let Some(range) = self.known_range(text) {
            return entry.highest(&range);
        }
        match VersionSpec::parse(text).map_err(|e| ResolveError::BadRange { hint: e.hint })? {
            VersionSpec::Default => Ok(entry.default.clone()),
            VersionSpec::Exact(version) => entry.exactly(&version),
            VersionSpec::Tag(_) => Err(ResolveError::UnknownTag),
            VersionSpec::Range(range) => {
                let found = entry.highest(&range);
                lock(&self.ranges).put(text.into(), Arc::new(range));
                found
            }
        }
    }

    /// Every version that can be asked for, by name, then version.
    pub fn apps(&self) -> Vec<Arc<App>> {
        let snapshot = self.snapshot.load();
        let mut names: Vec<_> = snapshot.apps.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        let versions = |entry: &Arc<Entry>| {
            let semver = entry.versions.iter().rev().map(|pick| pick.app.clone());
            semver.chain(entry.latest.clone()).collect::<Vec<_>>()
        };
        names.into_iter().flat_map(|(_, entry)| versions(entry)).collect()
    }

    /// A worker of this revision is Ready: names, ranges and requests for its version may mean it from now on.
    pub fn prove(&self, key: VersionKey) {
        self.update(|slots| slots.prove(key));
    }

    /// A worker of this revision, not yet proven, failed to start: what stood in for it goes on standing in, and if
    /// another version is proven, names and ranges mean that one. Harmless for a proven revision.
    pub fn disprove(&self, key: VersionKey) {
        self.update(|slots| slots.disprove(key));
    }

    /// The revision `key` was replaced (`Change::Replaced`) and has no live worker, so it cannot serve any more:
    /// its successor is used at once, proven or not. Harmless for a key that is not known.
    pub fn forget_old(&self, key: VersionKey) {
        self.update(|slots| slots.forget_old(key));
    }

    /// How often the index and its watcher have asked the file system for something. Requests never add to it.
    pub fn disk_reads(&self) -> u64 {
        self.disk.reads()
    }

    /// The watcher's way to the file system; what it reads is counted here.
    pub(super) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// Makes `found` (the first of each name and version) all that there is. Additions are told before they
    /// resolve and removals when they no longer do, so whoever is told never meets an app it does not know.
    /// No lock is held while telling.
    pub(super) fn replace_all(&self, found: Vec<Arc<App>>, tell: &mut dyn FnMut(Change)) {
        let plan = {
            let mut state = lock(&self.state);
            let plan = state.slots.replace_all(found);
            state.telling.clone_from(&plan.names);
            plan
        };
        plan.before.into_iter().for_each(&mut *tell);
        {
            let mut state = lock(&self.state);
            state.telling.clear();
            self.publish(&state, &plan.names);
        }
        plan.after.into_iter().for_each(tell);
    }

    /// Changes flags of one app's revisions, and what it resolves to with them.
    fn update(&self, change: impl FnOnce(&mut Slots) -> Option<AppName>) {
        let mut state = lock(&self.state);
        if let Some(name) = change(&mut state.slots)
            && !state.telling.contains(&name)
        {
            self.publish(&state, &HashSet::from([name]));
        }
    }

    fn publish(&self, state: &State, names: &HashSet<AppName>) {
        if names.is_empty() {
            return;
        }
        let mut apps = self.snapshot.load().apps.clone();
        for name in names {
            match state.slots.of(name).and_then(|slots| Entry::new(slots.iter())) {
                Some(entry) => apps.insert(name.clone(), Arc::new(entry)),
                None => apps.remove(name),
            };
        }
        self.snapshot.store(Arc::new(Snapshot { apps }));
    }

    /// The parsed form of a range asked for before. Only what may be a range costs the lock: `1.4.2` is none.
    fn known_range(&self, text: &str) -> Option<Arc<VersionReq>> {
        let is_digit = |b: &u8| b.is_ascii_digit();
        let is_exact =
            text.split('.').nth(2).is_some_and(|patch| patch.as_bytes().first().is_some_and(is_digit));
        match text.as_bytes().first()? {
            b'^' | b'~' => lock(&self.ranges).get(text).cloned(),
            b'v' | b'0'..=b'9' if !is_exact => lock(&self.ranges).get(text).cloned(),
            _ => None,
        }
    }
}

impl Entry {
    /// None = no version at all.
    fn new<'a>(slots: impl Iterator<Item = (&'a AppVersion, &'a Slot)>) -> Option<Entry> {
        let (mut latest, mut versions) = (None, Vec::new());
        for (version, slot) in slots {
            let (app, passed_over) = (slot.serving().clone(), slot.passed_over());
            match version {
                AppVersion::Semver(version) => {
                    versions.push(Pick { version: version.clone(), app, passed_over })
                }
                AppVersion::Latest => latest = Some((app, passed_over)),
            }
        }
        versions.sort_unstable_by(|a, b| b.version.cmp(&a.version));
        // The first by: what is not passed over, then a directory `latest`, then stable, then the highest.
        let semver =
            versions.iter().map(|pick| ((pick.passed_over, 1, !pick.version.pre.is_empty()), &pick.app));
        let ranked = latest.iter().map(|(app, passed_over)| ((*passed_over, 0, false), app)).chain(semver);
        let default = ranked.min_by_key(|(rank, _)| *rank).map(|(_, app)| app.clone())?;
        Some(Entry { default, latest: latest.map(|(app, _)| app), versions })
    }

    fn exactly(&self, version: &Version) -> Result<Arc<App>, ResolveError> {
        let at = self.versions.binary_search_by_key(&Reverse(version), |pick| Reverse(&pick.version));
        at.map(|at| self.versions[at].app.clone()).map_err(|_| ResolveError::UnknownVersion)
    }

    fn highest(&self, range: &VersionReq) -> Result<Arc<App>, ResolveError> {
        let mut fits = self.versions.iter().filter(|pick| range.matches(&pick.version)).peekable();
        let first = fits.peek().copied();
        let pick = fits.find(|pick| !pick.passed_over).or(first);
        pick.map(|pick| pick.app.clone()).ok_or(ResolveError::UnknownVersion)
    }
}

/// A panic elsewhere leaves these maps whole: each change is made under one lock, by code that does not panic midway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
