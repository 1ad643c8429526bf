//! What outlives a reload: the ring, who waits for it, the limits of producers, and the tokens of workers.
//!
//! Its locks are held for moments: for an entry to be put in its place, or for references of some to be copied. Entries are
//! made, searched, shown and freed outside.

use crate::entry::Entry;
use crate::flood::{Dropped, ENTRIES_A_SECOND, Flood};
use crate::prepare::prepare;
use crate::redact::Redactor;
use crate::ring::{Bounds, Counts, Ring};
use crate::tokens::Tokens;
use buntime_plugin::limit::Bucket;
use buntime_plugin::{Level, LogEntry};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, Semaphore};

/// How many clients follow at once.
pub const FOLLOWERS: usize = 100;
/// The first number of a run is its first second times this. So numbers of different runs are never the same, and one of an
/// earlier run is known for what it is, unless a run has more than a million entries a second for as long as it lasts. They stay below 2^53.
const A_SECOND: u64 = 1_000_000;
/// What an app may send itself, in the long run and at once.
pub const SENT_A_SECOND: u32 = 1000;

pub struct Store {
    /// Names this process.
    run: Box<str>,
    /// The number of the first entry.
    base: u64,
    began: Instant,
    ring: Mutex<Ring>,
    /// Whoever waits for the next entry.
    pub changed: Notify,
    flood: Mutex<Flood>,
    /// What each app may send now.
    sent: Mutex<HashMap<Arc<str>, Bucket>>,
    tokens: Mutex<Tokens>,
    /// Where the server is, once it is known.
    url: Mutex<Option<String>>,
    pub places: Arc<Semaphore>,
}

/// The ring at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Census {
    pub first: u64,
    pub next: u64,
    pub bounds: Bounds,
    pub kept: HashMap<Option<Arc<str>>, Counts>,
    pub dropped: HashMap<Option<Arc<str>>, u64>,
}

/// Entries from a number on.
#[derive(Debug)]
pub struct Batch {
    /// How many before the first one are gone, and were not cleared away.
    pub lost: u64,
    /// The first one that may be in it.
    pub from: u64,
    pub entries: Vec<(u64, Arc<Entry>)>,
}

impl Store {
    pub fn new(bounds: Bounds) -> Store {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut random = [0; 8];
        // Without random bytes the second has to do.
        let _ = getrandom::fill(&mut random);
        let run = format!("{seconds:x}{:016x}", u64::from_le_bytes(random));
        let base = seconds.saturating_mul(A_SECOND) + 1;
        Store {
            run: run.into(),
            base,
            began: Instant::now(),
            ring: Mutex::new(Ring::new(base, bounds)),
            changed: Notify::new(),
            flood: Mutex::default(),
            sent: Mutex::default(),
            tokens: Mutex::default(),
            url: Mutex::default(),
            places: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    pub fn run(&self) -> &str {
        &self.run
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    /// Takes what is logged, as far as its producer is within its limit.
    pub fn take(&self, entry: LogEntry, redactor: &Redactor) {
        if lock(&self.flood).admits(&entry.app, entry.source, self.now()) {
            self.add(prepare(entry, redactor));
        }
    }

    pub fn add(&self, entry: Entry) {
        let entry = Arc::new(entry);
        let mut gone = Vec::new();
        lock(&self.ring).push(entry, &mut gone);
        self.changed.notify_waiters();
    }

    /// Says what was dropped of floods, an entry for each producer.
    pub fn tell_drops(&self) {
        let dropped = lock(&self.flood).dropped(self.now());
        for Dropped { producer: (app, source), entries } in dropped {
            let message = format!(
                "{entries} entries were dropped: more than {ENTRIES_A_SECOND} a second came from here"
            );
            let mut entry = LogEntry::new(Level::Warn, source, message).field("dropped", entries);
            entry.app = app;
            self.add(prepare(entry, &Redactor::default()));
        }
    }

    /// Whether an app may send anything now, or after which time.
    ///
    /// # Errors
    /// The time to wait.
    pub fn may_begin(&self, app: &Arc<str>) -> Result<(), Duration> {
        self.of_app(app, |bucket, now| bucket.has(1, now))
    }

    /// Whether an app may send so many entries now, or after which time. If not, having asked costs it `price` entries.
    ///
    /// # Errors
    /// The time to wait.
    pub fn may_send(&self, app: &Arc<str>, count: u64, price: u64) -> Result<(), Duration> {
        self.of_app(app, |bucket, now| {
            bucket.take(count, now).or_else(|_| {
                bucket.charge(price, now);
                bucket.has(count, now)
            })
        })
    }

    /// What an app has sent was refused, but looking at it was work.
    pub fn charge(&self, app: &Arc<str>, price: u64) {
        self.of_app(app, |bucket, now| bucket.charge(price, now));
    }

    fn of_app<T>(&self, app: &Arc<str>, work: impl FnOnce(&mut Bucket, Duration) -> T) -> T {
        let now = self.now();
        let mut sent = lock(&self.sent);
        // What is full is as good as new: only apps that send are there.
        sent.retain(|_, bucket| !bucket.is_full(now));
        let fresh = || Bucket::new(SENT_A_SECOND, SENT_A_SECOND, now);
        work(sent.entry(Arc::clone(app)).or_insert_with(fresh), now)
    }

    pub fn resize(&self, bounds: Bounds) {
        let mut gone = Vec::new();
        lock(&self.ring).resize(bounds, &mut gone);
    }

    /// Takes all entries out and returns how many there were.
    pub fn clear(&self) -> usize {
        let gone = lock(&self.ring).clear();
        gone.len()
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        lock(&self.ring).next()
    }

    /// Up to `most` entries with numbers from `from` on, in their order.
    pub fn from(&self, from: u64, most: usize) -> Batch {
        let ring = lock(&self.ring);
        let due = from.max(ring.cleared());
        let first = ring.first();
        let entries = ring.range(due, u64::MAX).take(most);
        Batch {
            lost: first.saturating_sub(due),
            from: due.max(first),
            entries: entries.map(|(number, entry)| (number, Arc::clone(entry))).collect(),
        }
    }

    /// Up to `most` entries with numbers below `before`, the newest first.
    pub fn before(&self, before: u64, most: usize) -> Vec<(u64, Arc<Entry>)> {
        let ring = lock(&self.ring);
        ring.range(0, before).rev().take(most).map(|(number, entry)| (number, Arc::clone(entry))).collect()
    }

    pub fn census(&self) -> Census {
        let dropped = lock(&self.flood).all_dropped().clone();
        let ring = lock(&self.ring);
        Census {
            first: ring.first(),
            next: ring.next(),
            bounds: ring.bounds(),
            kept: ring.counts().clone(),
            dropped,
        }
    }

    pub fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub fn url(&self) -> Option<String> {
        lock(&self.url).clone()
    }

    pub fn set_url(&self, url: Option<String>) {
        *lock(&self.url) = url;
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done with a lock panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;
    use buntime_plugin::Source;

    fn store(entries: usize) -> Store {
        Store::new(Bounds { entries, bytes: 1 << 20 })
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.entries.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn numbers_grow_by_one_from_a_base_that_no_earlier_run_reaches() {
        let store = store(10);
        assert!(store.base() > 1_700_000_000 * A_SECOND && store.base() < 1 << 53);
        store.add(entry(None, Level::Info, "a"));
        store.add(entry(None, Level::Info, "b"));
        assert_eq!(numbers(&store.from(0, 10)), [store.base(), store.base() + 1]);
        assert_ne!(store.run(), self::store(10).run());
    }

    #[test]
    fn what_has_fallen_out_is_lost_and_what_was_cleared_is_not() {
        let store = store(3);
        let base = store.base();
        (0..5).for_each(|_| store.add(entry(None, Level::Info, "x")));
        let batch = store.from(base + 1, 2);
        assert_eq!((batch.lost, batch.from, numbers(&batch)), (1, base + 2, vec![base + 2, base + 3]));
        assert_eq!(store.clear(), 3);
        let batch = store.from(base + 1, 2);
        assert_eq!((batch.lost, batch.from, numbers(&batch)), (0, base + 5, vec![]));
        (0..4).for_each(|_| store.add(entry(None, Level::Info, "x")));
        let batch = store.from(base + 1, 9);
        assert_eq!((batch.lost, numbers(&batch)), (1, vec![base + 6, base + 7, base + 8]));
        assert_eq!(store.before(base + 8, 1)[0].0, base + 7);
    }

    #[test]
    fn a_flood_is_said_in_an_entry_of_its_producer() {
        let store = store(100);
        let redactor = Redactor::default();
        let line = LogEntry::new(Level::Info, Source::WorkerStdout, "x").app("shop", "1.0.0");
        (0..100_000).for_each(|_| store.take(line.clone(), &redactor));
        store.tell_drops();
        let told = store.before(u64::MAX, 1).remove(0).1;
        assert_eq!(
            (told.app.as_deref(), told.source, told.level),
            (Some("shop"), Source::WorkerStdout, Level::Warn)
        );
        assert!(told.message.contains("entries were dropped"), "{}", told.message);
        let census = store.census();
        let dropped = census.dropped[&Some("shop".into())];
        assert!(told.fields.as_deref().unwrap().contains(&dropped.to_string()));
        assert_eq!(store.next() - store.base(), 100_000 - dropped + 1, "drops have no number");
    }
}
