//! Versions of an app: what there is of them, and what an operator makes of one.

use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::{self, Path, Query};
use super::{Api, Shared, download, types};
use crate::access::Permission;
use crate::apps::Listed;
use crate::model::{AppName, AppVersion};
use crate::package;
use crate::store::Outcome;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::IntoParams;

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

/// All versions of an app, the highest first
#[utoipa::path(
    get, path = "/apps/{name}/versions", tag = "versions", operation_id = "listVersions",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 200, body = types::VersionList)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn list(
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
pub async fn one(
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
pub async fn delete(
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
pub async fn restart(
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
pub async fn package(
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
    let response = download::pack(&api.downloads, dir, kind, &name, &version).await?;
    api.note("apps:download", &format!("{name}@{version}"), &caller, Outcome::Done, json!({})).await;
    Ok(response)
}
