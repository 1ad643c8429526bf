//! One client connection: what it is doing right now, and when it has been doing that for too long.
//!
//! hyper arms a timer for each request head. Here one sweep a second looks at all connections instead, so a request costs
//! no timer, and the same book tells which connection is idle when room is needed or the server drains.

use crate::telemetry::metrics::{Collector, Families, families};
use futures_util::task::AtomicWaker;
use slab::Slab;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How often connections are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// How long a connection that was told to drain may stay between requests. Most close at once; a client that does not
/// answer the PING after GOAWAY (RFC 9113 §6.8) never would. Long enough for the rest of a response to be flushed.
const LINGER: Duration = Duration::from_secs(5);
/// The same where others wait for its place.
const LINGER_WHEN_FULL: Duration = SWEEP;
/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take nothing of what it is sent, where its app says nothing else.
const STALL: Duration = Duration::from_secs(300);

/// What a connection has to do next, as told by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    Live = 0,
    /// Finish what is begun, and what comes within the book's grace, then close. HTTP/2 says so to its client at once (GOAWAY,
    /// RFC 9113 §6.8). HTTP/1 can only by the next answer (RFC 9112 §9.6): closed between two, it might lose a request that is on
    /// its way.
    Drain = 1,
    /// Finish what is begun, then close.
    Close = 2,
    /// Close now.
    Drop = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle = 0,
    /// Bytes of a request head have come.
    Head = 1,
    /// Nothing has come yet.
    New = 2,
    /// At least one request is with us. Never stored: `in_flight` tells.
    Busy = 3,
    /// It speaks another protocol. Never stored: `switched` tells.
    Switched = 4,
}

/// The state of one connection, shared by its task and the book.
pub struct Conn {
    /// The client's address; none on a Unix socket.
    pub peer: Option<IpAddr>,
    pub peer_port: u16,
    /// What is said on it is said over TLS.
    secure: AtomicBool,
    /// Holds while no request is in flight.
    phase: AtomicU8,
    /// When the phase began, or when the connection was told to drain in it.
    since: AtomicU64,
    in_flight: AtomicU32,
    http2: AtomicBool,
    /// One more than the time since which the socket takes nothing; 0 = it does.
    blocked: AtomicU64,
    /// Milliseconds for which it may take nothing; 0 = for ever.
    stall: AtomicU64,
    verdict: AtomicU8,
    waker: AtomicWaker,
    /// Tells those who speak another protocol on it what they have to do next.
    switched: OnceLock<watch::Sender<Verdict>>,
    book: Arc<Book>,
}

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

/// A request in progress on a connection, its response body included.
pub struct InFlight(Arc<Conn>);

/// A socket that notes in its `Conn` when bytes come. It has the place in the book: the connection counts for as long as the socket is
/// there, whatever is spoken on it.
pub struct Watched<S> {
    socket: S,
    entry: Entry,
    /// How many bytes of the HTTP/2 preface have come; none = it is decided what the connection speaks.
    preface: Option<usize>,
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
        let conn = Arc::new(Conn {
            peer,
            peer_port,
            secure: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::New as u8),
            since: AtomicU64::new(self.now()),
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            blocked: AtomicU64::new(0),
            stall: AtomicU64::new(STALL.as_millis() as u64),
            verdict: AtomicU8::new(Verdict::Live as u8),
            waker: AtomicWaker::new(),
            switched: OnceLock::new(),
            book: Arc::clone(self),
        });
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

    fn now(&self) -> u64 {
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

impl Conn {
    /// Begins a request. The connection counts as busy until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// What to do now. The calling task is woken when that changes.
    pub fn verdict(&self, cx: &Context<'_>) -> Verdict {
        self.waker.register(cx.waker());
        match (self.told(), self.phase()) {
            // A request whose head has begun to come, or may have, is still answered.
            (Verdict::Drain | Verdict::Close, Phase::Head | Phase::New) => Verdict::Live,
            // The head of an answer that is on its way may not have said that it is the last one: then the next does. One that has
            // said so ends the connection by itself.
            (told, Phase::Idle | Phase::Busy) if self.is_awaited(told) => Verdict::Live,
            (told, _) => told,
        }
    }

    /// Resolves when it is to be closed at once. For the task that has it, before it speaks HTTP.
    pub async fn dropped(&self) {
        poll_fn(|cx| if self.verdict(cx) == Verdict::Drop { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// From here on it speaks over TLS.
    pub fn secure(&self) {
        self.secure.store(true, Ordering::Relaxed);
    }

    pub fn is_secure(&self) -> bool {
        self.secure.load(Ordering::Relaxed)
    }

    /// Whether the answer that is about to be sent is the last one, and has to say so.
    pub fn is_last(&self) -> bool {
        self.told() != Verdict::Live && !self.http2.load(Ordering::Relaxed)
    }

    /// It waits for one more request, when it has none.
    fn is_awaited(&self, told: Verdict) -> bool {
        told == Verdict::Drain && !self.http2.load(Ordering::Relaxed)
    }

    fn told(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Live,
            1 => Verdict::Drain,
            2 => Verdict::Close,
            _ => Verdict::Drop,
        }
    }

    /// A client that takes nothing for this long is given up; zero = never.
    pub fn limit_stall(&self, limit: Duration) {
        self.stall.store(limit.as_millis() as u64, Ordering::Relaxed);
    }

    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        let blocked = if result.is_pending() { self.book.now() + 1 } else { 0 };
        let before = self.blocked.load(Ordering::Relaxed);
        if (before == 0) != (blocked == 0) {
            self.blocked.store(blocked, Ordering::Relaxed);
        }
        result
    }

    fn is_stalled(&self, now: u64) -> bool {
        let (blocked, stall) = (self.blocked.load(Ordering::Relaxed), self.stall.load(Ordering::Relaxed));
        blocked != 0 && stall != 0 && (now + 1).saturating_sub(blocked) >= stall
    }

    fn tell(&self, verdict: Verdict) {
        if self.verdict.fetch_max(verdict as u8, Ordering::AcqRel) < verdict as u8 {
            // From here on it lingers. A head keeps the limit that it began with.
            if self.phase() != Phase::Head {
                self.since.store(self.book.now(), Ordering::Relaxed);
            }
            self.waker.wake();
            if let Some(switched) = self.switched.get() {
                switched.send_if_modified(|told| {
                    *told < verdict && {
                        *told = verdict;
                        true
                    }
                });
            }
        }
    }

    /// From here on it speaks another protocol than HTTP, and neither rests nor is idle.
    pub fn switch(&self) -> watch::Receiver<Verdict> {
        let switched = self.switched.get_or_init(|| watch::channel(Verdict::Live).0);
        let receiver = switched.subscribe();
        // It may have been told just before.
        let verdict = self.told();
        switched.send_if_modified(|told| {
            *told < verdict && {
                *told = verdict;
                true
            }
        });
        receiver
    }

    fn phase(&self) -> Phase {
        if self.switched.get().is_some() {
            return Phase::Switched;
        }
        if self.in_flight.load(Ordering::Acquire) > 0 {
            return Phase::Busy;
        }
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::New,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.book.now(), Ordering::Relaxed);
    }

    /// HTTP/2 sends frames between requests; hyper's own limits bound its heads.
    fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
        self.enter(Phase::Idle);
    }

    fn heard(&self) {
        if !self.http2.load(Ordering::Relaxed) && matches!(self.phase(), Phase::Idle | Phase::New) {
            self.enter(Phase::Head);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // First the phase, then the count that hides it: nobody sees the phase of before the request.
        self.0.enter(Phase::Idle);
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && self.0.told() != Verdict::Live {
            // It was told while the head came and could not follow then.
            self.0.waker.wake();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let book = &self.conn.book;
        book.open().remove(self.key);
        book.freed.notify_waiters();
    }
}

impl<S> Watched<S> {
    pub fn new(socket: S, entry: Entry) -> Self {
        Watched { socket, entry, preface: Some(0) }
    }

    fn heard(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface {
            let wanted = &PREFACE[seen..];
            let common = wanted.len().min(bytes.len());
            let matches = wanted[..common] == bytes[..common];
            self.preface = (matches && common < wanted.len()).then_some(seen + common);
            if matches && self.preface.is_none() {
                return self.entry.conn.speaks_http2();
            }
        }
        self.entry.conn.heard();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        let filled = &buf.filled()[before..];
        if !filled.is_empty() {
            self.heard(filled);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.entry.conn.wrote(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of what TLS was given, some may wait here for the socket.
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.entry.conn.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.entry.conn.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
