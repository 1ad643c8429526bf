//! What is worked out once for a version and kept for as long as the version lives: the opened directory of a static app,
//! what is injected into pages, and where its requests are counted.

use super::files::StaticRoot;
use super::html::Injection;
use crate::model::{App, Kind, VersionKey};
use crate::telemetry::metrics::{Collector, Families, Metrics, Series};
use arc_swap::ArcSwap;
use buntime_plugin::AppInfo;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

type Map<T> = ArcSwap<HashMap<VersionKey, Entry<T>>>;

pub struct Kept {
    roots: Map<StaticRoot>,
    injections: Map<Injection>,
    infos: Map<AppInfo>,
    accounts: Map<Account>,
    metrics: Arc<Metrics>,
}

/// Whose a request is, and where it is counted. Not the same: beyond the limit of apps many share one series.
#[derive(Debug)]
pub struct Account {
    pub app: Arc<str>,
    pub version: Arc<str>,
    pub series: Arc<Series>,
}

/// Worth nothing once nobody has the version any more: no request can ask for it then.
struct Entry<T> {
    of: Weak<App>,
    value: Arc<T>,
}

impl Kept {
    pub fn new(metrics: &Arc<Metrics>) -> Arc<Kept> {
        let kept = Arc::new(Kept {
            roots: Map::default(),
            injections: Map::default(),
            infos: Map::default(),
            accounts: Map::default(),
            metrics: Arc::clone(metrics),
        });
        metrics.register(Arc::new(Arc::downgrade(&kept)));
        kept
    }

    /// The directory of a static app.
    ///
    /// # Errors
    /// It cannot be opened, or the app is not static.
    pub fn root(&self, app: &Arc<App>) -> io::Result<Arc<StaticRoot>> {
        if let Some(entry) = self.roots.load().get(&app.key) {
            return Ok(Arc::clone(&entry.value));
        }
        let Kind::Static { root, index } = &app.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok(keep(&self.roots, app, Arc::new(StaticRoot::open(root, index)?)))
    }

    pub fn injection(&self, app: &Arc<App>) -> Arc<Injection> {
        if let Some(entry) = self.injections.load().get(&app.key) {
            return Arc::clone(&entry.value);
        }
        keep(&self.injections, app, Arc::new(Injection::new(&app.env, &app.manifest.env_prefix)))
    }

    /// Where the requests for a version are counted. Its next revision counts on if it is asked for while this one is still there.
    pub fn series(&self, app: &Arc<App>) -> Arc<Account> {
        if let Some(entry) = self.accounts.load().get(&app.key) {
            return Arc::clone(&entry.value);
        }
        let (label, series) = (app.label(), self.metrics.series(&app.label(), &app.version));
        let account = Account { app: (*label).into(), version: app.version.to_string().into(), series };
        keep(&self.accounts, app, Arc::new(account))
    }

    /// A version takes the place of another one, whose counters go on.
    pub fn replaced(&self, old: &App, new: &Arc<App>) {
        if self.accounts.load().contains_key(&old.key) {
            self.series(new);
        }
    }

    /// Where requests that mean no app are counted.
    pub fn no_series(&self) -> &Arc<Series> {
        self.metrics.none()
    }

    /// What plugins are told of an app.
    pub fn info(&self, app: &Arc<App>) -> Arc<AppInfo> {
        if let Some(entry) = self.infos.load().get(&app.key) {
            return Arc::clone(&entry.value);
        }
        keep(&self.infos, app, Arc::new(AppInfo::new(app.name.as_str(), app.version.to_string())))
    }

    /// Lets go of what belongs to versions that are gone. A request under way may keep its version alive and bring back
    /// what is let go of here; the next time it goes.
    pub fn tidy(&self) {
        tidy(&self.roots);
        tidy(&self.injections);
        tidy(&self.infos);
        tidy(&self.accounts);
    }
}

/// It has nothing to show; but what it keeps of versions that have gone since must not be shown.
impl Collector for Weak<Kept> {
    fn collect(&self, _: &mut Families) {
        if let Some(kept) = self.upgrade() {
            kept.tidy();
        }
    }
}

fn keep<T>(map: &Map<T>, app: &Arc<App>, value: Arc<T>) -> Arc<T> {
    map.rcu(|known| {
        let mut known = living(known);
        known.insert(app.key, Entry { of: Arc::downgrade(app), value: Arc::clone(&value) });
        known
    });
    value
}

fn tidy<T>(map: &Map<T>) {
    if map.load().values().any(|entry| entry.is_dead()) {
        map.rcu(|known| living(known));
    }
}

fn living<T>(known: &HashMap<VersionKey, Entry<T>>) -> HashMap<VersionKey, Entry<T>> {
    let living = known.iter().filter(|(_, entry)| !entry.is_dead());
    living.map(|(key, entry)| (*key, entry.clone())).collect()
}

impl<T> Entry<T> {
    fn is_dead(&self) -> bool {
        self.of.strong_count() == 0
    }
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Entry { of: self.of.clone(), value: Arc::clone(&self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, AppVersion, Manifest};
    use crate::telemetry::metrics::OTHER;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn site(key: u64, dir: &Path) -> Arc<App> {
        Arc::new(App {
            key: VersionKey(key),
            name: AppName::parse("site").unwrap(),
            version: AppVersion::parse("1.0.0").unwrap(),
            dir: dir.to_owned(),
            manifest: Manifest::default(),
            kind: Kind::Static { root: dir.to_owned(), index: "index.html".into() },
            env: BTreeMap::new(),
            needs_fresh: None,
            plugin: None,
        })
    }

    #[test]
    fn what_a_last_request_brings_back_goes_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(&Metrics::new("1.4.5"));
        let old = site(1, dir.path());
        kept.root(&old).unwrap();
        // The version is removed while a request for it is under way.
        kept.tidy();
        let root = Arc::downgrade(&kept.root(&old).unwrap());
        let injection = Arc::downgrade(&kept.injection(&old));
        drop(old);
        kept.tidy();
        assert_eq!((root.strong_count(), injection.strong_count()), (0, 0));
    }

    #[test]
    fn a_new_version_takes_the_place_of_one_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(&Metrics::new("1.4.5"));
        let (old, living) = (site(1, dir.path()), site(2, dir.path()));
        let gone = Arc::downgrade(&kept.injection(&old));
        let stays = kept.injection(&living);
        drop(old);
        kept.injection(&site(3, dir.path()));
        assert_eq!(gone.strong_count(), 0);
        assert!(Arc::ptr_eq(&stays, &kept.injection(&living)));
    }

    /// The access log shows apps by this name, and who may see an app finds its lines by it.
    #[test]
    fn an_app_beyond_the_limit_of_series_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new("1.4.5");
        metrics.source().limit_apps(0);
        let kept = Kept::new(&metrics);
        let site = site(1, dir.path());
        let account = kept.series(&site);
        assert_eq!((&*account.app, &*account.version), ("site", "1.0.0"));
        assert_eq!(&*account.series.labels()[0].1, OTHER);
    }

    #[test]
    fn the_next_revision_of_a_version_counts_on_and_a_removed_one_is_counted_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new("1.4.5");
        let kept = Kept::new(&metrics);
        let (old, new) = (site(1, dir.path()), site(2, dir.path()));
        kept.series(&old).series.received(7);
        kept.replaced(&old, &new);
        drop(old);
        kept.tidy();
        kept.series(&new).series.received(1);
        let bytes = || {
            let families = metrics.collect();
            let samples = &families.family("buntime_http_request_body_bytes_total").unwrap().samples;
            samples
                .iter()
                .map(|sample| format!("{:?} {:?}", sample.label("app"), sample.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(), [r#"Some("_none") Number(0.0)"#, r#"Some("site") Number(8.0)"#]);
        // Its last worker lets go of it after the change was told.
        drop(new);
        assert_eq!(bytes(), [r#"Some("_none") Number(0.0)"#]);
    }
}
