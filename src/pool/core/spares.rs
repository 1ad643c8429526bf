//! Pre-warmed workers that have no app yet.

use super::backoff::Backoff;
use super::timers::Subject;
use super::types::{Action, Now, Reason, Refusal, State};
use super::worker::Worker;
use super::{Core, Turn, broken};
use crate::model::WorkerId;
use std::collections::VecDeque;
use std::time::Duration;

/// A spare that was taken is replaced a little later: the start of a process takes a processor that the request which
/// took the spare needs right now.
const REFILL_DELAY: Duration = Duration::from_millis(20);
/// A spare of this age has started and warmed up, which it does when nothing has come for 60 ms.
const WARM: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Connected, the oldest first.
    pub ready: VecDeque<WorkerId>,
    pub starting: VecDeque<WorkerId>,
    /// Of spares that die before an app was loaded into one.
    pub backoff: Backoff,
    pub changed: bool,
    /// Not filled up before.
    refill: Option<Now>,
    pub armed: Option<Now>,
}

impl Spares {
    pub fn forget(&mut self, id: WorkerId) {
        self.ready.retain(|spare| *spare != id);
        self.starting.retain(|spare| *spare != id);
    }
}

impl Core {
    /// A spare for a version to have: of the connected ones that had time to warm up the youngest, whose memory the processor
    /// still knows, else the oldest; else the one that will be next.
    pub(super) fn take_spare(&mut self, now: Now) -> Option<WorkerId> {
        let is_warm = |id: &WorkerId| {
            self.workers.get(id).is_some_and(|spare| now.saturating_sub(spare.spawned) >= WARM)
        };
        let youngest = self.spares.ready.iter().rposition(is_warm).unwrap_or(0);
        let id = self.spares.ready.remove(youngest).or_else(|| self.spares.starting.pop_front())?;
        self.spares.refill.get_or_insert(now.saturating_add(REFILL_DELAY));
        self.spares.changed = true;
        Some(id)
    }

    /// Starts what is missing.
    pub(super) fn fill_spares(&mut self, turn: &mut Turn<'_>) {
        self.spares.changed = false;
        if self.shutdown.is_some() {
            return;
        }
        let wait = [self.spares.backoff.until(turn.now), self.spares.refill.filter(|at| *at > turn.now)];
        if let Some(until) = wait.into_iter().flatten().max() {
            self.arm_spares(until);
            return;
        }
        self.spares.refill = None;
        let missing = self.limits.spares.saturating_sub(self.spares.ready.len() + self.spares.starting.len());
        let may_start = self.limits.spare_starts.max(1).saturating_sub(self.spares.starting.len());
        let starts = if broken!(self, HoardsSpares) { may_start } else { missing.min(may_start) };
        for _ in 0..starts {
            let id = self.spawn(Worker::new(turn.now), Reason::Spare, turn);
            self.spares.starting.push_back(id);
            self.arm_worker(id, turn.now);
        }
    }

    /// A spare said hello.
    pub(super) fn spare_connected(&mut self, id: WorkerId) {
        self.spares.starting.retain(|spare| *spare != id);
        self.spares.ready.push_back(id);
        self.spares.changed = true;
    }

    /// A spare died or is about to.
    pub(super) fn spare_lost(&mut self, id: WorkerId, why: Refusal, now: Now) {
        self.spares.forget(id);
        match why {
            Refusal::Starved(_) => self.spares.backoff.starve(now),
            _ => self.spares.backoff.crash(now),
        }
        self.spares.changed = true;
    }

    pub(super) fn arm_spares(&mut self, at: Now) {
        self.timers.arm(&mut self.spares.armed, Subject::Spares, at);
    }

    /// Adds a worker and has its process started.
    pub(super) fn spawn(&mut self, worker: Worker, reason: Reason, turn: &mut Turn<'_>) -> WorkerId {
        self.last_worker += 1;
        let id = WorkerId(self.last_worker);
        let version = worker.version;
        self.workers.insert(id, worker);
        turn.actions.push(Action::Transition {
            worker: id,
            version,
            from: None,
            to: State::Creating,
            reason,
        });
        turn.actions.push(Action::Spawn { worker: id, version });
        self.compact_timers();
        id
    }
}
