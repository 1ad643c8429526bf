//! When a change on disk counts: once two looks, the quiet time apart or more, saw the same. Pure; the caller brings
//! the time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a tree must not change before it counts, where nobody waits for it: it may be on its way here.
pub const QUIET: Duration = Duration::from_millis(500);

/// When a change counts at the latest where somebody waits for it, although more of them follow: something may write there all the
/// time.
pub(super) const LATEST: Duration = Duration::from_secs(2);

/// Changes that were seen and do not count yet.
pub(super) struct Quiet {
    time: Duration,
    latest: Option<Duration>,
    pending: HashMap<PathBuf, Pending>,
}

struct Pending {
    stamp: u64,
    /// The first change.
    first: Duration,
    /// The last one.
    since: Duration,
    /// The last look.
    seen: Duration,
}

impl Quiet {
    /// `latest`: how long a change waits for quiet; none = for as long as it takes.
    pub fn new(time: Duration, latest: Option<Duration>) -> Quiet {
        Quiet { time, latest, pending: HashMap::new() }
    }

    /// A look at `path` at `now` found a change, with this stamp of the tree. Ok = it counts now; else when to look
    /// again. `now` is time since some fixed moment.
    pub fn settle(&mut self, path: &Path, stamp: u64, now: Duration) -> Result<(), Duration> {
        let pending = self.pending.entry(path.to_owned()).or_insert(Pending {
            stamp,
            first: now,
            since: now,
            seen: now,
        });
        pending.seen = now;
        if pending.stamp != stamp {
            (pending.stamp, pending.since) = (stamp, now);
        }
        let quiet = pending.since + self.time;
        let due = self.latest.map_or(quiet, |latest| quiet.min(pending.first + latest));
        if now < due {
            return Err(due);
        }
        self.pending.remove(path);
        Ok(())
    }

    /// A look at `path` found no change (any more).
    pub fn forget(&mut self, path: &Path) {
        if !self.pending.is_empty() {
            self.pending.remove(path);
        }
    }

    /// After a look at everything at `now`: drops what was not come by, for it is gone for good.
    pub fn forget_unseen(&mut self, now: Duration) {
        self.pending.retain(|_, pending| pending.seen == now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_change_counts_after_the_quiet_time() {
        let mut quiet = Quiet::new(QUIET, None);
        let path = Path::new("/apps/shop");
        assert_eq!(quiet.settle(path, 1, 100 * MS), Err(600 * MS));
        assert_eq!(quiet.settle(path, 1, 599 * MS), Err(600 * MS));
        assert_eq!(quiet.settle(path, 1, 600 * MS), Ok(()));
        // It is a new change next time.
        assert_eq!(quiet.settle(path, 1, 700 * MS), Err(1200 * MS));
    }

    #[test]
    fn each_further_change_begins_the_quiet_time_anew() {
        let mut quiet = Quiet::new(QUIET, None);
        let path = Path::new("/apps/shop");
        for step in 0..10u32 {
            let now = 400 * MS * step;
            assert_eq!(quiet.settle(path, u64::from(step), now), Err(now + QUIET));
        }
        assert_eq!(quiet.settle(path, 9, 4100 * MS), Ok(()));
    }

    #[test]
    fn where_somebody_waits_a_change_counts_although_they_never_end() {
        let mut quiet = Quiet::new(QUIET, Some(LATEST));
        let path = Path::new("/apps/shop");
        let mut settles = |now| quiet.settle(path, u64::from(now), now * MS).is_ok();
        let counted: Vec<_> = (0..50).map(|step| step * 100).filter(|now| settles(*now)).collect();
        assert_eq!(counted, [2000, 4100]);
    }

    #[test]
    fn a_change_that_was_undone_is_forgotten_and_trees_do_not_disturb_each_other() {
        let mut quiet = Quiet::new(QUIET, None);
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert!(quiet.settle(a, 1, Duration::ZERO).is_err());
        assert!(quiet.settle(b, 1, 300 * MS).is_err());
        quiet.forget(a);
        assert_eq!(quiet.settle(a, 1, 600 * MS), Err(1100 * MS));
        assert_eq!(quiet.settle(b, 1, 800 * MS), Ok(()));
    }

    #[test]
    fn what_came_and_went_before_it_counted_takes_no_room() {
        let mut quiet = Quiet::new(QUIET, None);
        assert!(quiet.settle(Path::new("/a"), 1, 100 * MS).is_err());
        assert!(quiet.settle(Path::new("/b"), 1, 200 * MS).is_err());
        quiet.forget_unseen(200 * MS);
        assert_eq!(quiet.pending.len(), 1);
        assert_eq!(quiet.settle(Path::new("/b"), 1, 700 * MS), Ok(()));
    }
}
