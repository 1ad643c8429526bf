//! A body that a hook may read, and that is had back where the hook fails.

use buntime_plugin::{Body, BodyError, BodyStream};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// So many bytes that a hook has read are kept until it has done, and the rest of the last piece: what it has more of is lost
/// where it fails.
const KEPT: usize = 320 * 1024;

/// What is left with the lender.
#[derive(Debug)]
pub enum Claim {
    /// It was in memory, and is only copied.
    Whole(Bytes),
    Stream(Arc<Mutex<Shared>>),
}

/// What lender and borrower share.
pub struct Shared {
    /// None = it was called back.
    body: Option<BodyStream>,
    read: VecDeque<Bytes>,
    bytes: usize,
    keeping: Keeping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    All,
    /// Something has gone that is not kept.
    Lost,
    /// Nobody will call it back.
    Over,
}

/// What the borrower has.
struct Lent(Arc<Mutex<Shared>>);

/// What was read, and the rest.
struct Restored {
    read: VecDeque<Bytes>,
    rest: BodyStream,
}

impl Claim {
    /// Lends a body, which stays where it is.
    pub fn on(body: &mut Body) -> Claim {
        match std::mem::take(body) {
            Body::Empty => Claim::Whole(Bytes::new()),
            Body::Full(bytes) => {
                *body = Body::Full(bytes.clone());
                Claim::Whole(bytes)
            }
            Body::Stream(stream) => {
                let shared =
                    Shared { body: Some(stream), read: VecDeque::new(), bytes: 0, keeping: Keeping::All };
                let shared = Arc::new(Mutex::new(shared));
                *body = Body::stream(Lent(Arc::clone(&shared)));
                Claim::Stream(shared)
            }
        }
    }

    /// The body as if nobody had seen it, whoever has it now. None = too much of it has gone.
    pub fn back(self) -> Option<Body> {
        let shared = match &self {
            Claim::Whole(bytes) => return Some(Body::from(bytes.clone())),
            Claim::Stream(shared) => shared,
        };
        let mut shared = lock(shared);
        let rest = shared.body.take()?;
        let read = std::mem::take(&mut shared.read);
        let all = shared.keeping == Keeping::All;
        drop(shared);
        all.then(|| if read.is_empty() { Body::Stream(rest) } else { Body::stream(Restored { read, rest }) })
    }
}

/// The hook has done what it should: the body is the borrower's.
impl Drop for Claim {
    fn drop(&mut self) {
        if let Claim::Stream(shared) = self {
            let mut shared = lock(shared);
            shared.keeping = Keeping::Over;
            shared.read.clear();
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = lock(&self.0);
        let Some(body) = &mut shared.body else {
            return Poll::Ready(Some(Err("the body was called back".into())));
        };
        let polled = body.as_mut().poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            // It need not bear being asked again.
            Poll::Ready(None) => shared.body = Some(Box::pin(Body::Empty)),
            Poll::Ready(Some(frame)) => shared.note(frame.as_ref().ok().and_then(Frame::data_ref)),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Shared {
    /// Keeps what the borrower gets. None = it is nothing that can be kept.
    fn note(&mut self, piece: Option<&Bytes>) {
        if self.keeping != Keeping::All {
            return;
        }
        match piece {
            Some(piece) if self.bytes <= KEPT => {
                self.bytes += piece.len();
                self.read.push_back(piece.clone());
            }
            _ => {
                self.keeping = Keeping::Lost;
                self.read.clear();
            }
        }
    }
}

impl http_body::Body for Restored {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::default();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("bytes", &self.bytes)
            .field("keeping", &self.keeping)
            .finish_non_exhaustive()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    fn stream(pieces: &[Vec<u8>]) -> Body {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from(piece.clone())))).collect();
        Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn read(body: Body) -> Vec<u8> {
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn what_was_called_back_breaks_off_for_the_borrower() {
        let mut body = stream(&[b"a".to_vec(), b"b".to_vec()]);
        let claim = Claim::on(&mut body);
        assert!(claim.back().is_some());
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_borrower_that_has_done_keeps_it_and_nothing_more_is_kept_of_it() {
        let mut body = stream(&[b"a".to_vec(), b"b".to_vec()]);
        let claim = Claim::on(&mut body);
        let Claim::Stream(shared) = &claim else { panic!("it is no stream") };
        let shared = Arc::clone(shared);
        body.frame().await.unwrap().unwrap();
        assert_eq!(lock(&shared).read.len(), 1);
        drop(claim);
        assert_eq!(read(body).await, b"b");
        assert_eq!(lock(&shared).read.len(), 0);
    }

    #[tokio::test]
    async fn a_body_that_broke_off_while_it_was_lent_is_lost() {
        let frames = [Ok(Frame::data(Bytes::from("a"))), Err(BodyError::from("reset"))];
        let mut body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        let claim = Claim::on(&mut body);
        assert!(body.collect().await.is_err());
        assert!(claim.back().is_none());
    }

    proptest! {
        #[test]
        fn however_much_was_read_the_whole_comes_back(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            reads in 0_usize..12,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut body = stream(&pieces);
                let claim = Claim::on(&mut body);
                for _ in 0..reads {
                    body.frame().await;
                }
                let back = claim.back().unwrap();
                assert_eq!(read(back).await, pieces.concat());
            });
        }
    }
}
