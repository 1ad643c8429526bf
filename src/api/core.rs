//! What the runtime lets its plugins see and do, with the words of the management API.

use super::auth::{Caller, Door};
use super::error::ApiError;
use super::gate::Gate;
use super::input;
use super::outbound::Outbound;
use super::workers::shown;
use crate::access::{Namespaces, Permission};
use crate::apps::Index;
use crate::events::{Filter, Kind};
use crate::model::AppName;
use crate::model::name::split_request;
use crate::plugin::Secrets;
use crate::pool::Pool;
use crate::telemetry::feed::feed;
use crate::telemetry::metrics::Metrics;
use buntime_plugin::metrics::Source;
use buntime_plugin::{
    self as sdk, Access, AppInfo, Body, BoxFuture, BoxStream, Core, LogGuard, LogSink, Problem, Request,
    Response, Server, WorkerInfo,
};
use futures_util::StreamExt;
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
    outbound: Outbound,
    server: Server,
    secrets: Arc<Secrets>,
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
        server: Server,
    ) -> Arc<RuntimeCore> {
        Arc::new(RuntimeCore {
            gate,
            index,
            pool,
            metrics,
            draining,
            outbound: Outbound::default(),
            server,
            secrets: Arc::default(),
            kept: Mutex::default(),
        })
    }

    /// To be told of what settings keep secret.
    pub fn known_secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
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

    fn events(&self, filter: &sdk::EventFilter) -> sdk::Result<BoxStream<'static, serde_json::Value>> {
        // Texts and numbers always serialize.
        let told = |item| serde_json::to_value(&item).unwrap_or_default();
        Ok(Box::pin(self.pool.hub().subscribe(None, wanted(filter)?).map(told)))
    }

    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'_, sdk::Result<Response>> {
        Box::pin(self.outbound.fetch(request))
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

    fn server(&self) -> Option<Server> {
        Some(self.server.clone())
    }

    /// Without the root key: its hash is all that there is of it.
    fn secrets(&self) -> Vec<String> {
        self.secrets.all()
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

    fn permissions(&self) -> Vec<String> {
        self.caller.grant.permissions().iter().map(|permission| permission.as_str().to_owned()).collect()
    }

    fn namespaces(&self) -> Option<Vec<String>> {
        match self.caller.grant.namespaces() {
            Namespaces::All => None,
            Namespaces::Only(set) => {
                Some(set.iter().map(|namespace| namespace.as_str().to_owned()).collect())
            }
        }
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

/// A plugin's filter, as the hub has it.
fn wanted(filter: &sdk::EventFilter) -> sdk::Result<Filter> {
    let mut wanted = Filter::all();
    if !filter.kinds.is_empty() {
        let kinds: Result<Vec<Kind>, String> = filter.kinds.iter().map(|kind| kind.parse()).collect();
        let unknown = |kind: String| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            sdk::Error::new(format!("`{kind}` is no kind of event")).hint(format!("one of {known}"))
        };
        wanted = wanted.kinds(kinds.map_err(unknown)?);
    }
    if let Some(app) = &filter.app {
        let none = |error| sdk::Error::new(format!("`{app}` is no app's name")).because(error);
        let app = AppName::parse(app).map_err(none)?;
        wanted = wanted.apps(move |of| of == Some(&app));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{AppAction, AppEvent, Bounds, Event, Hub};
    use buntime_plugin::EventFilter;

    fn app(name: &str) -> Event {
        let (app, version) = (name.parse().unwrap(), "1.2.3".parse().unwrap());
        Event::App(AppEvent { action: AppAction::Enabled, app, version, failure: None })
    }

    #[tokio::test]
    async fn a_plugin_hears_what_the_api_tells_of_with_gaps() {
        let hub = Hub::new(Bounds { events: 2, ..Bounds::default() });
        let filter = EventFilter::all().kinds(&["app"]).app("shop");
        let mut events =
            hub.subscribe(None, wanted(&filter).unwrap()).map(|item| serde_json::to_value(&item).unwrap());
        hub.publish(app("other"));
        hub.publish(app("shop"));
        let told = events.next().await.unwrap();
        assert_eq!(
            (&told["type"], &told["app"], &told["version"]),
            (&"app".into(), &"shop".into(), &"1.2.3".into())
        );
        for _ in 0..5 {
            hub.publish(app("shop"));
        }
        let told = events.next().await.unwrap();
        assert_eq!((&told["type"], &told["lost"]), (&"gap".into(), &3.into()));
        assert_eq!(events.next().await.unwrap()["type"], "app");
    }

    #[test]
    fn a_filter_of_events_that_means_nothing_is_an_error() {
        let unknown = wanted(&EventFilter::all().kinds(&["app", "weather"])).unwrap_err().to_string();
        assert!(unknown.contains("`weather`") && unknown.contains("hint: one of worker"), "{unknown}");
        assert!(wanted(&EventFilter::all().app("No App")).is_err());
    }
}
