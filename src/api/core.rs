//! What the runtime lets its plugins see and do, with the words of the management API.

use super::auth::{Caller, Door};
use super::error::ApiError;
use super::gate::Gate;
use super::input;
use super::workers::shown;
use crate::access::Permission;
use crate::apps::{Index, split_request};
use crate::model::AppName;
use crate::pool::Pool;
use crate::telemetry::feed::feed;
use crate::telemetry::metrics::Metrics;
use buntime_plugin::metrics::Source;
use buntime_plugin::{
    self as sdk, Access, AppInfo, BoxFuture, Core, LogGuard, LogSink, Problem, Request, WorkerInfo,
};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The runtime, as plugins see it.
pub struct RuntimeCore {
    gate: Arc<Gate>,
    index: Arc<Index>,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
    kept: Mutex<Kept>,
}

/// By plugin and type.
type Kept = HashMap<(String, TypeId), Arc<dyn Any + Send + Sync>>;

/// Marks a request that came over the admin socket.
#[derive(Clone, Copy, Debug)]
pub struct ByAdminSocket;

struct Doors(Arc<Gate>);

/// Somebody who asks a plugin.
struct Guest {
    gate: Arc<Gate>,
    caller: Caller,
}

impl RuntimeCore {
    pub fn new(
        gate: Arc<Gate>,
        index: Arc<Index>,
        pool: Arc<Pool>,
        metrics: Arc<Metrics>,
        draining: watch::Receiver<bool>,
    ) -> Arc<RuntimeCore> {
        Arc::new(RuntimeCore { gate, index, pool, metrics, draining, kept: Mutex::default() })
    }
}

impl Core for RuntimeCore {
    fn apps(&self) -> Vec<AppInfo> {
        let apps = self.index.apps();
        apps.iter().map(|app| AppInfo::new(app.name.as_str(), app.version.to_string())).collect()
    }

    fn resolves(&self, app: &str) -> Result<(), String> {
        let (name, spec) = split_request(app);
        self.index.resolve(name, spec).map(drop).map_err(|error| error.to_string())
    }

    fn workers(&self) -> BoxFuture<'_, Vec<WorkerInfo>> {
        Box::pin(async {
            let told = |worker: &crate::pool::WorkerInfo| {
                let json = shown(worker);
                let details = serde_json::to_value(&json).unwrap_or_default(); // texts and numbers always serialize
                let mut info = WorkerInfo::new(worker.id.to_string(), worker.state.as_str(), details);
                let version = worker.version.as_ref().map(ToString::to_string);
                info.app = worker
                    .app
                    .as_ref()
                    .zip(version)
                    .map(|(app, version)| AppInfo::new(app.as_str(), version));
                info
            };
            self.pool.workers().await.iter().map(told).collect()
        })
    }

    fn restart(&self, app: &str, version: Option<&str>) -> usize {
        let apps = self.index.apps();
        let meant = apps.iter().filter(|of| {
            of.name.as_str() == app && version.is_none_or(|version| of.version.to_string() == version)
        });
        meant.map(|of| self.pool.restart(of.key)).sum()
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(Doors(Arc::clone(&self.gate)))
    }

    fn metrics(&self) -> Arc<dyn Source> {
        self.metrics.source()
    }

    fn draining(&self) -> BoxFuture<'static, ()> {
        let mut draining = self.draining.clone();
        // The server holds the other end for as long as it serves.
        Box::pin(async move { drop(draining.wait_for(|draining| *draining).await) })
    }

    fn log_to(&self, sink: Arc<dyn LogSink>) -> LogGuard {
        feed().add(sink)
    }

    fn keep(
        &self,
        plugin: &str,
        kind: TypeId,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(kept.entry((plugin.to_owned(), kind)).or_insert_with(make))
    }
}

impl Access for Doors {
    fn identify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Arc<dyn sdk::Caller>, Problem>> {
        let door = match request.extensions().get::<ByAdminSocket>() {
            Some(ByAdminSocket) => Door::AdminSocket,
            None => Door::Network,
        };
        Box::pin(async move {
            let caller = self.0.identify(door, request.headers()).await.map_err(Problem::from)?;
            Ok(Arc::new(Guest { gate: Arc::clone(&self.0), caller }) as Arc<dyn sdk::Caller>)
        })
    }
}

impl sdk::Caller for Guest {
    fn name(&self) -> String {
        self.caller.actor.to_string()
    }

    fn may(&self, permission: &str, app: Option<&str>) -> Result<(), Problem> {
        let permission = Permission::parse(permission).map_err(ApiError::internal)?;
        let app = app.map(input::app).transpose()?;
        self.caller.may(permission, app.as_ref()).map_err(Problem::from)
    }

    fn sees(&self, app: &str) -> bool {
        AppName::parse(app).is_ok_and(|app| self.caller.sees(&app))
    }

    fn sees_everything(&self) -> bool {
        self.caller.sees_everything()
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(&self.gate).wait_revoked(self.caller.clone()))
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Problem {
        let ApiError { status, code, detail, hint, headers, .. } = error;
        Problem { status, code: code.into(), detail: Some(detail), hint, retry_after: None, headers }
    }
}
