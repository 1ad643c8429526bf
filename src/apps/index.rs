//! The index in memory: which app a name and a version spec mean. Answers for each request without disk, without
//! formatting and, but for ranges, without a lock.

mod entry;

pub use self::entry::Dangling;
use self::entry::{Aim, Entry, Routes};
use super::catalog::{Found, Listed};
use super::disk::Disk;
use super::fork::Fork;
use super::slots::Slots;
use super::{App, Change};
use crate::model::{AliasName, AppName, AppVersion, Route, VersionKey, VersionSpec};
use arc_swap::ArcSwap;
use lru::LruCache;
use semver::VersionReq;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ranges whose parsed forms are kept.
const KEPT_RANGES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// All apps that can be asked for. One owner writes what is on disk (`Watcher`); everybody reads it.
pub struct Index {
    snapshot: ArcSwap<Snapshot>,
    state: Mutex<State>,
    ranges: Mutex<LruCache<Box<str>, Arc<VersionReq>>>,
    disk: Disk,
}

/// What an operator has decided about apps, as it was kept.
#[derive(Debug, Default)]
pub struct Decisions {
    pub routes: Vec<(AppName, AliasName, Route)>,
    /// Versions that do not resolve.
    pub disabled: Vec<(AppName, AppVersion)>,
}

/// What a request means.
#[derive(Clone, Debug)]
pub enum Meaning {
    One(Arc<App>),
    /// One of several versions: which, the client's bucket decides.
    Split(Arc<Fork>),
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
    /// 404.
    #[error("{0}")]
    Dangling(Arc<Dangling>),
    /// 400.
    #[error("not a version or a range that can be asked for: {hint}")]
    BadRange { hint: &'static str },
}

#[derive(Default)]
struct State {
    slots: Slots,
    /// Apps whose changes are being told: what they resolve to changes only afterwards.
    telling: HashSet<AppName>,
    /// Also of apps that are not there.
    routes: HashMap<AppName, Routes>,
    /// Without build metadata; also of what is not there.
    disabled: HashSet<(AppName, AppVersion)>,
    /// All that is on disk, in the order in which it was found.
    found: Vec<Found>,
}

/// What the readers see; replaced as a whole.
#[derive(Default)]
struct Snapshot {
    apps: HashMap<AppName, Arc<Entry>>,
}

impl Index {
    /// An index that knows no app yet; `Watcher::start` fills it.
    pub fn new() -> Arc<Index> {
        Index::with(Decisions::default())
    }

    /// The same, for which these hold from the beginning.
    pub fn with(decisions: Decisions) -> Arc<Index> {
        let mut state = State::default();
        for (app, alias, route) in decisions.routes {
            state.routes.entry(app).or_default().insert(alias, route);
        }
        let identity = |(app, version): (AppName, AppVersion)| (app, version.identity());
        state.disabled = decisions.disabled.into_iter().map(identity).collect();
        Arc::new(Index {
            snapshot: ArcSwap::default(),
            state: Mutex::new(state),
            ranges: Mutex::new(LruCache::new(KEPT_RANGES)),
            disk: Disk::default(),
        })
    }

    /// What `name` and, if given, `spec` (what stood behind the `@`) mean now.
    pub fn resolve(&self, name: &str, spec: Option<&str>) -> Result<Meaning, ResolveError> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.apps.get(name).ok_or(ResolveError::UnknownApp)?;
        let Some(text) = spec else { return entry.default().meaning() };
        // No alias can be taken for a version or a range.
        if let Some(aim) = entry.alias(text) {
            return aim.meaning();
        }
        if let Some(range) = self.known_range(text) {
            return entry.highest(&range).map(Meaning::One);
        }
        match VersionSpec::parse(text).map_err(|e| ResolveError::BadRange { hint: e.hint })? {
            VersionSpec::Default => entry.default().meaning(),
            VersionSpec::Exact(version) => entry.exactly(&version).map(Meaning::One),
            VersionSpec::Tag(_) => Err(ResolveError::UnknownTag),
            VersionSpec::Range(range) => {
                let found = entry.highest(&range);
                lock(&self.ranges).put(text.into(), Arc::new(range));
                found.map(Meaning::One)
            }
        }
    }

    /// Every version that can be asked for, by name, then version.
    pub fn apps(&self) -> Vec<Arc<App>> {
        let snapshot = self.snapshot.load();
        let mut names: Vec<_> = snapshot.apps.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        names.into_iter().flat_map(|(_, entry)| entry.apps()).collect()
    }

    /// Every version that is on disk, also those that nobody can ask for, by name, then version.
    pub fn catalog(&self) -> Vec<Listed> {
        self.list(|_| true)
    }

    /// Every version of one app that is on disk, by version.
    pub fn listing(&self, name: &AppName) -> Vec<Listed> {
        self.list(|found| found.name() == name)
    }

    /// What the aliases of an app stand for, by alias; also of one that is not there.
    pub fn routes(&self, name: &AppName) -> Vec<(AliasName, Route)> {
        let state = lock(&self.state);
        let routes = state.routes.get(name).into_iter().flatten();
        routes.map(|(alias, route)| (alias.clone(), route.clone())).collect()
    }

    /// A revision that is served, or waits to be proven.
    pub fn by_key(&self, key: VersionKey) -> Option<Arc<App>> {
        lock(&self.state).slots.by_key(key).cloned()
    }

    /// The newest revision of a version, proven or not; none = it is not there, or disabled.
    pub fn exact(&self, name: &AppName, version: &AppVersion) -> Option<Arc<App>> {
        let state = lock(&self.state);
        let slot = state.slots.of(name)?.get(&version.identity())?;
        Some(slot.newest().clone())
    }

    /// Whether an operator has disabled a version; also one that is not there.
    pub fn is_disabled(&self, name: &AppName, version: &AppVersion) -> bool {
        lock(&self.state).disabled.contains(&(name.clone(), version.identity()))
    }

    /// Has an alias of an app stand for `route`, or for nothing: for the next request when this returns. The app may come
    /// to be known later.
    pub fn set_route(&self, app: &AppName, alias: &AliasName, route: Option<Route>) {
        let mut state = lock(&self.state);
        let routes = state.routes.entry(app.clone()).or_default();
        match route {
            Some(route) => drop(routes.insert(alias.clone(), route)),
            None => drop(routes.remove(alias)),
        }
        if routes.is_empty() {
            state.routes.remove(app);
        }
        // From what is published: the slots may be ahead of it, while a change is being told.
        let snapshot = self.snapshot.load();
        if let Some(entry) = snapshot.apps.get(app) {
            let entry = entry.routed(app, state.routes.get(app));
            let mut apps = snapshot.apps.clone();
            apps.insert(app.clone(), Arc::new(entry));
            self.snapshot.store(Arc::new(Snapshot { apps }));
        }
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

    /// Apps are edited from now on: a change that does not run is shown all the same.
    pub fn be_edited(&self) {
        lock(&self.state).slots.be_edited();
    }

    /// This revision does not run, and apps are edited: from now on it is what its version means. Gives what stood in for it,
    /// if anything did.
    pub fn surrender(&self, key: VersionKey) -> Option<Arc<App>> {
        let mut old = None;
        self.update(|slots| {
            let (name, app) = slots.surrender(key)?;
            old = Some(app);
            Some(name)
        });
        old
    }

    /// How often the index and its watcher have asked the file system for something. Requests never add to it.
    pub fn disk_reads(&self) -> u64 {
        self.disk.reads()
    }

    /// The watcher's way to the file system; what it reads is counted here.
    pub(super) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// Notes that a version is disabled or is not. Gives whether that is new; `replace_all` makes it so.
    pub(super) fn note_disabled(&self, app: &AppName, version: &AppVersion, disabled: bool) -> bool {
        let version = (app.clone(), version.identity());
        let mut state = lock(&self.state);
        if disabled { state.disabled.insert(version) } else { state.disabled.remove(&version) }
    }

    /// Makes `found` (the first of each name and version) all that there is; what is disabled does not resolve.
    /// Additions are told before they resolve and removals when they no longer do, so whoever is told never meets an app
    /// it does not know. No lock is held while telling.
    pub(super) fn replace_all(&self, found: Vec<Found>, tell: &mut dyn FnMut(Change)) {
        let plan = {
            let mut state = lock(&self.state);
            let enabled = found.iter().filter(|found| !state.is_disabled(found));
            let apps = enabled.filter_map(|found| found.app().cloned()).collect();
            let plan = state.slots.replace_all(apps);
            state.found = found;
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

    fn list(&self, wanted: impl Fn(&Found) -> bool) -> Vec<Listed> {
        let state = lock(&self.state);
        let list = |found: &Found| {
            let slot = state.slots.of(found.name()).and_then(|slots| slots.get(&found.version().identity()));
            Listed::new(found, slot.filter(|_| found.app().is_some()), state.is_disabled(found))
        };
        let mut listed: Vec<_> = state.found.iter().filter(|found| wanted(found)).map(list).collect();
        drop(state);
        listed.sort_unstable_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        listed
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
            let routes = state.routes.get(name);
            match state.slots.of(name).and_then(|slots| Entry::new(name, slots.iter(), routes)) {
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

impl State {
    fn is_disabled(&self, found: &Found) -> bool {
        // Making a key of it costs an allocation.
        !self.disabled.is_empty()
            && self.disabled.contains(&(found.name().clone(), found.version().identity()))
    }
}

impl Aim {
    fn meaning(&self) -> Result<Meaning, ResolveError> {
        match self {
            Aim::One(app) => Ok(Meaning::One(app.clone())),
            Aim::Fork(fork) => Ok(Meaning::Split(fork.clone())),
            Aim::Dangling(dangling) => Err(ResolveError::Dangling(dangling.clone())),
        }
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
