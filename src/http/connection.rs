//! One client connection: what it is doing right now, and when it has been doing that for too long.
//!
//! hyper arms a timer for each request head. Here one sweep a second looks at all connections instead, so a request costs
//! no timer, and the same book tells which connection is idle when room is needed or the server drains.

use futures_util::task::AtomicWaker;
use slab::Slab;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How often connections are looked at.
const SWEEP: Duration = Duration::from_millis(500);
const PREFACE: &[u8] = b"PRI * HT";

/// What a connection has to do next, as told by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    Live = 0,
    /// Finish what is begun, then close.
    Drain = 1,
    /// Close now.
    Drop = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle = 0,
    /// Bytes of a request head have come.
    Head = 1,
    /// At least one request is with us.
    Busy = 2,
    /// Nothing has come yet.
    New = 3,
}

/// The state of one connection, shared by its task and the book.
pub struct Conn {
    /// The client's address; none on a Unix socket.
    pub peer: Option<IpAddr>,
    pub peer_port: u16,
    phase: AtomicU8,
    since: AtomicU64,
    in_flight: AtomicU32,
    http2: AtomicBool,
    verdict: AtomicU8,
    waker: AtomicWaker,
    book: Arc<Book>,
}

/// All connections.
pub struct Book {
    open: Mutex<Slab<Arc<Conn>>>,
    began: Instant,
    /// Milliseconds since `began`, as of the last sweep or accept.
    clock: AtomicU64,
    freed: Notify,
    max: usize,
    keepalive: Duration,
    head: Duration,
}

/// A place in the book, given back on drop.
pub struct Entry {
    pub conn: Arc<Conn>,
    key: usize,
}

/// A request in progress on a connection, its response body included.
pub struct InFlight(Arc<Conn>);

/// A socket that notes in its `Conn` when bytes come.
pub struct Watched<S> {
    socket: S,
    conn: Arc<Conn>,
    fresh: bool,
}

impl Book {
    pub fn new(max: usize, keepalive: Duration, head: Duration) -> Arc<Book> {
        Arc::new(Book {
            open: Mutex::default(),
            began: Instant::now(),
            clock: AtomicU64::new(0),
            freed: Notify::new(),
            max,
            keepalive,
            head,
        })
    }

    /// Waits until there is room for one more connection, closing the one that is idle the longest if need be.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            {
                let open = self.open();
                if open.len() < self.max {
                    return;
                }
                let idle = open.iter().map(|(_, conn)| conn).filter(|conn| conn.phase() == Phase::Idle);
                if let Some(oldest) = idle.min_by_key(|conn| conn.since.load(Ordering::Relaxed)) {
                    oldest.tell(Verdict::Drain);
                }
            }
            freed.await;
        }
    }

    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>, peer_port: u16) -> Entry {
        self.tick();
        let conn = Arc::new(Conn {
            peer,
            peer_port,
            phase: AtomicU8::new(Phase::New as u8),
            since: AtomicU64::new(self.now()),
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            verdict: AtomicU8::new(Verdict::Live as u8),
            waker: AtomicWaker::new(),
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
            // Whoever waits for room looks again: a connection that was busy may have become idle.
            self.freed.notify_waiters();
            let now = self.now();
            for (_, conn) in self.open().iter() {
                let since = Duration::from_millis(now.saturating_sub(conn.since.load(Ordering::Relaxed)));
                match conn.phase() {
                    Phase::Idle if since >= self.keepalive => conn.tell(Verdict::Drain),
                    Phase::Head | Phase::New if since >= self.head => conn.tell(Verdict::Drop),
                    _ => {}
                }
            }
        }
    }

    /// Asks every connection to finish what it has begun and close.
    pub fn drain(&self) {
        for (_, conn) in self.open().iter() {
            conn.tell(if conn.phase() == Phase::New { Verdict::Drop } else { Verdict::Drain });
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

    fn open(&self) -> MutexGuard<'_, Slab<Arc<Conn>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn {
    /// Begins a request. The connection counts as busy until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.enter(Phase::Busy);
        InFlight(Arc::clone(self))
    }

    /// What to do now. The calling task is woken when that changes.
    pub fn verdict(&self, cx: &Context<'_>) -> Verdict {
        self.waker.register(cx.waker());
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Live,
            // A request whose head has begun to come is still answered.
            1 if self.phase() == Phase::Head => Verdict::Live,
            1 => Verdict::Drain,
            _ => Verdict::Drop,
        }
    }

    fn tell(&self, verdict: Verdict) {
        if self.verdict.fetch_max(verdict as u8, Ordering::AcqRel) < verdict as u8 {
            self.waker.wake();
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::New,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.book.now(), Ordering::Relaxed);
    }

    fn heard(&self, bytes: &[u8], fresh: bool) {
        if fresh && bytes.starts_with(&PREFACE[..bytes.len().min(PREFACE.len())]) {
            // HTTP/2 sends frames between requests; hyper's own limits bound its heads.
            self.http2.store(true, Ordering::Relaxed);
            self.enter(Phase::Idle);
        } else if !self.http2.load(Ordering::Relaxed) && matches!(self.phase(), Phase::Idle | Phase::New) {
            self.enter(Phase::Head);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.enter(Phase::Idle);
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
    pub fn new(socket: S, conn: Arc<Conn>) -> Self {
        Watched { socket, conn, fresh: true }
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
            let fresh = std::mem::replace(&mut self.fresh, false);
            self.conn.heard(filled, fresh);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
