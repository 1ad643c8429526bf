//! The plugin itself: what the runtime calls, and when.

use crate::{Context, Hooks, Phase, Problem, Request, Response, Result, WorkerEvent};
use std::pin::Pin;
use std::sync::Arc;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a crate offers its plugin to the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// The text of its `manifest.yaml`, which names it. `enabled: false` in it.
    pub manifest: &'static str,
    /// Headers of requests that only this plugin may set: from outside they never arrive, whether it is enabled or not. In lower case.
    pub owned_headers: &'static [&'static str],
    /// Makes it of its settings. It serves nobody yet: what waits for something belongs in [`Plugin::on_init`].
    pub make: fn(&Arc<Context>) -> Result<Arc<dyn Plugin>>,
}

/// What comes of a hook: at once, or after a while. A hook that has nothing to wait for costs no allocation.
pub enum Outcome<'a, T> {
    Ready(Result<T>),
    Later(BoxFuture<'a, Result<T>>),
}

/// What becomes of a request after a hook.
#[derive(Debug)]
pub enum Flow {
    /// It goes on, with what the hook has changed of it.
    Continue,
    /// This is the answer. In [`Phase::Resolve`] it can only be a redirect.
    Respond(Response),
    /// It is refused.
    Refuse(Problem),
}

/// What became of a request that [`Plugin::fetch`] was offered.
#[derive(Debug)]
pub enum Fetched {
    Answer(Response),
    /// Not mine: the next one is asked. The body must not have been read.
    Pass(Box<Request>),
}

/// The listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `http://127.0.0.1:8000`; none where it is a Unix socket.
    pub url: Option<String>,
    /// `/api`, `/_ops/api`.
    pub api_base: String,
}

/// A native plugin. Every method but those of requests is called from one task, in the order of the dependencies; a panic in
/// one is caught and counts as its failure. The time limit of a hook can end only what waits: one that computes without end
/// holds its thread.
pub trait Plugin: Send + Sync + 'static {
    /// Asked once, before [`Plugin::on_init`].
    fn hooks(&self) -> Hooks {
        Hooks::new()
    }

    /// At load, in the order of the dependencies, at most 30 s. A failure keeps the plugin and what depends on it out.
    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The listener is bound; of a plugin that is loaded later, right after its start. A failure is logged and the plugin is marked degraded.
    fn on_server_start(&self, server: Server) -> BoxFuture<'_, Result<()>> {
        let _ = server;
        Box::pin(std::future::ready(Ok(())))
    }

    /// A request that a filter of [`Hooks::request`] matches. A failure, or more than the manifest's `hookTimeout`, is 503. With
    /// `failOpen` the request goes on after it, unless more than 320 KiB of its body have been read.
    fn on_request<'a>(&'a self, phase: Phase, request: &'a mut Request) -> Outcome<'a, Flow> {
        let _ = (phase, request);
        Outcome::ready(Flow::Continue)
    }

    /// An answer of an app or a plugin, in the reverse order. `request` is without its body. After a failure the answer stays as it was,
    /// or is 502 where more than 320 KiB of its body have been read.
    fn on_response<'a>(&'a self, response: &'a mut Response, request: &'a Request) -> Outcome<'a, ()> {
        let _ = (response, request);
        Outcome::ready(())
    }

    /// A worker has come or gone. Called where workers are looked after: take a note and return.
    fn on_worker(&self, event: &WorkerEvent) {
        let _ = event;
    }

    /// A request, before all routes.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched>> {
        Box::pin(std::future::ready(Ok(Fetched::Pass(Box::new(request)))))
    }

    /// A request below the manifest's `base`, which is taken off its path.
    fn route(&self, request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin(std::future::ready(Ok(request.not_found())))
    }

    /// What a worker of an app finds in its environment beside its own: names that the manifest's `workerEnv` has. Called when a worker
    /// gets its app: quick, and without waiting.
    fn worker_env(&self, app: &str, version: &str, worker: &str) -> Vec<(String, String)> {
        let _ = (app, version, worker);
        Vec::new()
    }

    /// It serves no request any more (shutdown, reload, disabled). In the reverse order, at most 10 s. Its tasks end after it.
    fn on_shutdown(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<'a, T> Outcome<'a, T> {
    pub fn ready(value: T) -> Outcome<'a, T> {
        Outcome::Ready(Ok(value))
    }

    pub fn later(future: impl Future<Output = Result<T>> + Send + 'a) -> Outcome<'a, T> {
        Outcome::Later(Box::pin(future))
    }
}

impl Outcome<'_, Flow> {
    pub const CONTINUE: Outcome<'static, Flow> = Outcome::Ready(Ok(Flow::Continue));
}

impl From<Problem> for Flow {
    fn from(problem: Problem) -> Flow {
        Flow::Refuse(problem)
    }
}
