//! Which plugins serve, and how another set takes their place.
//!
//! A change builds a whole new set beside the one that serves, starts it, and swaps it in; only then does the change go to
//! its file. What does not start leaves everything as it was. So there is no moment without the guards that were on.

use super::build::{Built, Workshop};
use super::discovery::{Discovery, Found};
use super::edit::write_atomically;
use super::manifest::PluginManifest;
use super::settings::is_missing;
use super::status::{self, Configuration, Status};
use super::{Current, Left, Loaded, Set};
use crate::pool::Loan;
use buntime_plugin::{Outcome, Server};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// How long `onServerStart` and `onShutdown` may take.
const START_LIMIT: Duration = Duration::from_secs(30);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long the requests that are in an old set may keep it.
const LINGER: Duration = Duration::from_secs(60);

/// One for the process.
pub struct Host {
    pub current: Arc<Current>,
    pub(super) workshop: Workshop,
    /// Whoever changes something has this.
    changing: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    /// Once the listener is bound.
    server: Mutex<Option<Server>>,
}

/// What was found when the set that serves was built.
#[derive(Default)]
struct Known {
    discovery: Discovery,
    /// Why plugins that are on are not loaded.
    out: BTreeMap<String, String>,
}

/// What a file is to say from now on.
#[derive(Clone, Debug)]
pub struct Proposed {
    pub file: PathBuf,
    pub text: String,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no plugin `{0}`")]
    Unknown(String),
    /// The new set did not start; the old one serves.
    #[error("the plugin {plugin} would not be loaded: {reason}")]
    NotLoaded { plugin: String, reason: String },
    #[error("{0}")]
    Invalid(String),
    /// Others that are loaded could not go on without it.
    #[error("the plugin {plugin} is needed by {}\n\nhint: disable what needs it first", by.join(", "))]
    Needed { plugin: String, by: Vec<String> },
    #[error("{0}")]
    BaseTaken(String),
    /// The pool has no room for so many script plugins.
    #[error("{0}\n\nhint: raise `poolSize` (RUNTIME_POOL_SIZE), or disable a plugin")]
    Crowded(String),
    #[error("the change could not be written: {0}")]
    NotWritten(io::Error),
}

/// What a change is about, and what must become of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand<'a> {
    /// All that is on and was loaded is loaded.
    Whole,
    /// Likewise, and what is written is right, also where it has no effect yet.
    Valid,
    /// Likewise, and this plugin is loaded.
    Loaded(&'a str),
    /// As `Whole`; and this plugin is loaded unless it is off.
    Placed(&'a str),
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
        if let Some(name) = built.fatal().map(str::to_owned) {
            let reason = built.out.get(&name).cloned().unwrap_or_default();
            end(&built.loaded).await;
            return Err(ChangeError::NotLoaded { plugin: name, reason });
        }
        for (plugin, reason) in &built.out {
            tracing::error!(target: "buntime::plugin", plugin, reason, "a plugin is not loaded");
        }
        for plugin in &built.loaded {
            tracing::info!(target: "buntime::plugin", plugin = &*plugin.name, "loaded");
        }
        let Built { discovery, loaded, out, .. } = built;
        Ok(Arc::new(Host {
            current: Arc::new(Current::new(Set::new(loaded))),
            workshop,
            changing: tokio::sync::Mutex::default(),
            known: Mutex::new(Known { discovery, out }),
            server: Mutex::default(),
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
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Builds everything as if changes to files had been made, swaps it in if it starts, and makes the changes then. To be called
    /// by whoever has the turn. What is given ends when the old set has ended.
    ///
    /// # Errors
    /// The new set is not what is demanded, or a file cannot be written; nothing has changed then.
    pub(super) async fn exchange(
        &self,
        changes: &[Proposed],
        demand: Demand<'_>,
    ) -> Result<JoinHandle<()>, ChangeError> {
        let built = self.workshop.build(changes, true).await;
        if let Some(why) = built.crowded {
            return Err(ChangeError::Crowded(why));
        }
        if let Err(error) = valid(&built, changes, demand).and_then(|()| self.accept(&built, demand)) {
            end(&built.loaded).await;
            return Err(error);
        }
        if let Err(error) = aside(|| commit(changes)) {
            end(&built.loaded).await;
            return Err(error);
        }
        for warning in &built.warnings {
            tracing::warn!(target: "buntime::plugin", "{warning}");
        }
        let Built { discovery, loaded, out, loan, .. } = built;
        let old = {
            let serving = self.current.load();
            serving.plugins().to_vec()
        };
        let left = {
            // Whoever asks what there is gets the one or the other, and no mixture.
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Known { discovery, out };
            self.current.replace(Set::new(loaded))
        };
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(server) = server {
            let set = arc_swap::Guard::into_inner(self.current.load());
            tell_start(set.plugins(), &server).await;
        }
        let retiring = tokio::spawn(retire(old, left, loan));
        tracing::info!(target: "buntime::plugin", "another set of plugins serves");
        Ok(retiring)
    }

    /// Whether a new set may take the place of the one that serves.
    fn accept(&self, built: &Built, demand: Demand<'_>) -> Result<(), ChangeError> {
        let why = |name: &str| {
            let reason = built.out.get(name).cloned();
            let reason = reason.unwrap_or_else(|| "it is not there, or not on".to_owned());
            ChangeError::NotLoaded { plugin: name.to_owned(), reason }
        };
        let is_loaded = |name: &str| built.loaded.iter().any(|plugin| *plugin.name == *name);
        let must = match demand {
            Demand::Loaded(name) => Some(name).filter(|name| !is_loaded(name)),
            Demand::Placed(name) => Some(name).filter(|name| built.out.contains_key(*name)),
            Demand::Whole | Demand::Valid => None,
        };
        if let Some(name) = must.or_else(|| built.fatal()) {
            return Err(why(name));
        }
        let serving = self.current.load();
        let lost = serving.plugins().iter().find(|plugin| built.out.contains_key(&*plugin.name));
        lost.map_or(Ok(()), |plugin| Err(why(&plugin.name)))
    }

    /// Ends all plugins, the last first.
    pub async fn shut_down(&self) {
        let _turn = self.changing.lock().await;
        let plugins = self.current.load().plugins().to_vec();
        drop(self.current.replace(Set::default()));
        end(&plugins).await;
    }
}

async fn tell_start(plugins: &[Arc<Loaded>], server: &Server) {
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

/// An old set goes when the requests that are in it have gone.
async fn retire(plugins: Vec<Arc<Loaded>>, left: Left, loan: Option<Loan>) {
    // Whoever still waits then loses nothing but what the plugin's own end takes away.
    let _ = tokio::time::timeout(LINGER, left.wait()).await;
    end(&plugins).await;
    drop(loan);
}

async fn end(plugins: &[Arc<Loaded>]) {
    for plugin in plugins.iter().rev() {
        let ended = plugin
            .call_within("onShutdown", SHUTDOWN_LIMIT, |hooks| Outcome::Later(hooks.on_shutdown()))
            .await;
        if let Err(error) = ended {
            tracing::warn!(target: "buntime::plugin", plugin = &*plugin.name, %error, "a plugin did not end well");
        }
        plugin.context.end();
    }
}

/// What is changed must be right also where it has no effect yet, unless it is turned off because it is wrong.
fn valid(built: &Built, changes: &[Proposed], demand: Demand<'_>) -> Result<(), ChangeError> {
    if matches!(demand, Demand::Whole) {
        return Ok(());
    }
    let changed = |file: &PathBuf| changes.iter().any(|change| change.file == *file);
    let wrong = built.discovery.found.iter().filter(|found| changed(&found.file));
    for found in wrong {
        match &found.manifest {
            Err(unusable) => return Err(unusable.error.refusal()),
            // One that is off may lack what it takes to be on, and get it bit by bit.
            Ok(PluginManifest { settings: Err(errors), .. }) if !errors.all(is_missing) => {
                return Err(ChangeError::Invalid(errors.to_string()));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn commit(changes: &[Proposed]) -> Result<(), ChangeError> {
    for Proposed { file, text } in changes {
        let written = write_atomically(file, text).map_err(|error| io::Error::new(error.error.kind(), error));
        written.map_err(ChangeError::NotWritten)?;
    }
    Ok(())
}

/// Does what takes its time where others need not wait for it: a manifest may have a hundred thousand lines.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
