//! When the watcher looks at what. Pure; the caller brings the time.

use super::scan::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// All is looked at this often even if nothing was heard: notifications can be lost.
pub(super) const RESCAN: Duration = Duration::from_secs(60);
/// Events that come together are looked at together.
const GATHER: Duration = Duration::from_millis(20);

pub(super) struct Agenda {
    all_at: Duration,
    entries: BTreeMap<PathBuf, Duration>,
}

impl Agenda {
    /// After a pass over everything at `now`.
    pub fn new(now: Duration) -> Agenda {
        Agenda { all_at: now + RESCAN, entries: BTreeMap::new() }
    }

    /// Something happened in `scope`.
    pub fn touch(&mut self, scope: Scope, now: Duration) {
        match scope {
            Scope::All => self.all_at = self.all_at.min(now + GATHER),
            Scope::Only(entries) => entries.into_iter().for_each(|entry| self.look_at(entry, now + GATHER)),
        }
    }

    /// An entry is to be looked at, at `due` or earlier.
    pub fn look_at(&mut self, entry: PathBuf, due: Duration) {
        self.entries.entry(entry).and_modify(|at| *at = due.min(*at)).or_insert(due);
    }

    /// When there is something to do.
    pub fn next(&self) -> Duration {
        self.entries.values().copied().fold(self.all_at, Duration::min)
    }

    /// What is to be looked at now; it leaves the agenda.
    pub fn take_due(&mut self, now: Duration) -> Option<Scope> {
        if self.all_at <= now {
            *self = Agenda::new(now);
            return Some(Scope::All);
        }
        let due: BTreeSet<_> =
            self.entries.extract_if(.., |_, at| *at <= now).map(|(entry, _)| entry).collect();
        (!due.is_empty()).then_some(Scope::Only(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn only(paths: &[&str]) -> Scope {
        Scope::Only(paths.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn events_that_come_together_are_one_look() {
        let mut agenda = Agenda::new(Duration::ZERO);
        agenda.touch(only(&["/w/a"]), 100 * MS);
        agenda.touch(only(&["/w/a"]), 110 * MS);
        agenda.touch(only(&["/w/b"]), 100 * MS);
        assert_eq!(agenda.next(), 120 * MS);
        assert_eq!(agenda.take_due(119 * MS), None);
        assert_eq!(agenda.take_due(120 * MS), Some(only(&["/w/a", "/w/b"])));
        assert_eq!(agenda.take_due(120 * MS), None);
        assert_eq!(agenda.next(), RESCAN);
    }

    #[test]
    fn an_entry_is_looked_at_when_it_is_due_and_others_wait() {
        let mut agenda = Agenda::new(Duration::ZERO);
        agenda.look_at("/w/a".into(), 600 * MS);
        agenda.look_at("/w/b".into(), 700 * MS);
        agenda.touch(only(&["/w/b"]), 100 * MS);
        assert_eq!(agenda.take_due(120 * MS), Some(only(&["/w/b"])));
        assert_eq!(agenda.next(), 600 * MS);
    }

    #[test]
    fn all_is_looked_at_each_minute_and_when_events_were_lost() {
        let mut agenda = Agenda::new(Duration::ZERO);
        agenda.touch(only(&["/w/a"]), RESCAN - 5 * MS);
        assert_eq!(agenda.take_due(RESCAN), Some(Scope::All));
        assert_eq!(agenda.next(), RESCAN * 2, "the entry was part of all");
        agenda.touch(Scope::All, RESCAN + 1000 * MS);
        assert_eq!(agenda.take_due(RESCAN + 1020 * MS), Some(Scope::All));
        assert_eq!(agenda.next(), RESCAN * 2 + 1020 * MS);
    }
}
