//! A look at one entry: which versions it holds, and which of them count as changed.

use super::{DirStamp, Entry, FRESH, GONE, MAX_VERSIONS, STARVED, Scanner, Version};
use crate::apps::disk::Identity;
use crate::apps::load::Outcome;
use crate::apps::tree::{self, View};
use crate::model::{AppName, AppVersion, VersionKey};
use crate::shortage::Shortage;
use crate::telemetry::Seldom;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A look at one entry.
pub(super) struct Look<'s> {
    pub scanner: &'s mut Scanner,
    pub now: Duration,
    /// What counts as it is, quiet or not.
    pub whole: Option<&'s Path>,
    /// When to look again.
    pub due: Option<Duration>,
    pub changed: bool,
    pub restyled: &'s mut Vec<(VersionKey, Vec<PathBuf>)>,
}

impl Look<'_> {
    /// False = the directory is not there.
    pub fn entry(&mut self, path: &Path, entry: &mut Entry) -> bool {
        let label = entry.label.clone();
        let meta = match self.scanner.loader.disk.stat(path) {
            Ok(meta) if meta.is_dir() => meta,
            // What cannot be seen just now (a network file system, say) is not gone.
            Err(error) if !is_gone(&error) => return true,
            _ => {
                self.remove_others(entry, &BTreeSet::new());
                return false;
            }
        };
        let mut found = BTreeSet::new();
        match label.version {
            Some(version) => {
                self.version(path, &label.name, &version, entry);
                found.insert(path.to_owned());
            }
            None => {
                self.list_versions(path, &meta, entry);
                for (path, version) in entry.listed.clone() {
                    self.version(&path, &label.name, &version, entry);
                    found.insert(path);
                }
                // Version sub-directories win over loose files, but a sub-directory is a version only if it is an app.
                let nested = found.iter().filter_map(|path| entry.versions.get(path));
                if nested.clone().all(|version| matches!(version.outcome, Outcome::NoEntrypoint)) {
                    self.version(path, &label.name, &AppVersion::Latest, entry);
                    found.insert(path.to_owned());
                }
            }
        }
        self.remove_others(entry, &found);
        true
    }

    /// Lists an app's directory again if something was added to it or taken from it.
    fn list_versions(&mut self, path: &Path, meta: &std::fs::Metadata, entry: &mut Entry) {
        let age = meta.modified().ok().and_then(|modified| modified.elapsed().ok());
        let modified = meta.modified().ok().filter(|_| age.is_some_and(|age| age > FRESH));
        let stamp = modified.map(|modified| DirStamp { identity: Identity::of(meta), modified });
        if stamp.is_some() && entry.stamp == stamp && self.whole.is_none() {
            return;
        }
        let disk = &self.scanner.loader.disk;
        let listing = match disk.list(path, MAX_VERSIONS) {
            Ok(listing) => listing,
            Err(error) if Shortage::of(&error).is_some() => return self.look_again(),
            Err(_) => return,
        };
        let version = |name: &OsStr| AppVersion::parse(name.to_str()?).ok();
        let is_dir = |path: &Path, known| known || disk.stat(path).is_ok_and(|meta| meta.is_dir());
        let items = listing.items.into_iter().filter(|item| item.is_dir != Some(false));
        let versions = items.filter_map(|item| {
            let (version, path) = (version(&item.name)?, path.join(&item.name));
            is_dir(&path, item.is_dir == Some(true)).then_some((path, version))
        });
        entry.listed = versions.collect();
        entry.stamp = stamp;
    }

    /// Looks at a directory that stands for a version, and reads it if it changed and is quiet.
    fn version(&mut self, path: &Path, name: &AppName, version: &AppVersion, entry: &mut Entry) {
        let Ok(meta) = self.scanner.loader.disk.stat(path) else { return };
        let identity = Identity::of(&meta);
        let disk = self.scanner.loader.disk.clone();
        let development = self.scanner.development;
        let known = entry.versions.get(path);
        let mut view = self.scanner.view(known.map(|known| &known.outcome));
        if let Some(known) = known.filter(|known| known.identity == identity) {
            let same_tree = |tree| tree == tree::stamp(&disk, path, &view);
            if known.tree.is_none_or(same_tree) {
                return self.scanner.quiet.forget(path);
            }
        }
        let edited = self.scanner.edited;
        // Whoever edits does not wait for what he does not edit.
        let whole = || tree::stamp(&disk, path, if edited { &view } else { &View::Whole });
        if self.scanner.started && !self.settled(path, whole()) {
            return;
        }
        // The stamp comes before the reading, so what changes meanwhile is noticed at the next look. A tree that only
        // matters because the reading failed, or that is looked at in another way since, is read once more.
        let stamp = |view: &View| tree::stamp_with_sheets(&disk, path, view);
        let mut tree = development.then(|| stamp(&view));
        let mut reading = self.scanner.loader.load(name, version, path);
        if tree.is_none() && !reading.outcome.is_live() {
            let judged_by = stamp(&view);
            reading = self.scanner.loader.load(name, version, path);
            tree = (!reading.outcome.is_live()).then_some(judged_by);
        }
        let served = self.scanner.view(Some(&reading.outcome));
        if edited && served != view {
            view = served;
            tree = Some(stamp(&view));
            reading = self.scanner.loader.load(name, version, path);
        }
        if reading.starved {
            static LOGGED: Seldom = Seldom::quiet();
            if let Some(unsaid) = LOGGED.admit() {
                let why = reading.warnings.join("; ");
                tracing::warn!(target: "buntime::apps", unsaid, "{why}; it is read again");
            }
            // What was known of it stays, and it is looked at again: nothing will happen to it that would tell.
            return self.look_again();
        }
        let (outcome, warnings) = (reading.outcome, reading.warnings);
        let (tree, sheets) = tree.unzip();
        let sheets = sheets.filter(|_| edited).unwrap_or_default();
        if let (Some(Version { tree: Some(before), sheets: old, outcome: Outcome::App(_), .. }), Some(after)) =
            (known.filter(|_| edited), tree)
            && let Outcome::App(app) = &outcome
            && let Some(changed) = tree::restyled((*before, old), (after, &sheets))
        {
            self.restyled.push((app.key, changed));
        }
        entry.versions.insert(
            path.to_owned(),
            Version { version: version.clone(), identity, tree, sheets, outcome, warnings: warnings.into() },
        );
        self.changed = true;
    }

    fn look_again(&mut self) {
        let again = self.now + STARVED;
        self.due = Some(self.due.map_or(again, |other| other.min(again)));
    }

    /// Drops the versions that are no longer there, once that is quiet, too: a directory may be on its way back.
    fn remove_others(&mut self, entry: &mut Entry, found: &BTreeSet<PathBuf>) {
        let gone: Vec<_> = entry.versions.keys().filter(|path| !found.contains(*path)).cloned().collect();
        for path in gone {
            if self.settled(&path, GONE) {
                entry.versions.remove(&path);
                self.changed = true;
            }
        }
    }

    fn settled(&mut self, path: &Path, stamp: u64) -> bool {
        // Also what holds it: the first version in a directory takes the place of that directory.
        if self.whole.is_some_and(|whole| path.starts_with(whole) || whole.starts_with(path)) {
            self.scanner.quiet.forget(path);
            return true;
        }
        match self.scanner.quiet.settle(path, stamp, self.now) {
            Ok(()) => true,
            Err(due) => {
                self.due = Some(self.due.map_or(due, |other| other.min(due)));
                false
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
