//! The one sink of all sets of plugins. While a set takes another one's place both are there, and an entry is still taken once.

use crate::api::Api;
use crate::redact::Redactor;
use crate::ring::Bounds;
use crate::store::Store;
use buntime_plugin::{Context, Core, LogEntry, LogGuard, LogSink};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What outlives a reload.
pub struct Kept {
    collector: Arc<Collector>,
    sink: Arc<Mutex<Sink>>,
}

#[derive(Default)]
struct Sink {
    /// How many sets want entries.
    owners: usize,
    guard: Option<LogGuard>,
}

struct Collector {
    store: Arc<Store>,
    redactor: RwLock<Arc<Redactor>>,
}

/// A set's wish for entries; dropped, it has none any more.
pub struct Owner(Arc<Mutex<Sink>>);

impl Kept {
    pub fn new(bounds: Bounds) -> Kept {
        let store = Arc::new(Store::new(bounds));
        let redactor = RwLock::new(Arc::new(Redactor::default()));
        Kept { collector: Arc::new(Collector { store, redactor }), sink: Arc::default() }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.collector.store
    }

    pub fn redactor(&self) -> Arc<Redactor> {
        self.collector.redactor()
    }

    /// Asks what nobody may be shown from now on.
    pub fn learn_secrets(&self, core: &dyn Core) {
        let redactor = Arc::new(Redactor::new(core.secrets()));
        *self.collector.redactor.write().unwrap_or_else(PoisonError::into_inner) = redactor;
    }

    /// Takes entries for a set, until that one ends.
    pub fn collect(&self, context: &Context, api: &Api) {
        self.learn_secrets(&**context.core());
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.owners += 1;
        if sink.guard.is_none() {
            sink.guard = Some(context.core().log_to(Arc::clone(&self.collector) as Arc<dyn LogSink>));
        }
        api.own(Owner(Arc::clone(&self.sink)));
    }
}

impl Collector {
    fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.redactor.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogSink for Collector {
    fn log(&self, entry: LogEntry) {
        self.store.take(entry, &self.redactor());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.owners -= 1;
        let guard = if sink.owners == 0 { sink.guard.take() } else { None };
        drop(sink);
        drop(guard);
    }
}
