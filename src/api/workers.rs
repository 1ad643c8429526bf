//! Workers: the processes that there are.

use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::Path;
use super::{Api, Shared, start, types};
use crate::access::Permission;
use crate::model::{AppName, WorkerId};
use crate::pool::WorkerInfo;
use crate::pool::core::State as Stage;
use crate::store::Outcome;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;

/// All workers of the apps that the key is for; spares and those of plugins for a key that is for all
#[utoipa::path(
    get, path = "/workers", tag = "workers", operation_id = "listWorkers",
    responses((status = 200, body = types::WorkerList)),
    extensions(("x-permission" = json!("workers:read"))),
)]
pub async fn list(State(api): Shared, caller: Caller) -> Result<axum::Json<types::WorkerList>> {
    caller.may(Permission::WorkersRead, None)?;
    let workers = api.pool.workers().await;
    let seen = workers.iter().filter(|worker| sees(&caller, worker.app.as_ref()));
    Ok(axum::Json(types::WorkerList { workers: seen.map(shown).collect() }))
}

/// One worker
#[utoipa::path(
    get, path = "/workers/{id}", tag = "workers", operation_id = "getWorker",
    params(("id" = String, Path, description = "As in `w12`", pattern = "^w[0-9]{1,19}$")),
    responses((status = 200, body = types::Worker)),
    extensions(("x-permission" = json!("workers:read"))),
)]
pub async fn one(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<types::Worker>> {
    find(&api, &caller, &id, Permission::WorkersRead).await.map(|worker| axum::Json(shown(&worker)))
}

/// Replaces a worker: it goes when the one that takes its place is ready
#[utoipa::path(
    post, path = "/workers/{id}/restart", tag = "workers", operation_id = "restartWorker",
    params(("id" = String, Path, description = "As in `w12`", pattern = "^w[0-9]{1,19}$")),
    responses((status = 202, body = types::Affected)),
    extensions(("x-permission" = json!("workers:restart"))),
)]
pub async fn restart(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<types::Affected>)> {
    let worker = find(&api, &caller, &id, Permission::WorkersRestart).await?;
    changed(&api, &caller, &worker, "workers:restart", api.pool.restart_worker(worker.id)).await
}

/// Ends a worker: it takes no more requests, finishes those that it has, and goes
#[utoipa::path(
    delete, path = "/workers/{id}", tag = "workers", operation_id = "terminateWorker",
    params(("id" = String, Path, description = "As in `w12`", pattern = "^w[0-9]{1,19}$")),
    responses((status = 202, body = types::Affected)),
    extensions(("x-permission" = json!("workers:remove"))),
)]
pub async fn terminate(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<types::Affected>)> {
    let worker = find(&api, &caller, &id, Permission::WorkersRemove).await?;
    changed(&api, &caller, &worker, "workers:remove", api.pool.terminate_worker(worker.id)).await
}

async fn changed(
    api: &Api,
    caller: &Caller,
    worker: &WorkerInfo,
    action: &'static str,
    done: bool,
) -> Result<(StatusCode, axum::Json<types::Affected>)> {
    if !done {
        return Err(unknown());
    }
    let name = |name: &Option<AppName>| name.as_ref().map(AppName::to_string);
    let detail = match &worker.plugin {
        None => json!({ "app": name(&worker.app) }),
        plugin => json!({ "plugin": name(plugin) }),
    };
    api.note(action, &worker.id.to_string(), caller, Outcome::Done, detail).await;
    Ok((StatusCode::ACCEPTED, axum::Json(types::Affected { workers: 1 })))
}

async fn find(api: &Api, caller: &Caller, id: &str, permission: Permission) -> Result<WorkerInfo> {
    caller.may(permission, None)?;
    let number = id.strip_prefix('w').and_then(|number| number.parse().ok());
    let id = number.map(WorkerId).filter(|number| number.to_string() == id).ok_or_else(|| {
        ApiError::bad("worker_id_invalid", format_args!("`{id}` is no worker."))
            .hint("one is `w` and a number")
    })?;
    let worker = api.pool.workers().await.into_iter().find(|worker| worker.id == id).ok_or_else(unknown)?;
    // One that they may not see is none to them: its app's name is not theirs to know.
    match sees(caller, worker.app.as_ref()) {
        true => Ok(worker),
        false => Err(unknown()),
    }
}

fn sees(caller: &Caller, app: Option<&AppName>) -> bool {
    match app {
        Some(app) => caller.sees(app),
        None => caller.sees_everything(),
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("worker_unknown", "There is no such worker.")
}

pub(super) fn shown(worker: &WorkerInfo) -> types::Worker {
    types::Worker {
        id: worker.id.to_string(),
        app: worker.app.as_ref().map(AppName::to_string),
        plugin: worker.plugin.as_ref().map(AppName::to_string),
        version: worker.version.as_ref().map(ToString::to_string),
        state: match worker.state {
            Stage::Creating => types::WorkerState::Creating,
            Stage::Ready => types::WorkerState::Ready,
            Stage::Active => types::WorkerState::Active,
            Stage::Idle => types::WorkerState::Idle,
            Stage::Terminated => types::WorkerState::Terminated,
        },
        draining: worker.draining,
        pid: worker.pid,
        memory: worker.memory.map(|memory| memory.bytes),
        cpu: worker.cpu.map(|cpu| cpu.as_secs_f64()),
        in_flight: worker.in_flight,
        awaiting: worker.awaiting,
        requests: worker.served,
        age: worker.age.as_secs_f64(),
        idle: worker.last_used.as_secs_f64(),
        start: types::StartReport { steps: start::steps(&worker.journey), ..types::StartReport::default() },
    }
}
