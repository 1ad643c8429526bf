//! `@buntime/plugin-metrics`: shows what the runtime measures, to Prometheus, as JSON, and as an event stream.
//!
//! It counts nothing itself: the registry is the runtime's, and costs the same whether this plugin is there or not.

mod exposition;
mod history;
mod live;
mod negotiate;
mod scrape;
mod view;

use crate::live::Live;
use buntime_plugin::answer::{answered, event_stream, json};
use buntime_plugin::http::{HeaderValue, Method, StatusCode, header};
use buntime_plugin::{
    Body, BoxFuture, Caller, Context, Error, Hooks, Native, Plugin, Problem, Request, Response, Result,
    Router, Server, settings,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How the runtime finds it.
pub static NATIVE: Native =
    Native { manifest: include_str!("../manifest.yaml"), owned_headers: &[], make: Metrics::make };

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    prometheus: bool,
    #[serde(with = "settings::millis")]
    sse_interval: Duration,
    scrape_token: Option<String>,
    max_apps: usize,
}

struct Metrics {
    api: Arc<Api>,
    router: Router<Api>,
}

/// What the routes work with.
struct Api {
    settings: Settings,
    context: Arc<Context>,
    live: Arc<Live>,
}

impl Metrics {
    fn make(context: &Arc<Context>) -> Result<Arc<dyn Plugin>> {
        let settings: Settings = context.settings().read()?;
        if settings.scrape_token.as_ref().is_some_and(String::is_empty) {
            // Were it no token, a variable that is not set would open the door.
            return Err(Error::new("scrapeToken is empty").hint("leave it out if everybody may scrape"));
        }
        let live = Arc::new(Live::new(settings.sse_interval));
        let api = Api { settings, context: Arc::clone(context), live };
        Ok(Arc::new(Metrics { api: Arc::new(api), router: routes() }))
    }
}

impl Api {
    /// Whoever may see apps, as far as they may.
    async fn caller(&self, request: &Request) -> Result<Arc<dyn Caller>, Problem> {
        let caller = self.context.core().access().identify(request).await?;
        caller.may("apps:read", None)?;
        Ok(caller)
    }

    async fn prometheus(&self, request: &Request) -> Result<Response, Problem> {
        if !self.settings.prometheus {
            return Err(Problem::new(StatusCode::NOT_FOUND, "not_found"));
        }
        if let Some(token) = &self.settings.scrape_token {
            scrape::check(request.headers(), token)?;
        }
        let format = negotiate::format(request.headers());
        let snapshot = self.context.core().metrics().snapshot().await;
        let mut response = Response::new(exposition::write(&snapshot, format).into());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }

    async fn snapshot(&self, request: &Request) -> Result<Response, Problem> {
        let caller = self.caller(request).await?;
        let snapshot = self.context.core().metrics().snapshot().await;
        let mut shown = self.live.latest(&*caller);
        shown["metrics"] = view::families(&snapshot, &*caller);
        Ok(json(shown.to_string()))
    }

    async fn workers(&self, request: &Request) -> Result<Response, Problem> {
        let caller = self.caller(request).await?;
        caller.may("workers:read", None)?;
        let workers = self.context.core().workers().await;
        let seen = workers.into_iter().filter(|worker| match &worker.app {
            Some(app) => caller.sees(&app.name),
            None => caller.sees_everything(),
        });
        let workers: Vec<Value> = seen.map(|worker| worker.details).collect();
        Ok(json(serde_json::json!({ "workers": workers }).to_string()))
    }

    async fn follow(&self, request: &Request) -> Result<Response, Problem> {
        let caller = self.caller(request).await?;
        let place = self.live.place()?;
        let body = match *request.method() {
            Method::HEAD => Body::Empty,
            _ => Live::follow(caller, place),
        };
        Ok(event_stream(body))
    }
}

impl Plugin for Metrics {
    fn hooks(&self) -> Hooks {
        Hooks::new().routes()
    }

    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        let Api { context, live, .. } = &*self.api;
        context.spawn(Arc::clone(live).keep_sampling(context.core().metrics()));
        // The runtime's end waits for connections: a stream must not hold it.
        let (draining, live) = (context.core().draining(), Arc::clone(live));
        context.spawn(async move {
            draining.await;
            live.end();
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn on_server_start(&self, _: Server) -> BoxFuture<'_, Result<()>> {
        // Not before: until now another set may have been the one that counts, and an app that is folded stays so.
        self.api.context.core().metrics().limit_apps(self.api.settings.max_apps);
        Box::pin(std::future::ready(Ok(())))
    }

    fn route(&self, request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin(self.router.answer(Arc::clone(&self.api), request))
    }

    fn on_shutdown(&self) -> BoxFuture<'_, Result<()>> {
        self.api.live.end();
        Box::pin(std::future::ready(Ok(())))
    }
}

fn routes() -> Router<Api> {
    Router::new()
        .get(
            "/prometheus",
            |api: Arc<Api>, request, _| async move { answered(api.prometheus(&request).await) },
        )
        .get("/api", |api: Arc<Api>, request, _| async move { answered(api.snapshot(&request).await) })
        .get("/api/workers", |api: Arc<Api>, request, _| async move { answered(api.workers(&request).await) })
        .get("/api/sse", |api: Arc<Api>, request, _| async move { answered(api.follow(&request).await) })
}
