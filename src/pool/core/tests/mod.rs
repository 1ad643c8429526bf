//! The rules that have numbers and orders, one by one. What must hold in every history is in `sim`.

mod ahead;
mod choosing;
mod lifetimes;
mod operating;
mod pinned;
mod proving;
mod replacing;
mod starting;
mod starving;
mod waiting;

use super::*;
use std::time::Duration;

const A: VersionKey = VersionKey(1);
const B: VersionKey = VersionKey(2);
const C: VersionKey = VersionKey(3);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limits(pool_size: usize, spares: usize) -> Limits {
    Limits { pool_size, spares, spare_starts: 1, seed: 1 }
}

fn policy() -> Policy {
    Policy {
        ephemeral: false,
        ttl: secs(600),
        idle_timeout: secs(60),
        start_timeout: secs(30),
        drain_timeout: secs(100),
        max_requests: 0,
        max_memory: None,
        concurrency: 1_000,
        min: 0,
        max: 1,
        queue_size: 10,
        queue_timeout: secs(10),
        fresh: false,
        pinned: false,
    }
}

/// A core, its clock, and what a step answered.
struct Pool {
    core: Core,
    now: Now,
    tickets: u64,
}

impl Pool {
    fn new(limits: Limits) -> Pool {
        Pool { core: Core::new(limits), now: Now::ZERO, tickets: 0 }
    }

    /// With versions and no spares.
    fn with(pool_size: usize, versions: &[(VersionKey, Policy)]) -> Pool {
        let mut pool = Pool::new(limits(pool_size, 0));
        for (version, policy) in versions {
            pool.tell(Event::AddVersion { version: *version, policy: policy.clone() });
        }
        pool
    }

    fn tell(&mut self, event: Event) -> Said {
        let mut actions = Vec::new();
        self.core.step(event, self.now, &mut actions);
        Said(actions)
    }

    /// Lets time pass until `at`, with each tick when it is due.
    fn until(&mut self, at: Duration) -> Said {
        let mut said = Said(Vec::new());
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= at) {
            self.now = self.now.max(due);
            said.0.extend(self.tell(Event::Tick).0);
        }
        self.now = at;
        said
    }

    fn request(&mut self, version: VersionKey) -> Said {
        self.tickets += 1;
        self.tell(Event::Request { version, ticket: Ticket(self.tickets), ahead: false })
    }

    /// A request that may go before its worker is Ready.
    fn early(&mut self, version: VersionKey) -> Said {
        self.tickets += 1;
        self.tell(Event::Request { version, ticket: Ticket(self.tickets), ahead: true })
    }

    /// Somebody wants a worker of it to be Ready.
    fn start(&mut self, version: VersionKey) -> Said {
        self.tickets += 1;
        self.tell(Event::Start { version, ticket: Ticket(self.tickets) })
    }

    fn connect(&mut self, worker: WorkerId) -> Said {
        self.tell(Event::Connected { worker })
    }

    /// A starting worker says hello, loads and is Ready.
    fn load(&mut self, worker: WorkerId) -> Said {
        self.connect(worker);
        self.tell(Event::Ready { worker })
    }

    fn head(&mut self, worker: WorkerId) -> Said {
        self.tell(Event::Head { worker })
    }

    fn done(&mut self, worker: WorkerId) -> Said {
        self.tell(Event::Done { worker, head: false, ok: true })
    }

    fn exit(&mut self, worker: WorkerId) -> Said {
        self.tell(Event::Exited { worker })
    }

    /// The machine had nothing left for it.
    fn starve(&mut self, worker: WorkerId) -> Said {
        self.tell(Event::Starved { worker })
    }

    /// A worker that has served one request and rests.
    fn rested(&mut self, version: VersionKey) -> WorkerId {
        let worker = self.busy(version);
        self.done(worker);
        worker
    }

    /// A new worker with one request in flight.
    fn busy(&mut self, version: VersionKey) -> WorkerId {
        let worker = self.request(version).spawned()[0];
        assert_eq!(self.load(worker).dispatched(), [worker]);
        worker
    }

    fn worker(&self, id: WorkerId) -> WorkerView {
        let snapshot = self.core.snapshot(self.now);
        snapshot.workers.into_iter().find(|worker| worker.id == id).expect("the worker is there")
    }
}

struct Said(Vec<Action>);

impl Said {
    fn pick<T>(&self, what: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        self.0.iter().filter_map(what).collect()
    }

    fn spawned(&self) -> Vec<WorkerId> {
        self.pick(|action| match action {
            Action::Spawn { worker, .. } => Some(*worker),
            _ => None,
        })
    }

    fn assigned(&self) -> Vec<WorkerId> {
        self.pick(|action| match action {
            Action::Assign { worker, .. } => Some(*worker),
            _ => None,
        })
    }

    fn dispatched(&self) -> Vec<WorkerId> {
        self.pick(|action| match action {
            Action::Dispatch { worker, .. } => Some(*worker),
            _ => None,
        })
    }

    fn sent_ahead(&self) -> Vec<WorkerId> {
        self.pick(|action| match action {
            Action::SendAhead { worker, .. } => Some(*worker),
            _ => None,
        })
    }

    fn refused_sent(&self) -> Vec<(WorkerId, Refusal)> {
        self.pick(|action| match action {
            Action::RefuseSent { worker, why } => Some((*worker, *why)),
            _ => None,
        })
    }

    fn refused(&self) -> Vec<Refusal> {
        self.pick(|action| match action {
            Action::Refuse { why, .. } => Some(*why),
            _ => None,
        })
    }

    fn terminated(&self) -> Vec<(WorkerId, Reason)> {
        self.pick(|action| match action {
            Action::Terminate { worker, reason } => Some((*worker, *reason)),
            _ => None,
        })
    }

    fn started(&self) -> Vec<WorkerId> {
        self.pick(|action| match action {
            Action::Started { worker, .. } => Some(*worker),
            _ => None,
        })
    }

    fn not_started(&self) -> Vec<Refusal> {
        self.pick(|action| match action {
            Action::NotStarted { why, .. } => Some(*why),
            _ => None,
        })
    }

    fn killed(&self) -> Vec<(WorkerId, Reason)> {
        self.pick(|action| match action {
            Action::Kill { worker, reason } => Some((*worker, *reason)),
            _ => None,
        })
    }

    fn is_silent(&self) -> bool {
        self.0.is_empty()
    }
}
