//! Many workers: which one takes a request, when one is started, and when one has to go.
//!
//! `core` decides, purely; `Pool` carries its decisions out and is the only one that talks to it. A request that finds a
//! worker with room costs one short critical section and no task switch.

mod actions;
mod chronicle;
pub mod core;
mod data_dirs;
mod environment;
mod failure;
mod handle;
mod hold;
mod lease;
mod listing;
mod loan;
mod meter;
mod operate;
mod reports;
mod sampling;
mod settled;
mod suggestion;

use self::core::types::{Action, Event, Limits, Now, Policy, Refusal, Ticket};
use self::core::{Core, hash::Map as IdMap};
use self::data_dirs::DataDirs;
pub use self::failure::StartFailure;
use self::handle::Handle;
pub use self::hold::Held;
pub use self::lease::Lease;
pub use self::listing::{LastStart, WorkerInfo};
pub use self::loan::Loan;
use self::loan::Size;
use self::meter::Meter;
pub use self::operate::{StartError, Started};
use self::sampling::Samples;
use crate::events::Hub;
use crate::model::{App, Kind, VersionKey, WorkerId};
use crate::shim::Shim;
use crate::telemetry::LineLimit;
use crate::telemetry::metrics::{Metrics, Series};
use crate::worker::isolation::Isolation;
pub use crate::worker::journey::Journey;
use crate::worker::link::{Link, MAX_STREAM};
use crate::worker::orders::Order;
use crate::worker::spawn::Spawner;
pub use crate::worker::usage::{Measure, Memory};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// Every worker is recycled before its link runs out of stream numbers, jitter included.
const STREAM_NUMBERS: u64 = (MAX_STREAM as u64 / 10) * 9 / 2;

/// How long a process that did not come up speaks against starting others.
const STILLBORN_COUNTS: Duration = Duration::from_secs(30);

/// What becomes of processes that are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    Succeed,
    /// The machine has nothing left for further ones. Those that there are serve.
    Starve,
    /// They do not come up.
    Fail,
}

/// What the pool needs to know to run workers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub bun: PathBuf,
    pub shim: Arc<Shim>,
    /// What workers are kept from.
    pub isolation: Arc<Isolation>,
    /// What every worker's environment begins with (`PATH`, `LANG`, `TZ`, `NODE_ENV`).
    pub env: BTreeMap<String, String>,
    /// An empty directory, where spares start.
    pub empty_dir: PathBuf,
    /// Private directories of workers are made in here.
    pub private_dir: PathBuf,
    /// The apps' own data directories are made in here.
    pub data_dir: PathBuf,
    /// `http://127.0.0.1:8000`; empty where the listener is no TCP port.
    pub origin: String,
    pub api_url: Option<String>,
    pub dev: bool,
}

/// Who wants to know what becomes of versions. Called with the pool's lock held: must only take a note.
pub trait Observer: Send + Sync + 'static {
    /// The first worker of this version became Ready. Not told of plugins, nor is the next.
    fn proven(&self, version: VersionKey);
    /// A worker of this not yet proven version failed to start.
    fn unproven(&self, version: VersionKey, why: &StartFailure);
    /// A version that was removed or replaced has no worker left.
    fn forgotten(&self, version: VersionKey);
}

/// Variables for a worker that gets an app. Called with the pool's lock held: it must be quick.
pub type ExtraEnv = Box<dyn Fn(&App, WorkerId) -> Vec<(String, String)> + Send + Sync>;

/// Why a request got no worker.
#[derive(Debug)]
pub struct Refused {
    pub why: Refusal,
    /// What the last failed start of this version said.
    pub failure: Option<Arc<StartFailure>>,
}

pub struct Pool {
    inner: Mutex<Inner>,
    began: Instant,
    settings: Settings,
    spawner: Spawner,
    data_dirs: DataDirs,
    observer: Box<dyn Observer>,
    hub: Arc<Hub>,
    /// What plugins add to the environment of an app's worker.
    extra_env: OnceLock<ExtraEnv>,
    metrics: Arc<Metrics>,
    meter: Meter,
    samples: Samples,
    /// The timer task has to look at its deadline again.
    rearm: Notify,
    drained: Notify,
}

struct Inner {
    core: Core,
    actions: Vec<Action>,
    workers: IdMap<WorkerId, Handle>,
    versions: IdMap<VersionKey, Version>,
    waiting: IdMap<Ticket, Waiting>,
    starters: IdMap<Ticket, operate::Starter>,
    settling: Vec<settled::Settling>,
    quieting: Vec<hold::Quieting>,
    tickets: u64,
    size: Size,
    armed: Option<Now>,
    drained: bool,
    /// When the last process that was started ended before its shim spoke.
    stillborn: Option<Now>,
    /// When the machine last had nothing left for one.
    starved_at: Option<Now>,
    /// Why the last process could not be started for which the machine had nothing left.
    starved: Option<Arc<StartFailure>>,
    /// How often that is logged.
    starved_log: LineLimit,
}

struct Version {
    app: Arc<App>,
    /// Why its last start failed, if none has come to Ready since.
    failure: Option<Arc<StartFailure>>,
    /// The steps of its last start that came to Ready.
    ready: Option<Journey>,
    /// Where its workers are counted, once it has had some.
    series: Option<Arc<Series>>,
}

/// A worker that was chosen for a request.
struct Dispatched {
    worker: WorkerId,
    link: Arc<Link>,
    /// The how manieth of the worker's requests it is.
    number: u64,
    /// It has yet to load the app: here comes why it cannot, if nothing else is to be tried.
    ahead: Option<oneshot::Receiver<Refusal>>,
}

/// Where a request in the queue is told what became of it.
struct Waiting {
    /// What it asked for.
    version: VersionKey,
    answer: oneshot::Sender<Result<Dispatched, Refusal>>,
}

/// A request in the queue. Leaving early gives its place up.
struct Waiter {
    pool: Arc<Pool>,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Dispatched, Refusal>>,
}

impl Pool {
    /// Starts the pool and its spares.
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start(
        settings: Settings,
        observer: Box<dyn Observer>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            inner: Mutex::new(Inner {
                core: Core::new(settings.limits),
                actions: Vec::new(),
                workers: IdMap::default(),
                versions: IdMap::default(),
                waiting: IdMap::default(),
                starters: IdMap::default(),
                settling: Vec::new(),
                quieting: Vec::new(),
                tickets: 0,
                size: Size { own: settings.limits.pool_size, lent: 0, spares: settings.limits.spares },
                armed: None,
                drained: false,
                stillborn: None,
                starved_at: None,
                starved: None,
                starved_log: LineLimit::new(1, 1),
            }),
            began: Instant::now(),
            spawner: Spawner::start(Arc::clone(&settings.isolation))?,
            data_dirs: DataDirs::start(settings.data_dir.clone(), Arc::clone(&settings.isolation))?,
            settings,
            observer,
            hub,
            extra_env: OnceLock::new(),
            metrics,
            meter: Meter::default(),
            samples: Samples::default(),
            rearm: Notify::new(),
            drained: Notify::new(),
        });
        tokio::spawn(Arc::clone(&pool).keep_time());
        pool.be_measured();
        pool.tell(Event::Tick);
        Ok(pool)
    }

    /// Whether apps can read what is in a directory, although they are kept from files.
    pub fn shows(&self, dir: &Path) -> bool {
        let isolation = &self.settings.isolation;
        isolation.hides_files() && !isolation.hides(dir)
    }

    /// What workers are kept from.
    pub fn isolation(&self) -> &Isolation {
        &self.settings.isolation
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// How many workers with an app there may be.
    pub fn size(&self) -> usize {
        self.lock().size.own
    }

    /// Says who adds to the environments of workers, once.
    pub fn set_extra_env(&self, extra: ExtraEnv) {
        // It is said once.
        let _ = self.extra_env.set(extra);
    }

    /// A version can be asked for.
    pub fn add(self: &Arc<Self>, app: &Arc<App>) {
        if !matches!(app.kind, Kind::Worker { .. }) {
            return;
        }
        self.data_dirs.want(&app.data_name());
        let version = Version { app: Arc::clone(app), failure: None, ready: None, series: None };
        let mut inner = self.lock();
        inner.versions.insert(app.key, version);
        self.step(&mut inner, Event::AddVersion { version: app.key, policy: policy(app) }, None);
    }

    /// Starts a worker of it although nobody asked.
    pub fn prove(self: &Arc<Self>, version: VersionKey) {
        self.tell(Event::Prove { version });
    }

    /// It resolves no more. With `to`, its workers go when one of `to` is Ready.
    pub fn remove(self: &Arc<Self>, version: VersionKey, to: Option<VersionKey>) {
        self.tell(Event::RemoveVersion { version, to });
    }

    /// A worker for one request to `app`, at once or after a while in the queue. With `ahead` it may be one that has yet to load
    /// the app: a request that can be sent again is then waiting for it when it has.
    ///
    /// `is_meant` says whether the request still means this version. It is asked where the request would have to wait: a version
    /// that was retired since it was found is not started again for a request that was late. Called with the pool's lock held.
    ///
    /// # Errors
    /// There is none and there will be none soon; `Refused` says why.
    pub async fn checkout(
        self: &Arc<Self>,
        app: &App,
        ahead: bool,
        is_meant: impl Fn() -> bool,
    ) -> Result<Lease, Refused> {
        let answer = {
            let mut inner = self.lock();
            if !inner.core.has_room(app.key) && !is_meant() {
                return Err(Refused { why: Refusal::Gone, failure: None });
            }
            inner.tickets += 1;
            let ticket = Ticket(inner.tickets);
            match self.step(&mut inner, Event::Request { version: app.key, ticket, ahead }, Some(ticket)) {
                Some(answer) => Ok(answer),
                None => {
                    let (sender, answer) = oneshot::channel();
                    inner.waiting.insert(ticket, Waiting { version: app.key, answer: sender });
                    Err(Waiter { pool: Arc::clone(self), ticket, answer })
                }
            }
        };
        let answer = match answer {
            Ok(answer) => {
                self.meter.answered_at_once(&answer);
                answer
            }
            Err(mut waiter) => {
                let waited = self.meter.waits();
                let answer = (&mut waiter.answer).await.unwrap_or(Err(Refusal::ShuttingDown));
                waited.over();
                answer
            }
        };
        match answer {
            Ok(dispatched) => Ok(Lease::new(Arc::clone(self), dispatched)),
            Err(why) => Err(self.refused(app.key, why)),
        }
    }

    fn refused(&self, version: VersionKey, why: Refusal) -> Refused {
        self.meter.refused(why);
        let inner = self.lock();
        let failure = match why {
            Refusal::Starved(_) => inner.starved.clone(),
            _ => inner.versions.get(&version).and_then(|version| version.failure.clone()),
        };
        drop(inner);
        Refused { why, failure }
    }

    /// Serves no more requests than those that are there, and ends all workers. Returns when the last one is reaped.
    pub async fn shut_down(self: &Arc<Self>, within: Duration) {
        self.tell(Event::Shutdown { within });
        loop {
            let drained = self.drained.notified();
            if self.lock().drained {
                return;
            }
            drained.await;
        }
    }

    /// Ends every process at once, without hooks.
    pub fn kill_all(&self) {
        for handle in self.lock().workers.values() {
            let _ = handle.orders.send(Order::Kill);
        }
    }

    /// As the last process that was started tells it, for a while: where nothing is sent, nothing would show that it works again.
    pub fn starts(&self) -> Starts {
        let inner = self.lock();
        let lately = |at: Option<Now>| at.is_some_and(|at| self.now().saturating_sub(at) <= STILLBORN_COUNTS);
        match (lately(inner.stillborn), lately(inner.starved_at)) {
            (true, _) => Starts::Fail,
            (false, true) => Starts::Starve,
            (false, false) => Starts::Succeed,
        }
    }

    /// Looks at the core's state.
    pub fn inspect<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.lock().core)
    }

    /// Returns when what is started at once is up, or has failed: spares, and workers that there always are. At most `within`.
    pub async fn warmed(&self, within: Duration) {
        const LOOK: Duration = Duration::from_millis(5);
        let warm = async {
            while !self.inspect(|core| core.is_warm(self.now())) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(within, warm).await;
    }

    /// Everything at this moment, copied.
    pub fn snapshot(&self) -> core::Snapshot {
        self.lock().core.snapshot(self.now())
    }

    fn now(&self) -> Now {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(self: &Arc<Self>, event: Event) {
        let mut inner = self.lock();
        self.step(&mut inner, event, None);
    }

    /// Lets the core decide and does what it says. Returns the answer to `asking`, if there is one already.
    fn step(
        self: &Arc<Self>,
        inner: &mut Inner,
        event: Event,
        asking: Option<Ticket>,
    ) -> Option<Result<Dispatched, Refusal>> {
        let mut actions = std::mem::take(&mut inner.actions);
        inner.core.step(event, self.now(), &mut actions);
        let mut answer = None;
        for action in actions.drain(..) {
            let (ticket, result) = match action {
                Action::Dispatch { ticket, worker } => {
                    // The core dispatches to connected workers only.
                    let dispatched = inner.workers.get_mut(&worker).and_then(|handle| handle.give(worker));
                    (ticket, dispatched.ok_or(Refusal::StartFailed))
                }
                Action::SendAhead { ticket, worker } => (ticket, send_ahead(inner, worker)),
                Action::Refuse { ticket, why } => (ticket, Err(why)),
                other => {
                    self.perform(inner, other);
                    continue;
                }
            };
            if asking == Some(ticket) {
                answer = Some(result);
            } else if let Some(waiting) = inner.waiting.remove(&ticket) {
                // A waiter that leaves now finds the answer in its channel and gives it back.
                let _ = waiting.answer.send(result);
            }
        }
        inner.actions = actions;
        if !inner.quieting.is_empty() {
            inner.tell_quiet();
        }
        let next = inner.core.next_deadline();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            inner.armed = next;
            self.rearm.notify_one();
        }
        answer
    }

    /// Tells the core when its next deadline has come.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = {
                let mut inner = self.lock();
                inner.armed = inner.core.next_deadline();
                inner.armed
            };
            let woken = self.rearm.notified();
            match deadline {
                Some(deadline) => {
                    let at = self.began + deadline;
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => self.tell(Event::Tick),
                        () = woken => {}
                    }
                }
                None => woken.await,
            }
        }
    }
}

fn send_ahead(inner: &mut Inner, worker: WorkerId) -> Result<Dispatched, Refusal> {
    let handle = inner.workers.get_mut(&worker).ok_or(Refusal::StartFailed)?;
    let dispatched = handle.give(worker).ok_or(Refusal::StartFailed)?;
    let (sender, ahead) = oneshot::channel();
    handle.sent_ahead = Some(sender);
    Ok(Dispatched { ahead: Some(ahead), ..dispatched })
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.answer.is_terminated() {
            return;
        }
        let mut inner = self.pool.lock();
        if inner.waiting.remove(&self.ticket).is_some() {
            self.pool.step(&mut inner, Event::Abandon { ticket: self.ticket }, None);
            return;
        }
        drop(inner);
        if let Ok(Ok(dispatched)) = self.answer.try_recv() {
            drop(Lease::new(Arc::clone(&self.pool), dispatched));
        }
    }
}

fn policy(app: &App) -> Policy {
    let manifest = &app.manifest;
    Policy {
        ephemeral: manifest.ttl.is_zero(),
        ttl: manifest.ttl,
        idle_timeout: manifest.idle_timeout,
        start_timeout: manifest.start_timeout,
        drain_timeout: manifest.drain_timeout,
        max_requests: match manifest.max_requests {
            0 => STREAM_NUMBERS,
            requests => requests.min(STREAM_NUMBERS),
        },
        max_memory: manifest.max_memory,
        concurrency: manifest.concurrency,
        min: manifest.instances.min,
        max: manifest.instances.max,
        queue_size: manifest.queue.size as usize,
        queue_timeout: manifest.queue.timeout,
        fresh: app.needs_fresh.is_some(),
        pinned: app.plugin.is_some(),
    }
}

#[cfg(test)]
mod tests;
