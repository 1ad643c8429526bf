//! Many workers: which one takes a request, when one is started, and when one has to go.
//!
//! `core` decides, purely; `Pool` carries its decisions out and is the only one that talks to it. A request that finds a
//! worker with room costs one short critical section and no task switch.

pub mod core;
mod data_dirs;
mod environment;
mod failure;
mod lease;

use self::core::types::{Action, Event, Limits, Now, Policy, Reason, Refusal, Ticket};
use self::core::{Core, hash::Map as IdMap};
use self::data_dirs::DataDirs;
pub use self::failure::StartFailure;
pub use self::lease::Lease;
use crate::model::{App, Kind, VersionKey, WorkerId};
use crate::shim::Shim;
use crate::worker::actor::{self, Assignment, Birth, Order, Report};
use crate::worker::link::{Link, MAX_STREAM};
use crate::worker::spawn::{self, Spawner};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// Every worker is recycled before its link runs out of stream numbers, jitter included.
const STREAM_NUMBERS: u64 = (MAX_STREAM as u64 / 10) * 9 / 2;

/// How long a process that did not come up speaks against starting others.
const STILLBORN_COUNTS: Duration = Duration::from_secs(30);

/// What the pool needs to know to run workers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub bun: PathBuf,
    pub shim: Arc<Shim>,
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
    /// The first worker of this version became Ready.
    fn proven(&self, version: VersionKey);
    /// A worker of this not yet proven version failed to start.
    fn unproven(&self, version: VersionKey, why: &StartFailure);
    /// A version that was removed or replaced has no worker left.
    fn forgotten(&self, version: VersionKey);
}

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
    /// The timer task has to look at its deadline again.
    rearm: Notify,
    drained: Notify,
}

struct Inner {
    core: Core,
    actions: Vec<Action>,
    workers: IdMap<WorkerId, Handle>,
    versions: IdMap<VersionKey, Version>,
    waiting: IdMap<Ticket, oneshot::Sender<Result<Dispatched, Refusal>>>,
    tickets: u64,
    armed: Option<Now>,
    drained: bool,
    /// When the last process that was started ended before its shim spoke.
    stillborn: Option<Now>,
}

struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    link: Option<Arc<Link>>,
    version: Option<VersionKey>,
    ready: bool,
    /// It said why it cannot serve.
    failed: bool,
    /// It was told to end, and why.
    told: Option<Reason>,
}

struct Version {
    app: Arc<App>,
    failure: Option<Arc<StartFailure>>,
}

/// A worker that was chosen for a request.
struct Dispatched {
    worker: WorkerId,
    link: Arc<Link>,
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
    pub fn start(settings: Settings, observer: Box<dyn Observer>) -> std::io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            inner: Mutex::new(Inner {
                core: Core::new(settings.limits),
                actions: Vec::new(),
                workers: IdMap::default(),
                versions: IdMap::default(),
                waiting: IdMap::default(),
                tickets: 0,
                armed: None,
                drained: false,
                stillborn: None,
            }),
            began: Instant::now(),
            spawner: Spawner::start()?,
            data_dirs: DataDirs::start(settings.data_dir.clone())?,
            settings,
            observer,
            rearm: Notify::new(),
            drained: Notify::new(),
        });
        tokio::spawn(Arc::clone(&pool).keep_time());
        pool.tell(Event::Tick);
        Ok(pool)
    }

    /// A version can be asked for.
    pub fn add(self: &Arc<Self>, app: &Arc<App>) {
        if !matches!(app.kind, Kind::Worker { .. }) {
            return;
        }
        self.data_dirs.want(&app.name);
        let version = Version { app: Arc::clone(app), failure: None };
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

    /// A worker for one request to `app`, at once or after a while in the queue.
    ///
    /// # Errors
    /// There is none and there will be none soon; `Refused` says why.
    pub async fn checkout(self: &Arc<Self>, app: &App) -> Result<Lease, Refused> {
        let answer = {
            let mut inner = self.lock();
            inner.tickets += 1;
            let ticket = Ticket(inner.tickets);
            match self.step(&mut inner, Event::Request { version: app.key, ticket }, Some(ticket)) {
                Some(answer) => Ok(answer),
                None => {
                    let (sender, answer) = oneshot::channel();
                    inner.waiting.insert(ticket, sender);
                    Err(Waiter { pool: Arc::clone(self), ticket, answer })
                }
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(mut waiter) => (&mut waiter.answer).await.unwrap_or(Err(Refusal::ShuttingDown)),
        };
        match answer {
            Ok(Dispatched { worker, link }) => Ok(Lease::new(Arc::clone(self), worker, link)),
            Err(why) => {
                let failure = self.lock().versions.get(&app.key).and_then(|version| version.failure.clone());
                Err(Refused { why, failure })
            }
        }
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

    /// False for a while after a process that was started did not come up: where nothing is sent, nothing would show
    /// that it works again.
    pub fn can_start(&self) -> bool {
        self.lock().stillborn.is_none_or(|since| self.now().saturating_sub(since) > STILLBORN_COUNTS)
    }

    /// Looks at the core's state.
    pub fn inspect<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.lock().core)
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
                    let link = inner.workers.get(&worker).and_then(|handle| handle.link.clone());
                    // The core dispatches to connected workers only.
                    (ticket, link.map(|link| Dispatched { worker, link }).ok_or(Refusal::StartFailed))
                }
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
                let _ = waiting.send(result);
            }
        }
        inner.actions = actions;
        let next = inner.core.next_deadline();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            inner.armed = next;
            self.rearm.notify_one();
        }
        answer
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, action: Action) {
        match action {
            Action::Spawn { worker, version } => self.spawn(inner, worker, version),
            Action::Assign { worker, version } => self.assign(inner, worker, version),
            Action::IdleHook { worker } => order(inner, worker, Order::IdleHook),
            Action::Terminate { worker, reason } => {
                let quick = matches!(reason, Reason::Ephemeral);
                end(inner, worker, reason, Order::Terminate { quick });
            }
            Action::Kill { worker, reason } => end(inner, worker, reason, Order::Kill),
            Action::Transition { worker, version, from, to, reason } => {
                let app =
                    version.and_then(|version| inner.versions.get(&version)).map(|version| &version.app);
                lease::log_transition(worker, app, from, to, reason);
            }
            Action::Proven { version } => {
                if let Some(slot) = inner.versions.get_mut(&version) {
                    slot.failure = None;
                }
                self.observer.proven(version);
            }
            Action::Unproven { version } => {
                if let Some(failure) = inner.versions.get(&version).and_then(|v| v.failure.clone()) {
                    self.observer.unproven(version, &failure);
                }
            }
            Action::Forgotten { version } => {
                inner.versions.remove(&version);
                self.observer.forgotten(version);
            }
            Action::Drained => {
                inner.drained = true;
                self.drained.notify_waiters();
            }
            Action::Dispatch { .. } | Action::Refuse { .. } => {}
        }
    }

    fn spawn(self: &Arc<Self>, inner: &mut Inner, worker: WorkerId, version: Option<VersionKey>) {
        let app = version.and_then(|version| inner.versions.get(&version)).map(|version| &*version.app);
        let (orders, inbox) = mpsc::unbounded_channel();
        inner
            .workers
            .insert(worker, Handle { orders, link: None, version, ready: false, failed: false, told: None });
        let private = self.settings.private_dir.join(worker.to_string());
        let (program, args) = environment::program(&self.settings, app);
        let birth = Birth {
            id: worker,
            start: spawn::Order {
                program,
                args,
                env: environment::of_process(&self.settings, app, &private),
                dir: app.map_or_else(|| self.settings.empty_dir.clone(), |app| app.dir.clone()),
                private,
            },
            build: Arc::clone(&self.settings.shim.build),
            spawner: self.spawner.clone(),
            orders: inbox,
        };
        let pool = Arc::clone(self);
        tokio::spawn(actor::run(birth, Arc::new(move |report| pool.hear(worker, report))));
    }

    fn assign(&self, inner: &mut Inner, worker: WorkerId, version: VersionKey) {
        let Some(Version { app, .. }) = inner.versions.get(&version) else { return };
        let Kind::Worker { entrypoint } = &app.kind else { return };
        let data_dir = self.data_dirs.of(&app.name);
        let private = self.settings.private_dir.join(worker.to_string());
        let assignment = Assignment {
            dir: app.dir.clone(),
            entry: entrypoint.clone(),
            name: app.name.to_string(),
            version: app.version.to_string(),
            mount: format!("/{}", app.name),
            origin: self.settings.origin.clone(),
            dev: self.settings.dev,
            env: environment::of_app(&self.settings, app, entrypoint, worker, &private, &data_dir),
            head_timeout: app.manifest.timeout,
            stream_timeout: app.manifest.stream_timeout,
            watch_memory: app.manifest.max_memory.is_some(),
        };
        if let Some(handle) = inner.workers.get_mut(&worker) {
            handle.version = Some(version);
            let _ = handle.orders.send(Order::Assign(Box::new(assignment)));
        }
    }

    /// A report from a worker's task.
    fn hear(self: &Arc<Self>, worker: WorkerId, report: Report) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let event = match report {
            Report::Connected(link) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.link = Some(link);
                }
                inner.stillborn = None;
                Event::Connected { worker }
            }
            Report::Ready(_) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.ready = true;
                }
                Event::Ready { worker }
            }
            Report::StartFailed { journey, error } => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.failed = true;
                }
                note_failure(inner, worker, StartFailure::thrown(journey, *error));
                Event::StartFailed { worker }
            }
            Report::Lost => Event::Lost { worker },
            Report::Unresponsive => Event::Unresponsive { worker },
            Report::Protocol(error) => {
                tracing::error!(%worker, %error, "a worker broke the protocol");
                Event::Protocol { worker }
            }
            Report::Memory(pss) => Event::Memory { worker, pss },
            Report::NotStarted(error) => {
                tracing::error!(%worker, %error, "a worker could not be started");
                note_failure(inner, worker, StartFailure::not_started(&error));
                inner.workers.remove(&worker);
                inner.stillborn = Some(self.now());
                Event::Exited { worker }
            }
            Report::Exited { status, journey, stderr } => {
                if let Some(handle) = inner.workers.get(&worker) {
                    let early = handle.told.is_none();
                    if early && handle.link.is_none() && handle.version.is_none() {
                        inner.stillborn = Some(self.now());
                    }
                    let late = handle.told == Some(Reason::StartTimeout);
                    if !handle.ready && !handle.failed && (early || late) {
                        note_failure(inner, worker, StartFailure::exited(journey, status, stderr, late));
                    }
                }
                inner.workers.remove(&worker);
                Event::Exited { worker }
            }
        };
        self.step(inner, event, None);
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
            drop(Lease::new(Arc::clone(&self.pool), dispatched.worker, dispatched.link));
        }
    }
}

fn order(inner: &Inner, worker: WorkerId, order: Order) {
    if let Some(handle) = inner.workers.get(&worker) {
        // A task that has ended has reported, or is about to report, that its process is gone.
        let _ = handle.orders.send(order);
    }
}

fn end(inner: &mut Inner, worker: WorkerId, reason: Reason, how: Order) {
    if let Some(handle) = inner.workers.get_mut(&worker) {
        handle.told = handle.told.or(Some(reason));
    }
    order(inner, worker, how);
}

fn note_failure(inner: &mut Inner, worker: WorkerId, failure: StartFailure) {
    let version = inner.workers.get(&worker).and_then(|handle| handle.version);
    let Some(version) = version.and_then(|version| inner.versions.get_mut(&version)) else {
        tracing::error!(%worker, failure = %failure, "a spare failed to start");
        return;
    };
    tracing::error!(app = %version.app.name, version = %version.app.version, %worker, failure = %failure, "an app failed to start");
    // A worker that reported what was thrown is ended after that: its exit says less.
    if failure.error.is_some() || version.failure.as_ref().is_none_or(|known| known.error.is_none()) {
        version.failure = Some(Arc::new(failure));
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
    }
}
