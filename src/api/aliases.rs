//! Aliases: what they stand for, moved only to what is known to work.

use super::auth::{Caller, now};
use super::error::{ApiError, Result};
use super::input::{self, Json, OptionalJson, Path};
use super::{Api, Shared, deploy, types};
use crate::access::Permission;
use crate::apps::Meaning;
use crate::events::{AliasAction, AliasEvent, Event};
use crate::model::alias::WHOLE;
use crate::model::{AliasName, AppName, AppVersion, Kind, Route, Split, Sticky, VersionKey};
use crate::store::Alias;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// An alias in a path.
#[derive(Deserialize)]
pub struct Named {
    name: String,
    alias: String,
}

/// What the aliases of an app stand for
#[utoipa::path(
    get, path = "/apps/{name}/aliases", tag = "aliases", operation_id = "listAliases",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    responses((status = 200, body = types::AliasList)),
    extensions(("x-permission" = json!("apps:read"))),
)]
pub async fn list(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<types::AliasList>> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsRead, Some(&name))?;
    Ok(axum::Json(types::AliasList { aliases: api.aliases_of(&name).await? }))
}

/// Has an alias stand for a version, or for several by weight
///
/// A version that was never ready is started first; if it does not start, nothing changes.
#[utoipa::path(
    put, path = "/apps/{name}/aliases/{alias}", tag = "aliases", operation_id = "setAlias",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("alias" = String, Path, description = "`latest`, `stable`, `beta`, …"),
    ),
    request_body = types::SetAlias,
    responses((status = 200, body = types::Alias)),
    extensions(("x-permission" = json!("apps:configure"))),
)]
pub async fn put(
    State(api): Shared,
    caller: Caller,
    Path(named): Path<Named>,
    Json(wanted): Json<types::SetAlias>,
) -> Result<axum::Json<types::Alias>> {
    let (name, alias) = (input::app(&named.name)?, input::alias(&named.alias)?);
    caller.may(Permission::AppsConfigure, Some(&name))?;
    let route = read(wanted)?;
    api.listing(&name)?;
    api.in_turn(name.clone(), async move |api| {
        set(&api, &name, &alias, route, &caller).await?;
        one(&api, &name, &alias).await
    })
    .await
}

/// Removes an alias
///
/// Without the alias `latest`, a name alone means the highest stable version again.
#[utoipa::path(
    delete, path = "/apps/{name}/aliases/{alias}", tag = "aliases", operation_id = "deleteAlias",
    params(
        ("name" = String, Path, description = "`shop`, or `@team/shop` as two segments"),
        ("alias" = String, Path, description = "`latest`, `stable`, `beta`, …"),
    ),
    responses((status = 204)),
    extensions(("x-permission" = json!("apps:configure"))),
)]
pub async fn delete(State(api): Shared, caller: Caller, Path(named): Path<Named>) -> Result<StatusCode> {
    let (name, alias) = (input::app(&named.name)?, input::alias(&named.alias)?);
    caller.may(Permission::AppsConfigure, Some(&name))?;
    api.in_turn(name.clone(), async move |api| match unset(&api, &name, &alias, &caller).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&name, &alias)),
    })
    .await
}

/// Has an alias stand for what it stood for before
#[utoipa::path(
    post, path = "/apps/{name}/rollback", tag = "aliases", operation_id = "rollback",
    params(("name" = String, Path, description = "`shop`, or `@team/shop` as two segments")),
    request_body(content = Option<types::Rollback>),
    responses((status = 200, body = types::Alias)),
    extensions(("x-permission" = json!("apps:configure"))),
)]
pub async fn rollback(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    OptionalJson(wanted): OptionalJson<types::Rollback>,
) -> Result<axum::Json<types::Alias>> {
    let name = input::app(&name)?;
    caller.may(Permission::AppsConfigure, Some(&name))?;
    let alias = input::alias(wanted.alias.as_deref().unwrap_or("latest"))?;
    api.in_turn(name.clone(), async move |api| {
        let (app, of) = (name.clone(), alias.clone());
        let previous = api.with_store(move |store| store.previous_route(&app, &of)).await?;
        let route = previous.ok_or_else(|| {
            let detail = format!("The alias `{alias}` of {name} stood for nothing else before.");
            ApiError::conflict("nothing_to_go_back_to", detail).hint("set it to the version that you want")
        })?;
        set(&api, &name, &alias, route, &caller).await?;
        one(&api, &name, &alias).await
    })
    .await
}

fn unknown(name: &AppName, alias: &AliasName) -> ApiError {
    ApiError::not_found("alias_unknown", format!("{name} has no alias `{alias}`."))
}

async fn one(api: &Arc<Api>, name: &AppName, alias: &AliasName) -> Result<axum::Json<types::Alias>> {
    let aliases = api.aliases_of(name).await?;
    let found = aliases.into_iter().find(|found| found.name == alias.as_str());
    found.map(axum::Json).ok_or_else(|| unknown(name, alias))
}

/// What was asked for, as a route that there can be: older versions first, so that a weight that grows moves as few clients
/// as it must.
fn read(wanted: types::SetAlias) -> Result<Route> {
    let parts = match (wanted.version, wanted.weights) {
        (Some(version), None) => vec![(input::version(&version)?, WHOLE)],
        (None, Some(weights)) => {
            // A weight of nothing is as if it was not named: a canary is taken back by `{"1.0.0": 100, "2.0.0": 0}`.
            let parts = weights.iter().filter(|(_, weight)| **weight > 0);
            let mut parts = parts
                .map(|(version, weight)| Ok((input::version(version)?, *weight)))
                .collect::<Result<Vec<(AppVersion, u8)>>>()?;
            parts.sort_by(|a, b| a.0.cmp(&b.0));
            // One version alone would take all that it is not given.
            let sum: u32 = parts.iter().map(|(_, weight)| u32::from(*weight)).sum();
            if sum != u32::from(WHOLE) {
                let detail = format!("The weights come to {sum}, not to {WHOLE}.");
                return Err(ApiError::unfit("weights_invalid", detail));
            }
            parts
        }
        _ => return Err(ApiError::unfit("alias_invalid", "An alias needs either `version` or `weights`.")),
    };
    let split = Split::new(parts).map_err(|error| ApiError::unfit("weights_invalid", error))?;
    let sticky = match wanted.sticky {
        types::Stickiness::Cookie => Sticky::Cookie,
        types::Stickiness::Address => Sticky::Address,
    };
    Ok(Route { split, sticky })
}

/// Moves an alias, once all that it is to stand for is known to work. What nothing stands for any more is drained.
pub(super) async fn set(
    api: &Arc<Api>,
    name: &AppName,
    alias: &AliasName,
    route: Route,
    caller: &Caller,
) -> Result<Option<Route>> {
    for (version, _) in route.split.parts() {
        prove(api, name, version).await?;
    }
    let before = meant(api, name);
    let (actor, app, of, to) = (caller.actor.clone(), name.clone(), alias.clone(), route.clone());
    let was = api.with_store(move |store| store.set_alias(&app, &of, &to, &actor, now())).await?;
    api.index.set_route(name, alias, Some(route.clone()));
    told(api, AliasAction::Set, name, alias, was.as_ref(), Some(route));
    retire(api, name, before);
    Ok(was)
}

/// Removes an alias. False = there is none.
pub(super) async fn unset(
    api: &Arc<Api>,
    name: &AppName,
    alias: &AliasName,
    caller: &Caller,
) -> Result<bool> {
    let (actor, app, of) = (caller.actor.clone(), name.clone(), alias.clone());
    let was = api.with_store(move |store| store.remove_alias(&app, &of, &actor, now())).await?;
    let Some(was) = was else { return Ok(false) };
    let before = meant(api, name);
    api.index.set_route(name, alias, None);
    told(api, AliasAction::Removed, name, alias, Some(&was), None);
    retire(api, name, before);
    Ok(true)
}

fn told(
    api: &Api,
    action: AliasAction,
    name: &AppName,
    alias: &AliasName,
    before: Option<&Route>,
    after: Option<Route>,
) {
    tracing::info!(target: "buntime::api", app = %name, %alias, ?action, "an alias was changed");
    api.hub.publish(Event::Alias(AliasEvent {
        action,
        app: name.clone(),
        alias: alias.clone(),
        before: before.map(|route| route.split.clone()),
        after: after.map(|route| route.split),
    }));
}

/// Makes sure that a version is there and starts.
async fn prove(api: &Arc<Api>, name: &AppName, version: &AppVersion) -> Result<()> {
    let listed = api.listed(name, version)?;
    if listed.disabled_by_operator || listed.disabled_by_manifest {
        let detail = format!("{name}@{version} is disabled.");
        return Err(ApiError::conflict("version_disabled", detail).hint("enable it first"));
    }
    let Some(app) = listed.app else { return Ok(()) };
    match &app.kind {
        Kind::Broken { error } => {
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "version_broken", error.clone()))
        }
        Kind::Worker { .. } if !listed.proven => deploy::prove(api, &app).await.map(drop),
        _ => Ok(()),
    }
}

/// Revisions that an alias or the name alone stands for.
pub(super) fn meant(api: &Api, name: &AppName) -> HashSet<VersionKey> {
    let mut keys = HashSet::new();
    let aliases = api.index.routes(name);
    let specs = aliases.iter().map(|(alias, _)| Some(alias.as_str())).chain([None]);
    for spec in specs {
        match api.index.resolve(name.as_str(), spec) {
            Ok(Meaning::One(app)) => drop(keys.insert(app.key)),
            Ok(Meaning::Split(fork)) => keys.extend(fork.apps().iter().map(|app| app.key)),
            Err(_) => {}
        }
    }
    keys
}

/// Drains the workers of what was meant before and is no more.
pub(super) fn retire(api: &Api, name: &AppName, before: HashSet<VersionKey>) {
    let still = meant(api, name);
    for key in before.difference(&still) {
        api.pool.retire(*key);
    }
}

pub(super) fn weights(split: &Split) -> BTreeMap<String, u8> {
    split.parts().iter().map(|(version, weight)| (version.to_string(), *weight)).collect()
}

pub(super) fn shown(alias: &Alias) -> types::Alias {
    types::Alias {
        name: alias.name.to_string(),
        weights: weights(&alias.route.split),
        sticky: match alias.route.sticky {
            Sticky::Cookie => types::Stickiness::Cookie,
            Sticky::Address => types::Stickiness::Address,
        },
        previous: alias.previous.as_ref().map(|route| weights(&route.split)),
    }
}
