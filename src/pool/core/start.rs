//! From the wish for a worker to one that is Ready, or failed.

use super::backoff;
use super::types::{Action, Now, Reason, Refusal, State};
use super::worker::{Course, Worker};
use super::{Core, Turn, broken};
use crate::model::mix::{mix, step};
use crate::model::{VersionKey, WorkerId};

impl Core {
    /// Starts a worker of a version: a spare if it may have one, else a fresh process.
    pub(super) fn start(&mut self, key: VersionKey, reason: Reason, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        version.coming += 1;
        version.workers += 1;
        self.room.pooled += 1;
        let policy = version.policy.clone();
        let distrusts = std::mem::take(&mut version.distrusts_spares);
        let limit = self.request_limit(policy.max_requests);
        let spare = if policy.fresh || distrusts { None } else { self.take_spare(turn.now) };
        let id = match spare {
            Some(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.join(key, &policy, limit, turn.now);
                    worker.from_spare = true;
                    if worker.connected {
                        self.assign(id, key, turn);
                    }
                }
                id
            }
            None => {
                let mut worker = Worker::new(turn.now);
                worker.join(key, &policy, limit, turn.now);
                self.spawn(worker, reason, turn)
            }
        };
        self.arm_worker(id, turn.now);
    }

    /// Gives a connected worker the app.
    fn assign(&mut self, id: WorkerId, key: VersionKey, turn: &mut Turn<'_>) {
        turn.actions.push(Action::Assign { worker: id, version: key });
        self.send_ahead(key, id, turn);
    }

    /// `max_requests`, up to a tenth more or less so that instances do not go together.
    fn request_limit(&mut self, max_requests: u64) -> u64 {
        if max_requests == 0 {
            return u64::MAX;
        }
        let tenth = max_requests / 10;
        self.jitter = step(self.jitter);
        max_requests - tenth + mix(self.jitter) % (2 * tenth + 1)
    }

    pub(super) fn connected(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.connected || !worker.stays() {
            return;
        }
        worker.connected = true;
        match worker.version {
            Some(version) => self.assign(id, version, turn),
            None => self.spare_connected(id),
        }
    }

    pub(super) fn ready(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(key) = worker.version else { return };
        if !worker.is_creating() || worker.is_ending() {
            return;
        }
        let (course, stays, from_spare) = (worker.course, worker.stays(), worker.from_spare);
        let sent_ahead = std::mem::take(&mut worker.sent_ahead);
        let (used, at_rest) = (worker.served > 0, worker.in_flight == 0);
        worker.last_used = turn.now;
        let lost = worker.lost;
        worker.open = stays && !lost && worker.has_room();
        let open = worker.open;
        self.transition(id, State::Ready, Reason::Loaded, turn);
        if used {
            self.transition(id, State::Active, Reason::Request, turn);
        }
        if from_spare {
            self.spares.backoff.success();
        }
        if let Course::Drain { reason, .. } = course {
            return match at_rest {
                true => self.terminate(id, reason, turn),
                false => self.drain_within(id, reason, turn),
            };
        }
        let Some(version) = self.versions.get_mut(&key) else { return };
        version.coming -= 1;
        version.sent_ahead -= u32::from(sent_ahead);
        version.serving += 1;
        if open {
            // In front: the others were used more recently, and it takes what they have no room for.
            version.open.insert(0, id);
        }
        version.proving = false;
        if !version.proven {
            version.proven = true;
            turn.actions.push(Action::Proven { version: key });
        }
        if version.outgoing > 0 && !lost {
            self.drain_replaced(key, turn);
        }
        self.take_over(key, turn);
        if lost {
            self.lost_link(id, turn);
        } else {
            self.tell_starters(key, id, turn);
            self.first_sent(id, turn);
        }
        self.mark(key);
    }

    pub(super) fn start_failed(&mut self, id: WorkerId, stale: bool, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let Some(key) = worker.version else { return };
        if !worker.is_creating() {
            return;
        }
        let stale = stale && worker.from_spare;
        match worker.course {
            Course::Serve | Course::Replace { .. } if stale => {
                self.terminate(id, Reason::StartFailed, turn);
                self.lost_spare_start(key);
            }
            Course::Serve | Course::Replace { .. } => {
                self.terminate(id, Reason::StartFailed, turn);
                self.lost_start(id, key, Refusal::StartFailed, turn);
            }
            // What was sent ahead to it is made again elsewhere.
            Course::Drain { reason, .. } => self.terminate(id, reason, turn),
            Course::Terminate { .. } | Course::Kill { .. } => {}
        }
    }

    /// What became of the request that was sent ahead to a worker that is now Ready, if there was one.
    fn first_sent(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let at_rest = worker.in_flight == 0;
        if at_rest && worker.ephemeral && worker.served > 0 {
            return self.terminate(id, Reason::Ephemeral, turn);
        }
        if worker.served >= worker.limit {
            self.reached_limit(id, turn);
        }
        if at_rest {
            self.came_to_rest(id, turn);
        }
    }

    /// A worker that was starting will not be Ready, and no longer counts as coming: who waited for it hears so.
    pub(super) fn lost_start(&mut self, id: WorkerId, key: VersionKey, why: Refusal, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        // Nothing was learnt about the version then: who waits is told, and it is tried again.
        let starved = matches!(why, Refusal::Starved(_));
        if starved {
            version.backoff.starve(turn.now);
        } else {
            version.backoff.crash(turn.now);
            version.proving = false;
            if !version.proven {
                turn.actions.push(Action::Unproven { version: key });
            }
        }
        let sent_ahead = self.workers.get(&id).is_some_and(|worker| worker.sent_ahead);
        let hears = version.policy.ephemeral || !version.is_live();
        if sent_ahead && hears && !broken!(self, ForgetsSent) {
            turn.actions.push(Action::RefuseSent { worker: id, why });
        }
        let refused = if broken!(self, ForgetsWaiters) {
            version.waiting.clear();
            0
        } else if version.policy.ephemeral {
            usize::from(!sent_ahead)
        } else if version.is_live() {
            // Another start is under way. Those whose time in the queue is over were kept for this one and do not
            // wait for yet another.
            version.waiting.iter().take_while(|waiter| waiter.deadline <= turn.now).count()
        } else {
            version.waiting.len()
        };
        let live = version.is_live();
        self.refuse_first(key, refused, why, turn);
        if !live {
            self.refuse_starters(key, why, turn);
        }
        self.call_off_restart(key);
        if !starved {
            self.keep_predecessors(key);
        }
        self.mark(key);
    }

    /// A spare died before the app it was given was loaded, or knew its surroundings as they were before. This says nothing of
    /// the app: it is tried once more, in a process of its own.
    pub(super) fn lost_spare_start(&mut self, key: VersionKey) {
        if let Some(version) = self.versions.get_mut(&key) {
            version.distrusts_spares = true;
        }
        self.mark(key);
    }

    /// A worker stopped speaking, or speaks nonsense.
    pub(super) fn broke(&mut self, id: WorkerId, reason: Reason, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        if matches!(worker.course, Course::Kill { .. }) {
            return;
        }
        let staying = worker.stays();
        let (version, creating) = (worker.version, worker.is_creating());
        self.kill(id, reason, turn);
        if staying {
            self.lost(id, version, creating, Refusal::StartFailed, turn);
        }
    }

    /// Its link has closed. One that is still starting is left to its exit, which tells more; it may yet turn out that it was
    /// Ready.
    pub(super) fn lost_link(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (version, creating, staying) = (worker.version, worker.is_creating(), worker.stays());
        worker.lost |= creating;
        if creating || worker.is_ending() {
            return;
        }
        self.give_up(id, Reason::Crash);
        if staying {
            self.lost(id, version, creating, Refusal::StartFailed, turn);
        }
    }

    /// A worker that was to stay is gone or will be in a moment, and not because we wished it.
    pub(super) fn lost(
        &mut self,
        id: WorkerId,
        version: Option<VersionKey>,
        creating: bool,
        why: Refusal,
        turn: &mut Turn<'_>,
    ) {
        match version {
            None => self.spare_lost(id, why, turn.now),
            Some(key) if creating => self.lost_start(id, key, why, turn),
            Some(key) => {
                let start = self.workers.get(&id).map_or(turn.now, |worker| worker.start);
                if let Some(version) = self.versions.get_mut(&key) {
                    // It may never have a request to succeed with, so it has succeeded who has lived for long.
                    if version.policy.pinned && turn.now.saturating_sub(start) > backoff::WINDOW {
                        version.backoff.success();
                    }
                    version.backoff.crash(turn.now);
                }
                self.mark(key);
            }
        }
    }

    /// Looks at a worker again when its next deadline comes.
    pub(super) fn arm_worker(&mut self, id: WorkerId, now: Now) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let policy = worker.version.and_then(|key| self.versions.get(&key)).map(|version| &version.policy);
        if let Some(at) = worker.deadline(policy, now) {
            self.timers.arm(&mut worker.armed, super::timers::Subject::Worker(id), at);
        }
    }
}
