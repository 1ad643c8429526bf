//! When a change on disk counts: once two looks, the quiet time apart or more, saw the same. Pure; the caller brings
//! the time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a tree must not change before it counts, where nobody waits for it: it may be on its way here.
pub const QUIET: Duration = Duration::from_millis(500);

/// Changes that were seen and do not count yet.
pub(super) struct Quiet {
    time: Duration,
    pending: HashMap<PathBuf, Pending>,
}

struct Pending {
    stamp: u64,
    since: Duration,
    /// The last look.
    seen: Duration,
}

impl Quiet {
    pub fn new(time: Duration) -> Quiet {
        Quiet { time, pending: HashMap::new() }
    }

    /// A look at `path` at `now` found a change, with this stamp of the tree. Ok = it counts now; else when to look
    /// again. `now` is time since some fixed moment.
    pub fn settle(&mut self, path: &Path, stamp: u64, now: Duration) -> Result<(), Duration> {
        let pending = self.pending.entry(path.to_owned()).or_insert(Pending { stamp, since: now, seen: now });
        pending.seen = now;
        if pending.stamp != stamp {
            *pending = Pending { stamp, since: now, seen: now };
        }
        let due = pending.since + self.time;
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
        let mut quiet = Quiet::new(QUIET);
        let path = Path::new("/apps/shop");
        assert_eq!(quiet.settle(path, 1, 100 * MS), Err(600 * MS));
        assert_eq!(quiet.settle(path, 1, 599 * MS), Err(600 * MS));
        assert_eq!(quiet.settle(path, 1, 600 * MS), Ok(()));
        // It is a new change next time.
        assert_eq!(quiet.settle(path, 1, 700 * MS), Err(1200 * MS));
    }

    #[test]
    fn each_further_change_begins_the_quiet_time_anew() {
        let mut quiet = Quiet::new(QUIET);
        let path = Path::new("/apps/shop");
        for step in 0..10u32 {
            let now = 400 * MS * step;
            assert_eq!(quiet.settle(path, u64::from(step), now), Err(now + QUIET));
        }
        assert_eq!(quiet.settle(path, 9, 4100 * MS), Ok(()));
    }

    #[test]
    fn a_change_that_was_undone_is_forgotten_and_trees_do_not_disturb_each_other() {
        let mut quiet = Quiet::new(QUIET);
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert!(quiet.settle(a, 1, Duration::ZERO).is_err());
        assert!(quiet.settle(b, 1, 300 * MS).is_err());
        quiet.forget(a);
        assert_eq!(quiet.settle(a, 1, 600 * MS), Err(1100 * MS));
        assert_eq!(quiet.settle(b, 1, 800 * MS), Ok(()));
    }

    #[test]
    fn what_came_and_went_before_it_counted_takes_no_room() {
        let mut quiet = Quiet::new(QUIET);
        assert!(quiet.settle(Path::new("/a"), 1, 100 * MS).is_err());
        assert!(quiet.settle(Path::new("/b"), 1, 200 * MS).is_err());
        quiet.forget_unseen(200 * MS);
        assert_eq!(quiet.pending.len(), 1);
        assert_eq!(quiet.settle(Path::new("/b"), 1, 700 * MS), Ok(()));
    }
}
