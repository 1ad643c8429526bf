//! The hot path: a request finds a worker, its head comes, it ends.
//!
//! A request on a worker with room costs two look-ups and no allocation, and marks nothing for `settle`.

use super::types::{Action, Reason, Refusal, State, Ticket};
use super::worker::Course;
use super::{Core, Turn, broken};
use crate::model::{VersionKey, WorkerId};

impl Core {
    /// Whether a worker of this version would take a request at once.
    pub fn has_room(&self, key: VersionKey) -> bool {
        self.versions.get(&key).is_some_and(|version| !version.open.is_empty())
    }

    pub(super) fn request(&mut self, key: VersionKey, ticket: Ticket, ahead: bool, turn: &mut Turn<'_>) {
        if self.shutdown.is_some() {
            return turn.actions.push(Action::Refuse { ticket, why: Refusal::ShuttingDown });
        }
        match self.versions.get(&key).and_then(|version| version.open.last()) {
            Some(worker) => self.dispatch(*worker, ticket, turn),
            None => self.enqueue(key, ticket, ahead, turn),
        }
    }

    /// Gives a request to the worker that stands last in its version's list of those with room.
    fn dispatch(&mut self, id: WorkerId, ticket: Ticket, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.state != State::Active {
            turn.actions.push(Action::Transition {
                worker: id,
                version: worker.version,
                from: Some(worker.state),
                to: State::Active,
                reason: Reason::Request,
            });
            worker.state = State::Active;
        }
        worker.take(turn.now);
        turn.actions.push(Action::Dispatch { ticket, worker: id });
        if !worker.has_room() && !broken!(self, IgnoresConcurrency) {
            worker.open = false;
            if let Some(version) = worker.version.and_then(|key| self.versions.get_mut(&key)) {
                version.open.pop();
            }
        }
        if worker.served >= worker.limit {
            self.reached_limit(id, turn);
        }
    }

    /// Gives waiting requests to workers with room, in the order in which they came.
    pub(super) fn feed(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        while let Some(version) = self.versions.get_mut(&key)
            && let Some(worker) = version.open.last().copied()
            && let Some(waiter) = version.waiting.pop_front()
        {
            self.tickets.remove(&waiter.ticket);
            self.dispatch(worker, waiter.ticket, turn);
        }
    }

    /// Has the first of those who wait follow the app to the worker that was started for it, so that no time passes
    /// between Ready and the request.
    pub(super) fn send_ahead(&mut self, key: VersionKey, id: WorkerId, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        if !version.may_send_ahead() && !broken!(self, SendsAheadAnyway) {
            return;
        }
        let Some(waiter) = version.waiting.pop_front_if(|waiter| waiter.ahead) else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        version.sent_ahead += 1;
        worker.sent_ahead = true;
        worker.take(turn.now);
        self.tickets.remove(&waiter.ticket);
        turn.actions.push(Action::SendAhead { ticket: waiter.ticket, worker: id });
    }

    /// The place of a request that was sent ahead is free again, unless it was the only one. Its client has gone, or its answer came
    /// before the word that the worker is Ready, which then finds nothing in flight.
    fn give_back(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.stays() && !worker.ephemeral)
        else {
            return;
        };
        let Some(version) = worker.version.and_then(|key| self.versions.get_mut(&key)) else { return };
        version.sent_ahead -= u32::from(std::mem::take(&mut worker.sent_ahead));
    }

    pub(super) fn head(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.awaiting = worker.awaiting.saturating_sub(1);
        if worker.is_creating() {
            self.give_back(id);
        } else {
            self.reopen(id);
        }
    }

    /// An exchange is over, its body included.
    pub(super) fn done(&mut self, id: WorkerId, head: bool, ok: bool, turn: &mut Turn<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(key) = worker.version else { return };
        if !(broken!(self, LeaksInFlight) && head) {
            worker.in_flight = worker.in_flight.saturating_sub(1);
        }
        if !head {
            worker.awaiting = worker.awaiting.saturating_sub(1);
        }
        worker.last_used = turn.now;
        let at_rest = worker.in_flight == 0;
        let (course, ephemeral, creating) = (worker.course, worker.ephemeral, worker.is_creating());
        if ok && self.versions.get_mut(&key).is_some_and(|version| version.backoff.success()) {
            // It may want a worker that it had to wait for.
            self.mark(key);
        }
        match course {
            // Its answer came before the word that it is Ready, with which it is ended as one that is.
            Course::Drain { .. } if creating && (head || ok) => {}
            Course::Drain { reason, .. } if at_rest => self.terminate(id, reason, turn),
            Course::Drain { .. } | Course::Terminate { .. } | Course::Kill { .. } => {}
            Course::Serve | Course::Replace { .. } if creating => self.give_back(id),
            Course::Serve | Course::Replace { .. } if ephemeral && !broken!(self, ReusesEphemeral) => {
                if at_rest {
                    self.terminate(id, Reason::Ephemeral, turn);
                }
            }
            Course::Serve | Course::Replace { .. } => {
                self.reopen(id);
                if at_rest {
                    self.came_to_rest(id, turn);
                }
                if self.shutdown.is_some() {
                    self.mark(key);
                }
            }
        }
    }

    /// A slot is free: the worker is among those with room again.
    fn reopen(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let may = worker.stays() || broken!(self, ChoosesDraining);
        let room = worker.has_room() || (broken!(self, ReusesEphemeral) && worker.in_flight == 0);
        if worker.open || !may || !room {
            return;
        }
        let Some(key) = worker.version else { return };
        let Some(version) = self.versions.get_mut(&key) else { return };
        worker.open = true;
        version.open.push(id);
        if !version.waiting.is_empty() {
            self.mark(key);
        }
    }

    /// Nothing is in flight on it: it may go idle, or be what somebody who wants room has waited for.
    pub(super) fn came_to_rest(&mut self, id: WorkerId, turn: &mut Turn<'_>) {
        self.arm_worker(id, turn.now);
        self.room.changed |= self.room.is_wanted() && !broken!(self, ForgetsRoom);
    }
}
