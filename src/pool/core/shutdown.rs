//! The end: nothing new, what is in flight ends, then everything goes.

use super::timers::Subject;
use super::types::{Action, Now, Reason, Refusal};
use super::{Core, Turn};
use crate::model::VersionKey;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Shutdown {
    /// What has not ended by then is told to.
    pub deadline: Now,
    pub armed: Option<Now>,
    drained: bool,
}

impl Core {
    pub(super) fn shut_down(&mut self, within: Duration, turn: &mut Turn<'_>) {
        let deadline = turn.now.saturating_add(within);
        let shutdown = self.shutdown.get_or_insert(Shutdown { deadline, armed: None, drained: false });
        shutdown.deadline = shutdown.deadline.min(deadline);
        let deadline = shutdown.deadline;
        self.timers.arm(&mut shutdown.armed, Subject::Shutdown, deadline);
        for id in self.worker_ids(None) {
            let Some(worker) = self.workers.get(&id) else { continue };
            if worker.version.is_none() && worker.stays() {
                self.kill(id, Reason::Shutdown, turn);
            }
        }
        let mut keys: Vec<_> = self.versions.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.refuse_starters(key, Refusal::ShuttingDown, turn);
            self.mark(key);
        }
    }

    /// Requests that wait were accepted, so workers that can take them stay until there are none.
    pub(super) fn drain_unneeded(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get(&key) else { return };
        if !version.waiting.is_empty() || !version.is_live() {
            return;
        }
        for id in self.worker_ids(Some(key)) {
            self.drain(id, Reason::Shutdown, turn);
        }
    }

    pub(super) fn shutdown_is_due(&mut self, turn: &mut Turn<'_>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.armed = None;
        }
        for id in self.worker_ids(None) {
            self.terminate(id, Reason::Shutdown, turn);
        }
    }

    pub(super) fn finish_shutdown(&mut self, turn: &mut Turn<'_>) {
        if let Some(shutdown) = &mut self.shutdown
            && self.workers.is_empty()
            && !shutdown.drained
        {
            shutdown.drained = true;
            turn.actions.push(Action::Drained);
        }
    }
}
