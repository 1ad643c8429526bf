//! The life of one worker: one task that owns its process from fork to reaping.
//!
//! Orders come in from the pool, reports go back; the requests themselves pass by on the link. Whatever happens (an order,
//! a crash, a broken protocol, a blocked event loop), the task ends only when the process has been reaped and its
//! process group killed, and says so in its last report.

use super::exec::Process;
use super::journey::Journey;
use super::link::{Control, Health, Link, LinkEnd, Timeouts};
use super::orders::{Assignment, Order, Report};
use super::output::{self, Identity, Tail};
use super::socket::Socket;
use super::spawn::{Order as Start, Spawned, Spawner};
use super::usage;
use crate::events::{Hub, Stream};
use crate::model::plugin::{Call, Reply};
use crate::model::{PluginSeat, WorkerId};
use crate::shortage::{Shortage, of_no_disk};
use crate::uproot;
use crate::wire::call::CallFrame;
use crate::wire::message::{AppError, Assign, Hello, Hook, HookDone, Ready, Seat};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long `onTerminate` may take, and a plugin's `onShutdown`.
const HOOK_LIMIT: Duration = Duration::from_secs(5);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// From SIGTERM to SIGKILL.
const TERM_LIMIT: Duration = Duration::from_secs(2);
/// How long a process may outlive its link.
const LINGER: Duration = Duration::from_secs(1);
/// What an app says before it fails to load is worth a moment.
const LAST_WORDS: Duration = Duration::from_millis(10);
const PING_AFTER: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(5);
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// Everything a worker's task starts with.
pub struct Birth {
    pub id: WorkerId,
    pub start: Start,
    /// The build id that the shim must answer with.
    pub build: Arc<str>,
    pub spawner: Spawner,
    pub hub: Arc<Hub>,
    pub orders: mpsc::UnboundedReceiver<Order>,
}

struct Life {
    id: WorkerId,
    build: Arc<str>,
    spawner: Spawner,
    /// It reaches its app's data directory since its start, and that of its plugin.
    has_data: bool,
    has_plugin_dir: bool,
    report: Arc<dyn Fn(Report) + Send + Sync>,
    process: Process,
    link: Arc<Link>,
    identity: Arc<Identity>,
    tail: Arc<Tail>,
    journey: Journey,
    born: Instant,
    assigned: Option<Instant>,
    ready: Option<Ready>,
    timeouts: Timeouts,
    memory: Option<Instant>,
    /// Makes it a script plugin's.
    plugin: Option<Arc<PluginSeat>>,
    ending: Ending,
    /// What the machine had too little of for it.
    starved: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    No,
    /// `onTerminate` runs until then.
    Hook(Instant),
    /// SIGTERM was sent; SIGKILL then.
    Term(Instant),
    Killed,
}

/// Lives a worker's life. Returns after the last report.
pub async fn run(mut birth: Birth, report: Arc<dyn Fn(Report) + Send + Sync>) {
    let private = birth.start.private.clone();
    let (has_data, has_plugin_dir) = (birth.start.data.is_some(), birth.start.plugin_dir.is_some());
    let began = Instant::now();
    let spawned = match birth.spawner.spawn(birth.start).await {
        Ok(spawned) => spawned,
        Err(error) if Shortage::of(&error).is_some() => return report(Report::Starved(error)),
        Err(error) => return report(Report::NotStarted(error)),
    };
    let Spawned { process, link: socket, progress, stdout, stderr } = spawned;
    let (control_in, mut control) = mpsc::unbounded_channel();
    let link = Link::new(progress, control_in);
    let identity = Arc::new(Identity::new(birth.id, birth.hub));
    let tail = Arc::new(Tail::default());
    let outputs = [
        output::follow(stdout, Stream::Stdout, Arc::clone(&identity), Arc::clone(&link), None),
        output::follow(
            stderr,
            Stream::Stderr,
            Arc::clone(&identity),
            Arc::clone(&link),
            Some(Arc::clone(&tail)),
        ),
    ];
    let mut life = Life {
        id: birth.id,
        build: birth.build,
        spawner: birth.spawner,
        has_data,
        has_plugin_dir,
        report: Arc::clone(&report),
        process,
        link: Arc::clone(&link),
        identity,
        tail: Arc::clone(&tail),
        journey: Journey { spawn: Some(began.elapsed()), ..Journey::default() },
        born: began,
        assigned: None,
        ready: None,
        timeouts: Timeouts {
            head: Duration::MAX,
            stream: Duration::ZERO,
            ping_after: PING_AFTER,
            ping: PING_LIMIT,
        },
        memory: None,
        plugin: None,
        ending: Ending::No,
        starved: None,
    };
    report(Report::Spawned { pid: life.process.pid(), journey: life.journey });
    match Socket::new(socket) {
        Ok(socket) => {
            let driver = tokio::spawn(link.drive(socket));
            life.supervise(driver, &mut control, &mut birth.orders).await;
        }
        Err(error) => life.starve(of_no_disk(error)),
    }
    // However it ended: nobody may wait for an answer from a process that is gone.
    life.link.close(&LinkEnd::Closed);
    // What is left of the group goes before the number of its leader is given up.
    life.process.kill();
    let status = life.process.reap();
    let journey = life.journey;
    for output in outputs {
        // Everything the group held open is closed by now; a descendant that left the group must not keep us.
        let _ = tokio::time::timeout(Duration::from_millis(100), output).await;
    }
    remove_private(private);
    report(match life.starved {
        Some(error) => Report::Starved(error),
        None => Report::Exited { status, journey, stderr: tail.lines() },
    });
}

impl Life {
    /// Until the process has exited.
    async fn supervise(
        &mut self,
        driver: JoinHandle<LinkEnd>,
        control: &mut mpsc::UnboundedReceiver<Control>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) {
        let exit = match self.process.exit_fd() {
            Ok(exit) => exit,
            Err(error) => return self.starve(error),
        };
        // SAFETY: an OwnedFd is an open descriptor, and it stays in the AsyncFd until that is dropped.
        let exit = match unsafe { AsyncFd::register_with_interest(exit, Interest::READABLE) } {
            Ok(exit) => exit,
            Err(error) => return self.starve(of_no_disk(error.into())),
        };
        let mut driver = std::pin::pin!(driver);
        let mut linked = true;
        let mut commanded = true;
        let mut look_again: Option<Instant> = None;
        let link = Arc::clone(&self.link);
        loop {
            let deadline = self.next_deadline(look_again);
            tokio::select! {
                biased;
                order = orders.recv(), if commanded => match order {
                    Some(order) => self.obey(order),
                    // The pool has gone: nobody would end this worker.
                    None => { commanded = false; self.kill() }
                },
                Some(control) = control.recv() => {
                    if matches!(control, Control::Failed(_)) {
                        self.note_load();
                        // What it wrote before that is read by then.
                        tokio::time::sleep(LAST_WORDS).await;
                    }
                    self.hear(control);
                }
                _ = exit.readable() => break,
                end = &mut driver, if linked => {
                    linked = false;
                    self.link_ended(end.unwrap_or(LinkEnd::Closed));
                }
                () = link.becomes_busy(), if look_again.is_none() => {
                    look_again = Some(Instant::now() + self.look_every());
                }
                () = sleep_until(deadline), if deadline.is_some() => {
                    self.on_time(&mut look_again);
                }
            }
        }
        if linked && tokio::time::timeout(LINGER, &mut driver).await.is_err() {
            // What the worker wrote is read by now, but a descendant that left its group holds the other end open.
            driver.abort();
        }
        while let Ok(control) = control.try_recv() {
            if matches!(control, Control::Failed(_) | Control::Ready(_)) {
                self.hear(control);
            }
        }
        self.presume_loaded(Instant::now());
    }

    fn hear(&mut self, control: Control) {
        match control {
            Control::Hello(hello) => self.greet(&hello),
            Control::Ready(ready) => self.loaded(ready),
            Control::Failed(error) => {
                self.note_load();
                (self.report)(self.start_failed(error));
            }
            Control::HookDone(done) => self.hook_done(&done),
            Control::Call(call) => self.call(call),
        }
    }

    fn call(&self, frame: CallFrame) {
        // The link lets no other worker call.
        let Some(seat) = &self.plugin else { return };
        let CallFrame { id, service, method, args } = frame;
        let link = Arc::clone(&self.link);
        let reply = Reply::new(move |result| link.answer(id, result));
        seat.calls.call(Call { service, method, args }, reply);
    }

    fn loaded(&mut self, ready: Ready) {
        let first = self.ready.replace(ready).is_none();
        if let Some(bytes) = ready.max_request_body_size {
            self.link.limit_bodies(bytes);
        }
        if first {
            self.journey.load = self.assigned.map(|at| at.elapsed());
            (self.report)(Report::Ready(self.journey));
        }
    }

    /// READY goes out with the answer to the request that was sent ahead. Where that does not come, the app has the request all the
    /// same, and what becomes of it is no failed start.
    fn presume_loaded(&mut self, now: Instant) {
        if let Some(ready) = self.link.presume_loaded(now) {
            self.loaded(ready);
        }
    }

    fn greet(&mut self, hello: &Hello) {
        if *hello.build != *self.build {
            tracing::error!(worker = %self.id, expected = %self.build, found = %hello.build, "the shim is of another build");
            return self.kill();
        }
        self.journey.connect = Some(self.born.elapsed());
        (self.report)(Report::Connected { link: Arc::clone(&self.link), journey: self.journey });
    }

    fn hook_done(&mut self, done: &HookDone) {
        if let Some(error) = &done.error {
            let hook = if done.kind == Hook::Idle as u32 { "onIdle" } else { self.last_hook() };
            tracing::warn!(worker = %self.id, app = %self.identity, hook, error, "a hook failed");
        }
        if done.kind == Hook::Terminate as u32 && matches!(self.ending, Ending::Hook(_)) {
            self.term();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Assign(assignment) => self.assign(&assignment),
            Order::Starve(error) => self.starve(error),
            Order::IdleHook => {
                if self.ready.is_some_and(|ready| ready.has(Hook::Idle)) {
                    self.link.hook(Hook::Idle);
                }
            }
            Order::Terminate { quick } => self.terminate(quick),
            Order::Kill => self.kill(),
        }
    }

    fn assign(&mut self, assignment: &Assignment) {
        self.assigned = Some(Instant::now());
        self.identity.set(&assignment.name, &assignment.version, assignment.plugin.is_some());
        self.plugin = assignment.plugin.as_ref().map(|(seat, _)| Arc::clone(seat));
        self.timeouts.head = assignment.head_timeout;
        self.timeouts.stream = assignment.stream_timeout;
        self.memory = assignment.watch_memory.then(Instant::now);
        let data = assignment.data.as_deref().filter(|_| !self.has_data);
        let plugin_dir = assignment.plugin_dir.as_deref().filter(|_| !self.has_plugin_dir);
        let visitor = self.spawner.give_dirs(&self.process, data, plugin_dir);
        let visitor = match visitor {
            Ok(visitor) => Some(visitor),
            // It has ended, which is not the app's fault.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            Err(error) if Shortage::of(&error).is_some() => return self.starve(error),
            Err(error) => {
                let what = if plugin_dir.is_some() { "no directory of its own" } else { "no data directory" };
                return self.cannot_start("DataDirectoryError", &format!("{what}: {error}"));
            }
        };
        let plugin = assignment.plugin.as_ref().map(|(seat, dir)| (&**seat, dir.to_string_lossy()));
        let sent = self.link.assign(&Assign {
            dir: &assignment.dir.to_string_lossy(),
            entry: &assignment.entry.to_string_lossy(),
            name: assignment.name.as_str(),
            version: &assignment.version.to_string(),
            worker_id: &self.id.to_string(),
            mount: &assignment.mount,
            origin: &assignment.origin,
            dev: assignment.dev,
            env: &assignment.env,
            plugin: plugin.as_ref().map(|(seat, state_dir)| Seat {
                name: seat.name.as_str(),
                version: &seat.version,
                base: seat.base.as_deref(),
                config: &seat.config,
                state_dir,
                server: seat.server().map(|server| &*server.url),
                api_base: seat.server().map(|server| &*server.api_base),
            }),
        });
        if let Err(error) = sent {
            self.cannot_start("AssignmentError", &format!("it cannot be given to a worker: {error}"));
        }
        // It has been ending meanwhile.
        drop(visitor);
    }

    /// The app is not even given to it.
    fn cannot_start(&mut self, name: &str, message: &str) {
        let error = Box::new(AppError {
            name: name.to_owned(),
            message: message.to_owned(),
            stack: String::new(),
            inspect: String::new(),
        });
        (self.report)(self.start_failed(error));
    }

    fn note_load(&mut self) {
        let assigned = self.assigned;
        self.journey.load = self.journey.load.or_else(|| assigned.map(|at| at.elapsed()));
    }

    fn start_failed(&self, error: Box<AppError>) -> Report {
        Report::StartFailed { journey: self.journey, error, stderr: self.tail.lines() }
    }

    fn terminate(&mut self, quick: bool) {
        if self.ending != Ending::No {
            return;
        }
        match self.ready {
            Some(ready) if ready.has(Hook::Terminate) => {
                self.ending = Ending::Hook(Instant::now() + self.hook_limit());
                self.link.hook(Hook::Terminate);
            }
            Some(_) if !quick => self.term(),
            _ => self.kill(),
        }
    }

    /// What its author calls HOOK 2.
    fn last_hook(&self) -> &'static str {
        if self.plugin.is_some() { "onShutdown" } else { "onTerminate" }
    }

    fn hook_limit(&self) -> Duration {
        if self.plugin.is_some() { SHUTDOWN_LIMIT } else { HOOK_LIMIT }
    }

    fn term(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.ending = Ending::Term(Instant::now() + TERM_LIMIT);
    }

    /// It cannot be what it was started for, and its app has nothing to do with that.
    fn starve(&mut self, error: io::Error) {
        self.starved = Some(error);
        self.kill();
    }

    fn kill(&mut self) {
        self.process.kill();
        self.ending = Ending::Killed;
    }

    fn link_ended(&mut self, end: LinkEnd) {
        self.presume_loaded(Instant::now());
        match end {
            LinkEnd::Protocol(error) => {
                (self.report)(Report::Protocol(error));
                self.kill();
            }
            LinkEnd::Closed | LinkEnd::Io(_) => {
                (self.report)(Report::Lost);
                if self.ending == Ending::No {
                    // Most likely it is exiting; what it says on stderr is worth a moment.
                    self.ending = Ending::Term(Instant::now() + LINGER);
                }
            }
        }
    }

    fn on_time(&mut self, look_again: &mut Option<Instant>) {
        let now = Instant::now();
        match self.ending {
            Ending::Hook(limit) if now >= limit => {
                tracing::warn!(worker = %self.id, app = %self.identity, limit = ?self.hook_limit(), "{} took too long", self.last_hook());
                self.term();
            }
            Ending::Term(limit) if now >= limit => self.kill(),
            _ => {}
        }
        if look_again.is_some_and(|at| now >= at) {
            *look_again = self.look(now);
        }
    }

    /// Looks after the exchanges in flight; the next time to do so, `None` = when there is one again.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        self.presume_loaded(now);
        let health = self.link.sweep(now, &self.timeouts);
        if health == Health::Unresponsive
            && self.ending == Ending::No
            && !usage::is_stopped(self.process.pid())
        {
            (self.report)(Report::Unresponsive);
            self.kill();
        }
        if let Some(measured) = self.memory
            && (health == Health::AtRest || now.duration_since(measured) >= MEMORY_EVERY)
        {
            self.memory = Some(now);
            let (pid, report) = (self.process.pid(), Arc::clone(&self.report));
            // The kernel walks all of its pages: milliseconds for a large process.
            tokio::task::spawn_blocking(move || {
                if let Some(pss) = usage::proportional_memory(pid) {
                    report(Report::Memory(pss));
                }
            });
        }
        // While the app is loaded its first request may be handed over although its client has gone.
        let loading = self.assigned.is_some() && self.journey.load.is_none();
        (health != Health::AtRest || loading).then(|| now + self.look_every())
    }

    fn look_every(&self) -> Duration {
        (self.timeouts.head / 8).clamp(Duration::from_millis(20), Duration::from_millis(250))
    }

    fn next_deadline(&self, look_again: Option<Instant>) -> Option<Instant> {
        let ending = match self.ending {
            Ending::Hook(limit) | Ending::Term(limit) => Some(limit),
            Ending::No | Ending::Killed => None,
        };
        ending.into_iter().chain(look_again).min()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn remove_private(dir: PathBuf) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = uproot::remove(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "a worker's private directory could not be removed");
        }
    });
}
