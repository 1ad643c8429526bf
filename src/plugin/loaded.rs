//! A plugin that is loaded, and the border around it: nothing that it does wrong gets past here as anything but a [`HookError`].

use crate::model::{App, Kind};
use crate::pool::Pool;
use crate::telemetry::metrics::{Histogram, Metrics};
use buntime_plugin::{Context, Error, Hooks, Outcome, Plugin};
use futures_util::FutureExt;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Warnings about one plugin's hooks: so many in one go, and one more in so long a time.
const WARN_EVERY: Duration = Duration::from_secs(1);

pub const ON_REQUEST: &str = "onRequest";
pub const ON_RESPONSE: &str = "onResponse";

/// A plugin with what its manifest says of it.
pub struct Loaded {
    pub name: Arc<str>,
    pub plugin: Arc<dyn Plugin>,
    pub context: Arc<Context>,
    pub hooks: Hooks,
    pub rules: Rules,
    /// Where it is mounted: `/` or `/metrics`.
    pub base: Option<String>,
    /// Its own app, served at `base`.
    pub app: Option<OwnApp>,
    /// What of its environment variables workers get.
    pub worker_env: Vec<String>,
    /// How long its hooks take.
    durations: Durations,
    /// Why it is degraded.
    degraded: Mutex<Option<String>>,
    failures: Mutex<Failures>,
}

/// How its hooks are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub hook_timeout: Duration,
    /// A request goes on where a hook fails.
    pub fail_open: bool,
}

/// A hook did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("{hook} of {plugin} {why}")]
pub struct HookError {
    pub plugin: Arc<str>,
    pub hook: &'static str,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    Failed(Error),
    TimedOut(Duration),
    Panicked(String),
}

/// One for each hook that requests wait for.
struct Durations {
    request: Arc<Histogram>,
    response: Arc<Histogram>,
}

/// Failures that were not told yet.
#[derive(Default)]
struct Failures {
    told: Option<Instant>,
    untold: u64,
}

/// The parts of a [`Loaded`].
pub struct Parts {
    pub name: Arc<str>,
    pub plugin: Arc<dyn Plugin>,
    pub context: Arc<Context>,
    pub rules: Rules,
    pub base: Option<String>,
    pub app: Option<OwnApp>,
    pub worker_env: Vec<String>,
    pub metrics: Arc<Metrics>,
}

/// A plugin's own app, which the pool has for as long as this is there.
pub struct OwnApp {
    pub app: Arc<App>,
    pool: Arc<Pool>,
}

impl OwnApp {
    pub fn new(app: Arc<App>, pool: &Arc<Pool>) -> OwnApp {
        pool.add(&app);
        OwnApp { app, pool: Arc::clone(pool) }
    }
}

impl Drop for OwnApp {
    fn drop(&mut self) {
        if let Kind::Worker { .. } = self.app.kind {
            self.pool.remove(self.app.key, None);
        }
    }
}

impl Loaded {
    /// # Errors
    /// It panicked when it was asked for its hooks.
    pub fn new(parts: Parts) -> Result<Loaded, HookError> {
        let Parts { name, plugin, context, rules, base, app, worker_env, metrics } = parts;
        let durations = Durations {
            request: metrics.hook(&name, ON_REQUEST),
            response: metrics.hook(&name, ON_RESPONSE),
        };
        let hooks = catch_unwind(AssertUnwindSafe(|| plugin.hooks())).map_err(|panic| HookError {
            plugin: Arc::clone(&name),
            hook: "hooks",
            why: Why::Panicked(words(&*panic)),
        })?;
        let (degraded, failures) = (Mutex::default(), Mutex::default());
        Ok(Loaded {
            name,
            plugin,
            context,
            hooks,
            rules,
            base,
            app,
            worker_env,
            durations,
            degraded,
            failures,
        })
    }

    /// Calls a hook that requests wait for.
    pub async fn call<'a, T>(
        &'a self,
        hook: &'static str,
        call: impl FnOnce(&'a dyn Plugin) -> Outcome<'a, T>,
    ) -> Result<T, HookError> {
        let began = Instant::now();
        let done = self.call_within(hook, self.rules.hook_timeout, call).await;
        let durations = &self.durations;
        let histogram = if hook == ON_REQUEST { &durations.request } else { &durations.response };
        histogram.observe(began.elapsed());
        done
    }

    /// Calls a hook with a time limit of its own.
    pub async fn call_within<'a, T>(
        &'a self,
        hook: &'static str,
        limit: Duration,
        call: impl FnOnce(&'a dyn Plugin) -> Outcome<'a, T>,
    ) -> Result<T, HookError> {
        let done = match catch_unwind(AssertUnwindSafe(|| call(&*self.plugin))) {
            Ok(Outcome::Ready(done)) => Ok(done),
            Ok(Outcome::Later(future)) => {
                match tokio::time::timeout(limit, AssertUnwindSafe(future).catch_unwind()).await {
                    Ok(done) => done.map_err(|panic| Why::Panicked(words(&*panic))),
                    Err(_) => Err(Why::TimedOut(limit)),
                }
            }
            Err(panic) => Err(Why::Panicked(words(&*panic))),
        };
        let done: Result<T, Why> = match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Why::Failed(error)),
            Err(why) => Err(why),
        };
        done.map_err(|why| HookError { plugin: Arc::clone(&self.name), hook, why })
    }

    /// Calls what returns at once.
    pub fn call_now<T>(
        &self,
        hook: &'static str,
        call: impl FnOnce(&dyn Plugin) -> T,
    ) -> Result<T, HookError> {
        catch_unwind(AssertUnwindSafe(|| call(&*self.plugin))).map_err(|panic| HookError {
            plugin: Arc::clone(&self.name),
            hook,
            why: Why::Panicked(words(&*panic)),
        })
    }

    /// Tells of a failure, unless one was told just now.
    pub fn complain(&self, error: &HookError, consequence: &'static str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.told.is_some_and(|told| told.elapsed() < WARN_EVERY) {
            failures.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut failures.untold);
        failures.told = Some(Instant::now());
        drop(failures);
        tracing::warn!(target: "buntime::plugin", plugin = &*self.name, error = %error, more = untold, "{consequence}");
    }

    /// It runs, but not all of it.
    pub fn degrade(&self, why: String) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub fn degraded(&self) -> Option<String> {
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Failed(error) => write!(f, "failed: {error}"),
            Why::TimedOut(limit) => write!(f, "took longer than {limit:?}"),
            Why::Panicked(words) => write!(f, "panicked: {words}"),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
