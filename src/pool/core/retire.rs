//! How workers go: replaced, drained, told to end, killed, reaped.

use super::backoff::STARVED;
use super::types::{Action, Reason, Refusal, State};
use super::worker::Course;
use super::{Core, Turn, broken};
use crate::model::{VersionKey, WorkerId};
use std::time::Duration;

/// `onTerminate` may take 5s and SIGTERM is given 2s; after that it is SIGKILL. Whoever carries the actions out does
/// it by these numbers as well; here they make sure that no worker holds its place for ever.
pub(super) const TERMINATE_GRACE: Duration = Duration::from_secs(7);
/// The same where a plugin's `onShutdown` may take 10s.
pub(super) const PINNED_GRACE: Duration = Duration::from_secs(12);

/// A worker that loads and is no longer wanted may be Ready at this very moment, and have handed its app what was sent ahead.
/// If it is not so soon, that request is better made again elsewhere.
const READY_GRACE: Duration = Duration::from_secs(1);

impl Core {
    /// It has served its number. It goes when another one is Ready; but one that is far over goes at once, unless the machine had
    /// nothing left for another one.
    pub(super) fn reached_limit(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        if self.shutdown.is_some() {
            // There will be no other one for those who still wait.
        } else if worker.served >= worker.limit.saturating_mul(2)
            && self.kept_by_shortage(id, turn.now).is_none()
        {
            self.drain(id, Reason::MaxRequests, turn);
        } else {
            self.replace(id, Reason::MaxRequests, turn);
        }
    }

    pub(super) fn memory(&mut self, id: WorkerId, pss: u64, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let Some(version) = worker.version.and_then(|key| self.versions.get(&key)) else { return };
        if version.policy.max_memory.is_none_or(|limit| pss <= limit) || worker.is_creating() {
            return;
        }
        if worker.state == State::Idle && !version.policy.pinned {
            // Nobody misses it.
            self.drain(id, Reason::Memory, turn);
        } else if !worker.ephemeral {
            self.replace(id, Reason::Memory, turn);
        }
    }

    /// Has another worker started, and this one drained when that one is Ready.
    pub(super) fn replace(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(key) = worker.version else { return };
        let Some(version) = self.versions.get_mut(&key) else { return };
        if worker.course != Course::Serve {
            return;
        }
        let by = turn.now.saturating_add(version.policy.start_timeout);
        worker.course = Course::Replace { reason, by };
        version.outgoing += 1;
        self.arm_worker(id, turn.now);
        self.mark(key);
    }

    /// A worker of this version has just become Ready: the one that has waited longest for that may go.
    pub(super) fn drain_replaced(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let oldest = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.version == Some(key))
            .filter_map(|(id, worker)| match worker.course {
                Course::Replace { reason, by } => Some((by, *id, reason)),
                _ => None,
            })
            .min_by_key(|(by, id, _)| (*by, *id));
        if let Some((_, id, reason)) = oldest {
            self.drain(id, reason, turn);
        }
    }

    /// Gives it no more requests and ends it when nothing is in flight.
    pub(super) fn drain(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        if !worker.stays() {
            return;
        }
        if worker.in_flight == 0 {
            return self.terminate(id, reason, turn);
        }
        self.withdraw(id);
        self.drain_within(id, reason, turn);
    }

    /// Gives it the time it may still take for what is in flight.
    pub(super) fn drain_within(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let policy = worker.version.and_then(|key| self.versions.get(&key)).map(|version| &version.policy);
        let within = match (&self.shutdown, policy) {
            (Some(shutdown), _) => shutdown.deadline.saturating_sub(turn.now),
            (None, Some(policy)) if worker.is_creating() => policy.drain_timeout.min(READY_GRACE),
            (None, policy) => policy.map_or(Duration::ZERO, |policy| policy.drain_timeout),
        };
        let within = if broken!(self, DrainsForEver) { Duration::MAX } else { within };
        worker.course = Course::Drain { reason, by: turn.now.saturating_add(within) };
        self.arm_worker(id, turn.now);
    }

    pub(super) fn terminate(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        self.withdraw(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.is_ending() {
            return;
        }
        let policy = worker.version.and_then(|key| self.versions.get(&key)).map(|version| &version.policy);
        let pinned = policy.is_some_and(|policy| policy.pinned);
        let grace = if pinned { PINNED_GRACE } else { TERMINATE_GRACE };
        worker.course = Course::Terminate { reason, by: turn.now.saturating_add(grace) };
        self.room.leaving += usize::from(worker.version.is_some());
        turn.actions.push(Action::Terminate { worker: id, reason });
        self.arm_worker(id, turn.now);
    }

    pub(super) fn kill(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        self.give_up(id, reason);
        turn.actions.push(Action::Kill { worker: id, reason });
    }

    /// Nothing but its exit is awaited any more.
    pub(super) fn give_up(&mut self, id: WorkerId, reason: Reason) {
        self.withdraw(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !worker.is_ending() {
            self.room.leaving += usize::from(worker.version.is_some());
        }
        worker.course = Course::Kill { reason };
    }

    /// From now on it takes no request and counts no more for its version. The one place where that happens, so
    /// that nothing can choose it afterwards.
    fn withdraw(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(key) = worker.version else { return self.spares.forget(id) };
        let Some(version) = self.versions.get_mut(&key) else { return };
        if !worker.stays() {
            return;
        }
        if worker.is_creating() {
            version.coming -= 1;
            version.sent_ahead -= u32::from(worker.sent_ahead);
        } else {
            version.serving -= 1;
        }
        if matches!(worker.course, Course::Replace { .. }) {
            version.outgoing -= 1;
        }
        if worker.open {
            worker.open = false;
            version.open.retain(|open| *open != id);
        }
        self.mark(key);
    }

    /// Its process is no more. `starved` = it could not be made what it was to be, for want of what the machine has too little of.
    pub(super) fn exited(&mut self, id: WorkerId, starved: bool, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (version, creating, staying) = (worker.version, worker.is_creating(), worker.stays());
        let from_spare = worker.from_spare;
        let reason = match worker.course {
            Course::Terminate { reason, .. } | Course::Kill { reason } => reason,
            _ if starved && creating => Reason::Starved,
            _ if creating && version.is_some() => Reason::StartFailed,
            _ => Reason::Crash,
        };
        if version.is_some() {
            self.room.pooled -= 1;
            self.room.leaving -= usize::from(worker.is_ending());
            self.room.changed = true;
        }
        self.withdraw(id);
        self.transition(id, State::Terminated, reason, turn);
        if let Some(key) = version {
            if let Some(version) = self.versions.get_mut(&key) {
                version.workers -= 1;
            }
            self.mark(key);
        }
        match version {
            _ if staying && creating && starved => {
                self.lost(id, version, creating, Refusal::Starved(STARVED), turn);
            }
            Some(key) if staying && creating && from_spare => self.lost_spare_start(key),
            _ if staying => self.lost(id, version, creating, Refusal::StartFailed, turn),
            _ => {}
        }
        self.workers.remove(&id);
    }

    /// Changes its state and says so.
    pub(super) fn transition(&mut self, id: WorkerId, to: State, reason: Reason, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let from = Some(worker.state);
        worker.state = to;
        turn.actions.push(Action::Transition { worker: id, version: worker.version, from, to, reason });
    }

    /// All workers of a version, or all there are, in the order of their ids.
    pub(super) fn worker_ids(&self, version: Option<VersionKey>) -> Vec<WorkerId> {
        let mut ids: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| version.is_none() || worker.version == version)
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Its idle timeout or its lifetime may be over.
    pub(super) fn check_rest(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(version) = worker.version.and_then(|key| self.versions.get(&key)) else { return };
        let rested = turn.now.saturating_sub(worker.last_used);
        let policy = &version.policy;
        if rested >= policy.ttl && !policy.ephemeral && version.steady() > policy.min {
            let last = version.serving == 1;
            self.drain(id, if last { Reason::Ttl } else { Reason::ScaleDown }, turn);
        } else if rested >= policy.idle_timeout && policy.ephemeral {
            // It was started for a request that did not wait for it.
            self.drain(id, Reason::Ttl, turn);
        } else if rested >= policy.idle_timeout && worker.state != State::Idle {
            self.transition(id, State::Idle, Reason::Idle, turn);
            turn.actions.push(Action::IdleHook { worker: id });
        }
    }
}
