//! What takes its time to be dropped, dropped where that may: a tree of files is removed from disk with what stands for it, and
//! no request is to wait for that.

use std::ops::{Deref, DerefMut};

/// Drops what it has on a thread that may wait for the disk.
#[derive(Debug)]
pub(super) struct Aside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Aside<T> {
    pub fn new(value: T) -> Aside<T> {
        Aside(Some(value))
    }

    /// Gives it back: from now on it is dropped like anything else.
    pub fn into_inner(mut self) -> T {
        match self.0.take() {
            Some(value) => value,
            None => unreachable!("only this and `drop` take it, and both are the end of it"),
        }
    }
}

impl<T: Send + 'static> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("it is there until the end"),
        }
    }
}

impl<T: Send + 'static> DerefMut for Aside<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("it is there until the end"),
        }
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take() else { return };
        // Outside of a runtime nobody waits.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};
    use tokio::sync::oneshot;

    /// Says on which thread it was dropped.
    struct Slow(Option<oneshot::Sender<ThreadId>>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(thread::current().id());
        }
    }

    #[tokio::test]
    async fn what_a_refused_deployment_leaves_is_not_dropped_on_the_thread_of_requests() {
        let (sender, dropped) = oneshot::channel();
        let refused = async move {
            let _parcel = Aside::new(Slow(Some(sender)));
            Err::<(), _>("refused")
        };
        assert!(refused.await.is_err());
        assert_ne!(dropped.await.unwrap(), thread::current().id());
        let (sender, dropped) = oneshot::channel();
        drop(Aside::new(Slow(Some(sender))).into_inner());
        assert_eq!(dropped.await.unwrap(), thread::current().id());
    }
}
