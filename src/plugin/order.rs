//! Which plugins start, and in which order: each after those that it needs and, where they are there, those that it would
//! use; otherwise by name, so that the order is the same on every machine.
//!
//! Two plugins that would use each other (`optionalDependencies` that close a circle, alone or with `dependencies`) are no
//! error: both can do without. The optional ones in such a circle do not order, and a warning says so.

use super::discovery::Found;
use super::manifest::{Dependency, PluginName};
use semver::Version;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// What is known of a plugin before any of them is started.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'c> {
    pub name: &'c PluginName,
    pub standing: Standing<'c>,
    pub required: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Standing<'c> {
    On {
        version: &'c Version,
        dependencies: &'c [Dependency],
        optional: &'c [Dependency],
    },
    Off,
    /// It would be on, and cannot be used. That was said with its reason.
    Broken,
}

/// Why a plugin stays out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Broken,
    Missing(Dependency),
    Disabled(Dependency),
    Version {
        dependency: Dependency,
        found: Version,
    },
    /// Begins and ends with the same, the first by name.
    Cycle(Vec<PluginName>),
    /// It needs one that is out.
    Because(PluginName),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To start in this order, and to stop in the reverse.
    pub order: Vec<PluginName>,
    /// Those that are on and stay out, by name.
    pub out: Vec<(PluginName, Reason)>,
    /// Those of `out` that the runtime must not do without: if there are any it must not start.
    pub fatal: Vec<PluginName>,
    /// One line each.
    pub warnings: Vec<String>,
}

impl<'c> From<&'c Found> for Candidate<'c> {
    fn from(found: &'c Found) -> Candidate<'c> {
        let standing = match &found.manifest {
            _ if !found.is_enabled() => Standing::Off,
            Ok(manifest) => Standing::On {
                version: &manifest.version,
                dependencies: &manifest.dependencies,
                optional: &manifest.optional_dependencies,
            },
            Err(_) => Standing::Broken,
        };
        Candidate { name: &found.name, standing, required: found.is_required() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Broken => f.write_str("it cannot be used"),
            Reason::Missing(needed) => write!(f, "it needs {needed}, which is not there"),
            Reason::Disabled(needed) => write!(f, "it needs {needed}, which is disabled"),
            Reason::Version { dependency, found } => {
                write!(f, "it needs {dependency}, and version {found} is there")
            }
            Reason::Cycle(names) => {
                let names: Vec<_> = names.iter().map(PluginName::as_str).collect();
                write!(f, "it needs itself: {}", names.join(" → "))
            }
            Reason::Because(name) => write!(f, "it needs {name}, which is out"),
        }
    }
}

impl Plan {
    /// Why the runtime must not start, with all that keep it from it; none = it may.
    pub fn refusal(&self) -> Option<String> {
        let why = |name: &PluginName| self.out.iter().find(|(out, _)| out == name).map(|(_, reason)| reason);
        let lines = self.fatal.iter().filter_map(|name| Some(format!("\n  {name}: {}", why(name)?)));
        let lines: String = lines.collect();
        (!lines.is_empty()).then(|| format!("plugins that are required cannot start:{lines}"))
    }
}

/// Makes a plan. Of candidates of one name the first counts.
pub fn plan<'c>(candidates: impl IntoIterator<Item = Candidate<'c>>) -> Plan {
    let mut all = BTreeMap::new();
    for candidate in candidates {
        all.entry(candidate.name).or_insert(candidate);
    }
    let graph = Graph { all };
    let out = graph.out();
    let mut plan = Plan::default();
    plan.order = graph.order(&out, &mut plan.warnings);
    plan.fatal = out.keys().filter(|name| graph.all[**name].required).map(|name| (*name).clone()).collect();
    plan.out = out.into_iter().map(|(name, reason)| (name.clone(), reason)).collect();
    plan
}

struct Graph<'c> {
    all: BTreeMap<&'c PluginName, Candidate<'c>>,
}

/// From a plugin to those that come before it.
type Edges<'c> = BTreeMap<&'c PluginName, BTreeSet<&'c PluginName>>;

impl<'c> Graph<'c> {
    fn on(&self) -> impl Iterator<Item = (&'c PluginName, &'c [Dependency], &'c [Dependency])> {
        self.all.values().filter_map(|candidate| match candidate.standing {
            Standing::On { dependencies, optional, .. } => Some((candidate.name, dependencies, optional)),
            Standing::Off | Standing::Broken => None,
        })
    }

    /// Those that are on and cannot start: for what they need, for a circle, or for others that are out.
    fn out(&self) -> BTreeMap<&'c PluginName, Reason> {
        let mut out = BTreeMap::new();
        let mut needs: Edges<'c> = BTreeMap::new();
        for candidate in self.all.values().filter(|candidate| matches!(candidate.standing, Standing::Broken))
        {
            out.insert(candidate.name, Reason::Broken);
        }
        for (name, dependencies, _) in self.on() {
            if let Some(reason) = dependencies.iter().find_map(|needed| self.unmet(needed)) {
                out.insert(name, reason);
            }
            let known = dependencies.iter().filter_map(|needed| self.all.get_key_value(&needed.name));
            needs.insert(name, known.map(|(name, _)| *name).collect());
        }
        for name in needs.keys() {
            if !out.contains_key(name)
                && let Some(cycle) = cycle(&needs, name)
            {
                out.insert(name, Reason::Cycle(cycle));
            }
        }
        loop {
            let falls = |(name, needed): (&&'c PluginName, &BTreeSet<&'c PluginName>)| {
                let because = needed.iter().find(|needed| out.contains_key(*needed))?;
                (!out.contains_key(name)).then(|| (*name, Reason::Because((*because).clone())))
            };
            let fallen: Vec<_> = needs.iter().filter_map(falls).collect();
            if fallen.is_empty() {
                return out;
            }
            out.extend(fallen);
        }
    }

    /// Why a dependency cannot be met, whatever becomes of the one that it names.
    fn unmet(&self, needed: &Dependency) -> Option<Reason> {
        match self.all.get(&needed.name).map(|candidate| candidate.standing) {
            None => Some(Reason::Missing(needed.clone())),
            Some(Standing::Off) => Some(Reason::Disabled(needed.clone())),
            Some(Standing::On { version, .. }) if !needed.accepts(version) => {
                Some(Reason::Version { dependency: needed.clone(), found: version.clone() })
            }
            Some(Standing::On { .. } | Standing::Broken) => None,
        }
    }

    fn order(&self, out: &BTreeMap<&'c PluginName, Reason>, warnings: &mut Vec<String>) -> Vec<PluginName> {
        let is_in = |name: &PluginName| !out.contains_key(name);
        let (mut needs, mut would_use): (Edges<'c>, Edges<'c>) = (BTreeMap::new(), BTreeMap::new());
        for (name, dependencies, optional) in self.on().filter(|(name, ..)| is_in(name)) {
            let known = |needed: &Dependency| self.all.get_key_value(&needed.name).map(|(name, _)| *name);
            needs.insert(name, dependencies.iter().filter_map(known).collect());
            let mut used = BTreeSet::new();
            for dependency in optional {
                match self.unmet(dependency) {
                    None => used.extend(known(dependency).filter(|name| is_in(name))),
                    Some(Reason::Version { found, .. }) => warnings.push(format!(
                        "{name} would use {dependency}, and version {found} is there: it does without"
                    )),
                    Some(_) => {}
                }
            }
            would_use.insert(name, used);
        }
        let mut before = needs.clone();
        for (name, used) in &would_use {
            before.entry(name).or_default().extend(used);
        }
        let circular: Vec<_> = would_use
            .iter()
            .flat_map(|(name, used)| used.iter().map(|used| (*name, *used)))
            .filter(|(name, used)| reaches(&before, used, name) && !needs[name].contains(used))
            .collect();
        for (name, used) in circular {
            warnings.push(format!(
                "{name} would use {used}, which leads back to it: it is not started behind it for that"
            ));
            before.entry(name).or_default().remove(used);
        }
        let mut order = Vec::with_capacity(before.len());
        let mut ready: BTreeSet<_> =
            before.iter().filter(|(_, first)| first.is_empty()).map(|(name, _)| *name).collect();
        while let Some(next) = ready.pop_first() {
            order.push(next.clone());
            for (name, first) in &mut before {
                if first.remove(next) && first.is_empty() {
                    ready.insert(name);
                }
            }
        }
        order
    }
}

/// Whether `from` comes, over any number of steps, to `to`.
fn reaches(edges: &Edges<'_>, from: &PluginName, to: &PluginName) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        open.extend(edges.get(name).into_iter().flatten().copied().filter(|next| seen.insert(*next)));
    }
    false
}

/// The shortest circle through `start`, turned so that its first name is the smallest.
fn cycle(edges: &Edges<'_>, start: &PluginName) -> Option<Vec<PluginName>> {
    let mut came_from: BTreeMap<&PluginName, &PluginName> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(name) = open.pop_front() {
        for next in edges.get(name).into_iter().flatten().copied() {
            if next == start {
                let mut names = vec![name];
                while let Some(&before) = came_from.get(names[names.len() - 1]) {
                    names.push(before);
                }
                // Collected from its end; `start` is the last.
                names.reverse();
                let first = names.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
                names.rotate_left(first);
                names.push(names[0]);
                return Some(names.into_iter().cloned().collect());
            }
            if next != start && !came_from.contains_key(next) {
                came_from.insert(next, name);
                open.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
