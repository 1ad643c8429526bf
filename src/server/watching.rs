//! What the index finds on disk, passed on to the pool, and what the pool finds out about versions, passed back.

use crate::apps::{self, Change, Index};
use crate::config::{Config, Env, Environment};
use crate::dev::{self, Workbench};
use crate::events::{AppAction, AppEvent, Event, Hub};
use crate::http::kept::Kept;
use crate::model::{Kind, VersionKey};
use crate::package;
use crate::pool::{Observer, Pool, StartFailure};
use anyhow::Result;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

/// What the pool finds out about versions, passed on to the index.
pub struct Proofs {
    pub index: Arc<Index>,
    /// Somebody edits the apps.
    pub bench: Option<Arc<Workbench>>,
}

impl Observer for Proofs {
    fn proven(&self, version: VersionKey) {
        self.index.prove(version);
        if let Some(bench) = &self.bench {
            bench.proven(version);
        }
    }

    fn unproven(&self, version: VersionKey, why: &StartFailure) {
        if let Some(bench) = &self.bench {
            bench.unproven(version, why);
            return self.index.disprove(version);
        }
        tracing::error!(failure = %why, "a new version does not start; the one before it stays");
        self.index.disprove(version);
    }

    fn forgotten(&self, version: VersionKey) {
        self.index.forget_old(version);
    }
}

/// What the index finds on disk, passed on to the pool.
pub fn watch(
    options: apps::Options,
    index: &Arc<Index>,
    pool: &Arc<Pool>,
    kept: &Arc<Kept>,
    hub: &Arc<Hub>,
    bench: Option<&Arc<Workbench>>,
) -> Result<apps::Watcher> {
    let told = Told {
        runtime: tokio::runtime::Handle::current(),
        pool: Arc::clone(pool),
        kept: Arc::clone(kept),
        hub: Arc::clone(hub),
        bench: bench.cloned(),
    };
    Ok(apps::Watcher::start(Arc::clone(index), options, told)?)
}

/// Whom the index's changes concern.
struct Told {
    runtime: tokio::runtime::Handle,
    pool: Arc<Pool>,
    kept: Arc<Kept>,
    hub: Arc<Hub>,
    bench: Option<Arc<Workbench>>,
}

impl apps::Listener for Told {
    fn tell(&mut self, change: Change) {
        // The pool starts workers, which needs the runtime; this is the watcher's thread.
        let _inside = self.runtime.enter();
        log(&change);
        publish(&self.hub, &change);
        if let Some(bench) = &self.bench {
            bench.changed(&change);
        }
        let Told { pool, kept, .. } = self;
        match change {
            Change::Added(app) => pool.add(&app),
            Change::Prove(app) => pool.prove(app.key),
            Change::Removed(app) | Change::Outdated(app) => pool.remove(app.key, None),
            Change::Replaced { old, new } => {
                kept.replaced(&old, &new);
                pool.add(&new);
                if let Kind::Worker { .. } = new.kind {
                    pool.remove(old.key, Some(new.key));
                }
            }
        }
        kept.tidy();
    }

    fn restyled(&mut self, revision: VersionKey, sheets: Vec<PathBuf>) {
        if let Some(bench) = &self.bench {
            bench.restyled(revision, sheets);
        }
    }

    fn published(&mut self) {
        let Some(bench) = &self.bench else { return };
        let _inside = self.runtime.enter();
        bench.published().into_iter().for_each(|revision| self.pool.prove(revision));
    }
}

pub fn options(config: &Config) -> apps::Options {
    apps::Options {
        worker_dirs: config.worker_dirs.clone(),
        reserved: vec![config.reserved_segment().to_owned()],
        ceilings: apps::manifest::Ceilings {
            max_body_size: config.max_body_size,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        },
        development: config.env.is_development(),
        edited: config.dev.is_some(),
        sole: config.dev.as_ref().and_then(|dev| dev.sole.clone()),
        ignored: dev::ignored(config),
        quiet: if config.dev.is_some() { dev::QUIET } else { apps::QUIET },
        production: config.env == Env::Production,
        environment: passable(&config.environment),
    }
}

/// Removes what uploads left behind whose process was killed. Nothing waits for it.
pub fn sweep(worker_dirs: &[PathBuf]) {
    let worker_dirs = worker_dirs.to_owned();
    tokio::task::spawn_blocking(move || {
        for dir in worker_dirs.iter().filter(|dir| dir.is_dir()) {
            match package::sweep(dir) {
                Ok(0) => {}
                Ok(count) => tracing::info!(dir = %dir.display(), count, "removed what broken uploads left"),
                Err(error) => tracing::warn!(%error, "what broken uploads left is still there"),
            }
        }
    });
}

fn log(change: &Change) {
    let (what, app) = match change {
        Change::Added(app) => return tracing::debug!(app = %app.name, version = %app.version, "added"),
        Change::Prove(app) => ("to be proven", app),
        Change::Removed(app) => ("removed", app),
        Change::Replaced { new, .. } => ("replaced", new),
        // It was replaced just before.
        Change::Outdated(_) => return,
    };
    tracing::info!(app = %app.name, version = %app.version, "{what}");
}

fn publish(hub: &Hub, change: &Change) {
    let (action, app) = match change {
        Change::Added(app) => (AppAction::Added, app),
        // It was added or replaced just before.
        Change::Prove(_) | Change::Outdated(_) => return,
        Change::Removed(app) => (AppAction::Removed, app),
        Change::Replaced { new, .. } => (AppAction::Replaced, new),
    };
    let (app, version) = (app.name.clone(), app.version.clone());
    hub.publish(Event::App(AppEvent { action, app, version, failure: None }));
}

/// The supervisor's variables that an app may ask for: those that are text.
fn passable(environment: &Environment) -> BTreeMap<String, String> {
    let text =
        |(name, value): (&OsStr, &OsStr)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
    environment.iter().filter_map(text).collect()
}
