//! The book of all connections: room for further ones, and who has been idle, slow or draining for too long.

use super::{Conn, Phase, Verdict};
use crate::telemetry::metrics::{Collector, Families, families};
use slab::Slab;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often connections are looked at.
pub(super) const SWEEP: Duration = Duration::from_millis(500);
/// How long a connection that was told to drain may stay between requests. Most close at once; a client that does not
/// answer the PING after GOAWAY (RFC 9113 §6.8) never would. Long enough for the rest of a response to be flushed.
const LINGER: Duration = Duration::from_secs(5);
/// The same where others wait for its place.
const LINGER_WHEN_FULL: Duration = SWEEP;
/// All connections.
pub struct Book {
    open: Mutex<Slab<Arc<Conn>>>,
    began: Instant,
    /// Milliseconds since `began`, as of the last sweep or accept.
    clock: AtomicU64,
    freed: Notify,
    /// Milliseconds for which a connection that drains may stay without a request.
    grace: AtomicU64,
    max: AtomicUsize,
    /// Milliseconds, both.
    keepalive: AtomicU64,
    head: AtomicU64,
}

/// A place in the book, given back on drop.
pub struct Entry {
    pub conn: Arc<Conn>,
    key: usize,
}

impl Book {
    pub fn new(max: usize, keepalive: Duration, head: Duration) -> Arc<Book> {
        let book = Book {
            open: Mutex::default(),
            began: Instant::now(),
            clock: AtomicU64::new(0),
            freed: Notify::new(),
            grace: AtomicU64::new(0),
            max: AtomicUsize::new(0),
            keepalive: AtomicU64::new(0),
            head: AtomicU64::new(0),
        };
        book.set_limits(max, keepalive, head);
        Arc::new(book)
    }

    /// These limits hold from here on, also for connections that are there.
    pub fn set_limits(&self, max: usize, keepalive: Duration, head: Duration) {
        self.max.store(max, Ordering::Relaxed);
        self.keepalive.store(keepalive.as_millis() as u64, Ordering::Relaxed);
        self.head.store(head.as_millis() as u64, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    /// Waits until there is room for one more connection, closing the one that is idle the longest if need be.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            {
                let open = self.open();
                if open.len() < self.max.load(Ordering::Relaxed) {
                    return;
                }
                self.make_room(&open);
            }
            freed.await;
        }
    }

    /// The system has no room for a further connection: the one that is idle the longest is asked to close.
    pub fn relieve(&self) {
        self.make_room(&self.open());
    }

    pub fn is_full(&self) -> bool {
        self.open().len() >= self.max.load(Ordering::Relaxed)
    }

    /// Asks the connection that is idle the longest to close. Where all have been asked, the one that lingers the longest
    /// is closed.
    fn make_room(&self, open: &Slab<Arc<Conn>>) {
        let idle = || open.iter().map(|(_, conn)| conn).filter(|conn| conn.phase() == Phase::Idle);
        let oldest = |live: bool| {
            let told_or_not = idle().filter(|conn| (conn.told() == Verdict::Live) == live);
            told_or_not.min_by_key(|conn| conn.since.load(Ordering::Relaxed))
        };
        if let Some(lingering) = oldest(false) {
            if self.age(lingering) >= LINGER_WHEN_FULL {
                lingering.tell(Verdict::Drop);
            }
        } else if let Some(oldest) = oldest(true) {
            oldest.tell(Verdict::Close);
        }
    }

    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>, peer_port: u16) -> Entry {
        self.tick();
        let conn = Arc::new(Conn::new(peer, peer_port, Arc::clone(self)));
        let key = self.open().insert(Arc::clone(&conn));
        Entry { conn, key }
    }

    /// Connections that are open.
    pub fn len(&self) -> usize {
        self.open().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks after idle and slow connections for ever.
    pub async fn sweep(self: Arc<Self>) {
        let mut every = tokio::time::interval(SWEEP);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.tick();
            // Whoever waits for room looks again: a connection that was busy may have become idle, or lingered long enough.
            self.freed.notify_waiters();
            let (keepalive, head, grace) = (millis(&self.keepalive), millis(&self.head), millis(&self.grace));
            for (_, conn) in self.open().iter() {
                let (phase, age, told) = (conn.phase(), self.age(conn), conn.told());
                let live = told == Verdict::Live;
                match phase {
                    Phase::Idle if live && age >= keepalive => conn.tell(Verdict::Close),
                    Phase::Idle if conn.is_awaited(told) && age >= grace => conn.tell(Verdict::Close),
                    Phase::Idle if conn.is_awaited(told) => {}
                    Phase::Idle | Phase::Switched if !live && age >= LINGER => conn.tell(Verdict::Drop),
                    Phase::New if !live && age >= grace.max(SWEEP) => conn.tell(Verdict::Drop),
                    Phase::Head | Phase::New if age >= head => conn.tell(Verdict::Drop),
                    _ if conn.is_stalled(self.now()) => conn.tell(Verdict::Drop),
                    _ => {}
                }
            }
        }
    }

    /// Asks every connection to finish what it has begun and close. On one that is idle or was just opened a request may be on its
    /// way: it has `grace` to come, and is answered as the last one.
    pub fn drain(&self, grace: Duration) {
        self.grace.store(grace.as_millis() as u64, Ordering::Relaxed);
        self.tick();
        for (_, conn) in self.open().iter() {
            conn.tell(Verdict::Drain);
        }
    }

    /// Resolves when no connection is left.
    pub async fn emptied(&self) {
        loop {
            let freed = self.freed.notified();
            if self.is_empty() {
                return;
            }
            freed.await;
        }
    }

    fn tick(&self) {
        self.clock.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn age(&self, conn: &Conn) -> Duration {
        Duration::from_millis(self.now().saturating_sub(conn.since.load(Ordering::Relaxed)))
    }

    fn open(&self) -> MutexGuard<'_, Slab<Arc<Conn>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(atomic: &AtomicU64) -> Duration {
    Duration::from_millis(atomic.load(Ordering::Relaxed))
}

impl Collector for Book {
    fn collect(&self, into: &mut Families) {
        let open = self.open();
        let in_flight = open.iter().map(|(_, conn)| u64::from(conn.in_flight.load(Ordering::Relaxed)));
        into.number(&families::IN_FLIGHT, [], in_flight.sum::<u64>() as f64);
        into.number(&families::CONNECTIONS, [], open.len() as f64);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let book = &self.conn.book;
        book.open().remove(self.key);
        book.freed.notify_waiters();
    }
}
