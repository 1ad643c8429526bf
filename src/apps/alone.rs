//! Reads a directory as an app whose manifest is known already and that stands in no index: the module of a plugin, and a
//! plugin's own app.

use super::disk::Disk;
use super::load::Loader;
use super::manifest::Ceilings;
use crate::model::{App, AppName, AppVersion, Manifest, PluginSeat, VersionKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Loads such apps; gives each a key that no other has.
#[derive(Debug)]
pub struct Alone {
    ceilings: Ceilings,
    production: bool,
    environment: BTreeMap<String, String>,
    next_key: AtomicU64,
}

impl Alone {
    /// `environment` is what `envPassthrough` may name.
    pub fn new(ceilings: Ceilings, production: bool, environment: BTreeMap<String, String>) -> Alone {
        Alone { ceilings, production, environment, next_key: AtomicU64::new(0) }
    }

    /// # Errors
    /// Its entrypoint or its `.env` cannot be used, in words for its author.
    pub fn load(
        &self,
        dir: &Path,
        name: AppName,
        version: AppVersion,
        manifest: Manifest,
        plugin: Option<Arc<PluginSeat>>,
    ) -> Result<Arc<App>, String> {
        let loader = Loader {
            disk: Disk::default(),
            ceilings: self.ceilings,
            production: self.production,
            environment: self.environment.clone(),
            next_key: 0,
        };
        let key = VersionKey::of_plugin(self.next_key.fetch_add(1, Ordering::Relaxed));
        let app = loader.load_stated(dir, key, (name, version), manifest, plugin);
        app.map(Arc::new).map_err(|error| error.to_string())
    }
}
