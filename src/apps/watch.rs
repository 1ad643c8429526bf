//! Keeps the index true: a thread that hears of changes in the worker directories, looks, and tells.

use super::agenda::Agenda;
use super::disk::{Disk, Identity};
use super::scan::{Scanner, Scope};
use super::{Change, Index, Options};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Directories watched at most. Linux allows a user at least 8192 watches (`inotify(7)`).
const MAX_WATCHES: usize = 8000;
/// Events waiting to be looked at; with more, everything is looked at instead.
const MAX_EVENTS: usize = 4096;

/// Owns the worker directories and keeps an `Index` of them. Dropping it ends the thread.
pub struct Watcher {
    events: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Touched(PathBuf),
    /// Events were lost; the flag says so, too, in case this finds no room.
    Lost,
    Stop,
}

/// Hears of events on a thread of `notify`'s and passes them on without ever blocking it.
struct Ear {
    events: SyncSender<Message>,
    lost: Arc<AtomicBool>,
}

/// What the thread owns.
struct Owner<F> {
    index: Arc<Index>,
    scanner: Scanner,
    agenda: Agenda,
    watches: Watches,
    tell: F,
    started: Instant,
}

impl Watcher {
    /// Fills `index`, telling of what is there, and begins to watch. When this returns, all that the worker directories
    /// hold can be resolved.
    ///
    /// `tell` is called without any lock of the index held and may call it. It must not block for long: meanwhile
    /// nothing else is noticed.
    ///
    /// # Errors
    /// When the thread cannot be started. Without file-system notifications (the system's limits are used up) it warns
    /// and relies on the slow rescan.
    pub fn start(
        index: Arc<Index>,
        options: Options,
        tell: impl FnMut(Change) + Send + 'static,
    ) -> io::Result<Watcher> {
        let (events, inbox) = sync_channel(MAX_EVENTS);
        let lost = Arc::new(AtomicBool::new(false));
        let watches = Watches::new(index.disk(), Ear { events: events.clone(), lost: lost.clone() });
        let scanner = Scanner::new(options, index.disk());
        let started = Instant::now();
        let mut owner = Owner { index, scanner, agenda: Agenda::new(Duration::ZERO), watches, tell, started };
        owner.pass(&Scope::All);
        let run = move || owner.run(&inbox, &lost);
        let thread = std::thread::Builder::new().name("apps".into()).spawn(run)?;
        Ok(Watcher { events, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Fails only if the thread is gone already.
        let _ = self.events.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<F: FnMut(Change)> Owner<F> {
    fn run(mut self, inbox: &Receiver<Message>, lost: &AtomicBool) {
        loop {
            let wait = self.agenda.next().saturating_sub(self.started.elapsed());
            let mut message = match inbox.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = self.started.elapsed();
            while let Some(heard) = message {
                match heard {
                    Message::Touched(path) => self.agenda.touch(self.scanner.scope_of(&path), now),
                    Message::Lost => {}
                    Message::Stop => return,
                }
                message = inbox.try_recv().ok();
            }
            if lost.swap(false, Ordering::Relaxed) {
                self.agenda.touch(Scope::All, now);
            }
            if let Some(scope) = self.agenda.take_due(now) {
                self.pass(&scope);
            }
        }
    }

    fn pass(&mut self, scope: &Scope) {
        let now = self.started.elapsed();
        let pass = self.scanner.pass(scope, now);
        for warning in &pass.warnings {
            tracing::warn!(target: "buntime::apps", "{warning}");
        }
        for (entry, due) in pass.unsettled {
            self.agenda.look_at(entry, due);
        }
        let changed = pass.apps.is_some();
        if let Some(apps) = pass.apps {
            self.index.replace_all(apps, &mut self.tell);
        }
        if !changed && *scope != Scope::All {
            return;
        }
        // Something may have happened between the look and the watch.
        for dir in self.watches.keep(self.scanner.watched(MAX_WATCHES)) {
            self.agenda.touch(self.scanner.scope_of(&dir), now);
        }
    }
}

impl Ear {
    fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.lose() };
        if event.need_rescan() {
            self.lose();
        }
        // Reading changes nothing, and we read much.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in event.paths {
            if let Err(TrySendError::Full(_)) = self.events.try_send(Message::Touched(path)) {
                self.lose();
            }
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        // Without room the thread is awake anyway, and sees the flag.
        let _ = self.events.try_send(Message::Lost);
    }
}

/// Directories under watch, with which directory it was: a path that means another one is watched anew.
struct Watches {
    disk: Disk,
    /// None = the system grants none.
    watcher: Option<RecommendedWatcher>,
    dirs: HashMap<PathBuf, Identity>,
    warned: bool,
}

impl Watches {
    fn new(disk: Disk, ear: Ear) -> Watches {
        let watcher = notify::recommended_watcher(move |event| ear.hear(event));
        let mut watches = Watches { disk, watcher: None, dirs: HashMap::new(), warned: false };
        match watcher {
            Ok(watcher) => watches.watcher = Some(watcher),
            Err(error) => watches.warn(&error),
        }
        watches
    }

    /// Watches exactly `wanted`; returns those that were not watched before.
    fn keep(&mut self, wanted: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let Some(mut watcher) = self.watcher.take() else { return Vec::new() };
        let gone: Vec<_> = self.dirs.keys().filter(|dir| !wanted.contains(*dir)).cloned().collect();
        for dir in gone {
            self.dirs.remove(&dir);
            // It fails for a directory that no longer exists, whose watch went with it.
            let _ = watcher.unwatch(&dir);
        }
        let mut new = Vec::new();
        for dir in wanted {
            let Ok(meta) = self.disk.stat(&dir) else { continue };
            let identity = Identity::of(&meta);
            if self.dirs.get(&dir) == Some(&identity) {
                continue;
            }
            if self.dirs.remove(&dir).is_some() {
                let _ = watcher.unwatch(&dir);
            }
            match watcher.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.dirs.insert(dir.clone(), identity);
                    new.push(dir);
                }
                Err(error) => self.warn(&error),
            }
        }
        self.watcher = Some(watcher);
        new
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let seconds = super::agenda::RESCAN.as_secs();
            tracing::warn!(target: "buntime::apps", "file-system notifications are incomplete: {error}; changes may take {seconds} s to be noticed");
        }
    }
}

#[cfg(test)]
mod tests;
