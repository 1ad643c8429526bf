//! What the runtime counts and measures, in one registry, for whoever shows it.
//!
//! Who records holds a handle (a [`Series`] of an app's version, a [`Histogram`] of a hook), found once: recording is a few relaxed
//! additions, without a lock, an allocation or formatting. What is a state already (connections, workers, the queue)
//! is not counted a second time: a [`Collector`] reads it when a snapshot is taken.

mod collect;
pub mod families;
mod histogram;
mod process;
mod series;
mod table;

pub use self::collect::{Collector, Families};
pub use self::families::Desc;
pub use self::histogram::{HOOKS, Histogram, REQUESTS, TraceId};
pub use self::series::{Ended, MethodLabel, NONE, OTHER, Series};
pub use self::table::MOST_APPS;

use self::table::{Table, View};
use crate::model::AppVersion;
use buntime_plugin::BoxFuture;
use buntime_plugin::metrics::{Snapshot, Source};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The registry. One for the whole process.
pub struct Metrics {
    table: Mutex<Table>,
    hooks: Mutex<Hooks>,
    collectors: Mutex<Vec<Arc<dyn Collector>>>,
    none: Arc<Series>,
    /// The version of bun.
    bun: Arc<str>,
}

/// By plugin and hook.
type Hooks = BTreeMap<(Arc<str>, &'static str), Arc<Histogram>>;

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// An empty registry of this process, which runs apps with this version of bun.
    pub fn new(bun: &str) -> Arc<Metrics> {
        let table = Table::new();
        let none = Arc::clone(table.none());
        Arc::new(Metrics {
            table: Mutex::new(table),
            hooks: Mutex::default(),
            collectors: Mutex::default(),
            none,
            bun: bun.into(),
        })
    }

    /// The series of a version, for its holder to keep with it. When the last holder has let go of them, they are gone.
    pub fn series(&self, app: &str, version: &AppVersion) -> Arc<Series> {
        lock(&self.table).find(app, version)
    }

    /// The series of what belongs to no app.
    pub fn none(&self) -> &Arc<Series> {
        &self.none
    }

    /// How long a hook of a plugin takes, for the plugin's host to keep with it: when the last holder has let go, it is gone.
    pub fn hook(&self, plugin: &str, hook: &'static str) -> Arc<Histogram> {
        let mut hooks = lock(&self.hooks);
        hooks.retain(|_, histogram| Arc::strong_count(histogram) > 1);
        Arc::clone(hooks.entry((plugin.into(), hook)).or_insert_with(|| Arc::new(Histogram::new(&HOOKS))))
    }

    /// What plugins are given.
    pub fn source(self: &Arc<Self>) -> Arc<dyn Source> {
        Arc::new(Outlet(Arc::clone(self)))
    }

    /// Asks `collector` too, whenever a snapshot is taken.
    pub fn register(&self, collector: Arc<dyn Collector>) {
        lock(&self.collectors).push(collector);
    }

    /// Everything now. Reads files of `/proc`: not for a task that others wait for.
    pub fn collect(&self) -> Snapshot {
        let mut into = Families::default();
        into.number(
            &families::BUILD_INFO,
            [("version", env!("CARGO_PKG_VERSION").into()), ("bun", Arc::clone(&self.bun))],
            1.0,
        );
        // They add to series of versions what they read.
        let collectors = lock(&self.collectors).clone();
        collectors.iter().for_each(|collector| collector.collect(&mut into));
        let view = lock(&self.table).look();
        collect_series(view, &mut into);
        for ((plugin, hook), histogram) in lock(&self.hooks).iter() {
            if Arc::strong_count(histogram) > 1 {
                let labels = [("plugin", Arc::clone(plugin)), ("hook", (*hook).into())];
                into.histogram(&families::HOOK_DURATION, labels, histogram.view());
            }
        }
        process::collect(&mut into);
        Snapshot { at: SystemTime::now(), families: into.into_families() }
    }
}

fn collect_series(View { series, bodies }: View, into: &mut Families) {
    for series in series {
        let labels = || [("app", Arc::clone(&series.app)), ("version", Arc::clone(&series.version))];
        for (method, class, count) in series.requests() {
            let [app, version] = labels();
            let labels = [app, version, ("method", method.into()), ("status", class.into())];
            into.number(&families::REQUESTS, labels, count as f64);
        }
        let duration = series.duration.view();
        if duration.count() > 0 {
            into.histogram(&families::REQUEST_DURATION, labels(), duration);
        }
        if !series.cpu().is_zero() {
            into.number(&families::WORKER_CPU, labels(), series.cpu().as_secs_f64());
        }
    }
    for (app, (received, sent)) in bodies {
        into.number(&families::REQUEST_BODY, [("app", Arc::clone(&app))], received as f64);
        into.number(&families::RESPONSE_BODY, [("app", app)], sent as f64);
    }
}

/// What plugins have of it.
struct Outlet(Arc<Metrics>);

impl Source for Outlet {
    fn snapshot(&self) -> BoxFuture<'_, Snapshot> {
        let metrics = Arc::clone(&self.0);
        Box::pin(async move {
            let of_now = Arc::clone(&metrics);
            match tokio::task::spawn_blocking(move || of_now.collect()).await {
                Ok(snapshot) => snapshot,
                // The runtime is ending, or a collector panicked: then there is nothing to show.
                Err(error) => {
                    if error.is_panic() {
                        tracing::error!(target: "buntime::metrics", %error, "the metrics could not be collected");
                    }
                    Snapshot { at: SystemTime::now(), families: Vec::new() }
                }
            }
        })
    }

    fn limit_apps(&self, most: usize) {
        lock(&self.0.table).limit(most);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panics while it holds one of these locks leaves numbers behind that are right or nearly so.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
