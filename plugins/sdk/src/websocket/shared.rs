//! What both halves of a socket share.

use super::SocketError;
use crate::Connection;
use futures_util::task::AtomicWaker;
use futures_util::{Sink, Stream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use tokio_websockets::{Message as Frame, WebSocketStream};

type Stack = WebSocketStream<Box<dyn Connection>>;

pub(super) struct Shared {
    stack: Mutex<Stack>,
    both: Arc<Both>,
    waker: Waker,
}

/// Wakes whoever waits at either half. The connection knows one waker for each direction, and the library writes (its answers to pings)
/// also when it is read from: with one for both halves none is ever forgotten.
#[derive(Default)]
struct Both {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl Shared {
    pub fn new(stack: Stack) -> Shared {
        let both = Arc::new(Both::default());
        Shared { stack: Mutex::new(stack), waker: Arc::clone(&both).into(), both }
    }

    /// Queues a frame when those before it have gone, and resolves when it has gone too. `frame` is taken when it is queued.
    pub fn poll_send(&self, cx: &Context<'_>, frame: &mut Option<Frame>) -> Poll<Result<(), SocketError>> {
        self.both.writer.register(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        let mut stack = self.stack();
        let mut stack = Pin::new(&mut *stack);
        if frame.is_some() {
            ready!(stack.as_mut().poll_flush(&mut cx))?;
        }
        if let Some(frame) = frame.take() {
            stack.as_mut().start_send(frame)?;
            // A reader that waits for the answer to a close measures its time.
            self.both.reader.wake();
        }
        Poll::Ready(Ok(ready!(stack.poll_flush(&mut cx))?))
    }

    /// Queues a frame of the reader's, unless the socket is closed, and sends what can be sent now.
    pub fn queue(&self, frame: Frame) {
        let mut cx = Context::from_waker(&self.waker);
        let mut stack = self.stack();
        if Pin::new(&mut *stack).start_send(frame).is_ok() {
            // What is left goes with what comes next, or when there is room; an error is found by whoever reads.
            let _ = Pin::new(&mut *stack).poll_flush(&mut cx);
        }
    }

    /// Resolves when nothing waits to be sent.
    pub fn poll_flush(&self, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        self.both.reader.register(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut *self.stack()).poll_flush(&mut cx).map_err(SocketError::from)
    }

    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame, SocketError>>> {
        self.both.reader.register(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        let next = ready!(Pin::new(&mut *self.stack()).poll_next(&mut cx));
        Poll::Ready(next.map(|next| next.map_err(SocketError::from)))
    }

    fn stack(&self) -> MutexGuard<'_, Stack> {
        // Held for one step of either half.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Socket")
    }
}
