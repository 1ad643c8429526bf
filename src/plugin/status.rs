//! What is known of each plugin, for people.

use super::Set;
use super::discovery::{Discovery, Found, Source};
use super::manifest::{Menu, PluginManifest};
use buntime_plugin::Phase;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Status {
    pub name: String,
    /// None = its manifest cannot be read.
    pub version: Option<String>,
    pub enabled: bool,
    pub state: State,
    /// Why it is out, degraded or broken.
    pub error: Option<String>,
    pub native: bool,
    pub base: Option<String>,
    pub source: Source,
    pub dir: Option<PathBuf>,
    /// Where changes go.
    pub file: PathBuf,
    pub dependencies: Vec<String>,
    pub optional_dependencies: Vec<String>,
    pub required: bool,
    pub guards: bool,
    pub fail_open: bool,
    /// Of one that is loaded: the phases in which it sees requests.
    pub phases: Vec<Phase>,
    pub menus: Vec<Menu>,
}

/// What can be set of a plugin, and what is.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// An object, secrets masked. None = what is stated is no valid configuration.
    pub settings: Option<Value>,
    /// None = the manifest cannot be read.
    pub schema: Option<Value>,
    /// JSON pointers of what the environment decides, with the variables.
    pub overridden: BTreeMap<String, String>,
    /// Why there are no settings.
    pub error: Option<String>,
    /// Where changes go.
    pub file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Loaded,
    /// It serves, but not all of it.
    Degraded,
    /// It is on and not loaded.
    Out,
    Disabled,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Loaded => "loaded",
            State::Degraded => "degraded",
            State::Out => "out",
            State::Disabled => "disabled",
        }
    }
}

/// All plugins, by name.
pub fn list(discovery: &Discovery, out: &BTreeMap<String, String>, serving: &Set) -> Vec<Status> {
    let mut all: Vec<Status> = discovery.found.iter().map(|found| one(found, out, serving)).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

pub fn configuration(found: &Found) -> Configuration {
    let manifest = found.manifest.as_ref().map_err(|unusable| unusable.error.to_string());
    let settings = manifest
        .as_ref()
        .map_err(String::clone)
        .and_then(|manifest| manifest.settings.as_ref().map_err(ToString::to_string));
    Configuration {
        settings: settings.as_ref().ok().map(|settings| settings.masked()),
        schema: manifest.ok().map(|manifest| manifest.schema.describe()),
        overridden: settings.as_ref().map(|settings| settings.overridden().clone()).unwrap_or_default(),
        error: settings.err(),
        file: found.file.clone(),
    }
}

pub fn one(found: &Found, out: &BTreeMap<String, String>, serving: &Set) -> Status {
    let name = found.name.as_str();
    let loaded = serving.find(name);
    // One that serves and is out is the one from before: another one did not start in its place.
    let degraded = loaded.and_then(|loaded| loaded.degraded().or_else(|| out.get(name).cloned()));
    let state = match (loaded, &degraded, found.is_enabled()) {
        (Some(_), None, _) => State::Loaded,
        (Some(_), Some(_), _) => State::Degraded,
        (None, _, true) => State::Out,
        (None, _, false) => State::Disabled,
    };
    let broken = || found.manifest.as_ref().err().map(|unusable| unusable.error.to_string());
    let error = degraded.or_else(|| out.get(name).cloned()).or_else(broken);
    let manifest = found.manifest.as_ref().ok();
    let phases = loaded.map(|loaded| loaded.hooks.request.iter().map(|hook| hook.phase).collect());
    let names = |of: fn(&PluginManifest) -> &[super::manifest::Dependency]| {
        manifest.map(|manifest| of(manifest).iter().map(ToString::to_string).collect()).unwrap_or_default()
    };
    Status {
        name: name.to_owned(),
        version: manifest.map(|manifest| manifest.version.to_string()),
        enabled: found.is_enabled(),
        state,
        error,
        native: found.native,
        base: manifest.and_then(|manifest| Some(manifest.base.as_ref()?.as_str().to_owned())),
        source: found.source,
        dir: found.dir.clone(),
        file: found.file.clone(),
        dependencies: names(|manifest| &manifest.dependencies),
        optional_dependencies: names(|manifest| &manifest.optional_dependencies),
        required: found.is_required(),
        guards: manifest.is_some_and(|manifest| manifest.guards),
        fail_open: manifest.is_some_and(|manifest| manifest.fail_open),
        phases: phases.unwrap_or_default(),
        menus: manifest.map(|manifest| manifest.menus.clone()).unwrap_or_default(),
    }
}
