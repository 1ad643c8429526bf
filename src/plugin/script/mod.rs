//! Plugins that are scripts: a module in a supervised process, asked over the link that apps are asked over.
//!
//! To the host such a plugin is like any other. Each hook is a request on its worker's link, with internal headers that
//! nobody outside can send (`worker-shim/PROTOCOL.md`); what its module calls comes back as CALL.

mod ask;
mod desk;
mod flow;
mod socket;

use self::ask::{Answer, Ask, Asked};
use self::desk::Desk;
use super::lent::Claim;
use super::manifest::{Hooks as Declared, PluginManifest};
use crate::apps;
use crate::model::manifest::Instances;
use crate::model::{App, AppVersion, Manifest, PluginSeat};
use crate::pool::Pool;
use buntime_plugin::{
    Body, BoxFuture, Context, Error, Fetched, Flow, Hooks, Outcome, Passed, Phase, Plugin, Problem, Request,
    Response, Result, Server, WorkerEvent,
};
use http::{HeaderMap, Method, StatusCode};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// How long its process is waited for: its own `onShutdown`, and what it takes to end it.
const END_LIMIT: Duration = Duration::from_secs(9);
/// When to come again where too many wait for its answers.
const RETRY: Duration = Duration::from_secs(1);
/// Workers' comings and goings that a plugin may be behind with.
const UNTOLD: usize = 1024;

/// Makes script plugins.
#[derive(Clone)]
pub struct Maker {
    pub pool: Arc<Pool>,
    pub loader: Arc<apps::Alone>,
    /// Takes the operator's keys out of a head.
    pub keep_keys: Arc<dyn Fn(&mut HeaderMap) + Send + Sync>,
}

/// A script plugin.
struct Script {
    app: Arc<App>,
    seat: Arc<PluginSeat>,
    pool: Arc<Pool>,
    declared: Declared,
    context: Arc<Context>,
    desk: Arc<Desk>,
    keep_keys: Arc<dyn Fn(&mut HeaderMap) + Send + Sync>,
    /// For its own answers; what its worker can take beyond them is left to its hooks.
    answers: Semaphore,
    workers: mpsc::Sender<Told>,
    told: std::sync::Mutex<Option<mpsc::Receiver<Told>>>,
}

/// A worker's coming or going, and the hook that is told.
type Told = (&'static str, WorkerEvent);

impl Maker {
    /// # Errors
    /// Its directory cannot be read, or has no such module.
    pub fn make(
        &self,
        dir: &Path,
        manifest: &PluginManifest,
        context: &Arc<Context>,
    ) -> Result<Arc<dyn Plugin>, String> {
        let name = manifest.name.as_app().clone();
        let desk = Arc::new(Desk::new(Arc::clone(context), Arc::clone(&self.pool)));
        let seat = Arc::new(PluginSeat::new(
            name.clone(),
            manifest.version.to_string(),
            context.identity().base.clone(),
            context.settings().value().clone(),
            Arc::clone(&desk) as _,
        ));
        let run = Manifest {
            entrypoint: Some(manifest.plugin_entry.clone()),
            instances: Instances { min: 1, max: 1 },
            // Hooks have limits of their own.
            timeout: super::ANSWER_LIMIT.max(manifest.hook_timeout),
            ..Manifest::default()
        };
        let answers = Semaphore::new(run.concurrency as usize / 2);
        let version = AppVersion::Semver(manifest.version.clone());
        let app = self.loader.load(dir, name, version, run, Some(Arc::clone(&seat)))?;
        desk.open(&app);
        let (workers, told) = mpsc::channel(UNTOLD);
        Ok(Arc::new(Script {
            app,
            seat,
            pool: Arc::clone(&self.pool),
            declared: manifest.hooks.clone(),
            context: Arc::clone(context),
            desk,
            keep_keys: Arc::clone(&self.keep_keys),
            answers,
            workers,
            told: Some(told).into(),
        }))
    }
}

impl Script {
    fn ask(&self) -> Ask<'_> {
        Ask { pool: &self.pool, app: &self.app }
    }

    /// A request's head, as its module may see it.
    fn seen(&self, request: &Request) -> HeaderMap {
        let mut headers = request.headers().clone();
        (self.keep_keys)(&mut headers);
        headers
    }

    async fn run_request(&self, phase: Phase, request: &mut Request) -> Result<Flow> {
        let headers = self.seen(request);
        let withheld = flow::withheld(request, &headers);
        // GET and HEAD have no bodies on the link.
        let reads = !matches!(*request.method(), Method::GET | Method::HEAD);
        let body = if reads { request.body().map(std::mem::take) } else { None };
        let asked = Asked::request(request, headers, phase);
        let (head, body) = self.ask().streaming(asked, body.unwrap_or_default()).await?;
        flow::of_request(head, body, request, &withheld)
    }

    async fn run_response(&self, response: &mut Response, request: &Request) -> Result<()> {
        let reads = self.declared.on_response.as_ref().is_some_and(|hook| hook.body);
        let asked = Asked::response(request, self.seen(request), response);
        let body = if reads { std::mem::take(response.body_mut()) } else { buntime_plugin::Body::Empty };
        let (head, body) = self.ask().streaming(asked, body).await?;
        flow::of_response(head, body, response)
    }

    /// Its answer. None = the request is not the plugin's, and is as it was.
    async fn answer(&self, hook: &'static str, request: &mut Request) -> Result<Option<Response>> {
        let Ok(_turn) = self.answers.try_acquire() else {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "plugin_busy").retry_after(RETRY);
            return Ok(Some(problem.detail("Too many requests are waiting for this plugin.").into()));
        };
        let access = self.context.core().access();
        // Whose key is none of ours, or no more, is nobody to the plugin.
        let caller = access.identify(request).await.ok().map(|caller| flow::caller(&*caller));
        let headers = self.seen(request);
        let claim = request.body().map(Claim::on);
        let body = request.take_body();
        let upgrades = request.opens_websocket();
        let asked = Asked::answer(request, headers, hook, caller, upgrades);
        let answer = self.ask().answer(asked, body).await?;
        if upgrades && flow::is_upgrade(&answer.head) {
            return self.open(answer, request).map(Some);
        }
        let (head, body) = answer.streaming();
        let (response, passed) = flow::answer(head, body);
        if !passed {
            return Ok(Some(response));
        }
        drop(response);
        let body = claim.map_or(Some(Body::Empty), Claim::back);
        let read = || Error::new("it read the body of a request that it then passed on");
        request.restore_body(body.ok_or_else(read)?);
        Ok(None)
    }

    /// Opens the WebSocket that its module answers a request with.
    fn open(&self, answer: Answer, request: &mut Request) -> Result<Response> {
        let (mut head, exchange, upload) = answer.conversation();
        let options = flow::socket(&mut head.headers);
        let upgrade = request.upgrade().ok_or_else(|| Error::new("the connection is not there any more"))?;
        let (mut response, opening) = upgrade.websocket(options).map_err(|problem| {
            let detail = problem.detail.unwrap_or_default();
            Error::new(format!("the WebSocket that it opens cannot be: {detail}"))
        })?;
        response.headers_mut().extend(head.headers);
        self.context.spawn(socket::carry(opening, exchange, upload, Arc::clone(&self.context)));
        Ok(response)
    }
}

impl Plugin for Script {
    fn hooks(&self) -> Hooks {
        flow::declared(&self.declared, self.seat.base.is_some())
    }

    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.pool.add(&self.app);
            if let Err(error) = self.pool.start_one(self.app.key).await {
                return Err(Error::new(format!("its process did not start: {error}")));
            }
            let told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(told) = told {
                self.context.spawn(follow(told, self.pool.clone(), self.app.clone()));
            }
            Ok(())
        })
    }

    fn on_server_start(&self, server: Server) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let url = server.url.unwrap_or_default();
            self.seat.set_server(&url, &server.api_base);
            // Also one without a hook for it has `context.server`.
            let what = serde_json::json!({ "url": url, "apiBase": server.api_base });
            self.ask().tell("server-start", &what).await
        })
    }

    fn on_request<'a>(&'a self, phase: Phase, request: &'a mut Request) -> Outcome<'a, Flow> {
        Outcome::later(self.run_request(phase, request))
    }

    fn on_response<'a>(&'a self, response: &'a mut Response, request: &'a Request) -> Outcome<'a, ()> {
        Outcome::later(self.run_response(response, request))
    }

    fn on_worker(&self, event: &WorkerEvent) {
        let Some(hook) = flow::worker_hook(&self.declared, event) else { return };
        if self.workers.try_send((hook, event.clone())).is_err() {
            tracing::debug!(target: "buntime::plugin", plugin = self.context.name(), "a worker was not told of");
        }
    }

    fn fetch(&self, mut request: Request) -> BoxFuture<'_, Result<Fetched>> {
        Box::pin(async move {
            let answer = self.answer("fetch", &mut request).await?;
            Ok(answer.map_or_else(|| Fetched::Pass(Box::new(request)), Fetched::Answer))
        })
    }

    fn route(&self, mut request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin(async move {
            let answer = self.answer("route", &mut request).await?;
            Ok(answer.unwrap_or_else(|| Passed::response(request)))
        })
    }

    fn worker_env(&self, _: &str, _: &str, _: &str) -> Vec<(String, String)> {
        self.desk.env()
    }

    fn on_shutdown(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.pool.remove(self.app.key, None);
            // Until its process is gone, or has had the time that it has.
            self.pool.settled(self.app.key, END_LIMIT).await;
            Ok(())
        })
    }
}

/// Whoever made it may have given up before it was started: its process would be started again for ever.
impl Drop for Script {
    fn drop(&mut self) {
        self.pool.remove(self.app.key, None);
    }
}

/// Tells a plugin of workers, one after the other.
async fn follow(mut events: mpsc::Receiver<Told>, pool: Arc<Pool>, app: Arc<App>) {
    const LIMIT: Duration = Duration::from_secs(2);
    while let Some((hook, event)) = events.recv().await {
        let ask = Ask { pool: &pool, app: &app };
        let told = tokio::time::timeout(LIMIT, ask.tell(hook, &flow::worker(&event))).await;
        if let Ok(Err(error)) = told {
            tracing::debug!(target: "buntime::plugin", plugin = %app.name, %error, "a worker was not told of");
        }
    }
}
