//! What the API, health and metrics may see.

use super::Core;
use super::types::{Now, State};
use super::worker::Worker;
use crate::model::{VersionKey, WorkerId};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    pub id: WorkerId,
    /// None = a spare.
    pub version: Option<VersionKey>,
    pub state: State,
    /// Takes no more requests.
    pub draining: bool,
    /// The shim said hello.
    pub connected: bool,
    /// Exchanges, bodies included.
    pub in_flight: u32,
    /// Requests without a response head yet.
    pub awaiting: u32,
    /// Requests ever given to it.
    pub served: u64,
    pub started: Now,
    pub last_used: Now,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VersionView {
    pub version: VersionKey,
    /// Requests that wait for a worker.
    pub waiting: usize,
    /// Those who wait for a worker to be Ready.
    pub starters: usize,
    pub starting: u32,
    /// Workers that take requests.
    pub serving: u32,
    /// A worker of it was Ready once.
    pub proven: bool,
    /// It keeps crashing; none of its workers is started for so long.
    pub back_off: Option<Duration>,
}

/// Everything at one moment, in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub workers: Vec<WorkerView>,
    pub versions: Vec<VersionView>,
    /// Processes with an app, out of `pool_size`.
    pub pooled: usize,
    pub pool_size: usize,
    pub spares_ready: usize,
    pub spares_starting: usize,
    /// Spares keep dying; none is started for so long.
    pub spare_back_off: Option<Duration>,
    /// Requests that wait for a worker.
    pub waiting: usize,
    pub shutting_down: bool,
}

impl Core {
    /// One worker as it is now.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerView> {
        self.workers.get(&id).map(|worker| view(id, worker))
    }

    /// Nobody is on the way to be Ready, and the spares are there, as far as they can be started.
    pub fn is_warm(&self, now: Now) -> bool {
        let spares = &self.spares;
        (spares.ready.len() >= self.limits.spares || spares.backoff.until(now).is_some())
            && self.versions.values().all(|version| version.coming == 0)
    }

    /// Copies: for people and metrics, not for the request path.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let mut workers: Vec<_> = self.workers.iter().map(|(id, worker)| view(*id, worker)).collect();
        workers.sort_unstable_by_key(|worker| worker.id);
        let mut versions: Vec<_> = self
            .versions
            .iter()
            .map(|(key, version)| VersionView {
                version: *key,
                waiting: version.waiting.len(),
                starters: version.starters.len(),
                starting: version.coming,
                serving: version.serving,
                proven: version.proven,
                back_off: version.backoff.until(now).map(|until| until - now),
            })
            .collect();
        versions.sort_unstable_by_key(|version| version.version);
        Snapshot {
            workers,
            versions,
            pooled: self.room.pooled,
            pool_size: self.limits.pool_size,
            spares_ready: self.spares.ready.len(),
            spares_starting: self.spares.starting.len(),
            spare_back_off: self.spares.backoff.until(now).map(|until| until - now),
            waiting: self.tickets.len(),
            shutting_down: self.shutdown.is_some(),
        }
    }
}

fn view(id: WorkerId, worker: &Worker) -> WorkerView {
    WorkerView {
        id,
        version: worker.version,
        state: worker.state,
        draining: !worker.stays(),
        connected: worker.connected,
        in_flight: worker.in_flight,
        awaiting: worker.awaiting,
        served: worker.served,
        started: worker.spawned,
        last_used: worker.last_used,
    }
}

/// What only the simulation asks.
#[cfg(test)]
impl Core {
    pub(super) fn reason_to_go(&self, id: WorkerId) -> Option<super::Reason> {
        use super::worker::Course;
        match self.workers.get(&id)?.course {
            Course::Serve | Course::Replace { .. } => None,
            Course::Drain { reason, .. } | Course::Terminate { reason, .. } | Course::Kill { reason } => {
                Some(reason)
            }
        }
    }

    pub(super) fn heir_of(&self, key: VersionKey) -> Option<VersionKey> {
        match self.versions.get(&key)?.fate {
            super::version::Fate::Replaced(heir) => Some(heir),
            _ => None,
        }
    }
}
