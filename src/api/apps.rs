//! Apps: what there is of them, and what is done to all of one.

use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::{self, Path};
use super::{Api, Shared, aliases, types};
use crate::access::Permission;
use crate::apps::{Listed, Meaning};
use crate::model::{App, AppName, AppVersion, Kind, VersionKey};
use axum::extract::State;
use std::collections::{BTreeMap, HashMap};

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

    pub(super) async fn aliases_of(&self, name: &AppName) -> Result<Vec<types::Alias>> {
        let name = name.clone();
        let all = self.with_store(|store| store.aliases()).await?;
        Ok(all.iter().filter(|alias| alias.app == name).map(aliases::shown).collect())
    }

    /// How many workers each revision has.
    pub(super) fn workers_of_versions(&self) -> HashMap<VersionKey, u32> {
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

    pub(super) fn shown_versions(
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
}

pub(super) fn kind_of(app: Option<&App>) -> types::AppKind {
    match app.map(|app| &app.kind) {
        Some(Kind::Worker { .. }) => types::AppKind::Worker,
        Some(Kind::Static { .. }) => types::AppKind::Static,
        Some(Kind::Broken { .. }) => types::AppKind::Broken,
        None => types::AppKind::Unknown,
    }
}
