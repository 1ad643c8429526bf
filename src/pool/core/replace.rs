//! Versions come, prove themselves, take over from others and go.

use super::types::{Action, Policy, Reason, Refusal};
use super::version::{Fate, Version};
use super::{Core, Turn, broken};
use crate::model::VersionKey;

impl Core {
    pub(super) fn add_version(&mut self, key: VersionKey, policy: Policy) {
        self.versions.entry(key).or_insert_with(|| Version::new(policy));
        self.mark(key);
    }

    pub(super) fn prove(&mut self, key: VersionKey) {
        if let Some(version) = self.versions.get_mut(&key) {
            version.proving = !version.is_live();
            self.mark(key);
        }
    }

    /// What is told of its next start is told as of its first.
    pub(super) fn doubt(&mut self, key: VersionKey) {
        if let Some(version) = self.versions.get_mut(&key) {
            version.proven = false;
        }
    }

    pub(super) fn remove_version(&mut self, key: VersionKey, to: Option<VersionKey>, turn: &mut Turn<'_>) {
        let heir = to.and_then(|to| self.heir(key, to));
        let Some(version) = self.versions.get_mut(&key) else { return };
        if matches!(version.fate, Fate::Replaced(_) | Fate::Removed) {
            return;
        }
        let fate = version.fate;
        let mut going = std::mem::take(&mut version.predecessors);
        going.push(key);
        for key in &going {
            self.refuse_starters(*key, Refusal::Gone, turn);
        }
        if let Fate::Pending(earlier) = fate {
            self.disinherit(earlier, key);
        }
        let Some(heir) = heir else {
            for key in going {
                self.retire_version(key, Fate::Removed, turn);
            }
            return;
        };
        let mut live = false;
        for key in &going {
            if let Some(version) = self.versions.get_mut(key) {
                version.fate = Fate::Pending(heir);
                live |= version.is_live();
            }
            self.mark(*key);
        }
        let Some(version) = self.versions.get_mut(&heir) else { return };
        version.predecessors.extend(going);
        if version.serving > 0 || broken!(self, LeavesGap) {
            self.take_over(heir, turn);
        } else {
            version.proving |= live && !version.is_live();
        }
        self.mark(heir);
    }

    /// The version that is in the end to take over from `key` if `to` is. If `to` itself waits for `key` to take
    /// over from it, it no longer does: the two change places.
    fn heir(&mut self, key: VersionKey, to: VersionKey) -> Option<VersionKey> {
        let mut heir = to;
        loop {
            match self.versions.get(&heir)?.fate {
                Fate::Current => return (heir != key).then_some(heir),
                Fate::Pending(next) if next == key => {
                    self.disinherit(key, heir);
                    self.versions.get_mut(&heir)?.fate = Fate::Current;
                    return Some(heir);
                }
                Fate::Replaced(next) if next == key => return None,
                Fate::Pending(next) | Fate::Replaced(next) => heir = next,
                Fate::Removed => return None,
            }
        }
    }

    /// `heir` will not take over from `key`.
    fn disinherit(&mut self, heir: VersionKey, key: VersionKey) {
        if let Some(version) = self.versions.get_mut(&heir) {
            version.predecessors.retain(|predecessor| *predecessor != key);
        }
    }

    /// A worker of `heir` is Ready: the versions that waited for that go.
    pub(super) fn take_over(&mut self, heir: VersionKey, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&heir) else { return };
        for key in std::mem::take(&mut version.predecessors) {
            self.retire_version(key, Fate::Replaced(heir), turn);
        }
    }

    /// `heir` failed to start: the versions that waited for it stay.
    pub(super) fn keep_predecessors(&mut self, heir: VersionKey) {
        let Some(version) = self.versions.get_mut(&heir) else { return };
        for key in std::mem::take(&mut version.predecessors) {
            if let Some(version) = self.versions.get_mut(&key) {
                version.fate = Fate::Current;
            }
            self.mark(key);
        }
    }

    fn retire_version(&mut self, key: VersionKey, fate: Fate, turn: &mut Turn<'_>) {
        let Some(version) = self.versions.get_mut(&key) else { return };
        version.fate = fate;
        version.proving = false;
        let reason = match fate {
            Fate::Replaced(heir) => {
                self.move_waiting(key, heir);
                Reason::Deploy
            }
            _ => {
                self.refuse_first(key, usize::MAX, Refusal::Gone, turn);
                Reason::Removed
            }
        };
        for id in self.worker_ids(Some(key)) {
            self.drain(id, reason, turn);
        }
        self.mark(key);
    }

    /// A version that waits to be replaced and has no worker left does not start one for those who wait.
    pub(super) fn pass_on(&mut self, key: VersionKey) {
        if let Some(version) = self.versions.get(&key)
            && let Fate::Pending(heir) = version.fate
            && !version.is_live()
            && !version.waiting.is_empty()
        {
            self.move_waiting(key, heir);
        }
    }

    /// Drops a version that has gone and has no worker left.
    pub(super) fn forget(&mut self, key: VersionKey, turn: &mut Turn<'_>) {
        if let Some(version) = self.versions.get(&key)
            && matches!(version.fate, Fate::Replaced(_) | Fate::Removed)
            && version.workers == 0
        {
            self.versions.remove(&key);
            turn.actions.push(Action::Forgotten { version: key });
        }
    }
}
