//! The set of plugins that serves now, and the moment at which nobody needs an old one any more.

use super::Set;
use arc_swap::{ArcSwap, Guard};
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// The set that requests pass. Replaced as a whole, so no request ever sees half of one.
pub struct Current {
    serving: ArcSwap<Serving>,
}

/// A set while it serves. Whoever takes a request through it holds one.
pub struct Serving {
    set: Set,
    /// Dropped with the last one who holds this.
    _held: oneshot::Sender<Infallible>,
    left: std::sync::Mutex<Option<Left>>,
    replaced: watch::Sender<bool>,
}

/// Resolves when no request is in a set any more.
pub struct Left(oneshot::Receiver<Infallible>);

impl Current {
    pub fn new(set: Set) -> Current {
        Current { serving: ArcSwap::from_pointee(Serving::new(set)) }
    }

    pub fn load(&self) -> Guard<Arc<Serving>> {
        self.serving.load()
    }

    /// Puts another set in the place of the one that serves. Requests from now on pass the new one; connections that the old one has
    /// taken are told to end.
    pub fn replace(&self, set: Set) -> Left {
        let old = self.serving.swap(Arc::new(Serving::new(set)));
        old.replaced.send_replace(true);
        let left = old.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        left.unwrap_or_else(|| Left(oneshot::channel().1))
    }
}

impl Serving {
    fn new(set: Set) -> Serving {
        let (held, left) = oneshot::channel();
        Serving { set, _held: held, left: Some(Left(left)).into(), replaced: watch::channel(false).0 }
    }

    /// Resolves when another set has taken its place.
    pub fn replaced(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut replaced = self.replaced.subscribe();
        // It fails where the set is gone altogether.
        async move { drop(replaced.wait_for(|replaced| *replaced).await) }
    }
}

impl Left {
    pub async fn wait(self) {
        let Err(_ended) = self.0.await;
    }
}

impl Deref for Serving {
    type Target = Set;

    fn deref(&self) -> &Set {
        &self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn an_old_set_is_left_when_its_last_request_has_ended() {
        let current = Current::new(Set::default());
        let request = Guard::into_inner(current.load());
        let mut left = Box::pin(current.replace(Set::default()).wait());
        assert!((&mut left).now_or_never().is_none(), "a request is in it");
        let late = Guard::into_inner(current.load());
        drop(request);
        left.await;
        drop(late);
    }
}
