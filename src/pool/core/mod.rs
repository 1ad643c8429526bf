//! The pool's decisions, pure: `step(state, event, now) → actions`. No clock, no process, no channel.
//!
//! An event's handler changes the state it is about and marks the versions it touched; then `settle` looks at each
//! of those, and at the pool's room and spares, until nothing is left to decide. What happens for every HTTP request
//! (`Request`, `Head`, `Done`, in `serve.rs`) normally marks nothing and allocates nothing.
#![deny(clippy::disallowed_methods)]

mod backoff;
#[cfg(test)]
mod fault;
pub(super) mod hash;
mod operate;
mod queue;
mod replace;
mod retire;
mod room;
mod serve;
mod shutdown;
#[cfg(test)]
mod sim;
mod spares;
mod start;
mod starter;
#[cfg(test)]
mod tests;
mod tick;
mod timers;
pub mod types;
mod version;
mod view;
mod words;
mod worker;

pub use types::{Action, Event, Limits, Now, Policy, Reason, Refusal, State, Ticket};
pub use view::{Snapshot, VersionView, WorkerView};

use crate::model::{VersionKey, WorkerId};
use hash::Map;
use room::Room;
use shutdown::Shutdown;
use spares::Spares;
use timers::Timers;
use version::Version;
use worker::Worker;

/// The state of the pool. It changes only in `step`, and only by what `step` is told.
pub struct Core {
    limits: Limits,
    workers: Map<WorkerId, Worker>,
    versions: Map<VersionKey, Version>,
    /// Where each waiting request waits.
    tickets: Map<Ticket, VersionKey>,
    /// Which version each starter wants to be started.
    starters: Map<Ticket, VersionKey>,
    spares: Spares,
    room: Room,
    timers: Timers,
    /// Versions to look at before the step ends.
    unsettled: Vec<VersionKey>,
    shutdown: Option<Shutdown>,
    last_worker: u64,
    jitter: u64,
    #[cfg(test)]
    fault: Option<fault::Fault>,
}

/// One step: what time it is and where the answers go.
struct Turn<'a> {
    now: Now,
    actions: &'a mut Vec<Action>,
}

/// Whether this decision is to be taken wrongly, so that a test can show that the simulation notices.
#[cfg(test)]
macro_rules! broken {
    ($core:expr, $fault:ident) => {
        $core.fault == Some(crate::pool::core::fault::Fault::$fault)
    };
}
#[cfg(not(test))]
macro_rules! broken {
    ($core:expr, $fault:ident) => {
        false
    };
}
use broken;

impl Core {
    pub fn new(limits: Limits) -> Core {
        let mut core = Core {
            limits: Limits { pool_size: limits.pool_size.max(1), ..limits },
            workers: Map::default(),
            versions: Map::default(),
            tickets: Map::default(),
            starters: Map::default(),
            spares: Spares::default(),
            room: Room::default(),
            timers: Timers::default(),
            unsettled: Vec::new(),
            shutdown: None,
            last_worker: 0,
            jitter: limits.seed,
            #[cfg(test)]
            fault: None,
        };
        core.arm_spares(Now::ZERO);
        core
    }

    /// Takes one event in and adds what is to be done about it to `actions`, to be done in that order. `now` never
    /// goes back. Events about workers or tickets that are gone are ignored, for they may cross what ended them.
    pub fn step(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) {
        let turn = &mut Turn { now, actions };
        match event {
            Event::Request { version, ticket, ahead } => self.request(version, ticket, ahead, turn),
            Event::Head { worker } => self.head(worker),
            Event::Done { worker, head, ok } => self.done(worker, head, ok, turn),
            Event::Abandon { ticket } => self.abandon(ticket),
            Event::Start { version, ticket } => self.start_one(version, ticket, turn),
            Event::AbandonStart { ticket } => self.abandon_start(ticket),
            Event::Restart { version } => self.restart(version, turn),
            Event::RestartWorker { worker } => self.restart_worker(worker, turn),
            Event::TerminateWorker { worker } => self.terminate_worker(worker, turn),
            Event::Retire { version } => self.retire(version, turn),
            Event::Hold { version, held } => self.hold(version, held),
            Event::AddVersion { version, policy } => self.add_version(version, policy),
            Event::Prove { version } => self.prove(version),
            Event::Doubt { version } => self.doubt(version),
            Event::RemoveVersion { version, to } => self.remove_version(version, to, turn),
            Event::Connected { worker } => self.connected(worker, turn),
            Event::Ready { worker } => self.ready(worker, turn),
            Event::StartFailed { worker, stale } => self.start_failed(worker, stale, turn),
            Event::Exited { worker } => self.exited(worker, false, turn),
            Event::Starved { worker } => self.exited(worker, true, turn),
            Event::Lost { worker } => self.lost_link(worker, turn),
            Event::Memory { worker, pss } => self.memory(worker, pss, turn),
            Event::Unresponsive { worker } => self.broke(worker, Reason::Unresponsive, turn),
            Event::Protocol { worker } => self.broke(worker, Reason::Protocol, turn),
            Event::Shutdown { within } => self.shut_down(within, turn),
            Event::Resize { pool_size, spares } => {
                self.limits.pool_size = pool_size;
                self.limits.spares = spares;
                self.room.changed = true;
                self.spares.changed = true;
            }
            Event::Tick => self.tick(turn),
        }
        self.settle(turn);
    }

    /// When to send `Tick`. It may turn out that there was nothing to do yet; it is never too late.
    pub fn next_deadline(&self) -> Option<Now> {
        self.timers.next().map(|(at, _)| at)
    }

    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Has a version looked at before the step ends.
    fn mark(&mut self, key: VersionKey) {
        if let Some(version) = self.versions.get_mut(&key)
            && !version.unsettled
        {
            version.unsettled = true;
            self.unsettled.push(key);
        }
    }

    fn settle(&mut self, turn: &mut Turn<'_>) {
        loop {
            if let Some(key) = self.unsettled.pop() {
                self.tend(key, turn);
            } else if self.room.changed {
                self.make_room(turn);
            } else if self.spares.changed {
                self.fill_spares(turn);
            } else {
                break;
            }
        }
        if self.shutdown.is_some() {
            self.finish_shutdown(turn);
        }
    }

    /// Brings one version in order: gives waiting requests to workers with room, refuses those whose time is over
    /// or whose hope is gone, and asks for room for the worker that it wants next.
    fn tend(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        version.unsettled = false;
        self.pass_on(key);
        self.feed(key, turn);
        self.expire(key, turn);
        self.refuse_hopeless(key, turn);
        self.expire_starters(key, turn);
        if self.shutdown.is_some() {
            self.drain_unneeded(key, turn);
        } else {
            self.ask_for_room(key, turn.now);
        }
        self.arm_version(key, turn.now);
        self.forget(key, turn);
    }
}
