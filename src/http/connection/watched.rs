//! The socket of a connection, which notes what comes and what is taken.

use super::Entry;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket that notes in its `Conn` when bytes come. It has the place in the book: the connection counts for as long as the socket is
/// there, whatever is spoken on it.
pub struct Watched<S> {
    socket: S,
    entry: Entry,
    /// How many bytes of the HTTP/2 preface have come; none = it is decided what the connection speaks.
    preface: Option<usize>,
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
