//! Those who want a version to have a worker that is Ready, and nothing of that worker: a deploy proves what it put there.

use super::types::{Action, Now, Refusal, Ticket};
use super::version::Fate;
use super::{Core, Turn, broken};
use crate::model::VersionKey;

#[derive(Clone, Copy, Debug)]
pub(super) struct Starter {
    pub ticket: Ticket,
    /// A start may take its own time and that of the queue.
    pub deadline: Now,
}

impl Core {
    pub(super) fn start_one(&mut self, key: VersionKey, ticket: Ticket, turn: &mut Turn<'_>) {
        if self.shutdown.is_some() {
            return turn.actions.push(Action::NotStarted { ticket, why: Refusal::ShuttingDown });
        }
        let loaded = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.version == Some(key) && worker.stays() && !worker.is_creating())
            .max_by_key(|(id, worker)| (worker.last_used, **id))
            .map(|(id, _)| *id);
        let Some(version) = self.versions.get_mut(&key).filter(|version| version.fate == Fate::Current)
        else {
            return turn.actions.push(Action::NotStarted { ticket, why: Refusal::Gone });
        };
        if let Some(worker) = loaded {
            return turn.actions.push(Action::Started { ticket, worker });
        }
        let bound = version.policy.start_timeout.saturating_add(version.policy.queue_timeout);
        version.starters.push(Starter { ticket, deadline: turn.now.saturating_add(bound) });
        self.starters.insert(ticket, key);
        self.mark(key);
    }

    /// Whoever wanted this has gone.
    pub(super) fn abandon_start(&mut self, ticket: Ticket) {
        let Some(key) = self.starters.remove(&ticket) else { return };
        if let Some(version) = self.versions.get_mut(&key) {
            version.starters.retain(|starter| starter.ticket != ticket);
        }
        self.mark(key);
    }

    /// A worker of the version is Ready.
    pub(super) fn tell_starters(
        &mut self,
        key: VersionKey,
        worker: crate::model::WorkerId,
        turn: &mut Turn<'_>,
    ) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        for Starter { ticket, .. } in version.starters.drain(..) {
            self.starters.remove(&ticket);
            turn.actions.push(Action::Started { ticket, worker });
        }
    }

    pub(super) fn refuse_starters(&mut self, key: VersionKey, why: Refusal, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        for Starter { ticket, .. } in version.starters.drain(..) {
            self.starters.remove(&ticket);
            turn.actions.push(Action::NotStarted { ticket, why });
        }
    }

    /// Refuses those whose time is over, and all where nothing is started for a while.
    pub(super) fn expire_starters(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        if version.starters.is_empty() {
            return;
        }
        if let Some(why) = version.backoff.refusal(turn.now)
            && !version.is_live()
        {
            return self.refuse_starters(key, why, turn);
        }
        let why = if version.coming > 0 { Refusal::StartTimeout } else { Refusal::QueueTimeout };
        let late = version.starters.iter().take_while(|starter| starter.deadline <= turn.now).count();
        if broken!(self, NeverExpiresStarters) {
            return;
        }
        // In the order in which they came, which is that of their deadlines.
        for Starter { ticket, .. } in version.starters.drain(..late) {
            self.starters.remove(&ticket);
            turn.actions.push(Action::NotStarted { ticket, why });
        }
    }
}
