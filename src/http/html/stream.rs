//! The body of a response on its way through decoder and rewriter.

use super::decode::Decoder;
use super::rewriter::Rewriter;
use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as _, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub struct Injected {
    inner: Body,
    decoder: Option<Decoder>,
    rewriter: Rewriter,
    out: VecDeque<Bytes>,
    ended: bool,
}

impl Injected {
    pub fn new(inner: Body, decoder: Option<Decoder>, rewriter: Rewriter) -> Injected {
        Injected { inner, decoder, rewriter, out: VecDeque::new(), ended: false }
    }

    /// One turn: a decoded piece, or a frame of the inner body, or its end.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if let Some(decoder) = &mut self.decoder
            && let Some(piece) = decoder.next()?
        {
            self.rewriter.push(piece, &mut self.out);
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(context)).transpose()? {
            // Trailers are left out: those that speak of the content speak of another one.
            Some(frame) => match (frame.into_data(), &mut self.decoder) {
                (Ok(data), Some(decoder)) => decoder.feed(data),
                (Ok(data), None) if !data.is_empty() => self.rewriter.push(data, &mut self.out),
                _ => {}
            },
            None => {
                if let Some(decoder) = &self.decoder {
                    decoder.finish()?;
                }
                self.rewriter.finish(&mut self.out);
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for Injected {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(this.turn(context)) {
                this.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}
