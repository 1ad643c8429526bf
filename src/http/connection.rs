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
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
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
    /// Nothing has come yet.
    New = 2,
    /// At least one request is with us. Never stored: `in_flight` tells.
    Busy = 3,
}

/// The state of one connection, shared by its task and the book.
pub struct Conn {
    /// The client's address; none on a Unix socket.
    pub peer: Option<IpAddr>,
    pub peer_port: u16,
    /// Holds while no request is in flight.
    phase: AtomicU8,
    /// When the phase began, or when the connection was told to drain in it.
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
    /// How many bytes of the HTTP/2 preface have come; none = it is decided what the connection speaks.
    preface: Option<usize>,
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
                self.make_room(&open);
            }
            freed.await;
        }
    }

    pub fn is_full(&self) -> bool {
        self.open().len() >= self.max
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
            oldest.tell(Verdict::Drain);
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
            // Whoever waits for room looks again: a connection that was busy may have become idle, or lingered long enough.
            self.freed.notify_waiters();
            for (_, conn) in self.open().iter() {
                let live = conn.told() == Verdict::Live;
                let (phase, age) = (conn.phase(), self.age(conn));
                match phase {
                    Phase::Idle if live && age >= self.keepalive => conn.tell(Verdict::Drain),
                    Phase::Idle if !live && age >= LINGER => conn.tell(Verdict::Drop),
                    Phase::New if !live && age >= SWEEP => conn.tell(Verdict::Drop),
                    Phase::Head | Phase::New if age >= self.head => conn.tell(Verdict::Drop),
                    _ => {}
                }
            }
        }
    }

    /// Asks every connection to finish what it has begun and close. On one that was just opened a request is probably on
    /// its way: it has one sweep to come.
    pub fn drain(&self) {
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

impl Conn {
    /// Begins a request. The connection counts as busy until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// What to do now. The calling task is woken when that changes.
    pub fn verdict(&self, cx: &Context<'_>) -> Verdict {
        self.waker.register(cx.waker());
        match self.told() {
            // A request whose head has begun to come, or may have, is still answered.
            Verdict::Drain if matches!(self.phase(), Phase::Head | Phase::New) => Verdict::Live,
            told => told,
        }
    }

    fn told(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Live,
            1 => Verdict::Drain,
            _ => Verdict::Drop,
        }
    }

    fn tell(&self, verdict: Verdict) {
        if self.verdict.fetch_max(verdict as u8, Ordering::AcqRel) < verdict as u8 {
            // From here on it lingers. A head keeps the limit that it began with.
            if self.phase() != Phase::Head {
                self.since.store(self.book.now(), Ordering::Relaxed);
            }
            self.waker.wake();
        }
    }

    fn phase(&self) -> Phase {
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
    pub fn new(socket: S, conn: Arc<Conn>) -> Self {
        Watched { socket, conn, preface: Some(0) }
    }

    fn heard(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface {
            let wanted = &PREFACE[seen..];
            let common = wanted.len().min(bytes.len());
            let matches = wanted[..common] == bytes[..common];
            self.preface = (matches && common < wanted.len()).then_some(seen + common);
            if matches && self.preface.is_none() {
                return self.conn.speaks_http2();
            }
        }
        self.conn.heard();
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;
    use std::future::poll_fn;
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const KEEPALIVE: Duration = Duration::from_secs(75);
    const HEAD: Duration = Duration::from_secs(10);
    /// In the paused time of a test: far longer than anything here takes.
    const EVER: Duration = Duration::from_secs(24 * 3600);

    fn book(max: usize) -> Arc<Book> {
        let book = Book::new(max, KEEPALIVE, HEAD);
        tokio::spawn(Arc::clone(&book).sweep());
        book
    }

    /// A connection between requests.
    fn idle(book: &Arc<Book>) -> Entry {
        let entry = book.enter(None, 0);
        drop(entry.conn.begin());
        entry
    }

    fn verdict(entry: &Entry) -> Verdict {
        entry.conn.verdict(&Context::from_waker(noop_waker_ref()))
    }

    /// Resolves when the connection is told to close at once. The client takes no notice of a friendlier word.
    async fn stays_until_dropped(entry: Entry) {
        poll_fn(|cx| if entry.conn.verdict(cx) == Verdict::Drop { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_that_do_not_close_make_room_all_the_same() {
        let book = book(3);
        for _ in 0..3 {
            tokio::spawn(stays_until_dropped(idle(&book)));
        }
        for _ in 0..5 {
            tokio::time::timeout(KEEPALIVE / 2, book.room()).await.expect("there is no room");
            tokio::spawn(stays_until_dropped(idle(&book)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drained_connection_that_does_not_close_is_dropped() {
        let book = book(10);
        let entry = idle(&book);
        let busy = book.enter(None, 0);
        let request = busy.conn.begin();
        book.drain();
        assert_eq!((verdict(&entry), verdict(&busy)), (Verdict::Drain, Verdict::Drain));
        tokio::time::timeout(EVER, stays_until_dropped(entry)).await.expect("it stayed");
        assert_eq!(verdict(&busy), Verdict::Drain, "it has a request");
        drop(request);
        tokio::time::timeout(EVER, stays_until_dropped(busy)).await.expect("it stayed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_yet_has_a_moment_to_send_one_when_drained() {
        let book = book(10);
        let (silent, speaking) = (book.enter(None, 0), book.enter(None, 0));
        book.drain();
        assert_eq!(verdict(&silent), Verdict::Live);
        speaking.conn.heard();
        let began = Instant::now();
        tokio::time::timeout(EVER, stays_until_dropped(silent)).await.expect("it stayed");
        assert!(began.elapsed() >= SWEEP);
        assert_eq!(verdict(&speaking), Verdict::Live, "its request is coming");
        drop(speaking.conn.begin());
        assert_eq!(verdict(&speaking), Verdict::Drain);
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_drained_while_a_head_came_is_woken_when_the_request_has_ended() {
        let book = book(10);
        let entry = book.enter(None, 0);
        entry.conn.heard();
        book.drain();
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        assert_eq!(entry.conn.verdict(&Context::from_waker(&waker)), Verdict::Live);
        drop(entry.conn.begin());
        assert!(flag.0.load(Ordering::Relaxed));
        assert_eq!(verdict(&entry), Verdict::Drain);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_request_does_not_hide_another() {
        let book = book(10);
        let entry = book.enter(None, 0);
        let (first, second) = (entry.conn.begin(), entry.conn.begin());
        drop(first);
        assert_eq!(entry.conn.phase(), Phase::Busy);
        // What a thread that ends a request may still write when another has begun the next.
        entry.conn.enter(Phase::Idle);
        assert_eq!(entry.conn.phase(), Phase::Busy);
        drop(second);
        assert_eq!(entry.conn.phase(), Phase::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_whole_preface_lifts_the_limit_on_heads() {
        let book = book(10);
        let whole = &PREFACE[..];
        let table: [(&[&[u8]], Phase); 7] = [
            (&[b"P"], Phase::Head),
            (&[b"P", b"O"], Phase::Head),
            (&[b"PRI * HTTP/1.1\r\n"], Phase::Head),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"], Phase::Head),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"X"], Phase::Head),
            (&[&whole[..3], &whole[3..]], Phase::Idle),
            (&[whole, b"\0\0\0\x04"], Phase::Idle),
        ];
        for (pieces, phase) in table {
            let entry = book.enter(None, 0);
            let (mut client, server) = tokio::io::duplex(64);
            let mut watched = Watched::new(server, Arc::clone(&entry.conn));
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                watched.read_exact(&mut vec![0; piece.len()]).await.unwrap();
            }
            assert_eq!(entry.conn.phase(), phase, "{pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_like_a_preface_has_the_time_of_every_head() {
        let book = book(10);
        let entry = book.enter(None, 0);
        let (mut client, server) = tokio::io::duplex(64);
        let mut watched = Watched::new(server, Arc::clone(&entry.conn));
        client.write_all(b"P").await.unwrap();
        watched.read_u8().await.unwrap();
        tokio::time::timeout(HEAD * 2, stays_until_dropped(entry)).await.expect("it stayed");
    }
}
