//! How another set of plugins takes the place of the one that serves.
//!
//! A change builds a whole new set beside the one that serves, starts it, and swaps it in; only then does the change go to
//! its file. What does not start leaves everything as it was. So there is no moment without the guards that were on.

use super::build::Built;
use super::carry::{Before, Homes};
use super::demand::{ChangeError, Demand, Proposed};
use super::discovery::{Discovery, Found};
use super::edit::{Reader, write_for};
use super::host::{Host, Known, aside, end, homes, tell_start};
use super::manifest::PluginManifest;
use super::secrets::states_secret;
use super::settings::is_missing;
use super::{Left, Loaded, Set};
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long the requests that are in an old set may keep it.
const LINGER: Duration = Duration::from_secs(60);

impl Host {
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
}

/// Those of `all` that are not among `others`.
fn without(all: &[Arc<Loaded>], others: &[Arc<Loaded>]) -> Vec<Arc<Loaded>> {
    let is_other = |plugin: &&Arc<Loaded>| !others.iter().any(|other| Arc::ptr_eq(plugin, other));
    all.iter().filter(is_other).cloned().collect()
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
