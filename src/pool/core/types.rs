//! What the pool's core is told and what it answers.

use crate::model::{VersionKey, WorkerId};
use std::time::Duration;

/// Time since the pool began.
pub type Now = Duration;

/// A request that wants a worker, for as long as it waits. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The pool's own limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Ceiling on processes with an app (starting and draining ones included); spares are extra.
    pub pool_size: usize,
    /// Pre-warmed workers kept ready.
    pub spares: usize,
    /// Spares that may be starting at once (a start costs CPU that requests need).
    pub spare_starts: usize,
    /// Seed of the jitter on `max_requests`.
    pub seed: u64,
}

/// What a version's manifest says that the pool acts on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A fresh worker for each request (`ttl: 0`). Only the pool's size bounds them: `concurrency`, `min`, `max`,
    /// `ttl` and `max_requests` have no meaning then.
    pub ephemeral: bool,
    /// A worker without a request for this long is ended, unless `min` keeps it.
    pub ttl: Duration,
    pub idle_timeout: Duration,
    pub start_timeout: Duration,
    pub drain_timeout: Duration,
    /// Zero = no limit. Each worker's own limit is up to a tenth off it.
    pub max_requests: u64,
    /// Bytes of proportional memory.
    pub max_memory: Option<u64>,
    /// Requests without a response head on one worker.
    pub concurrency: u32,
    pub min: u32,
    pub max: u32,
    /// Requests that wait although no worker is starting for them.
    pub queue_size: usize,
    /// How long they wait; a request that a starting worker will serve waits for that start instead.
    pub queue_timeout: Duration,
    /// No spare may be used.
    pub fresh: bool,
    /// One worker of it is always wanted, before others, and is never evicted for others.
    pub pinned: bool,
}

/// Where a worker is in its life. *Draining* is a flag beside it, not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Creating,
    Ready,
    Active,
    Idle,
    Terminated,
}

/// Why a worker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A request needed it, or `instances.min`, or a version to prove, or a worker that is to be replaced, or the
    /// stock of spares.
    Request,
    Minimum,
    Prove,
    Replacement,
    Spare,
    /// The app was loaded.
    Loaded,
    /// No request for `idleTimeout`.
    Idle,
    /// No request for `ttl`, and no other worker of its version is left.
    Ttl,
    /// Its one request was answered (`ttl: 0`).
    Ephemeral,
    Evicted,
    MaxRequests,
    Memory,
    /// No request for `ttl`, while other workers of its version serve on.
    ScaleDown,
    /// A newer revision took over, or the version was removed or disabled.
    Deploy,
    Removed,
    /// The operator asked for a new one in its place, or for its end.
    Restart,
    Operator,
    /// Its version is not what its names mean any more.
    Retired,
    StartFailed,
    StartTimeout,
    /// The machine had nothing left to start its process with.
    Starved,
    /// The event loop did not answer.
    Unresponsive,
    /// It broke the protocol.
    Protocol,
    Crash,
    Shutdown,
}

/// Why a request gets no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    QueueTimeout,
    /// Crashed too often; try again after this long.
    BackOff(Duration),
    /// The worker this request waited for could not load the app.
    StartFailed,
    StartTimeout,
    /// The machine had nothing left to start a worker with; try again after this long.
    Starved(Duration),
    /// The version was removed while the request waited, or was never added.
    Gone,
    ShuttingDown,
}

#[derive(Clone, Debug)]
pub enum Event {
    AddVersion {
        version: VersionKey,
        policy: Policy,
    },
    /// Start a worker of it although nobody asked yet.
    Prove {
        version: VersionKey,
    },
    /// It may have become another since it was proven: whether a worker of it can be Ready is told anew.
    Doubt {
        version: VersionKey,
    },
    /// It resolves no more. Without `to`: its workers drain, and requests that wait are refused with `Gone`.
    /// With `to`: that version is started if the old one has workers, and until one of it is Ready the old workers
    /// serve on (but no new ones of the old version are started; with none left its requests go to `to`). Then
    /// waiting requests move over and the old workers drain. If `to` fails to start, the old version stays as if
    /// nothing had been said.
    RemoveVersion {
        version: VersionKey,
        to: Option<VersionKey>,
    },
    /// A request wants a worker. Answered, now or later, by exactly one `Dispatch`, `SendAhead` or `Refuse` with its
    /// ticket, unless `Abandon` comes first. A replaced version passes its requests on until it is forgotten; after
    /// that they are `Gone`, and whoever sent them resolves again.
    Request {
        version: VersionKey,
        ticket: Ticket,
        /// It may be sent to a worker that has yet to load the app, because it can be sent again if that fails.
        ahead: bool,
    },
    /// The waiting client has gone.
    Abandon {
        ticket: Ticket,
    },
    /// Somebody wants the version to have a worker that is Ready, as a deploy does. Answered, now or later, by exactly
    /// one `Started` or `NotStarted` with its ticket, unless `AbandonStart` comes first.
    Start {
        version: VersionKey,
        ticket: Ticket,
    },
    AbandonStart {
        ticket: Ticket,
    },
    /// Replace every loaded worker of the version: each takes requests until another one is Ready. If that one fails to
    /// start, the old one stays.
    Restart {
        version: VersionKey,
    },
    /// The same for one worker; a spare is ended, and another one started.
    RestartWorker {
        worker: WorkerId,
    },
    /// Drain it now.
    TerminateWorker {
        worker: WorkerId,
    },
    /// Drain the workers of the version that its `min` does not ask for. It can be asked for as before.
    Retire {
        version: VersionKey,
    },
    /// Start no worker of the version, or start them again: its files are about to change. Requests wait.
    Hold {
        version: VersionKey,
        held: bool,
    },
    /// The response head of a dispatched request is there: its concurrency slot is free, the exchange goes on.
    Head {
        worker: WorkerId,
    },
    /// A dispatched exchange is over, its body included. `head` = a `Head` was reported for it before.
    /// `ok` = the app gave an answer (also an error answer of its own).
    Done {
        worker: WorkerId,
        head: bool,
        ok: bool,
    },
    /// The shim said hello (a spare is ready for an app, a fresh worker for its assignment).
    Connected {
        worker: WorkerId,
    },
    /// The app is loaded.
    Ready {
        worker: WorkerId,
    },
    /// The app could not be loaded. The process is still to be ended. `stale` = what the process has known since before it
    /// was given the app may be the reason.
    StartFailed {
        worker: WorkerId,
        stale: bool,
    },
    /// The process could not be started or has been reaped. Final.
    Exited {
        worker: WorkerId,
    },
    /// There is no process, or none that could be given the app, for want of what the machine has too little of: descriptors,
    /// processes, memory, disk. Nothing is wrong with the app. Final, as `Exited`.
    Starved {
        worker: WorkerId,
    },
    /// The link has closed: the process is ending or as good as ended. Its exit follows.
    Lost {
        worker: WorkerId,
    },
    /// Proportional memory was measured.
    Memory {
        worker: WorkerId,
        pss: u64,
    },
    Unresponsive {
        worker: WorkerId,
    },
    Protocol {
        worker: WorkerId,
    },
    /// Serve no more; drain everything within this time. Said again, it can only shorten the time.
    Shutdown {
        within: Duration,
    },
    /// There may be so many workers with a version from now on, and are to be so many spares. Those that are too many stay until
    /// they end.
    Resize {
        pool_size: usize,
        spares: usize,
    },
    /// `next_deadline` has come. The first one, due at once, starts the spares.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a process. `version` = a fresh worker for this version, none = a spare.
    Spawn {
        worker: WorkerId,
        version: Option<VersionKey>,
    },
    /// Send the app to a connected worker.
    Assign {
        worker: WorkerId,
        version: VersionKey,
    },
    Dispatch {
        ticket: Ticket,
        worker: WorkerId,
    },
    /// As `Dispatch`, but the worker is not Ready: it was given the app in this very step, for this request, which
    /// follows at once. Until it is Ready, one `RefuseSent` may come. If it ends without one, the request is to be
    /// made again.
    SendAhead {
        ticket: Ticket,
        worker: WorkerId,
    },
    Refuse {
        ticket: Ticket,
        why: Refusal,
    },
    /// A worker of the version is Ready: to a `Start`.
    Started {
        ticket: Ticket,
        worker: WorkerId,
    },
    NotStarted {
        ticket: Ticket,
        why: Refusal,
    },
    /// The worker will not be Ready: this is the answer to the request that was sent ahead to it.
    RefuseSent {
        worker: WorkerId,
        why: Refusal,
    },
    /// Run `onIdle`.
    IdleHook {
        worker: WorkerId,
    },
    /// Nothing is in flight (or the drain time is over): `onTerminate`, SIGTERM, SIGKILL.
    /// Ephemeral and never-ready workers may be killed at once by the executor.
    Terminate {
        worker: WorkerId,
        reason: Reason,
    },
    /// SIGKILL now.
    Kill {
        worker: WorkerId,
        reason: Reason,
    },
    /// One for each change of state, spares' changes included. To be given an app is none: a spare is `Creating`
    /// until that app is loaded.
    Transition {
        worker: WorkerId,
        version: Option<VersionKey>,
        from: Option<State>,
        to: State,
        reason: Reason,
    },
    /// The first worker of this version became Ready.
    Proven {
        version: VersionKey,
    },
    /// A worker of this not yet proven version failed to start.
    Unproven {
        version: VersionKey,
    },
    /// A version that was removed has no worker left and is forgotten.
    Forgotten {
        version: VersionKey,
    },
    /// Everything has ended after `Shutdown`.
    Drained,
}
