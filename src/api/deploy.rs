//! Deployments: a package comes in, is checked, put in its place, started, and only then what names stand for.
//!
//! Whatever fails before the alias moves is undone, so that what served before goes on serving.

use super::aside::Aside;
use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::{self, Path, Query};
use super::{Api, Shared, aliases, apps, blocking, start, trial, types, upload};
use crate::access::Permission;
use crate::events::{DeployAction, DeployEvent, Event};
use crate::model::{AliasName, App, AppName, AppVersion, Kind, Route, VersionKey};
use crate::package::{self, Checked, Installed, Staged, Staging, Summary};
use crate::pool::{Held, StartError, Started};
use crate::store::Outcome;
use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use utoipa::IntoParams;

/// How long a deployment waits for what served before. Beyond that it is done all the same, and says so.
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// How long it waits for workers that are loading what it is to replace. Beyond that they may never be ready.
const LOAD_WAIT: Duration = Duration::from_secs(5);

/// What a package is to become.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The app's name; otherwise the one in its manifest or `package.json`.
    name: Option<String>,
    /// The version; otherwise the one in its manifest or `package.json`.
    version: Option<String>,
    /// The alias that is to stand for it; otherwise `latest`. Empty = none. Another one takes `apps:configure` as well.
    alias: Option<String>,
    /// Whether a version that is there is replaced; otherwise that is 409.
    #[serde(default)]
    replace: bool,
}

/// The same where the path names the app.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WantedVersion {
    /// The version; otherwise the one in its manifest or `package.json`.
    version: Option<String>,
    /// The alias that is to stand for it; otherwise `latest`. Empty = none. Another one takes `apps:configure` as well.
    alias: Option<String>,
    /// Whether a version that is there is replaced; otherwise that is 409.
    #[serde(default)]
    replace: bool,
}

/// What a deployment came to.
struct Deployed {
    deployment: types::Deployment,
    /// What served before, and may have requests in flight.
    old: Vec<VersionKey>,
}

/// A package on its way.
struct Parcel {
    staged: Aside<Staged>,
    summary: Summary,
    checked: Checked,
    root: PathBuf,
    archive: Aside<File>,
}

/// Deploys a package
///
/// The body is a zip, a tgz or a tar.zst. It is unpacked within limits, checked, put in its place by one rename and started,
/// even if no request asks for it; only then the alias moves. If anything fails, what served before goes on serving, and
/// the answer says how far the start came. The answer comes when what served before has finished its requests.
#[utoipa::path(
    post, path = "/apps", tag = "apps", operation_id = "deploy", params(Wanted),
    request_body(content = String, content_type = "application/octet-stream", description = "The package"),
    responses((status = 201, body = types::Deployment)),
    extensions(("x-permission" = json!("apps:install"))),
)]
pub async fn deploy(
    State(api): Shared,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    body: Body,
) -> Result<(StatusCode, axum::Json<types::Deployment>)> {
    run(&api, caller, wanted, body).await
}

/// Deploys a package as a version of this app
#[utoipa::path(
    post, path = "/apps/{name}/versions", tag = "versions", operation_id = "deployVersion",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"), WantedVersion),
    request_body(content = String, content_type = "application/octet-stream", description = "The package"),
    responses((status = 201, body = types::Deployment)),
    extensions(("x-permission" = json!("apps:install"))),
)]
pub async fn deploy_version(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(wanted): Query<WantedVersion>,
    body: Body,
) -> Result<(StatusCode, axum::Json<types::Deployment>)> {
    let WantedVersion { version, alias, replace } = wanted;
    run(&api, caller, Wanted { name: Some(name), version, alias, replace }, body).await
}

async fn run(
    api: &Arc<Api>,
    caller: Caller,
    wanted: Wanted,
    body: Body,
) -> Result<(StatusCode, axum::Json<types::Deployment>)> {
    // All that can be said before the package is here is said before.
    let name = wanted.name.as_deref().map(input::app).transpose()?;
    caller.may(Permission::AppsInstall, name.as_ref())?;
    wanted.version.as_deref().map(input::version).transpose()?;
    let alias = match wanted.alias.as_deref() {
        Some("") => None,
        alias => Some(input::alias(alias.unwrap_or("latest"))?),
    };
    // To deploy is to move `latest`. Another alias is moved by whoever may move aliases.
    let moves = alias.as_ref().is_some_and(|alias| alias.as_str() != "latest");
    if moves {
        caller.may(Permission::AppsConfigure, name.as_ref())?;
    }
    let place = match caller.is_operator() {
        true => None,
        false => Some(Arc::clone(&api.uploads).try_acquire_owned().map_err(|_| {
            ApiError::later("uploads_busy", "Other packages are being uploaded.", Duration::from_secs(1))
        })?),
    };
    let root = crate::apps::first_writable(&api.places.worker_dirs).ok_or_else(|| {
        ApiError::conflict("package_place", "No worker directory can be written.")
            .hint("make one writable for the user who runs Buntime, or name another with --worker-dirs")
    })?;
    let api = Arc::clone(api);
    // A package that has come whole is deployed, also if its client does not wait for that.
    let deploying = tokio::spawn(async move {
        let archive = upload::receive(body, &api.places.state_dir).await?;
        // The key may have been revoked meanwhile.
        api.gate.still_known(&caller).await?;
        let parcel = open(&api, archive, root, &wanted).await?;
        // Others may come in while this one waits for its turn, and for what served before.
        drop(place);
        let name = parcel.checked.name.clone();
        caller.may(Permission::AppsInstall, Some(&name))?;
        if moves {
            caller.may(Permission::AppsConfigure, Some(&name))?;
        }
        if api.places.reserved.iter().any(|reserved| reserved == name.first_segment()) {
            let detail = format!("The path /{} is reserved.", name.first_segment());
            return Err(ApiError::conflict("app_name_reserved", detail));
        }
        if let Some(plugin) = api.plugins.at(name.first_segment()) {
            let detail = format!("The path /{} is that of the plugin {plugin}.", name.first_segment());
            return Err(ApiError::conflict("app_name_reserved", detail)
                .hint("give the app another name, or the plugin another `base`"));
        }
        let bring = async move |api| bring_in(&api, parcel, alias, wanted, caller).await;
        let Deployed { deployment, old } = api.in_turn(name, bring).await?;
        Ok::<_, ApiError>(types::Deployment { drained: drained(&api, &old).await, ..deployment })
    });
    let deployed = deploying.await.map_err(ApiError::internal)??;
    Ok((StatusCode::CREATED, axum::Json(deployed)))
}

/// Unpacks and checks an archive in a worker directory.
async fn open(api: &Arc<Api>, archive: File, root: PathBuf, wanted: &Wanted) -> Result<Parcel> {
    let (name, version) = (wanted.name.clone(), wanted.version.clone());
    let ceilings = api.places.ceilings;
    let opened = blocking(move || {
        let staging = Staging::create(&root)?;
        let staged = staging.receive(&archive, &package::Limits::default())?;
        let checked = package::check(&staged, name.as_deref(), version.as_deref(), &ceilings)?;
        Ok::<_, package::PackageError>(Parcel {
            summary: staged.summary.clone(),
            staged: Aside::new(staged),
            checked,
            root,
            archive: Aside::new(archive),
        })
    });
    Ok(opened.await??)
}

/// Installs, starts and names it; what fails is undone.
async fn bring_in(
    api: &Arc<Api>,
    mut parcel: Parcel,
    alias: Option<AliasName>,
    wanted: Wanted,
    caller: Caller,
) -> Result<Deployed> {
    let Checked { name, version, .. } = parcel.checked.clone();
    let there = api.listed(&name, &version).ok();
    if let Some(there) = there.as_ref().filter(|_| !wanted.replace) {
        let detail = format!("{name}@{version} is there already, in {}.", there.dir.display());
        return Err(ApiError::conflict("package_already_there", detail)
            .hint("give it another version, or ask to replace it"));
    }
    // Also where its directory is gone: what is deployed could not be asked for.
    if api.index.is_disabled(&name, &version) {
        let detail = format!("{name}@{version} is disabled.");
        return Err(ApiError::conflict("version_disabled", detail).hint("enable it first"));
    }
    if let Some(there) = there {
        // It goes where the old one is, or it would stand in its shadow.
        let (root, _) = api.place_of(&there).await?;
        if root != parcel.root {
            parcel = open(api, parcel.archive.into_inner(), root, &wanted).await?;
        }
    }
    let before = aliases::meant(api, &name);
    let event = |action, error: Option<&ApiError>| {
        api.hub.publish(Event::Deploy(DeployEvent {
            action,
            app: name.clone(),
            version: version.clone(),
            by: Some(caller.actor.to_string()),
            error: error.map(|error| error.detail.clone().into_owned()),
        }));
    };
    event(DeployAction::Started, None);
    let result = put_in_place(api, parcel, alias, wanted.replace, &caller, before).await;
    match &result {
        Ok(_) => event(DeployAction::Finished, None),
        Err(error) => {
            event(DeployAction::Failed, Some(error));
            failed(api, &name, &version, &caller, error).await;
        }
    }
    result
}

async fn put_in_place(
    api: &Arc<Api>,
    parcel: Parcel,
    alias: Option<AliasName>,
    replace: bool,
    caller: &Caller,
    before: std::collections::HashSet<VersionKey>,
) -> Result<Deployed> {
    let Parcel { staged, summary, checked, root, .. } = parcel;
    let Checked { name, version, warnings } = checked;
    let old = api.listed(&name, &version).ok();
    // Only an app's very first version has nothing that it could be taken for.
    if !api.index.listing(&name).is_empty() {
        let place =
            old.as_ref().map_or_else(|| root.join(format!("{name}@{version}")), |old| old.dir.clone());
        trial::starts(api, &name, &version, &staged, &place).await?;
    }
    // Requests may wait while a version is held: what takes long is done before.
    let mut staged = staged.into_inner();
    let staged = blocking(move || staged.sync().map(|()| Aside::new(staged))).await??;
    let (id, number) = (name.clone(), version.clone());
    let held = hold(api, &name, &version).await;
    // The index leaves out what is still being copied, or is no app: only the file system knows.
    let installed =
        blocking(move || package::install(staged.into_inner(), &id, &number, replace).map(Aside::new))
            .await??;
    let replaced = installed.has_replaced();
    let dir = root.join(&installed.path);
    let looked = api.lookout.look(dir.clone()).await.map_err(ApiError::internal);
    drop(held);
    let taken = match looked {
        Ok(()) => take_up(api, &name, &version, &dir).await,
        Err(error) => Err(error),
    };
    let (app, report) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            undo(api, &name, &version, installed, dir).await;
            return Err(error);
        }
    };
    let mut previous = None;
    if let Some(alias) = &alias {
        let set = aliases::set(api, &name, alias, Route::one(version.clone()), caller).await;
        match set {
            Ok(was) => previous = was.map(|route| aliases::weights(&route.split)),
            Err(error) => {
                undo(api, &name, &version, installed, dir).await;
                return Err(error);
            }
        }
    }
    let detail = json!({ "replaced": replaced, "files": summary.files, "bytes": summary.bytes });
    api.note("apps:install", &format!("{name}@{version}"), caller, Outcome::Done, detail).await;
    // Its proof may have moved what a name means, without an alias.
    aliases::retire(api, &name, before.clone());
    // The old ones of this version, and what was meant before and is no more.
    let mut old: Vec<VersionKey> =
        old.into_iter().flat_map(|old| old.serving.into_iter().chain(old.app.map(|app| app.key))).collect();
    old.extend(before.difference(&aliases::meant(api, &name)));
    old.retain(|key| *key != app.key);
    api.keep_until_settled(old.clone(), installed);
    let path = match &alias {
        Some(alias) if alias.as_str() == "latest" => format!("/{name}/"),
        Some(alias) => format!("/{name}@{alias}/"),
        None => format!("/{name}@{version}/"),
    };
    tracing::info!(target: "buntime::api", app = %name, %version, by = %caller.actor, "deployed");
    let deployment = types::Deployment {
        url: api.about.url.as_ref().map(|url| format!("{url}{path}")),
        path,
        kind: apps::kind_of(Some(&app)),
        name: name.to_string(),
        version: version.to_string(),
        replaced,
        alias: alias.map(|alias| alias.to_string()),
        previous,
        drained: false, // until they have been waited for
        files: summary.files,
        bytes: summary.bytes,
        warnings,
        start: report,
    };
    Ok(Deployed { deployment, old })
}

/// Has no worker of a version load until what this gives is dropped: none is to get half of what is there and half of what
/// takes its place.
async fn hold(api: &Api, name: &AppName, version: &AppVersion) -> Vec<Held> {
    let Ok(listed) = api.listed(name, version) else { return Vec::new() };
    let mut keys: Vec<VersionKey> = listed.serving.into_iter().chain(listed.app.map(|app| app.key)).collect();
    keys.dedup();
    let mut held = Vec::new();
    for key in keys {
        held.push(api.pool.hold(key, LOAD_WAIT).await);
    }
    held
}

/// Finds the new version in the index, and has a worker of it ready.
async fn take_up(
    api: &Arc<Api>,
    name: &AppName,
    version: &AppVersion,
    dir: &std::path::Path,
) -> Result<(Arc<App>, types::StartReport)> {
    let listed = api.listed(name, version)?;
    if listed.disabled_by_manifest {
        return Err(off(name, version));
    }
    let app = listed.app.ok_or_else(|| ApiError::internal("the index does not have what was installed"))?;
    if !app.dir.ends_with(dir.file_name().unwrap_or_default()) {
        let detail = format!("{name}@{version} in {} stands before it.", app.dir.display());
        return Err(ApiError::conflict("package_place", detail).hint("remove that one first"));
    }
    match &app.kind {
        Kind::Worker { .. } => {
            let report = prove(api, &app).await?;
            Ok((app, report))
        }
        Kind::Static { .. } => Ok((app, types::StartReport::default())),
        Kind::Broken { error } => {
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "version_broken", error.clone()))
        }
    }
}

pub(super) fn off(name: &AppName, version: &AppVersion) -> ApiError {
    let detail = format!("The manifest of {name}@{version} says `enabled: false`.");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "package_disabled", detail)
        .hint("remove that line, and disable the version when it is deployed")
}

/// Has at least one worker of a version ready, and says how its start went.
pub(super) async fn prove(api: &Arc<Api>, app: &App) -> Result<types::StartReport> {
    let error = match api.pool.start_one(app.key).await {
        Ok(Started { journey, .. }) => {
            return Ok(types::StartReport { steps: start::steps(&journey), ..types::StartReport::default() });
        }
        Err(error) => error,
    };
    let what = format!("{}@{} did not start", app.name, app.version);
    let failure = error.failure();
    let detail = match &failure {
        Some(failure) => format!("{what}: {}.", failure.summary.trim_end_matches('.')),
        None => format!("{what}: {error}."),
    };
    let mut refused = match error {
        // Nothing is wrong with it.
        StartError::NoRoom => {
            return Err(ApiError::later("pool_full", detail, Duration::from_secs(1))
                .hint("wait until requests have ended, or give the pool more room with --pool-size"));
        }
        StartError::Starved { after, .. } => ApiError::later("no_resources", detail, after),
        StartError::ShuttingDown => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "start_failed", detail),
        _ => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "start_failed", detail),
    };
    if let Some(failure) = failure {
        refused.hint = failure.suggestion.clone().map(Into::into);
        refused = refused.start(start::report(failure));
    }
    Err(refused)
}

/// Puts back what was there before the installation.
async fn undo(
    api: &Arc<Api>,
    name: &AppName,
    version: &AppVersion,
    installed: Aside<Installed>,
    dir: PathBuf,
) {
    let held = hold(api, name, version).await;
    let undone = blocking(move || installed.into_inner().undo()).await;
    let looked = api.lookout.look(dir.clone()).await;
    drop(held);
    match undone {
        Ok(Ok(taken)) => {
            // Its worker may still be on its way out.
            let _ = blocking(move || drop(taken)).await;
        }
        Ok(Err(error)) => {
            tracing::error!(target: "buntime::api", dir = %dir.display(), %error, "a failed deployment could not be undone");
        }
        Err(_) => {} // it is logged
    }
    if let Err(error) = looked {
        tracing::error!(target: "buntime::api", %error, "what was put back was not looked at");
    }
}

/// Whether all that served before has nothing in flight any more.
async fn drained(api: &Arc<Api>, old: &[VersionKey]) -> bool {
    let until = tokio::time::Instant::now() + DRAIN_WAIT;
    for key in old {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if !api.pool.settled(*key, left).await {
            return false;
        }
    }
    true
}

async fn failed(api: &Arc<Api>, name: &AppName, version: &AppVersion, caller: &Caller, error: &ApiError) {
    let code = error.code;
    tracing::warn!(target: "buntime::api", app = %name, %version, code, error = %error.detail, "a deployment failed");
    let detail = json!({ "code": code });
    api.note("apps:install", &format!("{name}@{version}"), caller, Outcome::Failed, detail).await;
}
