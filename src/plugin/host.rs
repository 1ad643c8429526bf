//! Which plugins serve, and how another set takes their place.
//!
//! A change builds a whole new set beside the one that serves, starts it, and swaps it in; only then does the change go to
//! its file. What does not start leaves everything as it was. So there is no moment without the guards that were on.

use super::build::{Built, Workshop};
use super::carry::{Before, Homes};
use super::discovery::{Discovery, Found};
use super::edit::{Reader, write_for};
use super::manifest::PluginManifest;
use super::secrets::states_secret;
use super::settings::is_missing;
use super::status::{self, Configuration, Status};
use super::{Current, Left, Loaded, Set};
use buntime_plugin::{Outcome, Server};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long `onServerStart` and `onShutdown` may take.
const START_LIMIT: Duration = Duration::from_secs(30);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long a change that is under way is waited for when all ends.
const TURN_LIMIT: Duration = Duration::from_secs(1);
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
    /// Sets that do not serve any more and have not ended.
    retiring: Mutex<Vec<JoinHandle<()>>>,
    /// By when all must have ended, once the runtime ends.
    ending: watch::Sender<Option<Instant>>,
}

/// What was found when the set that serves was built.
#[derive(Default)]
struct Known {
    discovery: Discovery,
    /// Why plugins that are on are not loaded, or not as they are on disk.
    out: BTreeMap<String, String>,
    homes: Homes,
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
    /// What plugins there are cannot be told.
    #[error("{0}")]
    Unreadable(String),
    #[error("the runtime is ending")]
    Ending,
}

/// What a change is about, and what must become of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand<'a> {
    /// All that is on and required, or was loaded, is loaded, as it is on disk.
    Whole,
    /// This plugin is off.
    Off(&'a str),
    /// What is written of this plugin, which is off, is right.
    Valid(&'a str),
    /// This plugin is loaded.
    Loaded(&'a str),
    /// This plugin is loaded unless it is off, or not there.
    Placed(&'a str),
}

impl<'a> Demand<'a> {
    /// The one plugin that is changed. All others that serve go on serving, if need be as they are.
    fn about(self) -> Option<&'a str> {
        match self {
            Demand::Whole => None,
            Demand::Off(name) | Demand::Valid(name) | Demand::Loaded(name) | Demand::Placed(name) => {
                Some(name)
            }
        }
    }
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
    ) -> Result<oneshot::Receiver<Infallible>, ChangeError> {
        if self.ending.borrow().is_some() {
            return Err(ChangeError::Ending);
        }
        let mut built = self.workshop.build(changes, true).await;
        if let Some(why) = built.crowded {
            return Err(ChangeError::Crowded(why));
        }
        let old = self.current.load().plugins().to_vec();
        let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).homes.clone();
        let vain = match demand.about() {
            Some(about) => built.keep(&Before { plugins: &old, homes: &before, about }),
            None => Vec::new(),
        };
        end(&vain, None).await;
        let ending = self.ending.borrow().is_some().then_some(ChangeError::Ending);
        let accepted = ending.map_or(Ok(()), Err).and_then(|()| valid(&built, changes, demand));
        let accepted = accepted.and_then(|()| self.accept(&built, &before, demand));
        if let Err(error) = accepted.and_then(|()| aside(|| self.commit(&built.discovery, changes))) {
            end(&without(&built.loaded, &old), None).await;
            return Err(error);
        }
        for warning in &built.warnings {
            tracing::warn!(target: "buntime::plugin", "{warning}");
        }
        let Built { discovery, loaded, mut out, kept, loan, .. } = built;
        let mut homes = homes(&discovery, &loaded);
        for (plugin, reason) in kept {
            tracing::error!(target: "buntime::plugin", plugin, reason, "a plugin was not replaced: the one from before goes on");
            homes.extend(before.get(&plugin).map(|home| (plugin.clone(), home.clone())));
            out.insert(plugin, format!("the one from before goes on: {reason}"));
        }
        let (fresh, gone) = (without(&loaded, &old), without(&old, &loaded));
        let left = {
            // Whoever asks what there is gets the one or the other, and no mixture.
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Known { discovery, out, homes };
            self.current.replace(Set::new(loaded))
        };
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(server) = server {
            tell_start(&fresh, &server).await;
        }
        let (ends, ended) = oneshot::channel();
        let ending = self.ending.subscribe();
        let task = tokio::spawn(async move {
            retire(gone, left, ending).await;
            drop((loan, ends));
        });
        let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        retiring.retain(|task| !task.is_finished());
        retiring.push(task);
        tracing::info!(target: "buntime::plugin", "another set of plugins serves");
        Ok(ended)
    }

    /// Whether a new set may take the place of the one that serves.
    fn accept(&self, built: &Built, homes: &Homes, demand: Demand<'_>) -> Result<(), ChangeError> {
        if let Some(why) = built.discovery.blind() {
            return Err(ChangeError::Unreadable(why));
        }
        let no = |name: &str, reason: &str| {
            Err(ChangeError::NotLoaded { plugin: name.to_owned(), reason: reason.to_owned() })
        };
        let out = |name: &str| built.out.get(name).map(String::as_str);
        let must = match demand {
            Demand::Loaded(name) => Some(name).filter(|name| !built.has_loaded(name)),
            Demand::Placed(name) => Some(name).filter(|name| out(name).is_some()),
            Demand::Whole => built.fatal(),
            Demand::Off(_) | Demand::Valid(_) => None,
        };
        if let Some(name) = must {
            return no(name, out(name).unwrap_or("it is not there, or not on"));
        }
        for plugin in self.current.load().plugins().iter().filter(|plugin| !built.has_loaded(&plugin.name)) {
            let name = &*plugin.name;
            if let Some(reason) = out(name) {
                return no(name, reason);
            }
            if demand.about() == Some(name) {
                continue;
            }
            if let Some(error) = built.broken_at_home(name, homes) {
                return no(name, &error.to_string());
            }
            let found = built.discovery.named(name);
            if found.is_some_and(|found| homes.get(name) == Some(&found.dir)) {
                continue; // it is off
            }
            // Its directory is gone. A reload takes that for what is wanted, where it can be known.
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let missing = built.discovery.missing.difference(&known.discovery.missing).next();
            match (demand, missing) {
                (_, Some(dir)) => {
                    let why = format!("the directory {} is not there any more", dir.display());
                    return Err(ChangeError::Unreadable(why));
                }
                (Demand::Whole, None) => {}
                (_, None) => return no(name, "it is not where it was\n\nhint: reload the plugins first"),
            }
        }
        Ok(())
    }

    fn commit(&self, discovery: &Discovery, changes: &[Proposed]) -> Result<(), ChangeError> {
        for Proposed { file, text } in changes {
            let states = |found: &Found| found.file == *file && states_secret(found, text);
            let reader = match discovery.found.iter().any(states) {
                _ if file.starts_with(&self.workshop.state_dir) => Reader::Owner,
                true => Reader::NotAll,
                false => Reader::AsBefore,
            };
            let written = write_for(file, text, reader);
            let written = written.map_err(|error| io::Error::new(error.error.kind(), error));
            written.map_err(ChangeError::NotWritten)?;
        }
        Ok(())
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
fn homes(discovery: &Discovery, loaded: &[Arc<Loaded>]) -> Homes {
    let home = |plugin: &Arc<Loaded>| {
        let found = discovery.named(&plugin.name)?;
        Some((plugin.name.to_string(), found.dir.clone()))
    };
    loaded.iter().filter_map(home).collect()
}

/// Those of `all` that are not among `others`.
fn without(all: &[Arc<Loaded>], others: &[Arc<Loaded>]) -> Vec<Arc<Loaded>> {
    let is_other = |plugin: &&Arc<Loaded>| !others.iter().any(|other| Arc::ptr_eq(plugin, other));
    all.iter().filter(is_other).cloned().collect()
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

/// An old set goes when the requests that are in it have gone, or the runtime ends.
async fn retire(plugins: Vec<Arc<Loaded>>, left: Left, mut ending: watch::Receiver<Option<Instant>>) {
    tokio::select! {
        // Whoever still waits then loses nothing but what the plugin's own end takes away.
        _ = tokio::time::timeout(LINGER, left.wait()) => {}
        _ = ending.wait_for(Option::is_some) => {}
    }
    let deadline = *ending.borrow();
    end(&plugins, deadline).await;
}

/// Each has its time, and all together have until the deadline. One whose turn comes later only begins to end.
async fn end(plugins: &[Arc<Loaded>], deadline: Option<Instant>) {
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

/// What is changed must be right also where it has no effect yet, unless it is turned off because it is wrong.
fn valid(built: &Built, changes: &[Proposed], demand: Demand<'_>) -> Result<(), ChangeError> {
    if matches!(demand, Demand::Whole | Demand::Off(_)) {
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

/// Does what takes its time where others need not wait for it: a manifest may have a hundred thousand lines.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
