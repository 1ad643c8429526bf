//! One request and its answer on a link, as the one who asked sees it.

use super::shared::{Aftermath, put_cancel};
use super::{Failure, Link, RequestBody};
use crate::wire::MAX_CHUNK;
use crate::wire::frame::{self, Kind};
use crate::wire::message::{Cancel, ResponseHead};
use buntime_plugin::BodyError;
use bytes::Bytes;
use http_body::Frame;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Credit goes back to the worker in steps of this many bytes.
const CREDIT_STEP: u32 = 64 * 1024;

/// One request and its answer. Dropping it before the end tells the worker that nobody listens any more.
pub struct Exchange {
    pub(super) link: Arc<Link>,
    pub(super) id: u32,
    pub(super) over: bool,
}

/// The sending half of an exchange: the request's body.
#[derive(Clone)]
pub struct Upload {
    link: Arc<Link>,
    id: u32,
}

impl Exchange {
    /// Waits for the response head. Its `body` is empty: body bytes come from `poll_body`, save that a response that is
    /// already whole is handed out in one piece (`fin` = there is nothing more to come).
    pub async fn head(&mut self) -> Result<ResponseHead, Failure> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        let mut shared = self.link.lock();
        let Some(stream) = shared.streams.get_mut(&self.id) else {
            return Poll::Ready(Err(Failure::Gone { started: true }));
        };
        let Some(mut head) = stream.head.take() else {
            return match stream.failure.take() {
                Some(failure) => {
                    shared.streams.remove(&self.id);
                    self.over = true;
                    Poll::Ready(Err(failure))
                }
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            };
        };
        head.fin = stream.fin && stream.body.len() <= 1;
        if head.fin {
            head.body = stream.body.pop_front().unwrap_or_default();
            // A request body that is still on its way is no longer wanted.
            let sender = stream.sender.take();
            shared.streams.remove(&self.id);
            self.over = true;
            drop(shared);
            sender.into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(head))
    }

    /// The next piece of the response body; `None` = it has ended.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut shared = self.link.lock();
        let shared = &mut *shared;
        let Some(stream) = shared.streams.get_mut(&self.id) else { return Poll::Ready(None) };
        if let Some(piece) = stream.body.pop_front() {
            stream.taken += piece.len() as u32;
            if !stream.fin && stream.failure.is_none() && stream.taken >= CREDIT_STEP {
                stream.moved = Instant::now();
                stream.receive += stream.taken;
                frame::put_frame(shared.out.tail(), Kind::Credit, self.id, &stream.taken.to_be_bytes());
                stream.taken = 0;
                shared.wake_driver();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        let end = match stream.failure.take() {
            Some(failure) => Some(Err(failure)),
            None if stream.fin => None,
            None => {
                stream.wait(cx);
                return Poll::Pending;
            }
        };
        let sender = stream.sender.take();
        shared.streams.remove(&self.id);
        self.over = true;
        sender.into_iter().for_each(Waker::wake);
        Poll::Ready(end)
    }

    /// Keeps `guard` until the worker has nothing more to do with this exchange: its last byte has come, or it failed. Whether
    /// the client takes those bytes is another matter.
    pub fn hold(&self, guard: Box<dyn Send>) {
        let mut shared = self.link.lock();
        let done = match shared.streams.get_mut(&self.id) {
            Some(stream) if !stream.fin && stream.failure.is_none() => stream.guard.replace(guard),
            _ => Some(guard),
        };
        drop(shared);
        drop(done);
    }

    /// True when every byte of the body has been handed out.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// From here on both directions are a conversation (a WebSocket): body can be sent although the request had none, and neither side
    /// has to say anything.
    pub fn converse(&self) -> Upload {
        let mut shared = self.link.lock();
        if let Some(stream) = shared.streams.get_mut(&self.id)
            && stream.failure.is_none()
        {
            stream.sent = false;
            stream.endless = true;
        }
        drop(shared);
        self.upload()
    }

    /// The sending half, for a request whose body was not whole at `Link::open`.
    pub fn upload(&self) -> Upload {
        Upload { link: Arc::clone(&self.link), id: self.id }
    }
}

/// The body of the answer, still coming from the worker.
impl http_body::Body for Exchange {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_body(cx).map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut shared = self.link.lock();
        let Some(stream) = shared.streams.remove(&self.id) else { return };
        if !stream.fin && stream.failure.is_none() {
            put_cancel(shared.tail(), self.id, Cancel::ClientGone);
            shared.wake_driver();
        }
        drop(shared);
        stream.sender.into_iter().for_each(Waker::wake);
    }
}

impl Upload {
    /// Sends one piece of the request's body, waiting for credit. `false` = nobody wants the rest.
    pub async fn send(&self, mut piece: Bytes) -> bool {
        while !piece.is_empty() {
            let Some(room) = poll_fn(|cx| self.poll_room(cx)).await else { return false };
            let now = piece.split_to(piece.len().min(room as usize).min(MAX_CHUNK));
            let mut shared = self.link.lock();
            let shared = &mut *shared;
            let Some(stream) = shared.streams.get_mut(&self.id) else { return false };
            stream.send -= now.len() as u32;
            stream.moved = Instant::now();
            shared.put_body(self.id, now);
            shared.wake_driver();
        }
        true
    }

    /// The request's body has ended.
    pub fn finish(&self) {
        let mut shared = self.link.lock();
        let Some(stream) = shared.streams.get_mut(&self.id) else { return };
        if !std::mem::replace(&mut stream.sent, true) {
            frame::put_frame(shared.tail(), Kind::End, self.id, &[]);
            shared.wake_driver();
        }
    }

    /// The request's body failed at its source: the app's reader is told, and the exchange fails.
    pub fn fail(&self, why: RequestBody) {
        let mut after = Aftermath::default();
        let mut shared = self.link.lock();
        let Some(stream) = shared.streams.get_mut(&self.id) else { return };
        if stream.sent {
            return;
        }
        stream.fail(Failure::RequestBody(why), &mut after);
        put_cancel(shared.tail(), self.id, Cancel::BodyFailed);
        shared.wake_driver();
        drop(shared);
        after.take_place();
    }

    /// Resolves when nobody wants the body any more (the exchange ended, or the app cancelled it).
    pub async fn unwanted(&self) {
        poll_fn(|cx| {
            let mut shared = self.link.lock();
            match shared.streams.get_mut(&self.id) {
                Some(stream) if !stream.sent => {
                    stream.sender = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// True once the app has certainly seen the request, while the exchange goes on.
    pub fn is_started(&self) -> bool {
        let shared = self.link.lock();
        // After the link has closed it is the failure that tells: the page may have been written since.
        shared.streams.get(&self.id).is_some_and(|stream| {
            stream.failure.is_none() && (stream.started || self.link.progress.started() >= self.id)
        })
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Option<u32>> {
        let mut shared = self.link.lock();
        match shared.streams.get_mut(&self.id) {
            Some(stream) if !stream.sent && stream.send == 0 => {
                stream.sender = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(stream) if !stream.sent => Poll::Ready(Some(stream.send)),
            _ => Poll::Ready(None),
        }
    }
}
