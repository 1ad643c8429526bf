//! Which plugins serve, and how another set takes their place.
//!
//! A change builds a whole new set beside the one that serves, starts it, and swaps it in; only then does the change go to
//! its file. What does not start leaves everything as it was. So there is no moment without the guards that were on.

use super::build::{Built, Workshop};
use super::discovery::Discovery;
use super::edit::write_atomically;
use super::status::{self, Status};
use super::{Current, Left, Loaded, Set};
use buntime_plugin::{Outcome, Server};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    #[error("{plugin} would not be loaded: {reason}")]
    NotLoaded { plugin: String, reason: String },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the change could not be written: {0}")]
    NotWritten(String),
}

impl Host {
    /// Loads the plugins that are on.
    ///
    /// # Errors
    /// One of them is required and does not start: the runtime must not start either.
    pub async fn start(workshop: Workshop) -> Result<Arc<Host>, ChangeError> {
        let built = workshop.build(&[]).await;
        for warning in &built.warnings {
            tracing::warn!(target: "buntime::plugin", "{warning}");
        }
        if let Some(name) = built.fatal().map(str::to_owned) {
            let reason = built.out.get(&name).cloned().unwrap_or_default();
            abandon(built.loaded).await;
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
        self.list().into_iter().find(|status| status.name == name)
    }

    /// First path segments that belong to plugins.
    pub fn bases(&self) -> Vec<String> {
        self.current.load().bases().map(str::to_owned).collect()
    }

    /// Builds everything anew from what is on disk.
    ///
    /// # Errors
    /// A plugin that serves would not any more, although it is on; or one that is required.
    pub async fn reload(&self) -> Result<(), ChangeError> {
        let _turn = self.changing.lock().await;
        self.exchange(&[], None).await
    }

    /// Makes changes to files, as if they had been made and everything were loaded anew; and makes them if that succeeds.
    /// `must` is to be loaded then.
    ///
    /// # Errors
    /// As [`Host::reload`]; or the files cannot be written.
    pub(super) async fn propose(
        &self,
        make: impl FnOnce(&Discovery) -> Result<Vec<Proposed>, ChangeError>,
        must: Option<&str>,
    ) -> Result<(), ChangeError> {
        let _turn = self.changing.lock().await;
        let changes = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            make(&known.discovery)?
        };
        match changes.is_empty() {
            true => Ok(()),
            false => self.exchange(&changes, must).await,
        }
    }

    /// Waits until nobody else changes anything.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// To be called by whoever has the turn.
    pub(super) async fn exchange(&self, changes: &[Proposed], must: Option<&str>) -> Result<(), ChangeError> {
        let built = self.workshop.build(changes).await;
        if let Err(error) = valid(&built, changes).and_then(|()| self.accept(&built, must)) {
            abandon(built.loaded).await;
            return Err(error);
        }
        if let Err(error) = commit(changes) {
            abandon(built.loaded).await;
            return Err(error);
        }
        for warning in &built.warnings {
            tracing::warn!(target: "buntime::plugin", "{warning}");
        }
        let Built { discovery, loaded, out, .. } = built;
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
        tokio::spawn(retire(old, left));
        tracing::info!(target: "buntime::plugin", "another set of plugins serves");
        Ok(())
    }

    /// Whether a new set may take the place of the one that serves.
    fn accept(&self, built: &Built, must: Option<&str>) -> Result<(), ChangeError> {
        let why = |name: &str| {
            let reason = built.out.get(name).cloned();
            let reason = reason.unwrap_or_else(|| "it is not there, or not on".to_owned());
            ChangeError::NotLoaded { plugin: name.to_owned(), reason }
        };
        let is_loaded = |name: &str| built.loaded.iter().any(|plugin| *plugin.name == *name);
        if let Some(name) = must.filter(|name| !is_loaded(name)) {
            return Err(why(name));
        }
        if let Some(name) = built.fatal() {
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
async fn retire(plugins: Vec<Arc<Loaded>>, left: Left) {
    // Whoever still waits then loses nothing but what the plugin's own end takes away.
    let _ = tokio::time::timeout(LINGER, left.wait()).await;
    end(&plugins).await;
}

/// What was built serves nobody.
async fn abandon(plugins: Vec<Arc<Loaded>>) {
    end(&plugins).await;
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

/// What is changed must be right also where it has no effect yet.
fn valid(built: &Built, changes: &[Proposed]) -> Result<(), ChangeError> {
    let changed = |file: &PathBuf| changes.iter().any(|change| change.file == *file);
    let wrong = built.discovery.found.iter().filter(|found| changed(&found.file));
    for found in wrong {
        if let Err(unusable) = &found.manifest {
            return Err(ChangeError::Invalid(unusable.error.to_string()));
        }
    }
    Ok(())
}

fn commit(changes: &[Proposed]) -> Result<(), ChangeError> {
    for Proposed { file, text } in changes {
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string());
        let written = made.and_then(|()| write_atomically(file, text).map_err(|error| error.to_string()));
        written.map_err(ChangeError::NotWritten)?;
    }
    Ok(())
}
