//! Apps and their versions: what there is, and what an operator makes of it.

use super::auth::{Caller, now};
use super::error::{ApiError, Result};
use super::input::{self, Path, Query};
use super::{Api, Shared, aliases, blocking, types};
use crate::access::Permission;
use crate::apps::{Listed, Meaning};
use crate::events::{AppAction, AppEvent, Event};
use crate::model::{App, AppName, AppVersion, Kind, VersionKey};
use crate::package;
use crate::store::{Outcome, Record};
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use utoipa::IntoParams;

/// How long the directory of a deleted version is kept for workers that do not end.
const KEEP_DELETED: Duration = Duration::from_secs(15 * 60);

/// A version in a path.
#[derive(Deserialize)]
pub struct Named {
    name: String,
    version: String,
}

impl Named {
    pub fn read(&self) -> Result<(AppName, AppVersion)> {
        Ok((input::app(&self.name)?, input::version(&self.version)?))
    }
}

/// All apps that the key's namespaces have, with their versions and aliases
#[utoipa::path(
    get, path = "/apps", tag = "apps", operation_id = "listApps",
    responses((status = 200, body = types::AppList)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn list(State(api): Shared, caller: Caller) -> Result<axum::Json<types::AppList>> {
    caller.may(Permission::AppsRead, None)?;
    let mut apps: BTreeMap<AppName, Vec<Listed>> = BTreeMap::new();
    for listed in api.index.catalog() {
        if caller.sees(&listed.name) {
            apps.entry(listed.name.clone()).or_default().push(listed);
        }
    }
    let mut routes: HashMap<AppName, Vec<types::Alias>> = HashMap::new();
    for alias in api.with_store(|store| store.aliases()).await? {
        routes.entry(alias.app.clone()).or_default().push(aliases::shown(&alias));
    }
    let workers = api.workers_of_versions();
    let summary = |(name, versions): (AppName, Vec<Listed>)| {
        let aliases = routes.remove(&name).unwrap_or_default();
        api.summary(&name, versions, aliases, &workers)
    };
    Ok(axum::Json(types::AppList { apps: apps.into_iter().map(summary).collect() }))
}

/// One app
#[utoipa::path(
    get, path = "/apps/{name}", tag = "apps", operation_id = "getApp",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 200, body = types::AppSummary)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn one(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<types::AppSummary>> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsRead, Some(&name))?;
    let versions = api.listing(&name)?;
    let aliases = api.aliases_of(&name).await?;
    Ok(axum::Json(api.summary(&name, versions, aliases, &api.workers_of_versions())))
}

/// Deletes all versions and all aliases of an app
///
/// What the app has stored in its data directory stays.
#[utoipa::path(
    delete, path = "/apps/{name}", tag = "apps", operation_id = "deleteApp",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 200, body = types::Deleted)),
    extensions(("x-permission" = json!("apps:remove"))),
)]
pub async fn delete(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<types::Deleted>> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsRemove, Some(&name))?;
    api.listing(&name)?;
    api.in_turn(name.clone(), async move |api| {
        let versions = api.listing(&name)?;
        let deleted = versions.iter().map(|listed| listed.version.to_string()).collect();
        api.delete(versions, true, &caller).await?;
        Ok(axum::Json(types::Deleted { versions: deleted }))
    })
    .await
}

/// Replaces all workers of an app
///
/// Each one goes when the one that takes its place is ready; no request is lost.
#[utoipa::path(
    post, path = "/apps/{name}/restart", tag = "apps", operation_id = "restartApp",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 202, body = types::Affected)),
    extensions(("x-permission" = json!("apps:restart"))),
)]
pub async fn restart(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<(http::StatusCode, axum::Json<types::Affected>)> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsRestart, Some(&name))?;
    let keys = api.listing(&name)?.into_iter().filter_map(|version| version.serving).collect();
    api.restart(keys, &name.to_string(), &caller).await
}

/// All versions of an app, the highest first
#[utoipa::path(
    get, path = "/apps/{name}/versions", tag = "versions", operation_id = "listVersions",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 200, body = types::VersionList)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn versions(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<types::VersionList>> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsRead, Some(&name))?;
    let versions = api.listing(&name)?;
    let aliases = api.aliases_of(&name).await?;
    let versions = api.shown_versions(versions, &aliases, &api.workers_of_versions());
    Ok(axum::Json(types::VersionList { versions }))
}

/// One version
#[utoipa::path(
    get, path = "/apps/{name}/versions/{version}", tag = "versions", operation_id = "getVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
    ),
    responses((status = 200, body = types::Version)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn version(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<axum::Json<types::Version>> {
    let (name, version) = named.read()?;
    caller.may(Permission::AppsRead, Some(&name))?;
    let listed = api.listed(&name, &version)?;
    let aliases = api.aliases_of(&name).await?;
    let mut shown = api.shown_versions(vec![listed], &aliases, &api.workers_of_versions());
    Ok(axum::Json(shown.remove(0)))
}

/// Deletes a version that no alias stands for
#[utoipa::path(
    delete, path = "/apps/{name}/versions/{version}", tag = "versions", operation_id = "deleteVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
    ),
    responses((status = 200, body = types::Deleted)),
    extensions(("x-permission" = json!("apps:remove"))),
)]
pub async fn delete_version(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<axum::Json<types::Deleted>> {
    let (name, version) = named.read()?;
    caller.may(Permission::AppsRemove, Some(&name))?;
    api.listed(&name, &version)?;
    api.in_turn(name.clone(), async move |api| {
        let listed = api.listed(&name, &version)?;
        let routes = api.index.routes(&name);
        let names = |route: &crate::model::Route| {
            route.split.parts().iter().any(|(part, _)| part.identity() == version.identity())
        };
        if let Some((alias, _)) = routes.iter().find(|(_, route)| names(route)) {
            let detail = format!("The alias `{alias}` stands for {name}@{version}.");
            return Err(ApiError::conflict("version_aliased", detail).hint("move the alias first"));
        }
        let deleted = vec![listed.version.to_string()];
        api.delete(vec![listed], false, &caller).await?;
        Ok(axum::Json(types::Deleted { versions: deleted }))
    })
    .await
}

/// Replaces the workers of a version
#[utoipa::path(
    post, path = "/apps/{name}/versions/{version}/restart", tag = "versions", operation_id = "restartVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
    ),
    responses((status = 202, body = types::Affected)),
    extensions(("x-permission" = json!("apps:restart"))),
)]
pub async fn restart_version(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<(http::StatusCode, axum::Json<types::Affected>)> {
    let (name, version) = named.read()?;
    caller.may(Permission::AppsRestart, Some(&name))?;
    let keys = api.listed(&name, &version)?.serving.into_iter().collect();
    api.restart(keys, &format!("{name}@{version}"), &caller).await
}

/// Lets a version be asked for again
#[utoipa::path(
    post, path = "/apps/{name}/versions/{version}/enable", tag = "versions", operation_id = "enableVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
    ),
    responses((status = 200, body = types::Version)),
    extensions(("x-permission" = json!("apps:configure"))),
)]
pub async fn enable(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<axum::Json<types::Version>> {
    set_disabled(&api, caller, named, false).await
}

/// Takes a version away from requests without deleting it; its workers drain
#[utoipa::path(
    post, path = "/apps/{name}/versions/{version}/disable", tag = "versions", operation_id = "disableVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
    ),
    responses((status = 200, body = types::Version)),
    extensions(("x-permission" = json!("apps:configure"))),
)]
pub async fn disable(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
) -> Result<axum::Json<types::Version>> {
    set_disabled(&api, caller, named, true).await
}

async fn set_disabled(
    api: &Arc<Api>,
    caller: Caller,
    named: Named,
    disabled: bool,
) -> Result<axum::Json<types::Version>> {
    let (name, version) = named.read()?;
    caller.may(Permission::AppsConfigure, Some(&name))?;
    api.known(&name, &version)?;
    api.in_turn(name.clone(), async move |api| {
        let known = api.known(&name, &version)?;
        api.disable(&name, &version, disabled, &caller).await?;
        let gone = Listed { disabled_by_operator: disabled, ..known };
        let listed = api.listed(&name, &version).unwrap_or(gone);
        let aliases = api.aliases_of(&name).await?;
        let mut shown = api.shown_versions(vec![listed], &aliases, &api.workers_of_versions());
        Ok(axum::Json(shown.remove(0)))
    })
    .await
}

/// How a package is to be packed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Format {
    /// `tgz` or `tar.zst`; otherwise `tgz`.
    #[param(pattern = "^(tgz|tar\\.zst)$")]
    format: Option<String>,
}

/// A version's package, with all that was uploaded in it
#[utoipa::path(
    get, path = "/apps/{name}/versions/{version}/package", tag = "versions", operation_id = "downloadVersion",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("version" = String, Path, description = "A semver, or `latest` for a directory of that name"),
        Format,
    ),
    responses((status = 200, content((String = "application/gzip"), (String = "application/zstd")))),
    extensions(("x-permission" = json!("apps:download"))),
)]
pub async fn download(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
    Query(format): Query<Format>,
) -> Result<axum::response::Response> {
    let (name, version) = named.read()?;
    caller.may(Permission::AppsDownload, Some(&name))?;
    let kind = match format.format.as_deref() {
        None | Some("tgz") => package::Kind::TarGz,
        Some("tar.zst") => package::Kind::TarZst,
        Some(other) => {
            return Err(ApiError::bad(
                "format_unknown",
                format_args!("`{other}` is no format for a package."),
            )
            .hint("tgz or tar.zst"));
        }
    };
    let dir = api.listed(&name, &version)?.dir;
    let response = super::download::pack(dir, kind, &name, &version).await?;
    api.note("apps:download", &format!("{name}@{version}"), &caller, Outcome::Done, json!({})).await;
    Ok(response)
}

impl Api {
    /// All versions of an app.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn listing(&self, name: &AppName) -> Result<Vec<Listed>> {
        let mut versions = self.index.listing(name);
        versions.sort_by(|a, b| b.version.cmp(&a.version));
        match versions.is_empty() {
            true => Err(ApiError::not_found("app_unknown", format!("There is no app {name}."))),
            false => Ok(versions),
        }
    }

    pub(super) fn listed(&self, name: &AppName, version: &AppVersion) -> Result<Listed> {
        let versions = self.listing(name)?;
        versions.into_iter().find(|listed| listed.version.identity() == version.identity()).ok_or_else(|| {
            ApiError::not_found("version_unknown", format!("{name} has no version {version}."))
        })
    }

    /// The same, also of one that was disabled and whose directory has gone since: that it is disabled is what is left of it.
    fn known(&self, name: &AppName, version: &AppVersion) -> Result<Listed> {
        let mark = || Listed {
            name: name.clone(),
            version: version.clone(),
            dir: PathBuf::new(),
            app: None,
            serving: None,
            proven: false,
            candidate: false,
            disabled_by_manifest: false,
            disabled_by_operator: true,
            warnings: Arc::default(),
        };
        self.listed(name, version).or_else(|unknown| match self.index.is_disabled(name, version) {
            true => Ok(mark()),
            false => Err(unknown),
        })
    }

    pub(super) async fn aliases_of(&self, name: &AppName) -> Result<Vec<types::Alias>> {
        let name = name.clone();
        let all = self.with_store(|store| store.aliases()).await?;
        Ok(all.iter().filter(|alias| alias.app == name).map(aliases::shown).collect())
    }

    /// How many workers each revision has.
    fn workers_of_versions(&self) -> HashMap<VersionKey, u32> {
        let mut counts = HashMap::new();
        for worker in self.pool.snapshot().workers {
            if let Some(version) = worker.version {
                *counts.entry(version).or_default() += 1;
            }
        }
        counts
    }

    fn summary(
        &self,
        name: &AppName,
        versions: Vec<Listed>,
        aliases: Vec<types::Alias>,
        workers: &HashMap<VersionKey, u32>,
    ) -> types::AppSummary {
        let current = match self.index.resolve(name.as_str(), None) {
            Ok(Meaning::One(app)) => Some(app.version.to_string()),
            _ => None,
        };
        let mut versions = versions;
        versions.sort_by(|a, b| b.version.cmp(&a.version));
        let versions = self.shown_versions(versions, &aliases, workers);
        types::AppSummary {
            name: name.to_string(),
            path: format!("/{name}/"),
            current,
            workers: versions.iter().map(|version| version.workers).sum(),
            versions,
            aliases,
        }
    }

    fn shown_versions(
        &self,
        versions: Vec<Listed>,
        aliases: &[types::Alias],
        workers: &HashMap<VersionKey, u32>,
    ) -> Vec<types::Version> {
        let shown = |listed: Listed| {
            let text = listed.version.to_string();
            let is_it = |other: &String| {
                AppVersion::parse(other).is_ok_and(|other| other.identity() == listed.version.identity())
            };
            let named = aliases.iter().filter(|alias| alias.weights.keys().any(is_it));
            let app = listed.app.as_deref();
            let keys = [listed.serving, app.map(|app| app.key)];
            let different = keys[0] != keys[1];
            let count = |key: Option<VersionKey>| key.and_then(|key| workers.get(&key)).copied().unwrap_or(0);
            types::Version {
                kind: kind_of(app),
                state: match (listed.disabled_by_operator, listed.disabled_by_manifest) {
                    (true, _) => types::VersionState::Disabled,
                    (_, true) => types::VersionState::Manifest,
                    _ => types::VersionState::Enabled,
                },
                proven: listed.proven,
                aliases: named.map(|alias| alias.name.clone()).collect(),
                workers: count(keys[0]) + if different { count(keys[1]) } else { 0 },
                error: match app.map(|app| &app.kind) {
                    Some(Kind::Broken { error }) => Some(error.clone()),
                    _ => app
                        .and_then(|app| self.pool.last_start(app.key)?.failure)
                        .map(|failure| failure.summary.clone()),
                },
                version: text,
            }
        };
        versions.into_iter().map(shown).collect()
    }

    async fn restart(
        &self,
        keys: Vec<VersionKey>,
        subject: &str,
        caller: &Caller,
    ) -> Result<(http::StatusCode, axum::Json<types::Affected>)> {
        let workers: usize = keys.into_iter().map(|key| self.pool.restart(key)).sum();
        self.note("apps:restart", subject, caller, Outcome::Done, json!({ "workers": workers })).await;
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Ok((http::StatusCode::ACCEPTED, axum::Json(types::Affected { workers })))
    }

    /// Disables a version or enables it again: kept first, then in force.
    pub(super) async fn disable(
        &self,
        name: &AppName,
        version: &AppVersion,
        disabled: bool,
        caller: &Caller,
    ) -> Result<()> {
        let (actor, app, key) = (caller.actor.clone(), name.clone(), version.clone());
        self.with_store(move |store| store.set_disabled(&app, &key, disabled, &actor, now())).await?;
        let set = self.lookout.set_disabled(name.clone(), version.clone(), disabled).await;
        set.map_err(ApiError::internal)?;
        self.hub.publish(Event::App(AppEvent {
            action: if disabled { AppAction::Disabled } else { AppAction::Enabled },
            app: name.clone(),
            version: version.clone(),
            failure: None,
        }));
        Ok(())
    }

    /// Takes versions of one app off the disk, and with `aliases` all that its aliases stand for is forgotten first. Workers finish
    /// what they have; only then their files go.
    async fn delete(self: &Arc<Self>, versions: Vec<Listed>, aliases: bool, caller: &Caller) -> Result<()> {
        let mut leaving = Vec::new();
        for listed in versions {
            let place = self.place_of(&listed).await?;
            leaving.push((listed, place));
        }
        // First nobody can ask for any: one that is still there would be what the name means, and a worker that starts for a
        // request would not find its files.
        let hide = async |listed: &Listed, hidden| {
            let set = self.lookout.set_disabled(listed.name.clone(), listed.version.clone(), hidden).await;
            set.map_err(ApiError::internal)
        };
        let mut gone = Vec::new();
        let done = async {
            // The highest last: no older one is meant meanwhile.
            for (listed, _) in leaving.iter().rev() {
                hide(listed, true).await?;
            }
            if let Some((listed, _)) = leaving.first().filter(|_| aliases) {
                for alias in self.aliases_of(&listed.name).await? {
                    aliases::unset(self, &listed.name, &input::alias(&alias.name)?, caller).await?;
                }
            }
            for (listed, (root, entry)) in &leaving {
                let (root, id, number) = (root.clone(), listed.name.clone(), listed.version.clone());
                let removed = blocking(move || package::remove(&root, &id, &number)).await??;
                gone.push(listed.version.clone());
                let subject = format!("{}@{}", listed.name, listed.version);
                self.note("apps:remove", &subject, caller, Outcome::Done, json!({})).await;
                let keys = listed.serving.into_iter().chain(listed.app.as_ref().map(|app| app.key)).collect();
                self.keep_until_settled(keys, removed);
                // It is deleted: what fails from here on does not change that, and is logged.
                let _ = self.lookout.look(entry.clone()).await.map_err(ApiError::internal);
            }
            Ok(())
        };
        let done = done.await;
        for (listed, _) in &leaving {
            let _ = match listed.disabled_by_operator {
                false => hide(listed, false).await,
                true if gone.contains(&listed.version) => {
                    self.disable(&listed.name, &listed.version, false, caller).await
                }
                true => Ok(()),
            };
        }
        done
    }

    /// Drops what removes files from disk when nobody reads them any more.
    pub(super) fn keep_until_settled(&self, keys: Vec<VersionKey>, files: impl Send + 'static) {
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            for key in keys {
                pool.settled(key, KEEP_DELETED).await;
            }
            let _ = blocking(move || drop(files)).await;
        });
    }

    /// The worker directory that a version's directory is in, and that directory below it: both as they were configured, which
    /// may lead through links.
    ///
    /// # Errors
    /// It is in none, or another one is what the version's name leads to there.
    pub(super) async fn place_of(&self, listed: &Listed) -> Result<(PathBuf, PathBuf)> {
        let Listed { name, version, dir, .. } = listed;
        let within = |root: &PathBuf| {
            let inside = dir.strip_prefix(root).ok().map(ToOwned::to_owned);
            let inside =
                inside.or_else(|| Some(dir.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned()))?;
            Some((root.clone(), inside))
        };
        let conflict = |why: &str| ApiError::conflict("package_place", format!("{} {why}", dir.display()));
        let found = self.places.worker_dirs.iter().find_map(within);
        let (root, inside) = found.ok_or_else(|| conflict("is in no worker directory."))?;
        let (at, id, number) = (root.clone(), name.clone(), version.clone());
        let located = blocking(move || package::locate(&at, &id, &number)).await??;
        if let Some(other) = located.filter(|located| *located != inside) {
            let why = format!("is {name}@{version}, and so is {} beside it.", root.join(other).display());
            return Err(conflict(&why).hint("remove one of the two by hand"));
        }
        Ok((root.clone(), root.join(inside)))
    }

    /// Writes to the audit log what was done. That it was done does not change if this fails: then the log says so.
    pub(super) async fn note(
        &self,
        action: &'static str,
        subject: &str,
        caller: &Caller,
        outcome: Outcome,
        detail: serde_json::Value,
    ) {
        let (actor, subject) = (caller.actor.clone(), subject.to_owned());
        let (by, to) = (actor.clone(), subject.clone());
        let noted = self.with_store(move |store| {
            let record = Record { actor: &actor, action, subject: &subject, outcome, detail };
            store.append_audit(&record, now()).map(drop)
        });
        if let Err(error) = noted.await {
            tracing::error!(target: "buntime::api", action, subject = to, %by, error = %error.detail, "the audit log lacks what was done");
        }
    }
}

pub(super) fn kind_of(app: Option<&App>) -> types::AppKind {
    match app.map(|app| &app.kind) {
        Some(Kind::Worker { .. }) => types::AppKind::Worker,
        Some(Kind::Static { .. }) => types::AppKind::Static,
        Some(Kind::Broken { .. }) => types::AppKind::Broken,
        None => types::AppKind::Unknown,
    }
}
