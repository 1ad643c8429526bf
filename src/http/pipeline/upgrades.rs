//! Connections that plugins take to speak another protocol on them (RFC 9110 §7.8): what of them stays the runtime's business.

use super::super::connection::{Conn, Verdict};
use crate::plugin::Serving;
use buntime_plugin::{BoxFuture, Connection, Ending, Offer};
use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// From the answer until the connection is there: a hook that looks at answers may still make another of it.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection that speaks something else. Those who wait at it are woken when it is to be cut off.
struct Switched {
    io: TokioIo<Upgraded>,
    /// For whoever reads, and for whoever writes.
    cut: [Cut; 2],
    /// The set that has taken it is not over before it is.
    _serving: Arc<Serving>,
}

/// Resolves when the connection is to be cut off.
struct Cut(Option<BoxFuture<'static, ()>>);

/// What the connection of a request offers, if it asks for another protocol and can have one.
pub fn take(head: &mut Parts) -> Option<OnUpgrade> {
    head.extensions.remove::<OnUpgrade>()
}

pub fn offer(upgrade: OnUpgrade, conn: &Arc<Conn>, serving: &Arc<Serving>) -> Offer {
    let (conn, serving) = (Arc::clone(conn), Arc::clone(serving));
    let replaced = serving.replaced();
    let (told, mut telling) = watch::channel(None::<watch::Receiver<Verdict>>);
    let connection = async move {
        let upgraded = tokio::time::timeout(LIMIT, upgrade).await;
        let upgraded = upgraded.map_err(io::Error::from)?.map_err(io::Error::other)?;
        let verdict = conn.switch();
        told.send_replace(Some(verdict.clone()));
        let connection: Box<dyn Connection> = Box::new(Switched {
            io: TokioIo::new(upgraded),
            cut: [Cut::of(verdict.clone()), Cut::of(verdict)],
            _serving: serving,
        });
        Ok(connection)
    };
    let ending = async move {
        let drained = async {
            let Ok(Some(mut verdict)) = telling.wait_for(Option::is_some).await.map(|told| told.clone())
            else {
                return std::future::pending().await;
            };
            // It fails where the connection is gone: then nobody needs to end it.
            if verdict.wait_for(|verdict| *verdict >= Verdict::Drain).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = drained => Ending::Shutdown,
            () = replaced => Ending::Replaced,
        }
    };
    Offer { connection: Box::pin(connection), ending: Box::pin(ending) }
}

impl Cut {
    fn of(mut verdict: watch::Receiver<Verdict>) -> Cut {
        Cut(Some(Box::pin(async move {
            drop(verdict.wait_for(|verdict| *verdict == Verdict::Drop).await);
        })))
    }

    /// # Errors
    /// It is cut off.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.0.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_pending()) {
            return Ok(());
        }
        self.0 = None;
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut[0].check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cut[1].check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut[1].check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut[1].check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut[1].check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
