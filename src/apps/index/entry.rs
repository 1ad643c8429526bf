//! One name in the index: its versions, and what it means alone, with an alias and with a range. Made when something changes,
//! so that a request only looks things up.

use super::ResolveError;
use crate::apps::fork::Fork;
use crate::apps::slots::Slot;
use crate::model::{AliasName, App, AppName, AppVersion, Route};
use semver::{Version, VersionReq};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What aliases of one app stand for.
pub(super) type Routes = BTreeMap<AliasName, Route>;

pub(super) struct Entry {
    /// What the name alone means.
    default: Aim,
    /// By name. Without `latest`, which is the default.
    aliases: Vec<(AliasName, Aim)>,
    versions: Versions,
}

/// What a request gets that names no version.
#[derive(Clone)]
pub(super) enum Aim {
    One(Arc<App>),
    Fork(Arc<Fork>),
    Dangling(Arc<Dangling>),
}

/// An alias of whose versions none is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    pub alias: AliasName,
    pub versions: Vec<AppVersion>,
}

#[derive(Clone)]
struct Versions {
    /// What the name alone means as long as there is no alias `latest`.
    highest: Arc<App>,
    latest: Option<Arc<App>>,
    /// Highest first.
    semver: Vec<Pick>,
}

#[derive(Clone)]
struct Pick {
    /// Without build metadata.
    version: Version,
    app: Arc<App>,
    /// Names and ranges take it only when nothing else fits.
    passed_over: bool,
}

impl Entry {
    /// None = no version at all.
    pub fn new<'a>(
        name: &AppName,
        slots: impl Iterator<Item = (&'a AppVersion, &'a Slot)>,
        routes: Option<&Routes>,
    ) -> Option<Entry> {
        Some(Entry::of(name, Versions::new(slots)?, routes))
    }

    /// The same versions with other aliases.
    pub fn routed(&self, name: &AppName, routes: Option<&Routes>) -> Entry {
        Entry::of(name, self.versions.clone(), routes)
    }

    fn of(name: &AppName, versions: Versions, routes: Option<&Routes>) -> Entry {
        let mut default = Aim::One(versions.highest.clone());
        let mut aliases = Vec::new();
        for (alias, route) in routes.into_iter().flatten() {
            let aim = versions.aim(name, alias, route);
            match alias.as_str() {
                "latest" => default = aim,
                _ => aliases.push((alias.clone(), aim)),
            }
        }
        Entry { default, aliases, versions }
    }

    pub fn default(&self) -> &Aim {
        &self.default
    }

    pub fn alias(&self, text: &str) -> Option<&Aim> {
        let at = self.aliases.binary_search_by(|(alias, _)| alias.as_str().cmp(text));
        at.ok().map(|at| &self.aliases[at].1)
    }

    pub fn exactly(&self, version: &Version) -> Result<Arc<App>, ResolveError> {
        self.versions.semver(version).cloned().ok_or(ResolveError::UnknownVersion)
    }

    pub fn highest(&self, range: &VersionReq) -> Result<Arc<App>, ResolveError> {
        let mut fits = self.versions.semver.iter().filter(|pick| range.matches(&pick.version)).peekable();
        let first = fits.peek().copied();
        let pick = fits.find(|pick| !pick.passed_over).or(first);
        pick.map(|pick| pick.app.clone()).ok_or(ResolveError::UnknownVersion)
    }

    /// Every version, the lowest first, `latest` at the end.
    pub fn apps(&self) -> impl Iterator<Item = Arc<App>> {
        let semver = self.versions.semver.iter().rev().map(|pick| pick.app.clone());
        semver.chain(self.versions.latest.clone())
    }
}

impl Versions {
    fn new<'a>(slots: impl Iterator<Item = (&'a AppVersion, &'a Slot)>) -> Option<Versions> {
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
        let highest = ranked.min_by_key(|(rank, _)| *rank).map(|(_, app)| app.clone())?;
        Some(Versions { highest, latest: latest.map(|(app, _)| app), semver: versions })
    }

    fn semver(&self, version: &Version) -> Option<&Arc<App>> {
        let at = self.semver.binary_search_by_key(&Reverse(version), |pick| Reverse(&pick.version));
        at.ok().map(|at| &self.semver[at].app)
    }

    /// An alias names its versions, so it gets them proven or not, and broken ones too.
    fn exact(&self, version: &AppVersion) -> Option<&Arc<App>> {
        match version.identity() {
            AppVersion::Semver(version) => self.semver(&version),
            AppVersion::Latest => self.latest.as_ref(),
        }
    }

    fn aim(&self, name: &AppName, alias: &AliasName, route: &Route) -> Aim {
        let parts = route.split.parts();
        let there: Vec<_> = parts.iter().map(|(version, _)| self.exact(version).cloned()).collect();
        if let [Some(app)] = &*there {
            return Aim::One(app.clone());
        }
        let shares = route.split.shares(|version| self.exact(version).is_some());
        match shares.and_then(|shares| Fork::new(name, alias, route.sticky, &shares, &there)) {
            Some(fork) => Aim::Fork(fork.into()),
            None => {
                let versions = parts.iter().map(|(version, _)| version.clone()).collect();
                Aim::Dangling(Arc::new(Dangling { alias: alias.clone(), versions }))
            }
        }
    }
}

impl std::fmt::Display for Dangling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "the alias `{}` of this app stands for ", self.alias)?;
        for (nth, version) in self.versions.iter().take(SHOWN).enumerate() {
            write!(f, "{}{version}", if nth == 0 { "" } else { ", " })?;
        }
        match self.versions.len() {
            1 => f.write_str(", which is not there"),
            2..=SHOWN => f.write_str(", none of which is there"),
            all => write!(f, " and {} more, none of which is there", all - SHOWN),
        }
    }
}
