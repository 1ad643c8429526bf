//! The body of a request, while plugins may ask for it: lent once, and never more of it than the operator allows.

use super::super::forward::Source;
use super::super::problem::{Code, Problem};
use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

pub(super) struct Lender {
    source: Option<Source>,
    /// Bytes.
    limit: u64,
    exceeded: Arc<AtomicBool>,
}

/// A body of at most so many bytes.
struct Limited {
    body: Body,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

impl Lender {
    pub fn new(source: Source, limit: u64) -> Lender {
        Lender { source: Some(source), limit, exceeded: Arc::default() }
    }

    pub fn lend(&mut self) -> Body {
        match self.source.take().map(Source::into_body) {
            None | Some(Body::Empty) => Body::Empty,
            Some(body) => {
                let exceeded = Arc::clone(&self.exceeded);
                Body::stream(Limited { body, left: self.limit, exceeded })
            }
        }
    }

    /// What goes on to an app: what plugins have left or made of it, or what nobody has asked for.
    pub fn rest(&mut self, body: Option<Body>) -> Source {
        let rest = body.map(Source::Plugin).or_else(|| self.source.take());
        rest.unwrap_or(Source::Plugin(Body::Empty))
    }

    /// It had more bytes than the operator allows: that is the answer, whatever a plugin has made of it.
    pub fn refusal(&self) -> Option<Problem> {
        self.exceeded.load(Ordering::Relaxed).then(|| {
            Problem::new(Code::BodyTooLarge)
                .detail(format!("Plugins take request bodies of at most {} bytes here.", self.limit))
                .hint("The runtime's --max-body-size sets the limit.")
        })
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // One that announces too much is not even begun.
        let announced = this.body.size_hint().lower();
        let frame = match announced > this.left {
            true => Poll::Ready(Some(Err(BodyError::from("the body is too large")))),
            false => Pin::new(&mut this.body).poll_frame(cx),
        };
        if announced > this.left {
            this.exceeded.store(true, Ordering::Relaxed);
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(piece) = frame.data_ref()
        {
            match this.left.checked_sub(piece.len() as u64) {
                Some(left) => this.left = left,
                None => {
                    this.exceeded.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(BodyError::from("the body is too large"))));
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn lender(bytes: &'static str, limit: u64) -> Lender {
        // Its length is not known before.
        let pieces = [Ok(Frame::data(Bytes::from(&bytes[..2]))), Ok(Frame::data(Bytes::from(&bytes[2..])))];
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
        Lender::new(Source::Plugin(Body::stream(stream)), limit)
    }

    #[tokio::test]
    async fn a_body_is_lent_once_and_as_far_as_it_may_go() {
        let mut small = lender("four", 4);
        assert_eq!(small.lend().collect().await.unwrap().to_bytes(), "four");
        assert!(matches!(small.lend(), Body::Empty) && small.refusal().is_none());
        let mut large = lender("fifth", 4);
        assert!(large.lend().collect().await.is_err());
        assert!(large.refusal().is_some());
        let mut announced = Lender::new(Source::Plugin(Body::from("fifth")), 4);
        assert!(announced.lend().frame().await.unwrap().is_err());
        assert!(announced.refusal().is_some());
    }
}
