//! All that is logged, as values, for the sinks of plugins: the runtime's events, workers' lines, requests, plugins' events.
//!
//! One for the process, as the log itself is. Without a sink an entry is not even made: whoever feeds asks [`Feed::is_on`] first,
//! which is one load. Sinks are called where the entry comes about.

mod access;
mod layer;
#[cfg(test)]
mod tests;

pub use access::Access;
pub use layer::FeedLayer;

use arc_swap::ArcSwapOption;
use buntime_plugin::{Level, LogEntry, LogGuard, LogSink, Source};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

static FEED: Feed = Feed::new();

thread_local! {
    /// This thread is inside a sink.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

pub struct Feed {
    /// There is a sink.
    on: AtomicBool,
    sinks: ArcSwapOption<Vec<Arc<dyn LogSink>>>,
    changing: Mutex<()>,
}

/// A line that a worker has printed.
pub struct Line<'a> {
    /// Of [`Source::WorkerStdout`] or [`Source::WorkerStderr`].
    pub source: Source,
    /// None: a spare's.
    pub of: Option<Of<'a>>,
    pub worker: &'a Arc<str>,
    pub request_id: Option<&'a str>,
    pub text: &'a str,
    /// It goes on, but that is not kept.
    pub cut: bool,
}

/// What a worker runs.
pub struct Of<'a> {
    pub name: &'a Arc<str>,
    pub version: &'a Arc<str>,
    /// The name is that of a script plugin.
    pub is_plugin: bool,
}

/// The feed of this process.
pub fn feed() -> &'static Feed {
    &FEED
}

impl Feed {
    const fn new() -> Feed {
        Feed { on: AtomicBool::new(false), sinks: ArcSwapOption::const_empty(), changing: Mutex::new(()) }
    }

    /// Whether anybody wants entries.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Gives a sink all entries from now on, until the guard is dropped.
    pub fn add(&'static self, sink: Arc<dyn LogSink>) -> LogGuard {
        let own = Arc::clone(&sink);
        self.change(|sinks| sinks.push(own));
        LogGuard::new(move || self.change(|sinks| sinks.retain(|other| !Arc::ptr_eq(other, &sink))))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<dyn LogSink>>)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sinks = self.sinks.load().as_deref().cloned().unwrap_or_default();
        change(&mut sinks);
        self.on.store(!sinks.is_empty(), Ordering::Relaxed);
        self.sinks.store((!sinks.is_empty()).then(|| Arc::new(sinks)));
    }

    /// Gives an entry to all sinks, unless it comes from within one.
    pub fn push(&self, entry: LogEntry) {
        let sinks = self.sinks.load();
        let Some(sinks) = sinks.as_deref() else { return };
        let Some((last, others)) = sinks.split_last() else { return };
        let Some(_inside) = Inside::enter() else { return };
        for sink in others {
            sink.log(entry.clone());
        }
        last.log(entry);
    }

    pub fn line(&self, line: &Line<'_>) {
        if !self.is_on() {
            return;
        }
        let level = match line.source {
            Source::WorkerStderr => Level::Warn,
            _ => Level::Info,
        };
        let mut entry = LogEntry::new(level, line.source, line.text);
        match line.of {
            Some(Of { name, version, is_plugin: false }) => {
                (entry.app, entry.version) = (Some(Arc::clone(name)), Some(Arc::clone(version)));
            }
            // No app: what it prints is not for those who see the apps of its scope.
            Some(Of { name, .. }) => entry = entry.field("plugin", &**name),
            None => {}
        }
        entry.worker = Some(Arc::clone(line.worker));
        entry.request_id = line.request_id.map(Into::into);
        entry.cut = line.cut;
        self.push(entry);
    }
}

/// What is logged on this thread while this lives comes from a sink.
struct Inside;

impl Inside {
    /// None: there is one already, or the thread is about to end.
    fn enter() -> Option<Inside> {
        let before = INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true);
        (!before).then_some(Inside)
    }

    fn is() -> bool {
        INSIDE.try_with(Cell::get).unwrap_or(true)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A thread that is about to end logs nothing more.
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}
