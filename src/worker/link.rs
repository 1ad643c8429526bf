//! The link to one worker: many exchanges multiplexed on one socket.
//!
//! A request is encoded straight into the link's outbox and its task is woken by the link's driver when the answer is
//! there. The driver is the only one that touches the socket: it reads whatever has come, hands it out, and
//! writes whatever was queued meanwhile in one go, so that under load one system call serves many requests.

mod calls;
mod exchange;
mod shared;
use self::calls::Calls;
pub use self::exchange::{Exchange, Upload};
use self::shared::{Aftermath, Shared, Stage, Stream, put_cancel};
use super::outbox::Outbox;
use super::progress::Progress;
use super::socket::Socket;
use crate::model::plugin::CallError;
use crate::wire::call::{self, CallFrame};
use crate::wire::frame::{self, Decoder, Kind};
use crate::wire::message::{self, AppError, Assign, Cancel, Hello, Hook, HookDone, Ready};
use crate::wire::{MAX_CONTROL, WireError};
use bytes::BytesMut;
use http::HeaderValue;
use nix::sys::socket::MsgFlags;
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Stream numbers end here; a worker is recycled long before.
pub const MAX_STREAM: u32 = 1 << 31;
/// How much the driver reads before it lets other tasks run.
const READS_A_TURN: usize = 16;
const READ_BUFFER: usize = 64 * 1024;
/// How much of what a worker wrote before its link ended is read: more than the kernel keeps for a socket.
const REST: usize = 16 << 20;
/// Pieces of a body below these sizes are copied out of the read buffer: behind others, and at the head of the queue.
const COPY_WAITING: usize = 16 * 1024;
const COPY_SMALL: usize = 1024;
/// With less room than this left, a new buffer is taken.
const READ_AT_LEAST: usize = 16 * 1024;

/// What a worker says of itself, for the one who looks after it.
#[derive(Debug)]
pub enum Control {
    Hello(Hello),
    Ready(Ready),
    Failed(Box<AppError>),
    HookDone(HookDone),
    /// To be answered by `Link::answer`.
    Call(CallFrame),
}

/// Why an exchange has no (further) answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The worker's process or link ended. A request that never reached the app can go to another worker.
    #[error("the worker ended")]
    Gone { started: bool },
    #[error("no response head within the time limit")]
    Timeout,
    #[error("the body was idle for too long")]
    StreamTimeout,
    #[error("the app threw: {}", .0.message)]
    App(Box<AppError>),
    /// The head is well-formed MessagePack but not HTTP.
    #[error("the app's response cannot be sent: {0}")]
    BadResponse(&'static str),
    #[error("the app's response body failed")]
    BodyFailed,
    /// The client's request body failed.
    #[error("the request body failed")]
    RequestBody(RequestBody),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    TooLarge,
    Broken,
    /// The client stopped sending.
    TooSlow,
}

/// How a link ended.
#[derive(Debug)]
pub enum LinkEnd {
    Closed,
    Protocol(WireError),
    Io(std::io::Error),
}

/// What a look at the link found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is in flight; no need to look again before the next request.
    AtRest,
    Busy,
    /// A ping is unanswered for too long.
    Unresponsive,
}

/// Limits on exchanges, looked after by `Link::sweep`.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub head: Duration,
    /// Zero = none.
    pub stream: Duration,
    /// Silence after which a worker with exchanges is asked for a sign of life.
    pub ping_after: Duration,
    /// How long the sign may take.
    pub ping: Duration,
}

pub struct Link {
    shared: Mutex<Shared>,
    progress: Progress,
    control: mpsc::UnboundedSender<Control>,
    /// Told when the first exchange begins on a link that was at rest.
    busy: Notify,
    /// The app's own `maxRequestBodySize`.
    body_limit: AtomicU64,
}

impl From<RequestBody> for Failure {
    fn from(why: RequestBody) -> Failure {
        Failure::RequestBody(why)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("in_flight", &self.in_flight()).finish()
    }
}

impl Link {
    pub fn new(progress: Progress, control: mpsc::UnboundedSender<Control>) -> Arc<Link> {
        Arc::new(Link {
            shared: Mutex::new(Shared::new()),
            progress,
            control,
            busy: Notify::new(),
            body_limit: AtomicU64::new(u64::MAX),
        })
    }

    /// Begins an exchange. `encode` appends the REQUEST frame for the stream number it is given, with `inline` bytes
    /// of body counted in it; `fin` = the request's body ends with them.
    ///
    /// `None` = the link has closed, or its stream numbers are used up; nothing was sent.
    pub fn open(
        self: &Arc<Self>,
        now: Instant,
        request_id: &HeaderValue,
        inline: u32,
        fin: bool,
        encode: impl FnOnce(&mut BytesMut, u32),
    ) -> Option<Exchange> {
        let mut shared = self.lock();
        if shared.closed || shared.last == MAX_STREAM {
            return None;
        }
        shared.last += 1;
        let id = shared.last;
        encode(shared.tail(), id);
        shared.streams.insert(id, Stream::new(request_id.clone(), inline, fin, now));
        if !shared.watched {
            shared.watched = true;
            self.busy.notify_one();
        }
        shared.wake_driver();
        Some(Exchange { link: Arc::clone(self), id, over: false })
    }

    /// Sends the app to load.
    ///
    /// # Errors
    /// It has more bytes than the worker takes: its environment or its settings are too large.
    pub fn assign(&self, assign: &Assign<'_>) -> Result<(), rmp_serde::encode::Error> {
        let payload = rmp_serde::to_vec_named(assign)?;
        if payload.len() > MAX_CONTROL {
            let (len, limit) = (payload.len(), MAX_CONTROL);
            return Err(serde::ser::Error::custom(format_args!(
                "its environment and its settings have {len} bytes, {limit} are allowed"
            )));
        }
        let mut shared = self.lock();
        shared.stage = Stage::Assigned;
        shared.calls = assign.plugin.map(|_| Calls::default());
        let held = std::mem::take(&mut shared.held);
        let out = shared.out.tail();
        frame::put_frame(out, Kind::Assign, 0, &payload);
        out.extend_from_slice(&held);
        shared.wake_driver();
        Ok(())
    }

    /// Whether the app is loaded.
    pub fn is_loaded(&self) -> bool {
        self.lock().is_serving()
    }

    /// What READY says, if it has not come and the app turns out to be loaded all the same: it has a request already.
    pub fn presume_loaded(&self, now: Instant) -> Option<Ready> {
        self.progress.ready().filter(|_| self.lock().presume_loaded(now))
    }

    pub fn hook(&self, hook: Hook) {
        let mut shared = self.lock();
        let due = &mut shared.hooks[hook as usize - 1];
        *due = due.saturating_add(1);
        shared.queue(Kind::Hook, &[0x91, hook as u8]);
    }

    /// Answers a CALL, once. What cannot be sent is an error to who called.
    pub fn answer(&self, id: u32, result: Result<rmpv::Value, CallError>) {
        let payload = match result {
            Ok(value) => call::result(id, &value).unwrap_or_else(|why| {
                call::error(id, "RangeError", &format!("the answer cannot be sent: {why}"))
            }),
            Err(error) => call::error(id, &error.name, &error.message),
        };
        let mut shared = self.lock();
        if shared.closed {
            return;
        }
        if let Some(calls) = &mut shared.calls {
            calls.answered(id);
        }
        shared.queue(Kind::Result, &payload);
    }

    /// The largest request body in bytes that the app itself wants.
    pub fn body_limit(&self) -> u64 {
        self.body_limit.load(Ordering::Relaxed)
    }

    pub fn limit_bodies(&self, bytes: u64) {
        self.body_limit.store(bytes, Ordering::Relaxed);
    }

    /// Exchanges that are open.
    pub fn in_flight(&self) -> usize {
        self.lock().streams.len()
    }

    /// How long the worker took for its last sign of life, or has taken for one that is still due. None = it was never asked:
    /// it speaks by itself.
    pub fn lag(&self, now: Instant) -> Option<Duration> {
        let shared = self.lock();
        let due = shared.pinged.filter(|pinged| shared.heard < *pinged);
        due.map(|pinged| now.saturating_duration_since(pinged)).or(shared.lag)
    }

    /// The id of the request that the worker is busy with, if there is just one.
    pub fn only_request(&self) -> Option<HeaderValue> {
        let shared = self.lock();
        let mut streams = shared.streams.values();
        streams.next().filter(|_| shared.streams.len() == 1).map(|stream| stream.request_id.clone())
    }

    /// Resolves when an exchange begins on a link that was at rest.
    pub async fn becomes_busy(&self) {
        self.busy.notified().await;
    }

    /// Ends exchanges that are over their time and asks a silent worker for a sign of life.
    pub fn sweep(&self, now: Instant, limits: &Timeouts) -> Health {
        let mut after = Aftermath::default();
        let mut shared = self.lock();
        let shared_ref = &mut *shared;
        let serving = shared_ref.is_serving();
        for (id, stream) in shared_ref.streams.iter_mut().filter(|_| serving) {
            if stream.failure.is_some() || stream.fin || stream.endless {
                continue;
            }
            let still = now.saturating_duration_since(stream.moved);
            let failure = if !stream.has_head && still >= limits.head {
                // While the body may be sent and does not come, it is the client that is slow.
                if stream.sent || stream.send == 0 {
                    Failure::Timeout
                } else {
                    Failure::RequestBody(RequestBody::TooSlow)
                }
            } else if stream.has_head && !limits.stream.is_zero() && still >= limits.stream {
                Failure::StreamTimeout
            } else {
                continue;
            };
            stream.fail(failure, &mut after);
            put_cancel(shared_ref.out.tail(), *id, Cancel::Timeout);
        }
        let health = shared.vital_signs(now, limits);
        shared.wake_driver();
        drop(shared);
        self.take_place(&mut after);
        health
    }

    /// Carries the link until it ends. Every open exchange has failed when this returns.
    pub async fn drive(self: Arc<Self>, mut socket: Socket) -> LinkEnd {
        let mut input = BytesMut::with_capacity(READ_BUFFER);
        let mut output = Outbox::default();
        let mut after = Aftermath::default();
        let mut end = poll_fn(|cx| {
            if let Err(end) = self.read_turn(cx, &mut socket, &mut input, &mut after) {
                return Poll::Ready(end);
            }
            self.take_place(&mut after);
            self.write_turn(cx, &mut socket, &mut output)
        })
        .await;
        if let LinkEnd::Io(_) = end
            && let Err(error) = self.read_rest(&socket, &mut input, &mut after)
        {
            end = LinkEnd::Protocol(error);
        }
        self.take_place(&mut after);
        self.close(&end);
        end
    }

    /// A worker that has ended may have written answers before. They are read past tokio, which knows of them only after
    /// its next look at the system.
    fn read_rest(
        &self,
        socket: &Socket,
        input: &mut BytesMut,
        after: &mut Aftermath,
    ) -> Result<(), WireError> {
        let mut piece = [0; 16 * 1024];
        // A worker that has closed one direction alone may write for ever.
        let mut left = REST;
        while left > 0 {
            match nix::sys::socket::recv(socket.as_raw_fd(), &mut piece, MsgFlags::MSG_DONTWAIT) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => {
                    left = left.saturating_sub(read);
                    input.extend_from_slice(&piece[..read]);
                    self.receive(input, after)?;
                }
            }
        }
        Ok(())
    }

    fn read_turn(
        &self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        input: &mut BytesMut,
        after: &mut Aftermath,
    ) -> Result<(), LinkEnd> {
        for _ in 0..READS_A_TURN {
            let wanted = Decoder.missing(input).max(READ_AT_LEAST);
            if input.capacity() - input.len() < wanted {
                input.reserve(wanted.max(READ_BUFFER));
            }
            match socket.poll_read(cx, input) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(LinkEnd::Io(error)),
                Poll::Ready(Ok(0)) => return Err(LinkEnd::Closed),
                Poll::Ready(Ok(_)) => self.receive(input, after).map_err(LinkEnd::Protocol)?,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn write_turn(&self, cx: &mut Context<'_>, socket: &mut Socket, output: &mut Outbox) -> Poll<LinkEnd> {
        loop {
            if output.is_empty() {
                let mut shared = self.lock();
                if let Some(calls) = &mut shared.calls {
                    calls.turn_over(); // what it was given is in the kernel's hands
                }
                if shared.out.is_empty() {
                    match &mut shared.driver {
                        Some(waker) if waker.will_wake(cx.waker()) => {}
                        driver => *driver = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                std::mem::swap(output, &mut shared.out);
            }
            match output.poll_write(cx, socket) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(LinkEnd::Io(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn receive(&self, input: &mut BytesMut, after: &mut Aftermath) -> Result<(), WireError> {
        let now = Instant::now();
        let mut shared = self.lock();
        shared.heard = now;
        while let Some(frame) = Decoder.next(input)? {
            let payload = &frame.payload;
            match frame.kind {
                Kind::Hello => {
                    shared.advance(Stage::Silent, Stage::Spare)?;
                    after.control.push(Control::Hello(message::read_control(payload)?));
                }
                Kind::Ready => {
                    shared.loaded(now)?;
                    after.control.push(Control::Ready(message::read_control(payload)?));
                }
                Kind::Failed => {
                    shared.advance(Stage::Assigned, Stage::Failed)?;
                    after.control.push(Control::Failed(message::read_control(payload)?));
                }
                Kind::HookDone => {
                    let done = message::read_control(payload)?;
                    shared.hook_done(&done)?;
                    after.control.push(Control::HookDone(done));
                }
                Kind::Call => {
                    let calls = shared.calls.as_mut().ok_or(WireError::Unexpected("a CALL of no plugin"))?;
                    let call = call::read_call(payload)?;
                    calls.begin(call.id, payload.len())?;
                    after.control.push(Control::Call(call));
                }
                Kind::Pong => {
                    shared.lag =
                        shared.pinged.map(|pinged| now.saturating_duration_since(pinged)).or(shared.lag);
                }
                _ => shared.stream_frame(frame, now, after)?,
            }
        }
        Ok(())
    }

    /// Fails whatever is open; nothing can be opened any more. A second call does nothing.
    pub fn close(&self, end: &LinkEnd) {
        let mut after = Aftermath::default();
        let mut shared = self.lock();
        if std::mem::replace(&mut shared.closed, true) {
            return;
        }
        // A worker that broke the protocol still runs, and may take a request from its socket at this very moment.
        let started = match end {
            // Nothing is handed to an app that is not loaded. One whose READY has not come may be.
            _ if matches!(shared.stage, Stage::Silent | Stage::Spare | Stage::Failed) => 0,
            LinkEnd::Protocol(_) => u32::MAX,
            LinkEnd::Closed | LinkEnd::Io(_) => self.progress.started(),
        };
        shared.driver = None;
        for (id, stream) in &mut shared.streams {
            if !stream.fin && stream.failure.is_none() {
                let started = stream.started || *id <= started;
                stream.fail(Failure::Gone { started }, &mut after);
            }
        }
        drop(shared);
        self.take_place(&mut after);
    }

    fn take_place(&self, after: &mut Aftermath) {
        after.take_place();
        // The answers went first: who waits for one needs nothing of what follows from the rest.
        for control in after.control.drain(..) {
            // The receiver is gone only when the worker is being ended: then nobody needs to know.
            let _ = self.control.send(control);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while the lock is held leaves plain data behind; the link's limits still hold for it.
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
