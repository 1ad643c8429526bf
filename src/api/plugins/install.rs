//! Plugins that come in as packages, and plugins that go.

use super::shapes::{InstalledPlugin, RemovedPlugin};
use super::{Changed, INSTALL, REMOVE};
use crate::access::Permission;
use crate::api::auth::Caller;
use crate::api::error::{ApiError, Result};
use crate::api::input::{self, Path, Query};
use crate::api::{Api, Shared, blocking, upload};
use crate::package::{self, Staged, Staging, Summary};
use crate::plugin::edit::write_atomically;
use crate::plugin::manifest::PluginName;
use crate::plugin::{ChangeError, Host, Inspected, Placement, Status};
use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use utoipa::IntoParams;

/// Its path would be that of the request that loads all of them anew.
const RESERVED: &str = "reload";

/// What becomes of a plugin that is there.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whether a plugin of that name is replaced; otherwise that is 409. Whether it is on, its limits and its settings stay as they are.
    #[serde(default)]
    replace: bool,
}

/// Where a plugin's directory is: one of the plugin directories, and the path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    root: PathBuf,
    path: PathBuf,
}

/// A package on its way.
struct Parcel {
    staged: Staged,
    summary: Summary,
    spot: Spot,
    replaces: Option<Status>,
}

/// Installs a plugin
///
/// The body is a zip, a tgz or a tar.zst with `manifest.yaml` at its root. It is unpacked within limits, checked, and put in its
/// place by one rename. Whether it is on is what its manifest says. If the plugins do not start with it, it is taken away again.
#[utoipa::path(
    post, path = "/plugins", tag = "plugins", operation_id = "installPlugin", params(Wanted),
    request_body(content = String, content_type = "application/octet-stream", description = "The package"),
    responses((status = 201, body = InstalledPlugin)),
    extensions(("x-permission" = json!("plugins:install"))),
)]
pub async fn install(
    State(api): Shared,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    body: Body,
) -> Result<(StatusCode, axum::Json<InstalledPlugin>)> {
    caller.may(Permission::PluginsInstall, None)?;
    let root = crate::apps::first_writable(api.plugins.dirs()).ok_or_else(|| {
        let dirs: Vec<_> = api.plugins.dirs().iter().map(|dir| dir.display().to_string()).collect();
        ApiError::conflict("package_place", "No plugin directory can be written.")
            .hint(format!("make {} writable for the user who runs Buntime", dirs.join(" or ")))
    })?;
    let installed = api.change_plugins(INSTALL, caller, async move |api: Arc<Api>, caller| {
        let archive = upload::receive(body, &api.places.state_dir).await?;
        // The key may have been revoked meanwhile.
        api.gate.still_known(&caller).await?;
        let host = Arc::clone(&api.plugins);
        let (inspected, parcel) = blocking(move || open(&host, &archive, root, wanted)).await??;
        let (summary, replaced) = (parcel.summary.clone(), parcel.replaces.is_some());
        let name = inspected.name.to_string();
        let detail = json!({ "version": inspected.version, "replaced": replaced, "files": summary.files });
        let host = Arc::clone(&api.plugins);
        let place = async move { blocking(move || put(&host, parcel, &inspected.name)).await? };
        let done = api.plugins.place(&name, place).await.and_then(|dropped| {
            let plugin = api.plugin(&name)?;
            let (files, bytes) = (summary.files, summary.bytes);
            Ok(InstalledPlugin { plugin, replaced, files, bytes, dropped })
        });
        Ok(Changed { name, detail, done })
    });
    Ok((StatusCode::CREATED, axum::Json(installed.await?)))
}

/// Deletes a plugin and its settings
///
/// Not while others need it. What it has stored in its state directory stays.
#[utoipa::path(
    delete, path = "/plugins/{name}", tag = "plugins", operation_id = "deletePlugin",
    params(("name" = String, Path, description = "`hello`, or `@team/hello` as two segments")),
    responses((status = 200, body = RemovedPlugin)),
    extensions(("x-permission" = json!("plugins:remove"))),
)]
pub async fn remove(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<RemovedPlugin>> {
    caller.may(Permission::PluginsRemove, None)?;
    let name = input::plugin(&name)?;
    api.plugin(name.as_str())?;
    let removed = api.change_plugins(REMOVE, caller, async move |api: Arc<Api>, _| {
        let (host, id) = (Arc::clone(&api.plugins), name.clone());
        let place = async move { blocking(move || take(&host, &id)).await?.map(|taken| (taken, ())) };
        let done = api.plugins.place(name.as_str(), place).await;
        let done = done.map(|()| RemovedPlugin {
            name: name.to_string(),
            built_in: api.plugins.find(name.as_str()).is_some(),
        });
        Ok(Changed { name: name.to_string(), detail: json!({}), done })
    });
    removed.await.map(axum::Json)
}

/// Unpacks a package where it belongs, and reads it as a plugin.
fn open(host: &Host, archive: &File, root: PathBuf, wanted: Wanted) -> Result<(Inspected, Parcel)> {
    let receive = |root: &FilePath| Staging::create(root)?.receive(archive, &package::Limits::default());
    let mut staged = receive(&root)?;
    let inspected = inspect(host, &staged)?;
    let name = &inspected.name;
    if name.as_str() == RESERVED {
        return Err(ApiError::unfit("plugin_invalid", format_args!("no plugin can be called {RESERVED}")));
    }
    let replaces = host.find(name.as_str());
    if replaces.is_some() && !wanted.replace {
        return Err(ApiError::conflict("plugin_already_there", format!("There is a plugin {name} already."))
            .hint("ask to replace it; its settings stay"));
    }
    let mut spot = Spot { root, path: PathBuf::from(name.as_str()) };
    if let Some(dir) = replaces.as_ref().and_then(|replaces| replaces.dir.as_deref()) {
        let there = Spot::of(host, dir)?;
        if there.root != spot.root {
            // It goes where the old one is, or it would stand in its shadow.
            staged = receive(&there.root)?;
        }
        spot = there;
    }
    Ok((inspected, Parcel { summary: staged.summary.clone(), staged, spot, replaces }))
}

/// Puts a package in its place, and says which settings it has no place for. Nobody else changes a plugin meanwhile.
fn put(host: &Arc<Host>, parcel: Parcel, name: &PluginName) -> Result<(Box<dyn Placement>, Vec<String>)> {
    let Parcel { mut staged, spot, replaces, .. } = parcel;
    let dir = |status: &Option<Status>| status.as_ref().map(|status| status.dir.clone());
    if dir(&host.find(name.as_str())) != dir(&replaces) {
        return Err(ApiError::conflict("plugin_already_there", format!("{name} was changed meanwhile.")));
    }
    let old = replaces.and_then(|replaces| replaces.dir);
    let mut left = Vec::new();
    if let Some(old) = &old {
        left = host.carry_over(old, &staged.path())?;
        inspect(host, &staged)?;
    }
    staged.sync()?;
    let installed = package::install_at(staged, &spot.path, old.is_some())?;
    Ok((Box::new(Put(installed)), left))
}

/// Takes a plugin's directory away, and what the operator has changed of it.
fn take(host: &Arc<Host>, name: &PluginName) -> Result<Box<dyn Placement>> {
    let status = host.find(name.as_str()).ok_or_else(|| ChangeError::Unknown(name.to_string()))?;
    let dir = status.dir.ok_or_else(|| {
        ApiError::conflict("plugin_built_in", format!("{name} is a part of Buntime."))
            .hint("disable it instead")
    })?;
    let by = host.needed_by(name.as_str());
    if !by.is_empty() {
        return Err(ChangeError::Needed { plugin: name.to_string(), by }.into());
    }
    let spot = Spot::of(host, &dir)?;
    let gone = || ApiError::conflict("package_place", format!("{} has gone already.", dir.display()));
    let removed = package::remove_at(&spot.root, &spot.path)?.ok_or_else(gone)?;
    let file = host.changes_of(name);
    let changes = match std::fs::read_to_string(&file) {
        Ok(text) => std::fs::remove_file(&file).map(|()| Some((file, text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    match changes {
        Ok(changes) => Ok(Box::new(Taken { removed, changes })),
        Err(error) => {
            report(removed.undo());
            Err(ChangeError::NotWritten(error).into())
        }
    }
}

fn inspect(host: &Host, staged: &Staged) -> Result<Inspected> {
    // The paths that it names are those of a place that nobody knows.
    let root = staged.path().canonicalize().unwrap_or_else(|_| staged.path());
    host.inspect(&staged.path()).map_err(|error| {
        let error = match error {
            ChangeError::Invalid(text) => {
                ChangeError::Invalid(text.replace(&format!("{}/", root.display()), ""))
            }
            other => other,
        };
        ApiError::from(error)
    })
}

impl Spot {
    /// Where a directory is of which the links are resolved.
    fn of(host: &Host, dir: &FilePath) -> Result<Spot> {
        let within = |root: &PathBuf| {
            let path = dir.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned();
            Some(Spot { root: root.clone(), path })
        };
        host.dirs().iter().find_map(within).ok_or_else(|| {
            let detail = format!("{} is in no plugin directory.", dir.display());
            ApiError::conflict("package_place", detail).hint("change it by hand, and reload")
        })
    }
}

struct Put(package::Installed);

struct Taken {
    removed: package::Removed,
    changes: Option<(PathBuf, String)>,
}

impl Placement for Put {
    fn undo(self: Box<Self>) {
        report(self.0.undo().map(drop));
    }
}

impl Placement for Taken {
    fn undo(self: Box<Self>) {
        let Taken { removed, changes } = *self;
        report(removed.undo());
        if let Some((file, text)) = changes {
            report(write_atomically(&file, &text));
        }
    }
}

fn report<E: std::fmt::Display>(undone: Result<(), E>) {
    if let Err(error) = undone {
        tracing::error!(target: "buntime::api", %error, "a change to the plugins could not be undone");
    }
}
