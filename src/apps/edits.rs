//! Tells that something in whole directories was edited: for what is no app, and yet read from files.

use super::disk::Disk;
use super::ignored::Ignored;
use super::notices::Notices;
use super::quiet::LATEST;
use super::tree::{self, View};
use super::watch::Watches;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Directories watched at most.
const MAX_WATCHES: usize = 2000;
/// All is looked at this often although nothing was heard.
const RESCAN: Duration = Duration::from_secs(60);

/// Dropping it ends its thread.
pub struct Edits {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

struct Owner<F> {
    dirs: Vec<PathBuf>,
    view: View,
    quiet: Duration,
    disk: Disk,
    watches: Watches,
    stamp: u64,
    tell: F,
}

impl Edits {
    /// Watches these directories, which need not be there, with all that is in them but `node_modules`, dot names and what is
    /// `ignored`. Directories that a link in one of them leads to count as in it. `tell` is called once nothing has changed for
    /// `quiet`, or after two seconds of changes.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(
        dirs: Vec<PathBuf>,
        ignored: Ignored,
        quiet: Duration,
        tell: impl FnMut() + Send + 'static,
    ) -> io::Result<Edits> {
        let (stopped, stop) = io::pipe()?;
        let disk = Disk::default();
        let mut owner = Owner {
            dirs,
            view: View::Source(ignored),
            quiet,
            watches: Watches::new(disk.clone()),
            disk,
            stamp: 0,
            tell,
        };
        owner.keep();
        owner.stamp = owner.look();
        let thread = std::thread::Builder::new().name("edits".into()).spawn(move || owner.run(&stopped))?;
        Ok(Edits { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Edits {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<F: FnMut()> Owner<F> {
    /// Until the other end of `stopped` is closed.
    fn run(mut self, stopped: &PipeReader) {
        let mut due = Instant::now() + RESCAN;
        let mut first = None;
        while self.wait(stopped, due) {
            let notices = self.watches.notices.as_mut().map(Notices::take).unwrap_or_default();
            let now = Instant::now();
            if !notices.is_empty() {
                due = (now + self.quiet).min(*first.get_or_insert(now) + LATEST);
            }
            if due <= now {
                first = None;
                // Something may have happened in a directory before it was watched.
                due = if self.keep() { now + self.quiet } else { now + RESCAN };
                let stamp = self.look();
                if std::mem::replace(&mut self.stamp, stamp) != stamp {
                    (self.tell)();
                }
            }
        }
    }

    /// False = the thread is to end.
    fn wait(&self, stopped: &PipeReader, due: Instant) -> bool {
        let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.watches.notices.as_ref().map(|notices| PollFd::new(notices.as_fd(), PollFlags::POLLIN)),
        );
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, timeout);
        fds[0].revents().is_none_or(|events| events.is_empty())
    }

    fn look(&self) -> u64 {
        let stamps = self.roots().into_iter().map(|root| tree::stamp(&self.disk, &root, &self.view));
        stamps.fold(0, u64::wrapping_add)
    }

    /// Watches what is there now. True = there is more than before.
    fn keep(&mut self) -> bool {
        let mut wanted = BTreeSet::new();
        for root in self.roots() {
            match self.disk.stat(&root) {
                Ok(_) => {
                    let room = MAX_WATCHES.saturating_sub(wanted.len());
                    wanted.extend(tree::source_dirs(&self.disk, &root, &self.view, room));
                }
                // Where it would come to be.
                Err(_) => wanted.extend(root.parent().filter(|above| above.is_dir()).map(Path::to_owned)),
            }
        }
        !self.watches.keep(wanted).is_empty()
    }

    /// The directories, and those that links in them, or in scopes in them, lead to.
    fn roots(&self) -> BTreeSet<PathBuf> {
        const MOST: usize = 1000;
        let mut roots: BTreeSet<_> = self.dirs.iter().cloned().collect();
        let mut open = self.dirs.clone();
        while let Some(dir) = open.pop() {
            let Ok(listing) = self.disk.list(&dir, MOST) else { continue };
            for item in listing.items {
                let path = dir.join(&item.name);
                if item.name.as_encoded_bytes().starts_with(b"@") && self.dirs.contains(&dir) {
                    open.push(path.clone());
                }
                if item.is_dir != Some(true)
                    && let Ok(target) = self.disk.canonical(&path)
                    && target.is_dir()
                {
                    roots.insert(target);
                }
            }
        }
        roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::fixture::write;
    use std::sync::mpsc::{TryRecvError, channel};

    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn edits_are_told_wherever_they_are_made_and_what_nobody_edits_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (temp.path().join("plugins"), temp.path().join("elsewhere"));
        let (told, edits) = channel();
        let watching =
            Edits::watch(vec![dir.clone()], Ignored::default(), Duration::from_millis(10), move || {
                told.send(()).unwrap();
            })
            .unwrap();
        let mut text = String::new();
        let mut edit = |path: &Path, file: &str| {
            text.push('x');
            write(path, file, &text);
        };
        // It was not there.
        edit(&dir, "a/manifest.yaml");
        edits.recv_timeout(DEADLINE).unwrap();
        edit(&dir, "@t/b/src/plugin.ts");
        edits.recv_timeout(DEADLINE).unwrap();
        edit(&dir, "@t/b/src/plugin.ts");
        edits.recv_timeout(DEADLINE).unwrap();
        edit(&elsewhere, "plugin.ts");
        std::os::unix::fs::symlink(&elsewhere, dir.join("linked")).unwrap();
        edits.recv_timeout(DEADLINE).unwrap();
        edit(&elsewhere, "plugin.ts");
        edits.recv_timeout(DEADLINE).unwrap();
        while edits.try_recv().is_ok() {}
        edit(&dir, "a/node_modules/x/index.js");
        edit(&dir, "a/.git/HEAD");
        edit(&dir, "a/last.ts");
        edits.recv_timeout(DEADLINE).unwrap();
        drop(watching);
        assert!(edits.recv().is_err(), "one told of all three would be told of the last alone");
    }

    /// Each write put the look off, so that there was none.
    #[test]
    fn edits_are_told_although_something_writes_all_the_time() {
        let temp = tempfile::tempdir().unwrap();
        let (told, edits) = channel();
        let dirs = vec![temp.path().to_owned()];
        let quiet = Duration::from_secs(50);
        let _watching = Edits::watch(dirs, Ignored::default(), quiet, move || {
            let _ = told.send(());
        })
        .unwrap();
        let (end, ended) = channel::<()>();
        let dir = temp.path().to_owned();
        let writer = std::thread::spawn(move || {
            for text in (0u32..).map_while(|n| (ended.try_recv() == Err(TryRecvError::Empty)).then_some(n)) {
                write(&dir, "data.json", &text.to_string());
            }
        });
        let is_told = edits.recv_timeout(DEADLINE / 2);
        drop(end);
        writer.join().unwrap();
        is_told.unwrap();
    }
}
