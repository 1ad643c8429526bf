//! What happens because time has passed.

use super::timers::Subject;
use super::types::{Now, Reason, Refusal};
use super::worker::Course;
use super::{Core, Turn};
use crate::model::WorkerId;

impl Core {
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some((at, subject)) = self.timers.next() {
            let live = self.armed(subject) == Some(at);
            if live && at > turn.now {
                break;
            }
            self.timers.pop();
            if live {
                self.look_at(subject, turn);
            }
        }
    }

    fn look_at(&mut self, subject: Subject, turn: &mut Turn<'_>) {
        match subject {
            Subject::Worker(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.armed = None;
                }
                self.check_worker(id, turn);
                self.arm_worker(id, turn.now);
            }
            Subject::Version(key) => {
                if let Some(version) = self.versions.get_mut(&key) {
                    version.armed = None;
                }
                self.mark(key);
            }
            Subject::Spares => {
                self.spares.armed = None;
                self.spares.changed = true;
            }
            Subject::Shutdown => self.shutdown_is_due(turn),
        }
    }

    fn check_worker(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.course {
            Course::Kill { .. } => {}
            Course::Terminate { reason, by } => {
                if by <= turn.now {
                    self.kill(id, reason, turn);
                }
            }
            Course::Drain { reason, by } => {
                if by <= turn.now {
                    self.terminate(id, reason, turn);
                }
            }
            Course::Replace { reason: Reason::Restart, by } if by <= turn.now => {
                self.overdue_restart(id, turn);
            }
            Course::Replace { reason, by } if by <= turn.now => match self.kept_by_shortage(id, turn.now) {
                Some(by) => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        worker.course = Course::Replace { reason, by };
                    }
                }
                // No replacement became Ready in time; requests will wait for one if they must.
                None => self.drain(id, reason, turn),
            },
            Course::Serve | Course::Replace { .. } if worker.is_creating() => self.check_start(id, turn),
            Course::Serve | Course::Replace { .. } if worker.in_flight == 0 => self.check_rest(id, turn),
            Course::Serve | Course::Replace { .. } => {}
        }
    }

    /// Where the machine had nothing left for a successor, the worker is the one that there is: until when the next successor has
    /// its time to be Ready.
    pub(super) fn kept_by_shortage(&self, id: WorkerId, now: Now) -> Option<Now> {
        let version = self.workers.get(&id)?.version.and_then(|key| self.versions.get(&key))?;
        version.backoff.retried_until(version.policy.start_timeout, now)
    }

    fn check_start(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let version = worker.version;
        let policy = version.and_then(|key| self.versions.get(&key)).map(|version| &version.policy);
        if worker.deadline(policy, turn.now).is_some_and(|at| at <= turn.now) {
            self.kill(id, Reason::StartTimeout, turn);
            self.lost(id, version, true, Refusal::StartTimeout, turn);
        }
    }

    /// When the subject is to be looked at. An entry with another time is stale.
    fn armed(&self, subject: Subject) -> Option<Now> {
        match subject {
            Subject::Worker(id) => self.workers.get(&id)?.armed,
            Subject::Version(key) => self.versions.get(&key)?.armed,
            Subject::Spares => self.spares.armed,
            Subject::Shutdown => self.shutdown.as_ref()?.armed,
        }
    }

    /// Workers that come and go fast leave more stale entries than there are live ones: drops them now and then.
    pub(super) fn compact_timers(&mut self) {
        if self.timers.len() <= 64 + 4 * (self.workers.len() + self.versions.len()) {
            return;
        }
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|at, subject| self.armed(subject) == Some(at));
        self.timers = timers;
    }
}
