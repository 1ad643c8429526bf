//! Keeps the index true: a thread that hears of changes in the worker directories, looks, and tells.

use super::agenda::Agenda;
use super::catalog::Found;
use super::disk::{Disk, Identity};
use super::lookout::{LookError, Lookout, Order, Orders};
use super::notices::{Notice, Notices};
use super::scan::{Pass, Scanner, Scope};
use super::{Change, Index, Options};
use crate::model::VersionKey;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::WatchDescriptor;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Directories watched at most. Linux allows a user at least 8192 watches (`inotify(7)`).
const MAX_WATCHES: usize = 8000;

/// Owns the worker directories and keeps an `Index` of them. Dropping it ends the thread.
pub struct Watcher {
    /// Its end tells the thread to end.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    lookout: Lookout,
}

/// Who is told what changes. A function is told of changes alone.
pub trait Listener: Send + 'static {
    fn tell(&mut self, change: Change);

    /// Where apps are edited: this revision differs from the one before in these style sheets alone (paths within the app). Told
    /// before the change itself.
    fn restyled(&mut self, _revision: VersionKey, _sheets: Vec<PathBuf>) {}

    /// All that was told of can be resolved now.
    fn published(&mut self) {}
}

impl<F: FnMut(Change) + Send + 'static> Listener for F {
    fn tell(&mut self, change: Change) {
        self(change);
    }
}

/// What the thread owns.
struct Owner<L> {
    index: Arc<Index>,
    scanner: Scanner,
    agenda: Agenda,
    watches: Watches,
    listener: L,
    started: Instant,
}

impl Watcher {
    /// Fills `index`, telling of what is there, and begins to watch. When this returns, all that the worker directories
    /// hold can be resolved.
    ///
    /// `listener` is called without any lock of the index held and may call it. It must not block for long: meanwhile
    /// nothing else is noticed.
    ///
    /// # Errors
    /// When the thread cannot be started. Without file-system notifications (the system's limits are used up) it warns
    /// and relies on the slow rescan.
    pub fn start(index: Arc<Index>, options: Options, listener: impl Listener) -> io::Result<Watcher> {
        let (stopped, stop) = io::pipe()?;
        let (lookout, orders) = Lookout::new()?;
        let watches = Watches::new(index.disk());
        let scanner = Scanner::new(options, index.disk());
        let started = Instant::now();
        let mut owner =
            Owner { index, scanner, agenda: Agenda::new(Duration::ZERO), watches, listener, started };
        owner.pass(&Scope::All);
        let thread =
            std::thread::Builder::new().name("apps".into()).spawn(move || owner.run(&stopped, orders))?;
        Ok(Watcher { stop: Some(stop), thread: Some(thread), lookout })
    }

    /// The way to have something done at once.
    pub fn lookout(&self) -> Lookout {
        self.lookout.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<L: Listener> Owner<L> {
    /// Until the other end of `stopped` is closed.
    fn run(mut self, stopped: &PipeReader, mut orders: Orders) {
        while self.wait(stopped, &orders) {
            let now = self.started.elapsed();
            let notices = self.watches.notices.as_mut().map(Notices::take).unwrap_or_default();
            self.hear(notices, now);
            for (order, reply) in orders.take() {
                // Who ordered it may have gone.
                let _ = reply.send(self.obey(order));
            }
            if let Some(scope) = self.agenda.take_due(now) {
                self.pass(&scope);
            }
        }
    }

    /// Waits for a notice, an order or the next thing to do. False = the thread is to end.
    fn wait(&self, stopped: &PipeReader, orders: &Orders) -> bool {
        let wait = self.agenda.next().saturating_sub(self.started.elapsed());
        // Rounded up: woken too early there would be nothing to do yet.
        let timeout = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(orders.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            self.watches.notices.as_ref().map(|notices| PollFd::new(notices.as_fd(), PollFlags::POLLIN)),
        );
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, timeout);
        fds[0].revents().is_none_or(|events| events.is_empty())
    }

    fn obey(&mut self, order: Order) -> Result<(), LookError> {
        match order {
            Order::Look(path) => {
                let entry = self.scanner.entry_of(&path).ok_or_else(|| LookError::Elsewhere(path.clone()))?;
                let pass = self.scanner.pass_at_once(entry, &path, self.started.elapsed());
                self.take_in(pass, false);
            }
            Order::Reread(ceilings) => {
                self.pass(&Scope::All);
                let found = self.scanner.reread(ceilings);
                self.replace_all(found);
            }
            Order::Disable { app, version, disabled } => {
                if self.index.note_disabled(&app, &version, disabled) {
                    let found =
                        if disabled { self.scanner.found() } else { self.scanner.renew(&app, &version) };
                    self.replace_all(found);
                }
            }
            Order::Read { app, version, dir, read } => {
                if let Some(app) = self.scanner.read(&app, &version, &dir) {
                    let _ = read.send(app); // who ordered it may have gone
                }
            }
        }
        Ok(())
    }

    fn replace_all(&mut self, found: Vec<Found>) {
        self.index.replace_all(found, &mut |change| self.listener.tell(change));
        self.listener.published();
    }

    fn hear(&mut self, notices: Vec<Notice>, now: Duration) {
        for notice in notices {
            let scope = match notice {
                Notice::Touched(path) => self.scanner.scope_of(&path),
                Notice::Lost => Scope::All,
            };
            self.agenda.touch(scope, now);
        }
    }

    fn pass(&mut self, scope: &Scope) {
        let pass = self.scanner.pass(scope, self.started.elapsed());
        self.take_in(pass, *scope == Scope::All);
    }

    /// Makes what a pass has found known, and watches what it showed.
    fn take_in(&mut self, pass: Pass, was_over_all: bool) {
        for warning in &pass.warnings {
            tracing::warn!(target: "buntime::apps", "{warning}");
        }
        for (entry, due) in pass.unsettled {
            self.agenda.look_at(entry, due);
        }
        if let Some(again) = pass.again {
            self.agenda.touch(Scope::All, again);
        }
        let changed = pass.found.is_some();
        for (revision, sheets) in pass.restyled {
            self.listener.restyled(revision, sheets);
        }
        if let Some(found) = pass.found {
            self.replace_all(found);
        }
        if !changed && !was_over_all {
            return;
        }
        // Something may have happened between the look and the watch.
        let now = self.started.elapsed();
        let nearest = self.scanner.nearest();
        for dir in self.watches.keep(self.scanner.watched(MAX_WATCHES)) {
            self.agenda.touch(self.scanner.scope_of(&dir), now);
        }
        // What was to be watched may have gone before it was.
        if self.scanner.nearest() != nearest {
            self.agenda.touch(Scope::All, now);
        }
    }
}

/// Directories under watch, with which directory it was: a path that means another one is watched anew.
pub(super) struct Watches {
    disk: Disk,
    /// None = the system grants none.
    pub notices: Option<Notices>,
    dirs: HashMap<PathBuf, (Identity, WatchDescriptor)>,
    warned: bool,
}

impl Watches {
    pub fn new(disk: Disk) -> Watches {
        let mut watches = Watches { disk, notices: None, dirs: HashMap::new(), warned: false };
        match Notices::new() {
            Ok(notices) => watches.notices = Some(notices),
            Err(error) => watches.warn(error),
        }
        watches
    }

    /// Watches exactly `wanted`; returns those that were not watched before.
    pub fn keep(&mut self, wanted: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let Some(mut notices) = self.notices.take() else { return Vec::new() };
        let found: Vec<_> = wanted
            .into_iter()
            .filter_map(|dir| self.disk.stat(&dir).ok().map(|meta| (dir, Identity::of(&meta))))
            .collect();
        // All that goes, before anything comes: a directory that was renamed has its watch under the old name.
        let there: HashMap<&Path, Identity> =
            found.iter().map(|(dir, identity)| (dir.as_path(), *identity)).collect();
        for (dir, (_, watch)) in
            self.dirs.extract_if(|dir, (known, _)| there.get(dir.as_path()) != Some(known))
        {
            notices.unwatch(&dir, watch);
        }
        let mut new = Vec::new();
        for (dir, identity) in found {
            if self.dirs.get(&dir).is_some_and(|(known, _)| *known == identity) {
                continue;
            }
            match notices.watch(&dir) {
                Ok(watch) => {
                    self.dirs.insert(dir.clone(), (identity, watch));
                    new.push(dir);
                }
                // It has just gone.
                Err(nix::Error::ENOENT) => new.push(dir),
                Err(error) => self.warn(error),
            }
        }
        self.notices = Some(notices);
        new
    }

    fn warn(&mut self, error: nix::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let seconds = super::agenda::RESCAN.as_secs();
            tracing::warn!(target: "buntime::apps", "file-system notifications are incomplete: {error}; changes may take {seconds} s to be noticed");
        }
    }
}

#[cfg(test)]
mod tests;
