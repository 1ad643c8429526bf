//! What the runtime offers to a plugin.

use crate::metrics::Source;
use crate::service::Services;
use crate::{
    Access, AppInfo, Body, BoxFuture, BoxStream, Callable, Error, EventFilter, LogGuard, LogSink, Response,
    Result, Server, Service, ServiceError, Settings, WorkerInfo,
};
use futures_util::FutureExt;
use std::any::{Any, TypeId};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Bounds of what is done at intervals: none at all is no interval, and nobody waits for longer.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What the runtime lets plugins see and do. Implemented by the runtime, and by the test kit.
pub trait Core: Send + Sync {
    /// All versions of all apps, ordered by name.
    fn apps(&self) -> Vec<AppInfo>;

    /// Whether a version request (`shop`, `shop@1`, `@team/shop@latest`) means something that can be asked now, which need not
    /// be well. Looks at what is in memory.
    ///
    /// # Errors
    /// Why it means nothing, for the log.
    fn resolves(&self, app: &str) -> Result<(), String>;

    fn workers(&self) -> BoxFuture<'_, Vec<WorkerInfo>>;

    /// Replaces the workers of an app, or of one version of it, without losing a request. Returns how many.
    fn restart(&self, app: &str, version: Option<&str>) -> usize;

    fn access(&self) -> Arc<dyn Access>;

    /// What the runtime measures.
    fn metrics(&self) -> Arc<dyn Source>;

    /// Gives a sink all that is logged from now on, until the guard is dropped: the runtime's own events, the lines of workers, each
    /// request at its end, plugins' events.
    fn log_to(&self, sink: Arc<dyn LogSink>) -> LogGuard;

    /// Resolves when the runtime begins to end: what streams without an end has to end then, or it is waited for in vain.
    fn draining(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Where the server is, once its address is bound: in the runtime before any plugin is made. It need not answer yet.
    fn server(&self) -> Option<Server> {
        None
    }

    /// Texts that nobody may be shown, such as the root key and what settings keep secret. Each has at least 8 bytes.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// What happens from now on, each as `/api/events` shows it, without an end. Who is too slow for it is told how much is lost:
    /// `{"type": "gap", "lost": 12}`.
    ///
    /// # Errors
    /// The filter names what is no kind of event, or no app's name.
    fn events(&self, filter: &EventFilter) -> Result<BoxStream<'static, serde_json::Value>>;

    /// Sends a request over the network, to an absolute `http:` or `https:` URL, and waits for the head of the answer, at most 30
    /// seconds. Headers about the connection are not sent on. Redirects are answers like others.
    ///
    /// # Errors
    /// There is no answer.
    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'_, Result<Response>>;

    /// What a plugin keeps over reloads: what was made first under its name.
    fn keep(
        &self,
        plugin: &str,
        kind: TypeId,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync>;
}

/// Which plugin it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `@buntime/plugin-metrics`
    pub name: String,
    pub version: String,
    /// Where its routes are, such as `/metrics`.
    pub base: Option<String>,
    /// Its own directory, of mode 0700, which survives reloads and restarts.
    pub state_dir: PathBuf,
    /// Dependencies, and optional ones that are there: whose services it may use.
    pub dependencies: Vec<String>,
}

/// A plugin's access to the runtime, for as long as it is loaded.
pub struct Context {
    identity: Identity,
    settings: Settings,
    core: Arc<dyn Core>,
    services: Arc<Services>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Context {
    pub fn new(
        identity: Identity,
        settings: Settings,
        core: Arc<dyn Core>,
        services: Arc<Services>,
    ) -> Arc<Context> {
        Arc::new(Context { identity, settings, core, services, tasks: Mutex::default() })
    }

    pub fn name(&self) -> &str {
        &self.identity.name
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The plugin's own directory, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn state_dir(&self) -> Result<&Path> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = &self.identity.state_dir;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            Error::new(format!("the directory {} cannot be made", dir.display())).because(error)
        })?;
        Ok(dir)
    }

    pub fn core(&self) -> &Arc<dyn Core> {
        &self.core
    }

    /// Offers a service to the plugins that depend on this one.
    ///
    /// # Errors
    /// There is one of this name already.
    pub fn provide(&self, name: &str, service: Service) -> Result<(), ServiceError> {
        self.services.provide(self.name(), name, service)
    }

    /// A service of a plugin that this one depends on, by its type.
    ///
    /// # Errors
    /// No dependency provides it, or it is of another type.
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self, name: &str) -> Result<Arc<T>, ServiceError> {
        self.find(name)?.get::<T>().ok_or_else(|| ServiceError::OtherType { service: name.to_owned() })
    }

    /// A service of a plugin that this one depends on, for calls by name.
    ///
    /// # Errors
    /// No dependency provides it, or it cannot be called.
    pub fn get_callable(&self, name: &str) -> Result<Arc<dyn Callable>, ServiceError> {
        self.find(name)?.get_callable().ok_or_else(|| ServiceError::NotCallable { service: name.to_owned() })
    }

    fn find(&self, name: &str) -> Result<Service, ServiceError> {
        self.services.find(self.name(), &self.identity.dependencies, name)
    }

    /// What outlives a reload: made once, by whichever set of plugins comes first, and found again by the next.
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut make = Some(make);
        let mut made = || -> Arc<dyn Any + Send + Sync> {
            match make.take() {
                Some(make) => Arc::new(make()),
                None => Arc::new(()), // asked once
            }
        };
        let kept = self.core.keep(self.name(), TypeId::of::<T>(), &mut made);
        match kept.downcast::<T>() {
            Ok(kept) => kept,
            // The runtime keeps by type, so this is a runtime that does not keep.
            Err(_) => unreachable!("what is kept under a type is of that type"),
        }
    }

    /// Runs a task until it ends, or the plugin does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
    }

    /// Logs an event of the plugin. With fields: `tracing::info!(target: "buntime::plugin", plugin = context.name(), size, "…")`.
    pub fn info(&self, message: impl Display) {
        tracing::info!(target: "buntime::plugin", plugin = self.name(), "{message}");
    }

    pub fn debug(&self, message: impl Display) {
        tracing::debug!(target: "buntime::plugin", plugin = self.name(), "{message}");
    }

    pub fn warn(&self, message: impl Display) {
        tracing::warn!(target: "buntime::plugin", plugin = self.name(), "{message}");
    }

    pub fn error(&self, message: impl Display) {
        tracing::error!(target: "buntime::plugin", plugin = self.name(), "{message}");
    }

    /// Runs something again and again until the plugin ends, for the first time after one interval. Runs never overlap: one that
    /// takes longer than the interval has the next at the next whole interval. A run that panics is logged, and others follow.
    pub fn every<R>(&self, interval: Duration, mut run: impl FnMut() -> R + Send + 'static)
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let name = self.name().to_owned();
        self.spawn(async move {
            let interval = interval.clamp(SHORTEST, LONGEST);
            let mut next = Instant::now() + interval;
            loop {
                sleep_until(next).await;
                let ended = AssertUnwindSafe(async { run().await }).catch_unwind().await;
                if ended.is_err() {
                    tracing::error!(target: "buntime::plugin", plugin = name, "what it does every {interval:?} panicked");
                }
                let now = Instant::now();
                // What is beyond the last whole interval. It is less than one, so that it fits.
                let beyond = now.duration_since(next).as_nanos() % interval.as_nanos();
                next = now + interval - Duration::from_nanos(beyond as u64);
            }
        });
    }

    /// Of the runtime: ends the plugin's tasks.
    pub fn end(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("identity", &self.identity).finish_non_exhaustive()
    }
}
