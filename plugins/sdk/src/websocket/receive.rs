//! The receiving half of a socket: it keeps the time, and closes when the runtime wants that.

use super::shared::Shared;
use super::{CLOSE_LIMIT, Close, Message, SocketError};
use crate::{BoxFuture, Ending};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Pings that are answered while the client takes nothing. What is more waits: each answer needs memory.
const MAX_PONGS: u32 = 16;
/// No sleep is longer than this.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// The receiving half of a socket.
pub struct Receiver {
    shared: Arc<Shared>,
    ending: Option<BoxFuture<'static, Ending>>,
    idle: Option<Duration>,
    /// When something came last.
    heard: Instant,
    pinged: bool,
    /// Pings that may not have been answered yet.
    pings: u32,
    timer: Pin<Box<Sleep>>,
    state: State,
}

enum State {
    Open,
    /// The last thing that is said of it, once the other end has answered or its time is over.
    Closing(Option<Result<Message, SocketError>>),
    Over,
}

impl Receiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        ending: BoxFuture<'static, Ending>,
        idle: Option<Duration>,
    ) -> Receiver {
        let timer = Box::pin(tokio::time::sleep(idle.map_or(FAR, |idle| idle / 2)));
        let (heard, state) = (Instant::now(), State::Open);
        Receiver { shared, ending: Some(ending), idle, heard, pinged: false, pings: 0, timer, state }
    }

    /// The next message; none after the last. A close is the last, as is an error. Loses nothing if it is not awaited to its end.
    pub async fn recv(&mut self) -> Option<Result<Message, SocketError>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, SocketError>>> {
        loop {
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Closing(last) => {
                    let next = self.shared.poll_next(cx);
                    let answered = match next {
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(_) => true,
                        Poll::Pending => false,
                    };
                    if !answered {
                        ready!(self.timer.as_mut().poll(cx));
                    }
                    let last = last.take();
                    self.state = State::Over;
                    return Poll::Ready(last);
                }
                State::Open => {
                    if let Some(ending) = &mut self.ending
                        && let Poll::Ready(ending) = ending.as_mut().poll(cx)
                    {
                        self.ending = None;
                        self.end(ending);
                        continue;
                    }
                    if self.pings >= MAX_PONGS {
                        // Whatever is wrong with it is found by reading.
                        let _ = ready!(self.shared.poll_flush(cx));
                        self.pings = 0;
                    }
                    match self.shared.poll_next(cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            let message = Message::from_frame(frame);
                            self.heard = Instant::now();
                            self.pinged = false;
                            match message {
                                Message::Close(_) => self.finish(Ok(message)),
                                Message::Ping(_) => {
                                    self.pings += 1;
                                    return Poll::Ready(Some(Ok(message)));
                                }
                                _ => return Poll::Ready(Some(Ok(message))),
                            }
                        }
                        Poll::Ready(Some(Err(SocketError::TooLarge))) => {
                            let close = Close { code: 1009, reason: "the message is too large".to_owned() };
                            self.shared.queue(Message::Close(close).into_frame());
                            self.finish(Err(SocketError::TooLarge));
                        }
                        Poll::Ready(Some(Err(SocketError::Io(error)))) => {
                            self.state = State::Over;
                            return Poll::Ready(Some(Err(SocketError::Io(error))));
                        }
                        // It was told so.
                        Poll::Ready(Some(Err(error))) => self.finish(Err(error)),
                        Poll::Ready(None) => {
                            self.state = State::Over;
                            return Poll::Ready(None);
                        }
                        Poll::Pending => {
                            ready!(self.poll_idle(cx));
                            self.state = State::Over;
                            return Poll::Ready(Some(Err(SocketError::Idle)));
                        }
                    }
                }
            }
        }
    }

    /// Resolves when the client was silent for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let silent = self.heard.elapsed();
            let wait = match self.idle {
                Some(idle) if silent >= idle => return Poll::Ready(()),
                Some(idle) if silent >= idle / 2 => {
                    if !std::mem::replace(&mut self.pinged, true) {
                        self.shared.queue(Message::Ping(bytes::Bytes::new()).into_frame());
                    }
                    idle - silent
                }
                Some(idle) => idle / 2 - silent,
                None => FAR,
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
    }

    fn end(&mut self, ending: Ending) {
        let close = Close { code: ending.code(), reason: ending.reason().to_owned() };
        self.shared.queue(Message::Close(close.clone()).into_frame());
        self.finish(Ok(Message::Close(close)));
    }

    /// Waits for the other end's part of the close, and no longer than it may take.
    fn finish(&mut self, last: Result<Message, SocketError>) {
        self.timer.as_mut().reset(Instant::now() + CLOSE_LIMIT);
        self.state = State::Closing(Some(last));
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
