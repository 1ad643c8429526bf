//! What the index knows of each version: its revisions, and which of them is proven. Pure.
//!
//! A *revision* is one reading of a version's directory (an `App` with its key). It is *proven* once a worker of it
//! was Ready; a static directory needs no proof. Two rules keep unproven code from taking over:
//!
//! - A version that appears beside a proven one is a *candidate*: names and ranges pass over it until it is proven
//!   (asking for exactly it reaches it). Versions found at start are no candidates: nothing is proven then.
//! - A new revision of a proven version waits in `next` until it is proven or `forget_old` says that the old one
//!   has no worker left.
//!
//! A broken version (its manifest is wrong) is passed over for as long as there is anything else.
//!
//! Where apps are *edited* neither holds for a change of a version: whoever made it is to see what came of it.

use super::{App, Change};
use crate::model::{AppName, AppVersion, VersionKey};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Slots {
    names: HashMap<AppName, BTreeMap<AppVersion, Slot>>,
    /// Where each living revision stands.
    places: HashMap<VersionKey, (AppName, AppVersion)>,
    /// Whether anything was read before: what is found at start is no candidate.
    started: bool,
    /// Apps are being edited: what does not run is shown, and nothing stands in for it.
    edited: bool,
}

/// One version of one app.
pub(super) struct Slot {
    current: Revision,
    /// Newer than `current`, which stands in for it.
    next: Option<Arc<App>>,
    candidate: bool,
    /// It was edited, and is to be seen whether it runs or not.
    shown: bool,
}

struct Revision {
    app: Arc<App>,
    proven: bool,
    /// `forget_old` came: no worker is left.
    gone: bool,
}

/// What a reading of the directories changes.
pub(super) struct Plan {
    /// Told before the change can be seen by a request, in this order.
    pub before: Vec<Change>,
    /// Told after.
    pub after: Vec<Change>,
    /// Apps that something changed for.
    pub names: HashSet<AppName>,
}

impl Slots {
    pub fn of(&self, name: &AppName) -> Option<&BTreeMap<AppVersion, Slot>> {
        self.names.get(name)
    }

    pub fn by_key(&self, key: VersionKey) -> Option<&Arc<App>> {
        let (name, version) = self.places.get(&key)?;
        self.names.get(name)?.get(version)?.revisions().find(|app| app.key == key)
    }

    /// Makes `found` all that there is: at most one app for each name and version.
    pub fn replace_all(&mut self, found: Vec<Arc<App>>) -> Plan {
        let mut plan = Plan { before: Vec::new(), after: Vec::new(), names: HashSet::new() };
        let kept: HashSet<_> = found.iter().map(|app| (app.name.clone(), app.version.identity())).collect();
        self.names.retain(|name, versions| {
            versions.retain(|version, slot| {
                let keep = kept.contains(&(name.clone(), version.clone()));
                if !keep {
                    plan.names.insert(name.clone());
                    for app in slot.revisions() {
                        self.places.remove(&app.key);
                        plan.after.push(Change::Removed(app.clone()));
                    }
                }
                keep
            });
            !versions.is_empty()
        });
        for app in found {
            self.place(app, &mut plan);
        }
        self.started = true;
        plan
    }

    /// A worker of it is Ready. Returns the app, if what it resolves to has changed; so do the next two.
    pub fn prove(&mut self, key: VersionKey) -> Option<AppName> {
        let (name, slot) = self.slot_mut(key)?;
        let old = if slot.newest().key == key { slot.advance() } else { None };
        let was_candidate = std::mem::take(&mut slot.candidate);
        slot.current.proven = true;
        slot.current.gone = false;
        let changed = old.is_some() || was_candidate;
        self.forget(old);
        changed.then_some(name)
    }

    /// It failed to start. Where another version is proven, names and ranges pass over this one from now on; where
    /// none is, requests go on trying it, for there is nothing better.
    pub fn disprove(&mut self, key: VersionKey) -> Option<AppName> {
        let (name, version) = self.places.get(&key)?.clone();
        let versions = self.names.get_mut(&name)?;
        let stood_in = versions.iter().any(|(other, slot)| *other != version && slot.current.proven);
        let slot = versions.get_mut(&version)?;
        let failed = slot.current.app.key == key && !slot.current.proven && !slot.candidate && !slot.shown;
        slot.candidate |= failed && stood_in;
        (failed && stood_in).then_some(name)
    }

    /// From now on.
    pub fn be_edited(&mut self) {
        self.edited = true;
    }

    /// It does not run, and is to be seen all the same: takes the place of what stood in for it, which is returned.
    pub fn surrender(&mut self, key: VersionKey) -> Option<(AppName, Arc<App>)> {
        let (name, slot) = self.slot_mut(key)?;
        if slot.newest().key != key {
            return None;
        }
        let old = slot.advance()?;
        slot.shown = true;
        slot.candidate = false;
        self.places.remove(&old.key);
        Some((name, old))
    }

    /// It has no worker left: its successor, if there is one, is used at once.
    pub fn forget_old(&mut self, key: VersionKey) -> Option<AppName> {
        let (name, slot) = self.slot_mut(key)?;
        if slot.current.app.key != key {
            return None;
        }
        slot.current.gone = true;
        let old = slot.advance();
        let changed = old.is_some();
        self.forget(old);
        changed.then_some(name)
    }

    fn slot_mut(&mut self, key: VersionKey) -> Option<(AppName, &mut Slot)> {
        let (name, version) = self.places.get(&key)?;
        let slot = self.names.get_mut(name)?.get_mut(version)?;
        Some((name.clone(), slot))
    }

    fn forget(&mut self, old: Option<Arc<App>>) {
        if let Some(old) = old {
            self.places.remove(&old.key);
        }
    }

    fn place(&mut self, app: Arc<App>, plan: &mut Plan) {
        let (name, version) = (app.name.clone(), app.version.identity());
        let versions = self.names.entry(name.clone()).or_default();
        let stood_in =
            self.started && app.kind.is_worker() && versions.values().any(|slot| slot.current.proven);
        let mut gone = None;
        match versions.get_mut(&version) {
            Some(slot) if slot.newest().key == app.key => return,
            Some(slot) => {
                if let Some(next) = slot.next.take() {
                    // Its workers, and those that it was to take over from, serve until one of the newest is Ready. Were it
                    // removed, they would go with it.
                    self.places.remove(&next.key);
                    plan.before.push(Change::Replaced { old: next, new: app.clone() });
                }
                plan.before.push(Change::Replaced { old: slot.current.app.clone(), new: app.clone() });
                slot.shown = self.edited;
                slot.candidate = slot.passed_over() && stood_in && !slot.shown;
                if slot.candidate {
                    plan.before.push(Change::Prove(app.clone()));
                }
                slot.next = Some(app.clone());
                // Only a proven revision with workers can stand in, and only for one that needs workers to be proven.
                let current = &slot.current;
                if !current.proven || current.gone || !current.app.kind.is_worker() || app.kind.is_static() {
                    gone = slot.advance();
                }
            }
            None => {
                plan.before.push(Change::Added(app.clone()));
                if stood_in {
                    plan.before.push(Change::Prove(app.clone()));
                }
                let current = Revision::new(app.clone());
                let slot = Slot { current, next: None, candidate: stood_in, shown: false };
                versions.insert(version.clone(), slot);
            }
        }
        if let Some(old) = gone.as_ref().filter(|_| !app.kind.is_worker()) {
            // Nothing takes over from its workers: they would be kept for nobody.
            plan.after.push(Change::Outdated(old.clone()));
        }
        self.forget(gone);
        plan.names.insert(name.clone());
        self.places.insert(app.key, (name, version));
    }
}

impl Slot {
    /// What requests for exactly this version get.
    pub fn serving(&self) -> &Arc<App> {
        &self.current.app
    }

    /// Whether names and ranges take it only when nothing else fits.
    pub fn passed_over(&self) -> bool {
        self.candidate || self.current.app.kind.is_broken() && !self.shown
    }

    /// Whether a worker of what is served was Ready, or none is needed.
    pub fn is_proven(&self) -> bool {
        self.current.proven
    }

    /// Whether it appeared beside a proven version, or failed beside one, and was not proven since.
    pub fn is_candidate(&self) -> bool {
        self.candidate
    }

    pub fn newest(&self) -> &Arc<App> {
        self.next.as_ref().unwrap_or(&self.current.app)
    }

    fn revisions(&self) -> impl Iterator<Item = &Arc<App>> {
        std::iter::once(&self.current.app).chain(&self.next)
    }

    /// Puts `next` in the place of `current`, which is returned.
    fn advance(&mut self) -> Option<Arc<App>> {
        let next = self.next.take()?;
        Some(std::mem::replace(&mut self.current, Revision::new(next)).app)
    }
}

impl Revision {
    fn new(app: Arc<App>) -> Revision {
        let proven = app.kind.is_static();
        Revision { app, proven, gone: false }
    }
}
