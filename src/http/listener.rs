//! Accepting connections and speaking HTTP/1.1 or HTTP/2 on them, over TLS where the listener has it.

use super::connection::{Book, Conn, Entry, Verdict, Watched};
use super::handshake;
use crate::shortage::{Shortage, of_no_disk};
use crate::telemetry::Seldom;
use crate::tls::Acceptor;
use buntime_plugin::Body;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Largest request head in bytes (spec: 64 KiB), and most headers in it.
pub const MAX_HEAD: usize = 64 * 1024;
pub const MAX_HEADERS: usize = 100;
const MAX_STREAMS: u32 = 128;
const MAX_PENDING_RESETS: usize = 20;
/// After an accept(2) that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers requests. Cheap to clone: each connection has one.
pub trait Service: Clone + Send + Sync + 'static {
    /// Is told whom it is about to serve, on a Unix socket.
    fn meet(&mut self, _socket: &UnixStream) {}

    fn call(
        self,
        request: Request<Incoming>,
        conn: Arc<Conn>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static;
}

pub enum Listener {
    Tcp(TcpListener),
    /// It speaks TLS alone.
    Tls(TcpListener, Arc<Acceptor>),
    Unix(UnixListener),
}

/// A connection that was accepted.
enum Socket {
    Tcp(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, Arc<Acceptor>),
    Unix(UnixStream),
}

/// Why a listener accepts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends: who has connected is still served.
    Close,
    /// Another process accepts on the same socket, also those who wait.
    Leave,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) | Listener::Tls(listener, _) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listener {
    /// Accepts until `stop` resolves, then what clients have already connected, if nobody else does, and closes the listener.
    pub async fn serve(self, book: Arc<Book>, service: impl Service, stop: impl Future<Output = Stop>) {
        let mut stop = pin!(stop);
        let stopped = loop {
            let accepted = tokio::select! {
                stopped = &mut stop => break stopped,
                accepted = self.accept() => accepted.map_err(of_no_disk),
            };
            match accepted {
                Ok(socket) => {
                    let stopped = tokio::select! {
                        () = book.room() => None,
                        stopped = &mut stop => Some(stopped),
                    };
                    socket.begin(&book, &service);
                    if let Some(stopped) = stopped {
                        break stopped;
                    }
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    // For want of a descriptor it fails also where there is nobody to be accepted.
                    if self.is_awaited() {
                        self.tell(&error);
                        // One that rests holds a descriptor that somebody waits for.
                        book.relieve();
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        if stopped == Stop::Close
            && let Err(error) = self.accept_rest(&book, &service)
        {
            tracing::warn!(%error, "the last connections could not be accepted");
        }
    }

    /// Whether somebody has connected and waits to be accepted.
    fn is_awaited(&self) -> bool {
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
            .is_ok_and(|ready| ready > 0)
    }

    /// As long as it lasts, every pause ends with the same error.
    fn tell(&self, error: &io::Error) {
        static LOGGED: [Seldom; 2] = [const { Seldom::quiet() }; 2];
        let (socket, logged) = match self {
            Listener::Tcp(_) | Listener::Tls(..) => ("TCP", &LOGGED[0]),
            Listener::Unix(_) => ("Unix", &LOGGED[1]),
        };
        if let Some(unsaid) = logged.admit() {
            let hint = Shortage::of(error).map(Shortage::hint);
            tracing::warn!(%error, hint, socket, unsaid, "no connection can be accepted; those that are open are served");
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Socket::Tcp(socket, peer)
            }
            Listener::Tls(listener, acceptor) => {
                let (socket, peer) = listener.accept().await?;
                Socket::Tls(socket, peer, Arc::clone(acceptor))
            }
            Listener::Unix(listener) => Socket::Unix(listener.accept().await?.0),
        })
    }

    /// Accepts what waits in the backlog (listen(2)), as far as there is room. The system itself is asked: the runtime
    /// knows only of what came before it last looked.
    fn accept_rest(self, book: &Arc<Book>, service: &impl Service) -> io::Result<()> {
        let mut next: Box<dyn FnMut() -> io::Result<Socket>> = match self {
            Listener::Tcp(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (socket, peer) = listener.accept()?;
                    socket.set_nonblocking(true)?;
                    Ok(Socket::Tcp(TcpStream::from_std(socket)?, peer))
                })
            }
            Listener::Tls(listener, acceptor) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (socket, peer) = listener.accept()?;
                    socket.set_nonblocking(true)?;
                    Ok(Socket::Tls(TcpStream::from_std(socket)?, peer, Arc::clone(&acceptor)))
                })
            }
            Listener::Unix(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (socket, _) = listener.accept()?;
                    socket.set_nonblocking(true)?;
                    Ok(Socket::Unix(UnixStream::from_std(socket)?))
                })
            }
        };
        while !book.is_full() {
            match next() {
                Ok(socket) => socket.begin(book, service),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_the_client(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Socket {
    fn begin(self, book: &Arc<Book>, service: &impl Service) {
        match self {
            Socket::Tcp(socket, peer) => {
                if socket.set_nodelay(true).is_err() {
                    return; // the client is gone
                }
                let entry = book.enter(Some(peer.ip().to_canonical()), peer.port());
                tokio::spawn(converse(socket, entry, service.clone()));
            }
            Socket::Tls(socket, peer, acceptor) => {
                if socket.set_nodelay(true).is_err() {
                    return; // the client is gone
                }
                let entry = book.enter(Some(peer.ip().to_canonical()), peer.port());
                tokio::spawn(converse_secretly(socket, entry, service.clone(), acceptor));
            }
            Socket::Unix(socket) => {
                let mut service = service.clone();
                service.meet(&socket);
                tokio::spawn(converse(socket, book.enter(None, 0), service));
            }
        }
    }
}

/// Clients speak what they have chosen in the handshake (ALPN, RFC 9113 §3.2); which it is shows by what comes, as it does without.
async fn converse_secretly(socket: TcpStream, entry: Entry, service: impl Service, acceptor: Arc<Acceptor>) {
    let Some(stream) = handshake::shake(socket, &entry.conn, &acceptor).await else { return };
    entry.conn.secure();
    converse(stream, entry, service).await;
}

async fn converse<S>(socket: S, entry: Entry, service: impl Service)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let conn = Arc::clone(&entry.conn);
    let io = TokioIo::new(Watched::new(socket, entry));
    let answer = service_fn(|request| {
        let answer = service.clone().call(request, Arc::clone(&conn));
        let conn = Arc::clone(&conn);
        async move {
            let mut response = answer.await;
            // What takes the connection over says itself what it does with it.
            if conn.is_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, answer));
    let mut draining = false;
    let result = poll_fn(|cx| {
        match conn.verdict(cx) {
            Verdict::Live => {}
            Verdict::Drain | Verdict::Close if !std::mem::replace(&mut draining, true) => {
                connection.as_mut().graceful_shutdown();
            }
            Verdict::Drain | Verdict::Close => {}
            Verdict::Drop => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Slow heads and idle connections are the book's business. Head and body go out in one piece: for small answers a copy
    // costs less than a second slice in the system call (docs/decisions/0007).
    builder
        .http1()
        .writev(false)
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD + 8 * 1024);
    builder
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_header_list_size(MAX_HEAD as u32);
    builder
}

/// The client went away before it was accepted (accept(2)): no reason to pause.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
