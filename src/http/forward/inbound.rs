//! Request bodies on their way from the client to a worker.

use crate::telemetry::metrics::Series;
use crate::worker::link::{RequestBody, Upload};
use buntime_plugin::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Request bodies up to this size travel with their head if they have already arrived.
const INLINE: usize = 64 * 1024;
/// How often the connection gets a turn to deliver a body that has already arrived.
const TURNS: usize = 2;

/// Where a request's body comes from: the client, or a plugin that stands between.
pub enum Source {
    Client(Incoming),
    Plugin(Body),
}

/// A request body between the client and a worker.
pub struct Inbound {
    body: Source,
    /// What was sent before the app had certainly seen the request.
    replay: VecDeque<Bytes>,
    /// Bytes that have come, and the most that may.
    come: u64,
    limit: u64,
    ended: bool,
    /// Where its bytes are counted.
    series: Arc<Series>,
}

impl Inbound {
    /// A request's body of at most `limit` bytes, with what of it has already arrived. `None` = it is empty.
    ///
    /// # Errors
    /// It is, or announces that it is, larger than `limit`; or it broke off.
    pub async fn receive(
        body: Source,
        limit: u64,
        series: &Arc<Series>,
    ) -> Result<Option<Inbound>, RequestBody> {
        if body.is_end_stream() {
            return Ok(None);
        }
        if body.size_hint().lower() > limit {
            return Err(RequestBody::TooLarge);
        }
        let series = Arc::clone(series);
        Inbound { body, replay: VecDeque::new(), come: 0, limit, ended: false, series }.arrived().await
    }

    async fn arrived(mut self) -> Result<Option<Self>, RequestBody> {
        let mut bytes = 0;
        for _ in 0..TURNS {
            while let Some(frame) = futures_util::FutureExt::now_or_never(self.body.frame()) {
                match frame {
                    None => {
                        self.ended = true;
                        return Ok((!self.replay.is_empty()).then_some(self));
                    }
                    Some(Err(_)) => return Err(RequestBody::Broken),
                    Some(Ok(frame)) => {
                        let Ok(piece) = frame.into_data() else { continue };
                        self.count(&piece)?;
                        bytes += piece.len();
                        self.replay.push_back(piece);
                    }
                }
                if bytes >= INLINE {
                    return Ok(Some(self));
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(Some(self))
    }

    /// The bytes of a body that goes with its head: it has arrived to its end and is small.
    pub(super) fn inline(&self) -> Option<usize> {
        let held = self.replay.iter().map(Bytes::len).sum();
        (self.ended && held <= 2 * INLINE).then_some(held)
    }

    /// Appends what has arrived.
    pub(super) fn append_to(&self, out: &mut BytesMut) {
        self.replay.iter().for_each(|piece| out.extend_from_slice(piece));
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), RequestBody> {
        self.come += piece.len() as u64;
        self.series.received(piece.len() as u64);
        if self.come > self.limit { Err(RequestBody::TooLarge) } else { Ok(()) }
    }

    /// Whether it is already known to be larger than `bytes`.
    pub(super) fn exceeds(&self, bytes: u64) -> bool {
        self.come.saturating_add(self.body.size_hint().lower()) > bytes
    }

    /// Carries the body to the worker, which wants at most `limit` bytes. Returns itself, so that it can be carried to another
    /// worker if this one died before the app saw the request.
    ///
    /// # Errors
    /// The body is too large or broke off. The exchange has been told.
    pub(super) async fn carry(mut self, upload: Upload, limit: u64) -> Result<Inbound, RequestBody> {
        self.limit = self.limit.min(limit);
        for index in 0..self.replay.len() {
            if !upload.send(self.replay[index].clone()).await {
                return Ok(self);
            }
        }
        loop {
            if self.ended {
                upload.finish();
                return Ok(self);
            }
            if upload.is_started() {
                self.replay.clear();
            }
            let frame = tokio::select! {
                biased;
                () = upload.unwanted() => return Ok(self),
                frame = self.body.frame() => frame,
            };
            let piece = match frame {
                None => {
                    self.ended = true;
                    continue;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.count(&piece).map(|()| piece),
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(RequestBody::Broken),
            };
            let piece = piece.inspect_err(|why| upload.fail(*why))?;
            if !upload.is_started() {
                self.replay.push_back(piece.clone());
            }
            if !upload.send(piece).await {
                return Ok(self);
            }
        }
    }
}

impl Source {
    /// The body as plugins get it.
    pub fn into_body(self) -> Body {
        match self {
            Source::Client(body) if body.is_end_stream() => Body::Empty,
            Source::Client(body) => Body::stream(body.map_err(BodyError::from)),
            Source::Plugin(body) => body,
        }
    }
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Source::Client(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Source::Plugin(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Source::Client(body) => body.is_end_stream(),
            Source::Plugin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Source::Client(body) => body.size_hint(),
            Source::Plugin(body) => body.size_hint(),
        }
    }
}
