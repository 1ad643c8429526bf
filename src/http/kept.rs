//! What is worked out once for a version and kept while it can be asked for: the opened directory of a static app, and what
//! is injected into pages.

use super::files::StaticRoot;
use super::html::Injection;
use crate::model::{App, Kind, VersionKey};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

type Map<T> = ArcSwap<HashMap<VersionKey, Arc<T>>>;

#[derive(Default)]
pub struct Kept {
    roots: Map<StaticRoot>,
    injections: Map<Injection>,
}

impl Kept {
    /// The directory of a static app.
    ///
    /// # Errors
    /// It cannot be opened, or the app is not static.
    pub fn root(&self, app: &App) -> io::Result<Arc<StaticRoot>> {
        if let Some(root) = self.roots.load().get(&app.key) {
            return Ok(Arc::clone(root));
        }
        let Kind::Static { root, index } = &app.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok(keep(&self.roots, app.key, StaticRoot::open(root, index)?))
    }

    pub fn injection(&self, app: &App) -> Arc<Injection> {
        if let Some(injection) = self.injections.load().get(&app.key) {
            return Arc::clone(injection);
        }
        keep(&self.injections, app.key, Injection::new(&app.env, &app.manifest.env_prefix))
    }

    /// The version can no longer be asked for.
    pub fn forget(&self, key: VersionKey) {
        forget(&self.roots, key);
        forget(&self.injections, key);
    }
}

fn keep<T>(map: &Map<T>, key: VersionKey, value: T) -> Arc<T> {
    let value = Arc::new(value);
    map.rcu(|known| {
        let mut known = HashMap::clone(known);
        known.insert(key, Arc::clone(&value));
        known
    });
    value
}

fn forget<T>(map: &Map<T>, key: VersionKey) {
    if map.load().contains_key(&key) {
        map.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.remove(&key);
            known
        });
    }
}
