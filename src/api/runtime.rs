//! The runtime itself, and who asks.

use super::auth::Caller;
use super::error::Result;
use super::keys::names;
use super::{Shared, types};
use crate::access::Permission;
use crate::model::rfc3339;
use axum::extract::State;

/// Who asks, and what they may do
#[utoipa::path(
    get, path = "/me", tag = "runtime", operation_id = "getIdentity",
    responses((status = 200, body = types::Identity)),
    extensions(("x-permission" = json!("none"))),
)]
pub async fn me(caller: Caller) -> axum::Json<types::Identity> {
    let grant = &caller.grant;
    axum::Json(types::Identity {
        actor: caller.actor.to_string(),
        permissions: grant.permissions().iter().map(|permission| permission.as_str().to_owned()).collect(),
        namespaces: names(grant.namespaces()),
        expires: grant.expires().map(|time| rfc3339::from_seconds(time.seconds())),
    })
}

/// The runtime: its version, how long it runs, and the room in its pool
#[utoipa::path(
    get, path = "/runtime", tag = "runtime", operation_id = "getRuntime",
    responses((status = 200, body = types::Runtime)),
    extensions(("x-permission" = json!("workers:read"))),
)]
pub async fn runtime(State(api): Shared, caller: Caller) -> Result<axum::Json<types::Runtime>> {
    caller.may(Permission::WorkersRead, None)?;
    let about = &api.about;
    let pool = api.pool.snapshot();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(axum::Json(types::Runtime {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        bun: about.bun.clone(),
        environment: about.environment.to_owned(),
        pid: std::process::id(),
        uptime: about.started.elapsed().as_secs_f64(),
        pooled: count(pool.pooled),
        pool_size: count(pool.pool_size),
        spares: count(pool.spares_ready),
        waiting: count(pool.waiting),
        draining: *api.draining.borrow(),
        url: about.url.clone(),
    }))
}
