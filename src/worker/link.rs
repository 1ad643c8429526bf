//! The link to one worker: many exchanges multiplexed on one socket.
//!
//! A request is encoded straight into the link's outbox and its task is woken by the link's driver when the answer is
//! there. The driver is the only one that touches the socket: it reads whatever has come, hands it out, and
//! writes whatever was queued meanwhile in one go, so that under load one system call serves many requests.

use super::outbox::Outbox;
use super::progress::Progress;
use crate::wire::frame::{self, Decoder, Frame, Kind};
use crate::wire::message::{self, AppError, Assign, Cancel, Hello, Hook, HookDone, Ready, ResponseHead};
use crate::wire::{MAX_CHUNK, WINDOW, WireError};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use nix::sys::socket::MsgFlags;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};

/// Credit goes back to the worker in steps of this many bytes.
const CREDIT_STEP: u32 = 64 * 1024;
/// Stream numbers end here; a worker is recycled long before.
pub const MAX_STREAM: u32 = 1 << 31;
/// How much the driver reads before it lets other tasks run.
const READS_A_TURN: usize = 16;
const READ_BUFFER: usize = 64 * 1024;
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

/// One request and its answer. Dropping it before the end tells the worker that nobody listens any more.
pub struct Exchange {
    link: Arc<Link>,
    id: u32,
    over: bool,
}

/// The sending half of an exchange: the request's body.
#[derive(Clone)]
pub struct Upload {
    link: Arc<Link>,
    id: u32,
}

/// What has to be done when the lock is free again.
#[derive(Default)]
struct Aftermath {
    wake: Vec<Waker>,
    released: Vec<Box<dyn Send>>,
}

/// How far a worker has come, as its control frames may follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Silent,
    Spare,
    Assigned,
    /// READY or FAILED was said.
    Settled,
}

struct Shared {
    stage: Stage,
    /// HOOK_DONE frames that are due, by kind.
    hooks: [u8; 2],
    out: Outbox,
    streams: HashMap<u32, Stream, BuildHasherDefault<IdHasher>>,
    last: u32,
    closed: bool,
    driver: Option<Waker>,
    watched: bool,
    heard: Instant,
    pinged: Option<Instant>,
}

struct Stream {
    request_id: HeaderValue,
    /// The worker has answered something: the app certainly has the request.
    started: bool,
    /// Given back when the worker has nothing more to do with this exchange.
    guard: Option<Box<dyn Send>>,
    head: Option<ResponseHead>,
    has_head: bool,
    body: VecDeque<Bytes>,
    fin: bool,
    failure: Option<Failure>,
    reader: Option<Waker>,
    /// Bytes the worker may still send.
    receive: u32,
    /// Bytes taken by the reader and not yet returned as credit.
    taken: u32,
    sender: Option<Waker>,
    /// Bytes we may still send.
    send: u32,
    /// Nothing more of the request's body is to be sent.
    sent: bool,
    /// When it was opened or last moved.
    moved: Instant,
}

/// Stream numbers are consecutive: they are their own hash.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }
    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl From<RequestBody> for Failure {
    fn from(why: RequestBody) -> Failure {
        Failure::RequestBody(why)
    }
}

impl Link {
    pub fn new(progress: Progress, control: mpsc::UnboundedSender<Control>) -> Arc<Link> {
        Arc::new(Link {
            shared: Mutex::new(Shared {
                stage: Stage::Silent,
                hooks: [0; 2],
                out: Outbox::default(),
                streams: HashMap::default(),
                last: 0,
                closed: false,
                driver: None,
                watched: false,
                heard: Instant::now(),
                pinged: None,
            }),
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
        encode(shared.out.tail(), id);
        shared.streams.insert(
            id,
            Stream {
                request_id: request_id.clone(),
                started: false,
                guard: None,
                head: None,
                has_head: false,
                body: VecDeque::new(),
                fin: false,
                failure: None,
                reader: None,
                receive: WINDOW,
                taken: 0,
                sender: None,
                send: WINDOW.saturating_sub(inline),
                sent: fin,
                moved: now,
            },
        );
        if !shared.watched {
            shared.watched = true;
            self.busy.notify_one();
        }
        shared.wake_driver();
        Some(Exchange { link: Arc::clone(self), id, over: false })
    }

    /// Sends the app to load.
    pub fn assign(&self, assign: &Assign<'_>) -> Result<(), rmp_serde::encode::Error> {
        let payload = rmp_serde::to_vec_named(assign)?;
        let mut shared = self.lock();
        shared.stage = Stage::Assigned;
        shared.queue(Kind::Assign, &payload);
        Ok(())
    }

    pub fn hook(&self, hook: Hook) {
        let mut shared = self.lock();
        let due = &mut shared.hooks[hook as usize - 1];
        *due = due.saturating_add(1);
        shared.queue(Kind::Hook, &[0x91, hook as u8]);
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
        for (id, stream) in &mut shared_ref.streams {
            if stream.failure.is_some() || stream.fin {
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
        after.take_place();
        health
    }

    /// Carries the link until it ends. Every open exchange has failed when this returns.
    pub async fn drive(self: Arc<Self>, mut socket: UnixStream) -> LinkEnd {
        let mut input = BytesMut::with_capacity(READ_BUFFER);
        let mut output = Outbox::default();
        let mut after = Aftermath::default();
        let mut end = poll_fn(|cx| {
            if let Err(end) = self.read_turn(cx, &mut socket, &mut input, &mut after) {
                return Poll::Ready(end);
            }
            after.take_place();
            self.write_turn(cx, &mut socket, &mut output)
        })
        .await;
        if let LinkEnd::Io(_) = end
            && let Err(error) = self.read_rest(&socket, &mut input, &mut after)
        {
            end = LinkEnd::Protocol(error);
        }
        after.take_place();
        self.close(&end);
        end
    }

    /// A worker that has ended may have written answers before. They are read past tokio, which knows of them only after
    /// its next look at the system.
    fn read_rest(
        &self,
        socket: &UnixStream,
        input: &mut BytesMut,
        after: &mut Aftermath,
    ) -> Result<(), WireError> {
        let mut piece = [0; 16 * 1024];
        loop {
            match nix::sys::socket::recv(socket.as_raw_fd(), &mut piece, MsgFlags::MSG_DONTWAIT) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => {
                    input.extend_from_slice(&piece[..read]);
                    self.receive(input, after)?;
                }
            }
        }
    }

    fn read_turn(
        &self,
        cx: &mut Context<'_>,
        socket: &mut UnixStream,
        input: &mut BytesMut,
        after: &mut Aftermath,
    ) -> Result<(), LinkEnd> {
        for _ in 0..READS_A_TURN {
            let wanted = Decoder.missing(input).max(READ_AT_LEAST);
            if input.capacity() - input.len() < wanted {
                input.reserve(wanted.max(READ_BUFFER));
            }
            match poll_read(socket, cx, input) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(LinkEnd::Io(error)),
                Poll::Ready(Ok(0)) => return Err(LinkEnd::Closed),
                Poll::Ready(Ok(_)) => self.receive(input, after).map_err(LinkEnd::Protocol)?,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn write_turn(
        &self,
        cx: &mut Context<'_>,
        socket: &mut UnixStream,
        output: &mut Outbox,
    ) -> Poll<LinkEnd> {
        loop {
            if output.is_empty() {
                let mut shared = self.lock();
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
                    self.report(Control::Hello(message::read_control(payload)?));
                }
                Kind::Ready => {
                    shared.advance(Stage::Assigned, Stage::Settled)?;
                    self.report(Control::Ready(message::read_control(payload)?));
                }
                Kind::Failed => {
                    shared.advance(Stage::Assigned, Stage::Settled)?;
                    self.report(Control::Failed(message::read_control(payload)?));
                }
                Kind::HookDone => {
                    let done = message::read_control(payload)?;
                    shared.hook_done(&done)?;
                    self.report(Control::HookDone(done));
                }
                Kind::Pong => {}
                _ => shared.stream_frame(frame, now, after)?,
            }
        }
        Ok(())
    }

    fn report(&self, control: Control) {
        // The receiver is gone only when the worker is being ended: then nobody needs to know.
        let _ = self.control.send(control);
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
        after.take_place();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while the lock is held leaves plain data behind; the link's limits still hold for it.
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Aftermath {
    fn take_place(&mut self) {
        self.wake.drain(..).for_each(Waker::wake);
        self.released.clear();
    }
}

impl Shared {
    fn queue(&mut self, kind: Kind, payload: &[u8]) {
        frame::put_frame(self.out.tail(), kind, 0, payload);
        self.wake_driver();
    }

    fn advance(&mut self, from: Stage, to: Stage) -> Result<(), WireError> {
        if self.stage != from {
            return Err(WireError::Unexpected("a control frame out of its order"));
        }
        self.stage = to;
        Ok(())
    }

    fn hook_done(&mut self, done: &HookDone) -> Result<(), WireError> {
        let due = (done.kind as usize).checked_sub(1).and_then(|index| self.hooks.get_mut(index));
        match due {
            Some(due) if *due > 0 => *due -= 1,
            _ => return Err(WireError::Unexpected("a HOOK_DONE for no hook")),
        }
        Ok(())
    }

    fn wake_driver(&mut self) {
        if !self.out.is_empty()
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    fn vital_signs(&mut self, now: Instant, limits: &Timeouts) -> Health {
        if self.streams.is_empty() {
            self.watched = false;
            self.pinged = None;
            return Health::AtRest;
        }
        match self.pinged {
            Some(pinged) if self.heard >= pinged => self.pinged = None,
            Some(pinged) if now.saturating_duration_since(pinged) >= limits.ping => {
                return Health::Unresponsive;
            }
            Some(_) => {}
            None if now.saturating_duration_since(self.heard) >= limits.ping_after => {
                self.pinged = Some(now);
                frame::put_frame(self.out.tail(), Kind::Ping, 0, &[0; 8]);
            }
            None => {}
        }
        Health::Busy
    }

    fn stream_frame(&mut self, frame: Frame, now: Instant, after: &mut Aftermath) -> Result<(), WireError> {
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return if frame.stream > self.last {
                Err(WireError::Unexpected("a frame for a request that was never sent"))
            } else {
                Ok(()) // it crossed our CANCEL
            };
        };
        if stream.failure.is_some() {
            return Ok(());
        }
        if stream.fin {
            return Err(WireError::Unexpected("a frame after the end of its stream"));
        }
        stream.moved = now;
        stream.started = true;
        match frame.kind {
            Kind::Response => match message::read_response(&frame.payload) {
                Ok(_) if stream.has_head => return Err(WireError::Unexpected("a second response head")),
                Ok(mut head) => {
                    let body = std::mem::take(&mut head.body);
                    stream.fin = head.fin;
                    stream.has_head = true;
                    stream.head = Some(head);
                    stream.receive_body(body)?;
                    stream.answered(after);
                }
                Err(WireError::OutOfRange(what)) => {
                    stream.fail(Failure::BadResponse(what), after);
                    put_cancel(self.out.tail(), frame.stream, Cancel::BodyFailed);
                }
                Err(error) => return Err(error),
            },
            Kind::Body | Kind::End => {
                if !stream.has_head {
                    return Err(WireError::Unexpected("a body before its head"));
                }
                stream.fin = frame.kind == Kind::End;
                stream.receive_body(frame.payload)?;
                stream.answered(after);
            }
            Kind::Credit => {
                let credit = u32::from_be_bytes([
                    frame.payload[0],
                    frame.payload[1],
                    frame.payload[2],
                    frame.payload[3],
                ]);
                if credit > WINDOW - stream.send {
                    return Err(WireError::OutOfRange("credit"));
                }
                stream.send += credit;
                after.wake.extend(stream.sender.take());
            }
            Kind::Cancel => match message::read_cancel(&frame.payload)? {
                Cancel::NotWanted => {
                    stream.sent = true;
                    after.wake.extend(stream.sender.take());
                }
                _ => stream.fail(Failure::BodyFailed, after),
            },
            Kind::Error => {
                if stream.has_head {
                    return Err(WireError::Unexpected("an error after the response head"));
                }
                stream.fail(Failure::App(message::read_control(&frame.payload)?), after);
            }
            _ => return Err(WireError::Unexpected("a frame only the supervisor sends")),
        }
        Ok(())
    }
}

impl Stream {
    fn receive_body(&mut self, body: Bytes) -> Result<(), WireError> {
        if body.is_empty() {
            return Ok(());
        }
        self.receive = self
            .receive
            .checked_sub(body.len() as u32)
            .ok_or(WireError::Unexpected("more body than there was credit for"))?;
        // A piece that waits must not keep a whole read buffer alive.
        let body = match self.body.back() {
            Some(_) if body.len() < COPY_WAITING => Bytes::copy_from_slice(&body),
            None if body.len() < COPY_SMALL && !self.fin => Bytes::copy_from_slice(&body),
            _ => body,
        };
        self.body.push_back(body);
        Ok(())
    }

    /// Something for the reader has come.
    fn answered(&mut self, after: &mut Aftermath) {
        after.wake.extend(self.reader.take());
        if self.fin {
            after.released.extend(self.guard.take());
        }
    }

    fn fail(&mut self, failure: Failure, after: &mut Aftermath) {
        self.failure = Some(failure);
        self.sent = true;
        after.wake.extend(self.reader.take());
        after.wake.extend(self.sender.take());
        after.released.extend(self.guard.take());
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            reader => *reader = Some(cx.waker().clone()),
        }
    }
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

    /// The sending half, for a request whose body was not whole at `Link::open`.
    pub fn upload(&self) -> Upload {
        Upload { link: Arc::clone(&self.link), id: self.id }
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
            put_cancel(shared.out.tail(), self.id, Cancel::ClientGone);
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
            frame::put_header(shared.out.tail(), Kind::Body, self.id, now.len());
            shared.out.push(now);
            shared.wake_driver();
        }
        true
    }

    /// The request's body has ended.
    pub fn finish(&self) {
        let mut shared = self.link.lock();
        let Some(stream) = shared.streams.get_mut(&self.id) else { return };
        if !std::mem::replace(&mut stream.sent, true) {
            frame::put_frame(shared.out.tail(), Kind::End, self.id, &[]);
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
        put_cancel(shared.out.tail(), self.id, Cancel::BodyFailed);
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

fn put_cancel(out: &mut BytesMut, id: u32, reason: Cancel) {
    frame::put_frame(out, Kind::Cancel, id, &[0x91, reason as u8]);
}

fn poll_read(
    socket: &mut UnixStream,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<std::io::Result<usize>> {
    let spare = input.spare_capacity_mut();
    let mut buffer = ReadBuf::uninit(spare);
    std::task::ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
    let read = buffer.filled().len();
    // SAFETY: `poll_read` has initialised the first `read` bytes of the spare capacity.
    unsafe { input.set_len(input.len() + read) };
    Poll::Ready(Ok(read))
}
