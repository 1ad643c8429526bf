//! The keys of a plugin's manifest: what each may hold, and what they demand of each other.

use super::error::Broken;
use super::hooks::Hooks;
use super::layers::Layers;
use super::values::{Base, Dependency, Menu};
use super::{DEFAULT_ENTRY, DEFAULT_HOOK_TIMEOUT, PluginManifest, PluginName, Rules};
use crate::apps::manifest::AppKeys;
use crate::manifest::{Reader, set};
use crate::plugin::settings::Schema;
use semver::Version;
use serde_yaml::{Mapping, Value};
use std::time::Duration;

/// Keys that are the manifest's own; all others are settings, or an app's.
pub(in crate::plugin) const KEYS: [&str; 16] = [
    "name",
    "version",
    "enabled",
    "base",
    "pluginEntry",
    "entrypoint",
    "dependencies",
    "optionalDependencies",
    "menus",
    "config",
    "required",
    "guards",
    "hooks",
    "hookTimeout",
    "failOpen",
    "workerEnv",
];

/// What was read so far.
struct Draft {
    name: Option<PluginName>,
    version: Version,
    enabled: bool,
    base: Option<Base>,
    plugin_entry: String,
    app: Option<AppKeys>,
    dependencies: Vec<Dependency>,
    optional_dependencies: Vec<Dependency>,
    menus: Vec<Menu>,
    schema: Schema,
    required: Option<bool>,
    guards: bool,
    hooks: Hooks,
    hook_timeout: Duration,
    fail_open: bool,
    worker_env: Vec<String>,
}

/// Reads all keys and checks them against each other.
pub(super) fn read(layers: &Layers<'_>, rules: &Rules<'_>) -> Result<PluginManifest, Broken> {
    let map = &layers.map;
    let mut reader = Reader::default();
    for key in layers.misplaced() {
        reader.field(&key.into(), |reader, key| {
            let hint = "it belongs to the plugin's manifest; here are `enabled`, limits and settings".into();
            reader.unknown(format!("`{key}` cannot be changed here"), Some(hint));
        });
    }
    let mut draft = Draft::new();
    draft.app = map.contains_key("entrypoint").then(|| AppKeys::new(&rules.ceilings));
    // Which keys are settings is known once the schema is.
    if let Some(config) = map.get("config") {
        let taken = |key: &str| KEYS.contains(&key) || (draft.app.is_some() && AppKeys::has(key));
        let schema = reader.field(&"config".into(), |reader, _| Schema::read(reader, config, taken));
        set(&mut draft.schema, schema.flatten());
    }
    let mut stated = Vec::new();
    for (key, value) in map {
        reader.field(key, |reader, key| {
            if KEYS.contains(&key) {
                draft.read(reader, key, value, rules);
            } else if let Some(app) = draft.app.as_mut().filter(|_| AppKeys::has(key)) {
                app.read(reader, key, value);
            } else if let Some(field) = draft.schema.get(key) {
                stated.push((field.name.clone(), value));
            } else {
                draft.unknown(reader, key);
            }
        });
    }
    draft.check_together(&mut reader, map);
    let mut of_settings = Reader::default();
    let settings = draft.schema.resolve(&mut of_settings, &stated, rules.environment);
    let (wrong, unset) = (reader.findings, of_settings.findings);
    match (draft.name, draft.enabled) {
        (Some(name), true) if wrong.is_empty() && unset.is_empty() => Ok((name, Ok(settings))),
        (Some(name), false) if wrong.is_empty() => Ok((
            name,
            match unset.is_empty() {
                true => Ok(settings),
                false => Err(layers.locate(unset)),
            },
        )),
        (name, enabled) => {
            let errors = if enabled { wrong.into_iter().chain(unset).collect() } else { wrong };
            let enabled = map.get("enabled") != Some(&Value::Bool(false));
            Err(Broken { name, enabled, required: may_be_required(map), errors: layers.locate(errors) })
        }
    }
    .map(|(name, settings)| {
        let app = draft.app.map(|app| {
            let mut app = app.manifest;
            (app.name, app.version) = (Some(name.to_string()), Some(draft.version.to_string()));
            app
        });
        PluginManifest {
            name,
            version: draft.version,
            enabled: draft.enabled,
            base: draft.base,
            plugin_entry: draft.plugin_entry,
            app,
            dependencies: draft.dependencies,
            optional_dependencies: draft.optional_dependencies,
            menus: draft.menus,
            schema: draft.schema,
            settings,
            required: draft.required.unwrap_or(draft.guards),
            guards: draft.guards,
            hooks: draft.hooks,
            hook_timeout: draft.hook_timeout,
            fail_open: draft.fail_open,
            worker_env: draft.worker_env,
        }
    })
}

/// Of a manifest with errors: only what clearly says no is taken for one.
fn may_be_required(map: &Mapping) -> bool {
    let says_no = |key| matches!(map.get(key), Some(Value::Bool(false)));
    let stated = |key| map.contains_key(key);
    if stated("required") { !says_no("required") } else { stated("guards") && !says_no("guards") }
}

impl Draft {
    fn new() -> Draft {
        Draft {
            name: None,
            version: Version::new(0, 0, 0),
            enabled: true,
            base: None,
            plugin_entry: DEFAULT_ENTRY.into(),
            app: None,
            dependencies: Vec::new(),
            optional_dependencies: Vec::new(),
            menus: Vec::new(),
            schema: Schema::default(),
            required: None,
            guards: false,
            hooks: Hooks::default(),
            hook_timeout: DEFAULT_HOOK_TIMEOUT,
            fail_open: false,
            worker_env: Vec::new(),
        }
    }

    fn read(&mut self, reader: &mut Reader, key: &str, value: &Value, rules: &Rules<'_>) {
        match key {
            "name" => set(&mut self.name, reader.plugin_name(value).map(Some)),
            "version" => set(&mut self.version, reader.semver(value)),
            "enabled" => set(&mut self.enabled, reader.boolean(value)),
            "base" => set(&mut self.base, reader.base(value, rules.reserved).map(Some)),
            "pluginEntry" => {
                set(&mut self.plugin_entry, reader.path_inside(value, "the module", "plugin"));
            }
            "entrypoint" => {
                let path = reader.path_inside(value, "the entrypoint", "plugin");
                if let Some(app) = &mut self.app {
                    app.manifest.entrypoint = path;
                }
            }
            "dependencies" => set(&mut self.dependencies, reader.dependencies(value)),
            "optionalDependencies" => set(&mut self.optional_dependencies, reader.dependencies(value)),
            "menus" => set(&mut self.menus, reader.menus(value)),
            "required" => set(&mut self.required, reader.boolean(value).map(Some)),
            "guards" => set(&mut self.guards, reader.boolean(value)),
            "hooks" => set(&mut self.hooks, Hooks::read(reader, value)),
            "hookTimeout" => set(&mut self.hook_timeout, reader.some_time(value)),
            "failOpen" => set(&mut self.fail_open, reader.boolean(value)),
            "workerEnv" => set(&mut self.worker_env, reader.list(value, Reader::worker_variable)),
            // `config` was read before all others.
            _ => {}
        }
    }

    fn unknown(&self, reader: &mut Reader, key: &str) {
        if AppKeys::has(key) {
            let hint = "give the plugin an `entrypoint`, or take this out".into();
            return reader.unknown(format!("`{key}` is about an app, and this plugin has none"), Some(hint));
        }
        let settings = self.schema.names();
        let known: Vec<&str> = KEYS.into_iter().chain(settings).collect();
        reader.unknown_key(key, &known);
    }

    /// Rules that hold between keys. Each is reported at a key that the file states.
    fn check_together(&self, reader: &mut Reader, map: &Mapping) {
        if !map.contains_key("name") {
            let hint = "add it as in `name: \"@team/hello\"`";
            reader.wrong_hint("a plugin needs a `name`".into(), hint);
        }
        if map.contains_key("entrypoint") && !map.contains_key("base") {
            let message = "an app is served at the plugin's `base`, and there is none".into();
            reader.conflict("entrypoint", message, "add a base, as in `base: /hello`");
        }
        if self.guards && self.fail_open {
            let message = "a guard that fails open keeps nobody out when it fails".into();
            reader.conflict("failOpen", message, "take out `failOpen`, or `guards` if it guards nothing");
        }
        for dependency in &self.optional_dependencies {
            if self.dependencies.iter().any(|needed| needed.name == dependency.name) {
                let message = format!("`{}` is among `dependencies` too", dependency.name);
                reader.conflict("optionalDependencies", message, "keep one of them");
            }
        }
        if let Some(app) = &self.app {
            app.check_together(reader, map);
        }
    }
}
