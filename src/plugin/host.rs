//! Which plugins serve: their start, what is told of them, and their end.

use super::build::{Built, Workshop};
use super::carry::Homes;
use super::demand::{ChangeError, Demand};
use super::discovery::{Discovery, Found};
use super::status::{self, Configuration, Status};
use super::{Current, Loaded, Set};
use buntime_plugin::{Outcome, Server};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long `onServerStart` and `onShutdown` may take.
const START_LIMIT: Duration = Duration::from_secs(30);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long a change that is under way is waited for when all ends.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// One for the process.
pub struct Host {
    pub current: Arc<Current>,
    pub(super) workshop: Workshop,
    /// Whoever changes something has this.
    changing: tokio::sync::Mutex<()>,
    pub(super) known: Mutex<Known>,
    /// Once the listener is bound.
    pub(super) server: Mutex<Option<Server>>,
    /// Sets that do not serve any more and have not ended.
    pub(super) retiring: Mutex<Vec<JoinHandle<()>>>,
    /// By when all must have ended, once the runtime ends.
    pub(super) ending: watch::Sender<Option<Instant>>,
}

/// What was found when the set that serves was built.
#[derive(Default)]
pub(super) struct Known {
    pub discovery: Discovery,
    /// Why plugins that are on are not loaded, or not as they are on disk.
    pub out: BTreeMap<String, String>,
    pub homes: Homes,
}

impl Host {
    /// Loads the plugins that are on.
    ///
    /// # Errors
    /// One of them is required and does not start: the runtime must not start either.
    pub async fn start(workshop: Workshop) -> Result<Arc<Host>, ChangeError> {
        let built = workshop.build(&[], false).await;
        if let Some(why) = built.crowded {
            return Err(ChangeError::Crowded(why));
        }
        for warning in &built.warnings {
            tracing::warn!(target: "buntime::plugin", "{warning}");
        }
        if let Some(why) = built.discovery.blind() {
            end(&built.loaded, None).await;
            return Err(ChangeError::Unreadable(why));
        }
        if let Some(name) = built.fatal().map(str::to_owned) {
            let reason = built.out.get(&name).cloned().unwrap_or_default();
            end(&built.loaded, None).await;
            return Err(ChangeError::NotLoaded { plugin: name, reason });
        }
        for (plugin, reason) in &built.out {
            tracing::error!(target: "buntime::plugin", plugin, reason, "a plugin is not loaded");
        }
        for plugin in &built.loaded {
            tracing::info!(target: "buntime::plugin", plugin = &*plugin.name, "loaded");
        }
        let Built { discovery, loaded, out, .. } = built;
        let homes = homes(&discovery, &loaded);
        Ok(Arc::new(Host {
            current: Arc::new(Current::new(Set::new(loaded))),
            workshop,
            changing: tokio::sync::Mutex::default(),
            known: Mutex::new(Known { discovery, out, homes }),
            server: Mutex::default(),
            retiring: Mutex::default(),
            ending: watch::Sender::new(None),
        }))
    }

    /// The listener is bound.
    pub async fn server_started(&self, server: Server) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.clone());
        let set = arc_swap::Guard::into_inner(self.current.load());
        tell_start(set.plugins(), &server).await;
    }

    /// All plugins, loaded or not, by name.
    pub fn list(&self) -> Vec<Status> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        status::list(&known.discovery, &known.out, &self.current.load())
    }

    pub fn find(&self, name: &str) -> Option<Status> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.discovery.named(name)?;
        Some(status::one(found, &known.out, &self.current.load()))
    }

    /// The settings of a plugin, its secrets masked.
    pub fn configuration(&self, name: &str) -> Option<Configuration> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.discovery.named(name).map(status::configuration)
    }

    /// Where plugins are, the first one first.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.workshop.dirs
    }

    /// Names of those that are loaded and could not be without this one, in their order.
    pub fn needed_by(&self, name: &str) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let needs = |plugin: &&Arc<Loaded>| {
            let manifest = known.discovery.named(&plugin.name).and_then(|found| found.manifest.as_ref().ok());
            manifest.is_some_and(|manifest| {
                manifest.dependencies.iter().any(|needed| needed.name.as_str() == name)
            })
        };
        self.current.load().plugins().iter().filter(needs).map(|plugin| plugin.name.to_string()).collect()
    }

    /// First path segments that belong to plugins.
    pub fn bases(&self) -> Vec<String> {
        self.current.load().bases().map(str::to_owned).collect()
    }

    /// Whose a first path segment is.
    pub fn at(&self, segment: &str) -> Option<String> {
        let current = self.current.load();
        let is_it = |plugin: &&Arc<Loaded>| {
            plugin.base.as_deref().and_then(|base| base.strip_prefix('/')) == Some(segment)
        };
        current.plugins().iter().find(is_it).map(|plugin| plugin.name.to_string())
    }

    /// Builds everything anew from what is on disk.
    ///
    /// # Errors
    /// A plugin that serves would not any more, although it is on; or one that is required.
    pub async fn reload(&self) -> Result<(), ChangeError> {
        let _turn = self.changing.lock().await;
        self.exchange(&[], Demand::Whole).await.map(drop)
    }

    /// Looks at a plugin as it was found.
    ///
    /// # Errors
    /// There is none of that name, or `look` says so.
    pub(super) fn look<T>(
        &self,
        name: &str,
        look: impl FnOnce(&Found) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.discovery.named(name).ok_or_else(|| ChangeError::Unknown(name.to_owned())).and_then(look)
    }

    /// Waits until nobody else changes anything.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Ends all plugins, the last first, also those of sets that still linger. Whatever they do it is over at the deadline. The
    /// set stays where it is: a request that comes yet finds its guards, and is refused by those that cannot answer any more.
    pub async fn shut_down(&self, deadline: Instant) {
        self.ending.send_replace(Some(deadline));
        // Whoever changes something now may be waiting for a plugin to start. It will not be swapped in.
        let _turn = tokio::time::timeout(TURN_LIMIT, self.changing.lock()).await;
        let retiring = std::mem::take(&mut *self.retiring.lock().unwrap_or_else(PoisonError::into_inner));
        let plugins = self.current.load().plugins().to_vec();
        let retired = tokio::time::timeout_at(deadline, futures_util::future::join_all(retiring));
        let ((), _) = tokio::join!(end(&plugins, Some(deadline)), retired);
    }
}

/// Where those that are loaded are.
pub(super) fn homes(discovery: &Discovery, loaded: &[Arc<Loaded>]) -> Homes {
    let home = |plugin: &Arc<Loaded>| {
        let found = discovery.named(&plugin.name)?;
        Some((plugin.name.to_string(), found.dir.clone()))
    };
    loaded.iter().filter_map(home).collect()
}

pub(super) async fn tell_start(plugins: &[Arc<Loaded>], server: &Server) {
    for plugin in plugins {
        let told = plugin
            .call_within("onServerStart", START_LIMIT, |hooks| {
                Outcome::Later(hooks.on_server_start(server.clone()))
            })
            .await;
        if let Err(error) = told {
            plugin.complain(&error, "a plugin is degraded");
            plugin.degrade(error.to_string());
        }
    }
}

/// Each has its time, and all together have until the deadline. One whose turn comes later only begins to end.
pub(super) async fn end(plugins: &[Arc<Loaded>], deadline: Option<Instant>) {
    for plugin in plugins.iter().rev() {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(SHUTDOWN_LIMIT).min(SHUTDOWN_LIMIT);
        let ended =
            plugin.call_within("onShutdown", limit, |hooks| Outcome::Later(hooks.on_shutdown())).await;
        if let Err(error) = ended {
            tracing::warn!(target: "buntime::plugin", plugin = &*plugin.name, %error, "a plugin did not end well");
        }
        plugin.context.end();
    }
}

/// Does what takes its time where others need not wait for it: a manifest may have a hundred thousand lines.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
