//! What a link keeps behind its lock: the streams that are open, and what their frames do to them.

use super::super::outbox::Outbox;
use super::calls::Calls;
use super::{COPY_SMALL, COPY_WAITING, Control, Failure, Health, Timeouts};
use crate::wire::frame::{self, Frame, Kind};
use crate::wire::message::{self, Cancel, HookDone, ResponseHead};
use crate::wire::{WINDOW, WireError};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// What has to be done when the lock is free again.
#[derive(Default)]
pub(super) struct Aftermath {
    pub wake: Vec<Waker>,
    pub released: Vec<Box<dyn Send>>,
    pub control: Vec<Control>,
}

/// How far a worker has come, as its control frames may follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Silent,
    Spare,
    Assigned,
    /// Its app has a request, so READY is on its way.
    Presumed,
    /// READY was said.
    Loaded,
    /// FAILED was said.
    Failed,
}

pub(super) struct Shared {
    pub stage: Stage,
    /// HOOK_DONE frames that are due, by kind.
    pub hooks: [u8; 2],
    pub out: Outbox,
    /// The calls of a script plugin. None = it is none, or has no app yet.
    pub calls: Option<Calls>,
    /// What has to wait for ASSIGN.
    pub held: BytesMut,
    pub streams: HashMap<u32, Stream, BuildHasherDefault<IdHasher>>,
    pub last: u32,
    pub closed: bool,
    pub driver: Option<Waker>,
    pub watched: bool,
    pub heard: Instant,
    pub pinged: Option<Instant>,
    /// From the last PING that was answered to its PONG.
    pub lag: Option<Duration>,
}

pub(super) struct Stream {
    pub request_id: HeaderValue,
    /// The worker has answered something: the app certainly has the request.
    pub started: bool,
    /// Given back when the worker has nothing more to do with this exchange.
    pub guard: Option<Box<dyn Send>>,
    pub head: Option<ResponseHead>,
    pub has_head: bool,
    pub body: VecDeque<Bytes>,
    pub fin: bool,
    pub failure: Option<Failure>,
    pub reader: Option<Waker>,
    /// Bytes the worker may still send.
    pub receive: u32,
    /// Bytes taken by the reader and not yet returned as credit.
    pub taken: u32,
    pub sender: Option<Waker>,
    /// Bytes we may still send.
    pub send: u32,
    /// Nothing more of the request's body is to be sent.
    pub sent: bool,
    /// When it was opened or last moved.
    pub moved: Instant,
    /// Silence means nothing on it.
    pub endless: bool,
}

/// Stream numbers are consecutive: they are their own hash.
#[derive(Default)]
pub(super) struct IdHasher(u64);

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

impl Aftermath {
    pub fn take_place(&mut self) {
        self.wake.drain(..).for_each(Waker::wake);
        self.released.clear();
    }
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            stage: Stage::Silent,
            hooks: [0; 2],
            calls: None,
            out: Outbox::default(),
            held: BytesMut::new(),
            streams: HashMap::default(),
            last: 0,
            closed: false,
            driver: None,
            watched: false,
            heard: Instant::now(),
            pinged: None,
            lag: None,
        }
    }

    pub fn queue(&mut self, kind: Kind, payload: &[u8]) {
        frame::put_frame(self.out.tail(), kind, 0, payload);
        self.wake_driver();
    }

    pub fn advance(&mut self, from: Stage, to: Stage) -> Result<(), WireError> {
        if self.stage != from {
            return Err(WireError::Unexpected("a control frame out of its order"));
        }
        self.stage = to;
        Ok(())
    }

    pub fn hook_done(&mut self, done: &HookDone) -> Result<(), WireError> {
        let due = (done.kind as usize).checked_sub(1).and_then(|index| self.hooks.get_mut(index));
        match due {
            Some(due) if *due > 0 => *due -= 1,
            _ => return Err(WireError::Unexpected("a HOOK_DONE for no hook")),
        }
        Ok(())
    }

    /// Where frames of streams are appended. The driver is to be woken after that.
    pub fn tail(&mut self) -> &mut BytesMut {
        if self.is_assigned() { self.out.tail() } else { &mut self.held }
    }

    pub fn put_body(&mut self, id: u32, piece: Bytes) {
        frame::put_header(self.tail(), Kind::Body, id, piece.len());
        if self.is_assigned() {
            self.out.push(piece);
        } else {
            self.held.extend_from_slice(&piece);
        }
    }

    fn is_assigned(&self) -> bool {
        !matches!(self.stage, Stage::Silent | Stage::Spare)
    }

    /// The app has, or can be given, requests.
    pub fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Presumed | Stage::Loaded)
    }

    /// READY.
    pub fn loaded(&mut self, now: Instant) -> Result<(), WireError> {
        if self.stage == Stage::Presumed {
            self.stage = Stage::Loaded;
            return Ok(());
        }
        self.advance(Stage::Assigned, Stage::Loaded)?;
        self.begin(now);
        Ok(())
    }

    /// The app has its first request, as the page tells.
    pub fn presume_loaded(&mut self, now: Instant) -> bool {
        let presumed = self.advance(Stage::Assigned, Stage::Presumed).is_ok();
        if presumed {
            self.begin(now);
        }
        presumed
    }

    /// From here on count the limits of what was sent ahead.
    fn begin(&mut self, now: Instant) {
        self.heard = now;
        for stream in self.streams.values_mut() {
            stream.moved = now;
        }
    }

    pub fn wake_driver(&mut self) {
        if !self.out.is_empty()
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    pub fn vital_signs(&mut self, now: Instant, limits: &Timeouts) -> Health {
        if self.streams.is_empty() {
            self.watched = false;
            self.pinged = None;
            return Health::AtRest;
        }
        if !self.is_serving() {
            return Health::Busy; // a start has its own time limit
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

    pub fn stream_frame(
        &mut self,
        frame: Frame,
        now: Instant,
        after: &mut Aftermath,
    ) -> Result<(), WireError> {
        if self.stage != Stage::Loaded {
            return Err(WireError::Unexpected("a frame of a request before READY"));
        }
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
    /// A request of which `inline` bytes of body go with its head; `fin` = that is all of it.
    pub fn new(request_id: HeaderValue, inline: u32, fin: bool, now: Instant) -> Stream {
        Stream {
            request_id,
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
            endless: false,
        }
    }

    pub fn receive_body(&mut self, body: Bytes) -> Result<(), WireError> {
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
    pub fn answered(&mut self, after: &mut Aftermath) {
        after.wake.extend(self.reader.take());
        if self.fin {
            after.released.extend(self.guard.take());
        }
    }

    pub fn fail(&mut self, failure: Failure, after: &mut Aftermath) {
        self.failure = Some(failure);
        self.sent = true;
        after.wake.extend(self.reader.take());
        after.wake.extend(self.sender.take());
        after.released.extend(self.guard.take());
    }

    pub fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            reader => *reader = Some(cx.waker().clone()),
        }
    }
}

pub(super) fn put_cancel(out: &mut BytesMut, id: u32, reason: Cancel) {
    frame::put_frame(out, Kind::Cancel, id, &[0x91, reason as u8]);
}
