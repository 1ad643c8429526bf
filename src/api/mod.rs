//! The management API: what `{prefix}/api` answers, on the public listener with keys and on the admin socket.
//!
//! Every request is identified before anything else of it is looked at; every handler asks its [`Caller`](auth::Caller)
//! whether it may. The routes, their shapes and their permissions are the OpenAPI document's (`openapi`), which is made
//! from the handlers.

mod aliases;
mod apps;
mod aside;
mod audit;
mod auth;
mod changes;
mod core;
mod deploy;
mod docs;
mod download;
mod error;
mod events;
mod gate;
mod input;
mod keys;
mod openapi;
mod outbound;
mod patterns;
mod plugins;
mod runtime;
mod standstill;
mod start;
mod trial;
mod turns;
pub mod types;
mod upload;
mod versions;
mod whole;
mod workers;

pub use self::core::{ByAdminSocket, RuntimeCore};
pub use auth::Door;
pub use error::ApiError;
pub use gate::Gate;
pub use standstill::Standstill;

use self::error::Result;
use self::turns::Turns;
use crate::apps::manifest::Ceilings;
use crate::apps::{Index, Lookout};
use crate::events::Hub;
use crate::plugin::Host;
use crate::pool::Pool;
use crate::store::{Condition, Store, StoreError};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// What handlers get at.
type Shared = State<Arc<Api>>;

/// Packages that may be on their way in at once.
const UPLOADS: usize = 8;
/// Clients that may follow the events at once.
const FOLLOWERS: usize = 256;
/// Changes to plugins that may be on their way at once. Each may have a body of some megabytes.
const PLUGIN_CHANGES: usize = 8;

/// All that the API needs to know and to reach.
pub struct Api {
    store: Arc<Store>,
    index: Arc<Index>,
    lookout: Lookout,
    pool: Arc<Pool>,
    hub: Arc<Hub>,
    pub gate: Arc<Gate>,
    pub about: About,
    places: Places,
    plugins: Arc<Host>,
    pub draining: watch::Receiver<bool>,
    /// Becomes true once: requests should be sent elsewhere.
    pub leaving: watch::Receiver<bool>,
    /// Changes, but for the time in which another process takes over.
    pub standstill: Arc<Standstill>,
    turns: Turns,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    plugin_changes: Arc<Semaphore>,
    router: Router<Arc<Api>>,
    document: bytes::Bytes,
}

/// What the API says of the runtime.
#[derive(Clone, Debug)]
pub struct About {
    pub bun: String,
    pub environment: &'static str,
    pub started: Instant,
    /// `http://127.0.0.1:8000`, where the listener is a TCP port.
    pub url: Option<String>,
    /// `/api`, `/_ops/api`.
    pub base: String,
}

/// Where deployments go, and within which bounds.
#[derive(Clone, Debug)]
pub struct Places {
    pub worker_dirs: Vec<PathBuf>,
    pub state_dir: PathBuf,
    /// First path segments that no app may have.
    pub reserved: Vec<String>,
    pub ceilings: Ceilings,
}

/// What [`Api::new`] takes.
pub struct Parts {
    pub store: Arc<Store>,
    pub index: Arc<Index>,
    pub lookout: Lookout,
    pub pool: Arc<Pool>,
    pub hub: Arc<Hub>,
    pub gate: Arc<Gate>,
    pub about: About,
    pub places: Places,
    pub plugins: Arc<Host>,
    pub draining: watch::Receiver<bool>,
    pub leaving: watch::Receiver<bool>,
}

impl Api {
    pub fn new(parts: Parts) -> Arc<Api> {
        let Parts { store, index, lookout, pool, hub, gate, about, places, plugins, draining, leaving } =
            parts;
        let (router, document) = openapi::routes(&about.base);
        let (turns, uploads) = (Turns::default(), Arc::new(Semaphore::new(UPLOADS)));
        Arc::new(Api {
            store,
            index,
            lookout,
            pool,
            hub,
            gate,
            about,
            places,
            plugins,
            draining,
            leaving,
            standstill: Arc::default(),
            turns,
            uploads,
            downloads: Arc::new(Semaphore::new(download::DOWNLOADS)),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            plugin_changes: Arc::new(Semaphore::new(PLUGIN_CHANGES)),
            router,
            document,
        })
    }

    /// Answers a request whose path begins behind `{prefix}/api`.
    pub async fn answer(self: &Arc<Self>, door: Door, request: Request<Body>, id: &HeaderValue) -> Response {
        let method = request.method().clone();
        let mut response = self.route(door, request).await.unwrap_or_else(ApiError::into_response);
        if let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() {
            // The router knows it, the error does not.
            let allow = response.headers_mut().remove(header::ALLOW);
            response = error.respond(&method, id.to_str().unwrap_or_default());
            if let Some(allow) = allow {
                response.headers_mut().insert(header::ALLOW, allow);
            }
        }
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn route(self: &Arc<Self>, door: Door, mut request: Request<Body>) -> Result<Response> {
        if let Cow::Owned(path) = fold_scope(request.uri().path()) {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            *request.uri_mut() = Uri::try_from(format!("{path}{query}"))
                .map_err(|error| ApiError::bad("path_invalid", error))?;
        }
        if request.uri().path() == "/openapi.json" {
            return match *request.method() {
                Method::GET | Method::HEAD => Ok(openapi::respond(&self.document)),
                _ => Err(no_such_method().header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
            };
        }
        if let Some(page) = docs::respond(request.uri().path(), request.method(), request.headers()) {
            return page;
        }
        let caller = self.gate.identify(door, request.headers()).await?;
        let _going = self.standstill.enter(request.method()).await?;
        request.extensions_mut().insert(caller);
        let router = self.router.clone().with_state(Arc::clone(self));
        Ok(router.oneshot(request).await.unwrap_or_else(|never| match never {}))
    }

    /// Whether what it changes can be kept.
    pub fn state(&self) -> Condition {
        self.store.condition()
    }

    /// Asks the store on a thread that may wait for the disk.
    async fn with_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        with_store(&self.store, ask).await
    }
}

async fn with_store<T: Send + 'static>(
    store: &Arc<Store>,
    ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T> {
    let store = Arc::clone(store);
    blocking(move || ask(&store)).await?.map_err(ApiError::from)
}

/// Does what waits for the disk on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
}

/// `/apps/@team/shop/versions` as `/apps/@team%2Fshop/versions`: a scoped name is one part of the path to the router.
fn fold_scope(path: &str) -> Cow<'_, str> {
    let folded = ["/apps/", "/plugins/"].into_iter().find_map(|above| {
        let (scope, rest) = path.strip_prefix(above)?.split_once('/')?;
        let is_scope = scope.starts_with('@') && !scope.contains('%');
        (is_scope && !rest.is_empty()).then(|| format!("{above}{scope}%2F{rest}"))
    });
    folded.map_or(Cow::Borrowed(path), Cow::Owned)
}

async fn no_such_route() -> ApiError {
    ApiError::not_found("not_found", "The management API has no such path.").hint("see /api/docs")
}

fn no_such_method() -> ApiError {
    ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path has no such method.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_name_is_one_part_of_the_path() {
        for (path, folded) in [
            ("/apps/@team/shop/versions", "/apps/@team%2Fshop/versions"),
            ("/apps/@team/shop", "/apps/@team%2Fshop"),
            ("/apps/shop/versions", "/apps/shop/versions"),
            ("/apps/@team", "/apps/@team"),
            ("/apps/@team/", "/apps/@team/"),
            ("/apps/@team%2Fshop/versions", "/apps/@team%2Fshop/versions"),
            ("/keys/@a/b", "/keys/@a/b"),
            ("/plugins/@buntime/plugin-logs/config", "/plugins/@buntime%2Fplugin-logs/config"),
            ("/plugins/hello/config", "/plugins/hello/config"),
        ] {
            assert_eq!(fold_scope(path), folded);
        }
    }
}
