//! Plugins: which there are, on and off, their settings. What comes in and goes is `install`'s.
//!
//! A change is made whole, also when its client has gone, and it is made only if the set of plugins that follows from it
//! starts; until then the one before serves.

mod install;
pub(super) mod shapes;

pub use install::{__path_install, __path_remove, install, remove};

use self::shapes::{Plugin, PluginConfig, PluginKind, PluginList, PluginMenu, PluginState};
use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::{self, Path};
use super::{Api, Shared};
use crate::access::Permission;
use crate::events::{Event, PluginAction, PluginEvent};
use crate::plugin::manifest::Menu;
use crate::plugin::{ChangeError, State as PluginStanding, Status};
use crate::store::Outcome;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Longest change of settings, in bytes: a table with 100,000 hosts.
const MAX_SETTINGS: usize = 16 << 20;

/// What a change is called: to the audit log, and to whoever follows the events.
#[derive(Clone, Copy)]
struct Deed {
    action: &'static str,
    event: PluginAction,
}

const ENABLE: Deed = Deed { action: "plugins:enable", event: PluginAction::Enabled };
const DISABLE: Deed = Deed { action: "plugins:disable", event: PluginAction::Disabled };
const CONFIGURE: Deed = Deed { action: "plugins:configure", event: PluginAction::Configured };
const RELOAD: Deed = Deed { action: "plugins:reload", event: PluginAction::Reloaded };
const INSTALL: Deed = Deed { action: "plugins:install", event: PluginAction::Installed };
const REMOVE: Deed = Deed { action: "plugins:remove", event: PluginAction::Removed };

/// All plugins, on or off
#[utoipa::path(
    get, path = "/plugins", tag = "plugins", operation_id = "listPlugins",
    responses((status = 200, body = PluginList)),
    extensions(("x-permission" = json!("plugins:read"))),
)]
pub async fn list(State(api): Shared, caller: Caller) -> Result<axum::Json<PluginList>> {
    caller.may(Permission::PluginsRead, None)?;
    Ok(axum::Json(api.plugin_list()))
}

/// One plugin
#[utoipa::path(
    get, path = "/plugins/{name}", tag = "plugins", operation_id = "getPlugin",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    responses((status = 200, body = Plugin)),
    extensions(("x-permission" = json!("plugins:read"))),
)]
pub async fn one(State(api): Shared, caller: Caller, Path(name): Path<String>) -> Result<axum::Json<Plugin>> {
    caller.may(Permission::PluginsRead, None)?;
    let name = input::plugin(&name)?;
    api.plugin(name.as_str()).map(axum::Json)
}

/// Turns a plugin on
///
/// It is on when the answer comes. If it does not start, nothing changes, and the answer says why.
#[utoipa::path(
    post, path = "/plugins/{name}/enable", tag = "plugins", operation_id = "enablePlugin",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    responses((status = 200, body = Plugin)),
    extensions(("x-permission" = json!("plugins:configure"))),
)]
pub async fn enable(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<Plugin>> {
    set_enabled(&api, caller, name, true).await
}

/// Turns a plugin off
///
/// Not while others need it. Requests that are in it are finished.
#[utoipa::path(
    post, path = "/plugins/{name}/disable", tag = "plugins", operation_id = "disablePlugin",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    responses((status = 200, body = Plugin)),
    extensions(("x-permission" = json!("plugins:configure"))),
)]
pub async fn disable(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<Plugin>> {
    set_enabled(&api, caller, name, false).await
}

/// What is set of a plugin, and what can be
#[utoipa::path(
    get, path = "/plugins/{name}/config", tag = "plugins", operation_id = "getPluginConfig",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    responses((status = 200, body = PluginConfig)),
    extensions(("x-permission" = json!("plugins:read"))),
)]
pub async fn config(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<PluginConfig>> {
    caller.may(Permission::PluginsRead, None)?;
    let name = input::plugin(&name)?;
    api.plugin_config(name.as_str()).map(axum::Json)
}

/// Changes settings of a plugin
///
/// A merge patch (RFC 7396): what is in it takes the place of what is set, inside of objects too; `null` gives a setting its
/// default back. A secret that is left out stays. What is not valid, or does not let the plugin start, changes nothing.
#[utoipa::path(
    patch, path = "/plugins/{name}/config", tag = "plugins", operation_id = "configurePlugin",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = 200, body = PluginConfig)),
    extensions(("x-permission" = json!("plugins:configure"))),
)]
pub async fn configure(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<PluginConfig>> {
    caller.may(Permission::PluginsConfigure, None)?;
    let name = input::plugin(&name)?.to_string();
    api.plugin(&name)?;
    api.change_plugins(CONFIGURE, caller, async move |api, caller| {
        let patch = input::merge_patch(&headers, body, MAX_SETTINGS).await?;
        api.gate.still_known(&caller).await?;
        if !caller.is_operator() && patch.values().any(refers) {
            let detail =
                "`${…}` takes a value from the environment of the runtime, and a key cannot have that";
            return Err(ApiError::unfit("plugin_invalid", detail)
                .hint("set it over the admin socket, or in the manifest"));
        }
        let keys: Vec<&String> = patch.keys().take(100).collect();
        let detail = json!({ "settings": keys });
        Ok(Changed::of(&name, detail, api.plugins.configure(&name, &patch).await))
    })
    .await
    .and_then(|name| api.plugin_config(&name).map(axum::Json))
}

/// Loads all plugins anew from what is on disk
///
/// Those that serve go on until the new ones are ready, and stay if one of them would not be loaded any more.
#[utoipa::path(
    post, path = "/plugins/reload", tag = "plugins", operation_id = "reloadPlugins",
    responses((status = 200, body = PluginList)),
    extensions(("x-permission" = json!("plugins:configure"))),
)]
pub async fn reload(State(api): Shared, caller: Caller) -> Result<axum::Json<PluginList>> {
    caller.may(Permission::PluginsConfigure, None)?;
    api.change_plugins(RELOAD, caller, async move |api, _| {
        Ok(Changed::of("", json!({}), api.plugins.reload().await))
    })
    .await?;
    Ok(axum::Json(api.plugin_list()))
}

async fn set_enabled(
    api: &Arc<Api>,
    caller: Caller,
    name: String,
    enabled: bool,
) -> Result<axum::Json<Plugin>> {
    caller.may(Permission::PluginsConfigure, None)?;
    let name = input::plugin(&name)?.to_string();
    api.plugin(&name)?;
    let deed = if enabled { ENABLE } else { DISABLE };
    let name = api
        .change_plugins(deed, caller, async move |api, _| {
            Ok(Changed::of(&name, json!({}), api.plugins.set_enabled(&name, enabled).await))
        })
        .await?;
    api.plugin(&name).map(axum::Json)
}

/// Whether there is a reference to a variable in it: what it leads to could be read back.
fn refers(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(refers),
        Value::Object(map) => map.values().any(refers),
        _ => false,
    }
}

/// What was changed, or was to be.
struct Changed<T = String> {
    /// Empty = all.
    name: String,
    /// For the audit log.
    detail: Value,
    done: Result<T>,
}

impl Changed {
    fn of(name: &str, detail: Value, done: Result<(), ChangeError>) -> Changed {
        Changed {
            name: name.to_owned(),
            detail,
            done: done.map(|()| name.to_owned()).map_err(ApiError::from),
        }
    }
}

impl Api {
    /// Makes a change to its end, also if nobody waits for it, and has it in the audit log. An error of `change` itself means that it
    /// was not even tried.
    async fn change_plugins<T: Send + 'static, F>(
        self: &Arc<Self>,
        deed: Deed,
        caller: Caller,
        change: impl FnOnce(Arc<Api>, Caller) -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<Changed<T>>> + Send + 'static,
    {
        let place = match caller.is_operator() {
            true => None,
            false => Some(Arc::clone(&self.plugin_changes).try_acquire_owned().map_err(|_| {
                ApiError::later(
                    "changes_busy",
                    "Other changes to plugins are being made.",
                    Duration::from_secs(1),
                )
            })?),
        };
        let (api, going) = (Arc::clone(self), self.standstill.join());
        let changing = async move {
            let (_place, _going) = (place, going);
            let Changed { name, mut detail, done } = change(Arc::clone(&api), caller.clone()).await?;
            let (action, outcome, error) = match &done {
                Ok(_) => (deed.event, Outcome::Done, None),
                Err(error) => {
                    detail["code"] = error.code.into();
                    (PluginAction::Failed, Outcome::Failed, Some(error.detail.clone().into_owned()))
                }
            };
            let by = caller.actor.to_string();
            match &error {
                None => tracing::info!(target: "buntime::api", plugin = name, by, "{}", deed.action),
                Some(error) => {
                    tracing::warn!(target: "buntime::api", plugin = name, by, error, "{} failed", deed.action);
                }
            }
            api.note(deed.action, &name, &caller, outcome, detail).await;
            let plugin = Some(name).filter(|name| !name.is_empty());
            api.hub.publish(Event::Plugin(PluginEvent { action, plugin, by, error }));
            if done.is_ok() {
                api.tell_hidden_apps();
            }
            done
        };
        tokio::spawn(changing).await.map_err(ApiError::internal)?
    }

    /// Says in the log which apps cannot be reached where plugins are mounted.
    pub fn tell_hidden_apps(&self) {
        for plugin in self.plugins.list() {
            for app in self.hidden_by(&plugin) {
                let (plugin, base) = (&plugin.name, &plugin.base);
                tracing::warn!(target: "buntime::api", app, plugin, base, "a plugin stands where an app is");
            }
        }
    }

    fn hidden_by(&self, status: &Status) -> Vec<String> {
        let is_loaded = matches!(status.state, PluginStanding::Loaded | PluginStanding::Degraded);
        let base = status.base.as_deref().and_then(|base| base.strip_prefix('/'));
        let Some(base) = base.filter(|base| is_loaded && !base.is_empty()) else { return Vec::new() };
        let mut hidden: Vec<String> = self
            .index
            .apps()
            .iter()
            .filter(|app| app.name.first_segment() == base)
            .map(|app| app.name.to_string())
            .collect();
        hidden.sort_unstable();
        hidden.dedup();
        hidden
    }

    fn plugin_list(&self) -> PluginList {
        PluginList {
            plugins: self.plugins.list().into_iter().map(|status| self.shown_plugin(status)).collect(),
        }
    }

    fn plugin(&self, name: &str) -> Result<Plugin> {
        let status = self.plugins.find(name).ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        Ok(self.shown_plugin(status))
    }

    fn plugin_config(&self, name: &str) -> Result<PluginConfig> {
        let found = self.plugins.configuration(name).ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        let object = |value: Option<Value>| match value {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
        Ok(PluginConfig {
            name: name.to_owned(),
            settings: object(found.settings),
            schema: object(found.schema),
            overridden: found.overridden,
            error: found.error,
            file: found.file.display().to_string(),
        })
    }

    fn shown_plugin(&self, status: Status) -> Plugin {
        Plugin {
            hides: self.hidden_by(&status),
            version: status.version,
            kind: if status.native { PluginKind::Native } else { PluginKind::Script },
            enabled: status.enabled,
            state: match status.state {
                PluginStanding::Loaded => PluginState::Loaded,
                PluginStanding::Degraded => PluginState::Degraded,
                PluginStanding::Out => PluginState::Out,
                PluginStanding::Disabled => PluginState::Disabled,
            },
            error: status.error,
            base: status.base,
            directory: status.dir.map(|dir| dir.display().to_string()),
            file: status.file.display().to_string(),
            dependencies: status.dependencies,
            optional_dependencies: status.optional_dependencies,
            required: status.required,
            guards: status.guards,
            fail_open: status.fail_open,
            phases: status.phases.iter().map(|phase| phase.as_str().to_owned()).collect(),
            menus: status.menus.into_iter().map(menu).collect(),
            name: status.name,
        }
    }
}

fn menu(menu: Menu) -> PluginMenu {
    let Menu { title, icon, path, items } = menu;
    PluginMenu { title, icon, path, items: items.into_iter().map(self::menu).collect() }
}
