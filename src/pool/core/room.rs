//! The pool's size: who may start a worker, who has to wait, and who is evicted for it.

use super::types::{Now, Reason};
use super::worker::Course;
use super::{Core, Turn, broken};
use crate::model::{VersionKey, WorkerId};
use std::collections::VecDeque;

/// Who goes first when there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody waits for it, or it is pinned.
    Foreground,
    /// Better to have it: `min`, replacements. Evicts nothing that `min` of another version keeps.
    Background,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    /// Versions that want a worker; each stands here once and goes to the back when it got one, so that a version
    /// with many waiting requests does not keep the others from getting any.
    foreground: VecDeque<VersionKey>,
    background: VecDeque<VersionKey>,
    /// Workers with a version that have not exited.
    pub pooled: usize,
    /// Those of them that were told to end: each will soon be room for one.
    pub leaving: usize,
    /// There may be something to start or to evict.
    pub changed: bool,
}

impl Room {
    fn queue(&mut self, class: Class) -> &mut VecDeque<VersionKey> {
        match class {
            Class::Foreground => &mut self.foreground,
            Class::Background => &mut self.background,
        }
    }

    fn len(&self) -> usize {
        self.foreground.len() + self.background.len()
    }

    pub fn is_wanted(&self) -> bool {
        self.len() > 0
    }

    /// Enough workers are leaving for all that wait in the foreground.
    pub fn is_coming(&self) -> bool {
        self.leaving >= self.foreground.len()
    }
}

impl Core {
    /// Queues a version for the worker it wants, or takes it out of the queue if it wants none any more.
    pub(super) fn ask_for_room(&mut self, key: VersionKey, now: Now) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        let class = version.wants(now).map(|reason| match reason {
            Reason::Request | Reason::Prove => Class::Foreground,
            _ if version.policy.pinned && !broken!(self, KeepsPinnedWaiting) => Class::Foreground,
            _ => Class::Background,
        });
        if class == version.queued {
            return;
        }
        if let Some(class) = version.queued {
            self.room.queue(class).retain(|queued| *queued != key);
        }
        if let Some(class) = class {
            self.room.queue(class).push_back(key);
        }
        version.queued = class;
        self.room.changed = true;
    }

    /// Starts what fits and evicts for what does not.
    pub(super) fn make_room(&mut self, turn: &mut Turn<'_>) {
        self.room.changed = false;
        if self.shutdown.is_some() {
            return;
        }
        while self.room.pooled < self.limits.pool_size || broken!(self, Overfills) {
            let Some(key) = self.room.foreground.pop_front().or_else(|| self.room.background.pop_front())
            else {
                return;
            };
            let Some(version) = self.versions.get_mut(&key) else { continue };
            version.queued = None;
            if let Some(reason) = version.wants(turn.now) {
                self.start(key, reason, turn);
                if broken!(self, StartsTwice) && self.room.pooled < self.limits.pool_size {
                    self.start(key, reason, turn);
                }
                self.ask_for_room(key, turn.now);
            }
        }
        while self.room.leaving < self.room.len() {
            let for_request = self.room.leaving < self.room.foreground.len();
            let Some(victim) = self.victim(for_request) else { break };
            self.terminate(victim, Reason::Evicted, turn);
        }
    }

    /// The least recently used worker with nothing in flight. One that its version's `min` keeps comes last, and
    /// only if a request or a pinned version needs the room; one of a pinned version never.
    fn victim(&self, for_request: bool) -> Option<WorkerId> {
        self.workers
            .iter()
            .filter(|(_, worker)| {
                worker.is_at_rest() || (broken!(self, EvictsBusy) && worker.stays() && !worker.is_creating())
            })
            .filter_map(|(id, worker)| {
                let version = self.versions.get(&worker.version?)?;
                if version.policy.pinned && !broken!(self, EvictsPinned) {
                    return None;
                }
                let kept = version.steady() <= version.policy.min && matches!(worker.course, Course::Serve);
                // It would make room for the very one that is to be Ready before it goes.
                let restarts = matches!(worker.course, Course::Replace { reason: Reason::Restart, .. });
                (for_request || !(kept || restarts)).then_some((kept, worker.last_used, *id))
            })
            .min()
            .map(|(_, _, id)| id)
    }
}
