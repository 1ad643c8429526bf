//! Whether the state directory can be written. What is served does not depend on it, so nobody may find out only by a change
//! that is refused.

use super::{Store, StoreError};
use crate::shortage::Shortage;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked at. Each change that is tried says it too.
const EVERY: Duration = Duration::from_secs(5);
/// One look of so many writes something.
const TRY_EVERY: u32 = 12;
/// How often it is said again while nothing changes.
const AGAIN: Duration = Duration::from_secs(60);
/// Bytes that are as good as none.
const NOTHING: u64 = 64 << 10;

/// What a change would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    Writable = 0,
    Full = 1,
    ReadOnly = 2,
}

/// The last that was found out.
#[derive(Debug, Default)]
pub(super) struct Last(AtomicU8);

impl Condition {
    /// As the health check says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Writable => "ok",
            Condition::Full => "the disk is full",
            Condition::ReadOnly => "the disk is read-only",
        }
    }

    fn of_disk(disk: &StatVfs, is_root: bool) -> Condition {
        // Some blocks are kept for root.
        let blocks = if is_root { disk.f_bfree } else { disk.f_bavail };
        let (files, free_files) = (disk.f_files, if is_root { disk.f_ffree } else { disk.f_favail });
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Condition::ReadOnly
        } else if blocks.saturating_mul(disk.f_frsize) < NOTHING || files > 0 && free_files == 0 {
            // Where a file system does not count its files, it says that it has none.
            Condition::Full
        } else {
            Condition::Writable
        }
    }
}

impl Last {
    pub fn set(&self, condition: Condition) {
        self.0.store(condition as u8, Ordering::Relaxed);
    }

    pub fn get(&self) -> Condition {
        match self.0.load(Ordering::Relaxed) {
            1 => Condition::Full,
            2 => Condition::ReadOnly,
            _ => Condition::Writable,
        }
    }
}

impl Store {
    /// As of a few seconds ago, or of the last change. Waits for nothing.
    pub fn condition(&self) -> Condition {
        self.last.get()
    }

    /// Looks at the disk, which may take as long as the disk does. With `trying` something is written, too: a disk that failed may
    /// be closed to writers without saying so.
    pub fn look(&self, trying: bool) -> Condition {
        let is_root = nix::unistd::geteuid().is_root();
        let mut found =
            statvfs(&self.dir).map_or(Condition::Writable, |disk| Condition::of_disk(&disk, is_root));
        if trying && found == Condition::Writable {
            found = self.try_out();
        }
        self.last.set(found);
        found
    }

    /// Writes to a file without a name.
    fn try_out(&self) -> Condition {
        let open = File::options().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(&self.dir);
        match open.and_then(|mut file| file.write_all(&[0])) {
            Ok(()) => Condition::Writable,
            Err(error) => match Shortage::of(&error) {
                Some(Shortage::Disk) => Condition::Full,
                Some(Shortage::ReadOnly) => Condition::ReadOnly,
                // There are file systems without such files.
                _ => Condition::Writable,
            },
        }
    }

    /// SQLite has one word for whatever the disk says; what it most likely was, and what it means for the next one.
    pub(super) fn judged(&self, error: StoreError) -> StoreError {
        let error = match error {
            StoreError::Other(other) if is_of_the_disk(&other) => match self.look(true) {
                Condition::Full => StoreError::Full,
                Condition::ReadOnly => StoreError::ReadOnly,
                Condition::Writable => StoreError::Other(other),
            },
            error => error,
        };
        match error {
            StoreError::Full => self.last.set(Condition::Full),
            StoreError::ReadOnly => self.last.set(Condition::ReadOnly),
            _ => {}
        }
        error
    }
}

fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | CannotOpen))
}

/// Looks for ever, and says what changes.
pub async fn watch(store: Arc<Store>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut said, mut at, mut looks) = (Condition::Writable, Instant::now(), 0);
    loop {
        every.tick().await;
        let before = store.condition();
        let looking = Arc::clone(&store);
        // The directory of a network that is gone is waited for on a thread of its own. The end of the process waits for that
        // thread too, but not for long.
        looks = (looks + 1) % TRY_EVERY;
        let trying = looks == 0 || before != Condition::Writable;
        let Ok(now) = tokio::task::spawn_blocking(move || looking.look(trying)).await else { return };
        // What a change has met since may be over already; it is worth saying all the same.
        let now = if now == Condition::Writable && said == now && before != now { before } else { now };
        if now == said && (now == Condition::Writable || at.elapsed() < AGAIN) {
            continue;
        }
        (said, at) = (now, Instant::now());
        let dir = store.dir.display();
        match now {
            Condition::Writable => tracing::info!(%dir, "the state directory can be written again"),
            Condition::Full => {
                tracing::error!(%dir, hint = "make room (`df -h`, `df -i`)", "the disk of the state directory is full: what is loaded is served, changes are refused");
            }
            Condition::ReadOnly => {
                tracing::error!(%dir, hint = "look at `dmesg`, and mount it writable again", "the state directory is read-only: what is loaded is served, changes are refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_judged_by_what_its_user_may_still_write() {
        let tmp = statvfs("/tmp").unwrap();
        let disk = |blocks, reserved, files, free_files, read_only| StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_bfree: blocks + reserved,
            f_bavail: blocks,
            f_files: files,
            f_ffree: free_files,
            f_favail: free_files,
            f_flag: if read_only { StatVfsMountFlags::RDONLY } else { StatVfsMountFlags::empty() },
            ..tmp
        };
        for (disk, root, user) in [
            (disk(100, 0, 10, 5, false), Condition::Writable, Condition::Writable),
            (disk(0, 100, 10, 5, false), Condition::Writable, Condition::Full),
            (disk(1, 0, 10, 5, false), Condition::Full, Condition::Full),
            (disk(100, 0, 10, 0, false), Condition::Full, Condition::Full),
            // btrfs counts no files.
            (disk(100, 0, 0, 0, false), Condition::Writable, Condition::Writable),
            (disk(100, 0, 10, 5, true), Condition::ReadOnly, Condition::ReadOnly),
        ] {
            assert_eq!([true, false].map(|is_root| Condition::of_disk(&disk, is_root)), [root, user]);
        }
    }
}
