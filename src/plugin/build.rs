//! Builds a set of plugins from what is on disk: found, put in order, made, started.

use super::demand::Proposed;
use super::discovery::{Discovery, Found, Linked, Places, discover, inspect};
use super::host::aside;
use super::loaded::{OwnApp, Parts, Rules};
use super::manifest::{self, PluginManifest, PluginName};
use super::{Loaded, Secrets, native, order, script};
use crate::apps::manifest::Ceilings;
use crate::model::AppVersion;
use crate::pool::Loan;
use crate::telemetry::metrics::Metrics;
use buntime_plugin::service::Services;
use buntime_plugin::{Context, Core, Identity, Native, Outcome, Plugin, Settings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long `onInit` may take.
const INIT_LIMIT: Duration = Duration::from_secs(30);

/// What plugins are made with.
pub struct Workshop {
    pub dirs: Vec<PathBuf>,
    pub state_dir: PathBuf,
    /// First path segments that no plugin may have.
    pub reserved: Vec<String>,
    pub ceilings: Ceilings,
    /// What settings may refer to.
    pub environment: BTreeMap<String, String>,
    pub core: Arc<dyn Core>,
    /// Told of what settings keep secret, before a plugin is made with them.
    pub secrets: Arc<Secrets>,
    pub metrics: Arc<Metrics>,
    /// The native plugins that there are.
    pub natives: &'static [&'static Native],
    /// None = where no process can be started.
    pub scripts: Option<script::Maker>,
}

/// A set that is started and serves nobody yet.
pub struct Built {
    pub discovery: Discovery,
    /// In their order.
    pub loaded: Vec<Arc<Loaded>>,
    /// Those that are on and not loaded, and why.
    pub out: BTreeMap<String, String>,
    /// Those of `loaded` that are the ones from before, and why.
    pub kept: BTreeMap<String, String>,
    /// In which order those that are on would be.
    pub order: Vec<PluginName>,
    pub warnings: Vec<String>,
    /// Room for its processes, for as long as those of the set that serves are there too.
    pub loan: Option<Loan>,
    /// The pool has no room for them: none was started.
    pub crowded: Option<String>,
}

impl Built {
    /// A plugin that the runtime must not do without and that is not there.
    pub fn fatal(&self) -> Option<&str> {
        let required = |name: &&String| self.discovery.named(name).is_some_and(Found::is_required);
        self.out.keys().find(required).map(String::as_str)
    }
}

impl Workshop {
    /// Builds the set that there would be if `changes` had been made.
    /// Where another set serves meanwhile, `beside` it.
    pub async fn build(&self, changes: &[Proposed], beside: bool) -> Built {
        let mut discovery = aside(|| self.discover(changes));
        self.secrets.learn(&discovery);
        let plan = order::plan(discovery.found.iter().map(order::Candidate::from));
        let mut warnings = std::mem::take(&mut discovery.warnings);
        warnings.extend(plan.warnings.iter().cloned());
        let is_script =
            |name: &&PluginName| discovery.named(name.as_str()).is_some_and(|found| !found.native);
        let scripts = plan.order.iter().filter(is_script).count();
        let makes = self.scripts.as_ref().filter(|_| scripts > 0);
        let crowded = makes.and_then(|makes| crowded(scripts, makes.pool.size()));
        let loan = makes.filter(|_| beside && crowded.is_none()).map(|makes| makes.pool.lend(scripts));
        let mut built = Built {
            discovery,
            loaded: Vec::new(),
            out: BTreeMap::new(),
            kept: BTreeMap::new(),
            order: plan.order,
            warnings,
            loan,
            crowded,
        };
        if built.crowded.is_some() {
            return built;
        }
        for (name, reason) in &plan.out {
            let found = built.discovery.named(name.as_str());
            let error = found.and_then(|found| found.manifest.as_ref().err());
            let why = error.map_or_else(|| reason.to_string(), |unusable| unusable.error.to_string());
            built.out.insert(name.to_string(), why);
        }
        built.warnings.extend(self.exposed(&built.discovery));
        let services = Arc::new(Services::default());
        for name in &built.order {
            let Some(found) = built.discovery.named(name.as_str()) else { continue };
            let Ok(manifest) = &found.manifest else { continue };
            let lacks =
                manifest.dependencies.iter().find(|needed| built.out.contains_key(needed.name.as_str()));
            let loaded = match lacks {
                Some(needed) => Err(format!("it needs {}, which is out", needed.name)),
                None => self.load(found, manifest, &built, &services).await,
            };
            match loaded {
                Ok(loaded) => built.loaded.push(loaded),
                Err(why) => drop(built.out.insert(name.to_string(), why)),
            }
        }
        built
    }

    fn discover(&self, changes: &[Proposed]) -> Discovery {
        self.search(changes, discover)
    }

    /// The manifest of a plugin that is linked in.
    pub fn embedded(&self, name: &PluginName) -> Option<&'static str> {
        let is_it = |native: &&&Native| native::name(native).as_ref() == Some(name);
        self.natives.iter().find(is_it).map(|native| native.manifest)
    }

    /// Looks at a directory as at a plugin that might come in.
    pub fn inspect(&self, dir: &Path, changes: &[Proposed]) -> Option<Found> {
        self.search(changes, |places, rules| inspect(dir, places, rules))
    }

    fn search<T>(
        &self,
        changes: &[Proposed],
        search: impl FnOnce(&Places<'_>, &manifest::Rules<'_>) -> T,
    ) -> T {
        let names: Vec<_> = self.natives.iter().map(|native| native::name(native)).collect();
        let named =
            names.iter().zip(self.natives).filter_map(|(name, native)| Some((name.as_ref()?, native)));
        let linked: Vec<Linked<'_>> =
            named.map(|(name, native)| Linked { name: name.as_str(), manifest: native.manifest }).collect();
        let places = Places { dirs: &self.dirs, linked: &linked, state_dir: &self.state_dir, changes };
        let lookup = |name: &str| self.environment.get(name).cloned();
        let rules =
            manifest::Rules { reserved: &self.reserved, ceilings: self.ceilings, environment: &lookup };
        search(&places, &rules)
    }

    /// What apps read of plugins although they are kept from files: what lies in no plugin directory that was there at the start.
    fn exposed(&self, discovery: &Discovery) -> Vec<String> {
        let Some(scripts) = &self.scripts else { return Vec::new() };
        let dirs = discovery.found.iter().filter(|found| found.is_enabled()).filter_map(|found| {
            let dir = found.dir.as_ref().filter(|dir| scripts.pool.shows(dir))?;
            Some((&found.name, dir.display()))
        });
        let warning = |(name, dir)| {
            format!(
                "apps can read the directory of {name}, {dir}: it is a link to elsewhere, or the plugin directory was not there \
                 at the start\n\nhint: put the plugin itself into a plugin directory, and start the runtime again"
            )
        };
        dirs.map(warning).collect()
    }

    async fn load(
        &self,
        found: &Found,
        manifest: &PluginManifest,
        built: &Built,
        services: &Arc<Services>,
    ) -> Result<Arc<Loaded>, String> {
        let name = manifest.name.as_str();
        let settings = manifest.settings.as_ref().map_err(ToString::to_string)?;
        let fits = |needed: &&manifest::Dependency| {
            let other = needed.name.as_str();
            let found = built.discovery.named(other).filter(|_| built.has_loaded(other));
            let other = found.and_then(|found| found.manifest.as_ref().ok());
            other.is_some_and(|other| needed.accepts(&other.version))
        };
        let needed = manifest.dependencies.iter().chain(&manifest.optional_dependencies);
        let identity = Identity {
            name: name.to_owned(),
            version: manifest.version.to_string(),
            base: manifest.base.as_ref().map(|base| base.as_str().to_owned()),
            state_dir: self.state_dir.join("plugin-data").join(name),
            dependencies: needed.filter(fits).map(|needed| needed.name.to_string()).collect(),
        };
        let settings = Settings::new(settings.value().clone());
        let context = Context::new(identity, settings, Arc::clone(&self.core), Arc::clone(services));
        let native = self.natives.iter().find(|native| native::name(native).as_ref() == Some(&found.name));
        let plugin = match (native, &found.dir) {
            (Some(native), _) => make(native, &context)?,
            (None, Some(dir)) => self.scripts()?.make(dir, manifest, &context)?,
            (None, None) => return Err("it is neither in a directory nor linked in".to_owned()),
        };
        let app = match (&manifest.app, &found.dir) {
            (Some(app), Some(dir)) => Some(self.own_app(manifest, app, dir)?),
            (Some(_), None) => return Err("its app needs a directory, and it has none".to_owned()),
            (None, _) => None,
        };
        let parts = Parts {
            name: name.into(),
            plugin,
            context,
            rules: Rules { hook_timeout: manifest.hook_timeout, fail_open: manifest.fail_open },
            base: manifest.base.as_ref().map(|base| base.as_str().to_owned()),
            app,
            worker_env: manifest.worker_env.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let loaded = Arc::new(Loaded::new(parts).map_err(|error| error.to_string())?);
        let started =
            loaded.call_within("onInit", INIT_LIMIT, |plugin| Outcome::Later(plugin.on_init())).await;
        match started {
            Ok(()) => Ok(loaded),
            Err(error) => {
                loaded.context.end();
                Err(error.to_string())
            }
        }
    }

    /// A plugin's own app, which the pool runs like any other.
    fn own_app(
        &self,
        manifest: &PluginManifest,
        app: &crate::model::Manifest,
        dir: &Path,
    ) -> Result<OwnApp, String> {
        let (name, version) = (manifest.name.as_app().clone(), AppVersion::Semver(manifest.version.clone()));
        let scripts = self.scripts()?;
        let app = scripts.loader.load(dir, name, version, app.clone(), None)?;
        Ok(OwnApp::new(app, &scripts.pool))
    }

    fn scripts(&self) -> Result<&script::Maker, String> {
        self.scripts.as_ref().ok_or_else(|| "no process can be started here".to_owned())
    }
}

fn make(native: &Native, context: &Arc<Context>) -> Result<Arc<dyn Plugin>, String> {
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (native.make)(context)));
    match made {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked when it was made".to_owned()),
    }
}

/// Why a pool of that size cannot have so many script plugins and a worker for apps. Each has a process that is never evicted.
fn crowded(scripts: usize, size: usize) -> Option<String> {
    let needed = scripts + 1;
    (scripts > 0 && needed > size).then(|| {
        format!(
            "the pool has room for {size} workers (`poolSize`), and {scripts} script plugins with one worker for apps need {needed}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_room_for_all_script_plugins_and_one_worker_more_or_says_what_it_needs() {
        for scripts in 1..5 {
            assert_eq!(crowded(scripts, scripts + 1), None);
            let why = crowded(scripts, scripts).unwrap();
            assert!(why.contains(&format!("need {}", scripts + 1)) && why.contains("`poolSize`"), "{why}");
        }
        assert_eq!(crowded(0, 1), None);
    }
}
