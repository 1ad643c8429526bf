//! What a change must leave alone: a plugin that serves, that the change is not about, and that would not start anew now. It
//! goes on as it is, with those that it works with: they know each other, and not those that were built beside them.

use super::Loaded;
use super::build::Built;
use super::discovery::{Found, PluginError};
use super::manifest::PluginManifest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Directories of the plugins that serve, where they have one.
pub(super) type Homes = BTreeMap<String, Option<PathBuf>>;

/// What serves while something is changed.
pub(super) struct Before<'b> {
    /// In their order.
    pub plugins: &'b [Arc<Loaded>],
    pub homes: &'b Homes,
    /// The plugin that the change is about.
    pub about: &'b str,
}

impl Built {
    /// Puts those that serve in the place of those that did not start. Returns what was built in vain, to be ended. Where one
    /// cannot go on either, nothing is put anywhere, and it is among those that are out.
    pub(super) fn keep(&mut self, before: &Before<'_>) -> Vec<Arc<Loaded>> {
        let kept = match self.to_keep(before) {
            Ok(kept) => kept,
            Err((name, why)) => {
                self.out.insert(name, why);
                return Vec::new();
            }
        };
        if kept.is_empty() {
            return Vec::new();
        }
        let is_kept = |plugin: &Arc<Loaded>| kept.contains_key(&*plugin.name);
        let (vain, started) = std::mem::take(&mut self.loaded).into_iter().partition(is_kept);
        let started: Vec<Arc<Loaded>> = started;
        let stay: Vec<_> = before.plugins.iter().filter(|plugin| is_kept(plugin)).cloned().collect();
        let all = || started.iter().chain(&stay);
        let mut line: Vec<Arc<Loaded>> = self
            .order
            .iter()
            .filter_map(|name| all().find(|plugin| *plugin.name == *name.as_str()).cloned())
            .collect();
        for (at, plugin) in before.plugins.iter().enumerate().filter(|(_, plugin)| is_kept(plugin)) {
            if position(&line, &plugin.name).is_some() {
                continue;
            }
            // Behind the one that it was behind, and before those that use it.
            let behind = before.plugins[..at].iter().rev().find_map(|other| position(&line, &other.name));
            let first = line.iter().position(|other| uses(other, plugin)).unwrap_or(line.len());
            line.insert(behind.map_or(0, |behind| behind + 1).min(first), Arc::clone(plugin));
        }
        self.out.retain(|name, _| !kept.contains_key(name));
        (self.loaded, self.kept) = (line, kept);
        vain
    }

    /// Those that go on as they are, and why; or one that cannot, and why.
    fn to_keep(&self, before: &Before<'_>) -> Result<BTreeMap<String, String>, (String, String)> {
        let others = before.plugins.iter().filter(|plugin| *plugin.name != *before.about);
        let failed =
            others.filter_map(|plugin| Some((plugin.name.to_string(), self.failed(plugin, before.homes)?)));
        let mut kept: BTreeMap<String, String> = failed.collect();
        let mut open: Vec<String> = kept.keys().cloned().collect();
        while let Some(name) = open.pop() {
            let Some(plugin) = before.plugins.iter().find(|plugin| *plugin.name == *name) else { continue };
            let cannot = |other: &str| {
                let why = &kept[&name];
                let why = format!("{why}\n\nhint: it works with {other}; disable {name} first, or mend it");
                (name.clone(), why)
            };
            let mut more = Vec::new();
            for other in before.plugins.iter().filter(|other| !kept.contains_key(&*other.name)) {
                let (is_used, is_user) = (uses(plugin, other), uses(other, plugin));
                let is_there = self.has_loaded(&other.name);
                if !is_used && !is_user {
                    continue;
                }
                if *other.name != *before.about && (is_there || self.out.contains_key(&*other.name)) {
                    more.push(other.name.to_string());
                } else if is_used || (is_there && self.names(&other.name, &name)) {
                    return Err(cannot(&other.name));
                }
            }
            let taken = self.loaded.iter().find(|other| {
                plugin.base.is_some() && other.base == plugin.base && other.name != plugin.name
            });
            if let Some(other) = taken.filter(|other| !kept.contains_key(&*other.name)) {
                return Err(cannot(&other.name));
            }
            for other in more {
                kept.insert(other.clone(), format!("it works with {name}, which was not replaced"));
                open.push(other);
            }
        }
        Ok(kept)
    }

    /// Why a plugin that serves is on and not in the new set.
    fn failed(&self, plugin: &Loaded, homes: &Homes) -> Option<String> {
        if self.has_loaded(&plugin.name) {
            return None;
        }
        let out = self.out.get(&*plugin.name).cloned();
        out.or_else(|| self.broken_at_home(&plugin.name, homes).map(ToString::to_string))
    }

    /// What is wrong with the manifest where a plugin was: whose it is can then often not be told from it.
    pub(super) fn broken_at_home(&self, name: &str, homes: &Homes) -> Option<&PluginError> {
        let home = homes.get(name)?.as_ref()?;
        let found = self.discovery.found.iter().find(|found| found.dir.as_ref() == Some(home))?;
        found.manifest.as_ref().err().map(|unusable| &unusable.error)
    }

    pub(super) fn has_loaded(&self, name: &str) -> bool {
        position(&self.loaded, name).is_some()
    }

    /// Whether the manifest of one names another as what it needs or would use.
    fn names(&self, user: &str, used: &str) -> bool {
        let manifest = |found: &Found| -> bool {
            let Ok(PluginManifest { dependencies, optional_dependencies, .. }) = &found.manifest else {
                return false;
            };
            dependencies.iter().chain(optional_dependencies).any(|needed| needed.name.as_str() == used)
        };
        self.discovery.named(user).is_some_and(manifest)
    }
}

fn position(plugins: &[Arc<Loaded>], name: &str) -> Option<usize> {
    plugins.iter().position(|plugin| *plugin.name == *name)
}

/// Whether one may have services of another.
fn uses(user: &Loaded, used: &Loaded) -> bool {
    user.context.identity().dependencies.iter().any(|name| **name == *used.name)
}
