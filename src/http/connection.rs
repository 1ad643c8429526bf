//! One client connection: what it is doing right now, and what it has to do next.
//!
//! hyper arms a timer for each request head. Here one sweep of the book looks at all connections instead, so a request costs
//! no timer, and the same book tells which connection is idle when room is needed or the server drains.

mod book;
mod watched;

pub use book::{Book, Entry};
pub use watched::Watched;

use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

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

/// A request in progress on a connection, its response body included.
pub struct InFlight(Arc<Conn>);

impl Conn {
    fn new(peer: Option<IpAddr>, peer_port: u16, book: Arc<Book>) -> Conn {
        Conn {
            peer,
            peer_port,
            secure: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::New as u8),
            since: AtomicU64::new(book.now()),
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            blocked: AtomicU64::new(0),
            stall: AtomicU64::new(STALL.as_millis() as u64),
            verdict: AtomicU8::new(Verdict::Live as u8),
            waker: AtomicWaker::new(),
            switched: OnceLock::new(),
            book,
        }
    }

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

#[cfg(test)]
mod tests;
