//! What the operator asks of workers that are there: replace them, end them, let those of a version go.

use super::types::Reason;
use super::version::Fate;
use super::worker::Course;
use super::{Core, Turn, broken};
use crate::model::{VersionKey, WorkerId};

impl Core {
    /// The workers that a restart of the version replaces. One that is starting is as new as the one in its place would be,
    /// and an ephemeral one ends by itself.
    pub fn to_restart(&self, key: VersionKey) -> Vec<WorkerId> {
        if self.shutdown.is_some() {
            return Vec::new();
        }
        let mut ids = self.worker_ids(Some(key));
        ids.retain(|id| {
            self.workers
                .get(id)
                .is_some_and(|worker| worker.stays() && !worker.is_creating() && !worker.ephemeral)
        });
        ids
    }

    /// The workers that go when the version is retired: all but as many as `min` asks for, and but those that start for
    /// somebody who waits.
    pub fn to_retire(&self, key: VersionKey) -> Vec<WorkerId> {
        let Some(version) = self.versions.get(&key) else { return Vec::new() };
        let wanted = version.proving || !version.starters.is_empty() || !version.waiting.is_empty();
        let mut staying: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.version == Some(key) && worker.stays())
            .map(|(id, worker)| {
                // The best to keep first: loaded, not to be replaced, used last.
                let replaced = worker.course != Course::Serve;
                (worker.is_creating(), replaced, std::cmp::Reverse(worker.last_used), *id)
            })
            .collect();
        staying.sort_unstable();
        let kept = if broken!(self, RetiresMinimum) { 0 } else { version.policy.min as usize };
        staying
            .into_iter()
            .skip(kept)
            .filter(|(creating, ..)| !(*creating && wanted))
            .map(|(.., id)| id)
            .collect()
    }

    pub(super) fn restart(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        for id in self.to_restart(key) {
            if broken!(self, RestartsAtOnce) {
                self.drain(id, Reason::Restart, turn);
            } else {
                self.replace(id, Reason::Restart, turn);
            }
        }
    }

    pub(super) fn restart_worker(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        match self.workers.get(&id).map(|worker| worker.version) {
            Some(Some(key)) if self.to_restart(key).contains(&id) => self.replace(id, Reason::Restart, turn),
            Some(None) => self.end_spare(id, Reason::Restart, turn),
            _ => {}
        }
    }

    pub(super) fn terminate_worker(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        match self.workers.get(&id).map(|worker| worker.version) {
            Some(Some(_)) => self.drain(id, Reason::Operator, turn),
            Some(None) => self.end_spare(id, Reason::Operator, turn),
            None => {}
        }
    }

    pub(super) fn retire(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        for id in self.to_retire(key) {
            self.drain(id, Reason::Retired, turn);
        }
    }

    pub(super) fn hold(&mut self, key: VersionKey, held: bool) {
        if let Some(version) = self.versions.get_mut(&key) {
            version.held = held && !broken!(self, StartsHeld);
        }
        self.mark(key);
    }

    /// Whether a worker of the version may be reading its files to load them, also one that is to end.
    pub fn is_loading(&self, key: VersionKey) -> bool {
        self.workers.values().any(|worker| worker.version == Some(key) && worker.is_creating())
    }

    fn end_spare(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        self.terminate(id, reason, turn);
        self.spares.changed = true;
    }

    /// A worker that was to be restarted has waited for its successor for a start timeout. It goes on waiting while one is on
    /// its way; but where the pool has no room for two, it makes room itself, and requests wait for the new one.
    pub(super) fn overdue_restart(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(version) = worker.version.and_then(|key| self.versions.get_mut(&key)) else { return };
        if self.shutdown.is_some() {
            worker.course = Course::Serve;
            version.outgoing -= 1;
            return;
        }
        let held_up =
            version.fate != Fate::Current || version.held || version.backoff.until(turn.now).is_some();
        if version.coming > 0 || held_up {
            let by = turn.now.saturating_add(version.policy.start_timeout);
            worker.course = Course::Replace { reason: Reason::Restart, by };
            return;
        }
        self.drain(id, Reason::Restart, turn);
    }

    /// A worker of the version failed to start. If it was to take the place of one that is restarted, that one stays.
    pub(super) fn call_off_restart(&mut self, key: VersionKey) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        if version.coming >= version.outgoing {
            return;
        }
        // The one that is nearest to its turn keeps it.
        let last = self
            .workers
            .iter_mut()
            .filter(|(_, worker)| worker.version == Some(key))
            .filter_map(|(id, worker)| match worker.course {
                Course::Replace { reason: Reason::Restart, by } => Some(((by, *id), worker)),
                _ => None,
            })
            .max_by_key(|(turn, _)| *turn);
        if let Some((_, worker)) = last {
            worker.course = Course::Serve;
            version.outgoing -= 1;
        }
    }
}
