//! Requests that wait for a worker.

use super::timers::Subject;
use super::types::{Action, Now, Refusal, Ticket};
use super::version::{Fate, Version, Waiter};
use super::{Core, Turn, broken};
use crate::model::VersionKey;

impl Core {
    /// No worker has room: the request waits, unless there is nothing to wait for or no place to wait in.
    pub(super) fn enqueue(&mut self, key: VersionKey, ticket: Ticket, ahead: bool, turn: &mut Turn<'_>) {
        let Some(key) = self.follow(key) else {
            return turn.actions.push(Action::Refuse { ticket, why: Refusal::Gone });
        };
        let Some(version) = self.versions.get_mut(&key) else { return };
        let deadline = turn.now.saturating_add(version.policy.queue_timeout);
        // At the back, but for requests that moved here from a version with a longer timeout.
        let at = version.waiting.partition_point(|waiter| waiter.deadline <= deadline);
        version.waiting.insert(at, Waiter { ticket, deadline, ahead });
        self.tickets.insert(ticket, key);
        self.mark(key);
        // Whether a worker starts for it, now or after an eviction, decides whether there is a place to wait in.
        self.settle(turn);
        if !self.tickets.contains_key(&ticket) {
            return;
        }
        let Some(version) = self.versions.get(&key) else { return };
        if version.waiting.len() > capacity(version, self.room.is_coming()) {
            self.abandon(ticket);
            turn.actions.push(Action::Refuse { ticket, why: Refusal::QueueFull });
        }
    }

    /// The version that takes this version's requests at the moment.
    fn follow(&self, mut key: VersionKey) -> Option<VersionKey> {
        loop {
            let version = self.versions.get(&key)?;
            key = match version.fate {
                Fate::Current => return Some(key),
                Fate::Pending(_) if version.is_live() => return Some(key),
                Fate::Pending(to) | Fate::Replaced(to) => to,
                Fate::Removed => return None,
            };
        }
    }

    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let Some(key) = self.tickets.remove(&ticket) else { return };
        let Some(version) = self.versions.get_mut(&key) else { return };
        // Who has just come is near the back.
        if let Some(at) = version.waiting.iter().rposition(|waiter| waiter.ticket == ticket) {
            version.waiting.remove(at);
        }
        self.mark(key);
    }

    /// Refuses the first `count` that wait.
    pub(super) fn refuse_first(&mut self, key: VersionKey, count: usize, why: Refusal, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        let count = count.min(version.waiting.len());
        for Waiter { ticket, .. } in version.waiting.drain(..count) {
            self.tickets.remove(&ticket);
            turn.actions.push(Action::Refuse { ticket, why });
        }
    }

    /// Refuses those after the first `kept`.
    pub(super) fn refuse_rest(&mut self, key: VersionKey, kept: usize, why: Refusal, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        let kept = kept.min(version.waiting.len());
        for Waiter { ticket, .. } in version.waiting.drain(kept..) {
            self.tickets.remove(&ticket);
            turn.actions.push(Action::Refuse { ticket, why });
        }
    }

    /// Refuses those whose time in the queue is over. Requests that a starting worker is meant for wait for it.
    pub(super) fn expire(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        let from = version.covered().min(version.waiting.len());
        let late = version.waiting.range(from..).take_while(|waiter| waiter.deadline <= turn.now).count();
        if late == 0 || broken!(self, NeverExpires) {
            return;
        }
        for Waiter { ticket, .. } in version.waiting.drain(from..from + late) {
            self.tickets.remove(&ticket);
            turn.actions.push(Action::Refuse { ticket, why: Refusal::QueueTimeout });
        }
    }

    /// Refuses those for whom no worker is there or coming and none may be started.
    pub(super) fn refuse_hopeless(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get(&key) else { return };
        if version.waiting.is_empty() || !version.is_hopeless() {
            return;
        }
        let why = if self.shutdown.is_some() {
            Refusal::ShuttingDown
        } else if let Some(why) = version.backoff.refusal(turn.now) {
            why
        } else {
            return;
        };
        self.refuse_rest(key, version.covered(), why, turn);
    }

    /// Moves all that wait for `from` to `to`.
    pub(super) fn move_waiting(&mut self, from: VersionKey, to: VersionKey) {
        let Some(version) = self.versions.get_mut(&from) else { return };
        let moved = std::mem::take(&mut version.waiting);
        let Some(heir) = self.versions.get_mut(&to) else { return };
        for waiter in &moved {
            self.tickets.insert(waiter.ticket, to);
        }
        heir.waiting.extend(moved);
        heir.waiting.make_contiguous().sort_by_key(|waiter| waiter.deadline);
        self.mark(to);
    }

    /// Looks at a version again when its next deadline comes.
    pub(super) fn arm_version(&mut self, key: VersionKey, now: Now) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        let mut deadline = version.deadline(now);
        if broken!(self, NeverExpires) {
            deadline = version.backoff.until(now);
        }
        if broken!(self, NeverExpiresStarters) && !version.starters.is_empty() {
            deadline = None;
        }
        if let Some(at) = deadline {
            self.timers.arm(&mut version.armed, Subject::Version(key), at);
        }
    }
}

/// While a version is held, so many may wait at least: that is over in a moment.
const HELD_QUEUE: usize = 1000;

/// How many requests may wait: the queue, and as many as the workers that are starting will take. `room_is_coming`:
/// each version that waits for room will get it as soon as a worker has ended.
fn capacity(version: &Version, room_is_coming: bool) -> usize {
    let promised = version.queued == Some(super::room::Class::Foreground) && room_is_coming;
    let by_promise = if promised { version.policy.concurrency as usize } else { 0 };
    let queue =
        if version.held { version.policy.queue_size.max(HELD_QUEUE) } else { version.policy.queue_size };
    queue.saturating_add(version.covered()).saturating_add(by_promise)
}
