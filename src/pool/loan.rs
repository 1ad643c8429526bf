//! More room for a while: where a set of plugins is started beside the one that serves, apps must not lose theirs.

use super::Pool;
use super::core::types::Event;
use std::sync::Arc;

/// So many workers may be there beside those that the pool's size allows. Given back when it is dropped.
pub struct Loan {
    pool: Arc<Pool>,
    workers: usize,
}

/// How many workers there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// With an app, as the configuration says.
    pub own: usize,
    /// Beside those.
    pub lent: usize,
    pub spares: usize,
}

impl Pool {
    pub fn lend(self: &Arc<Self>, workers: usize) -> Loan {
        self.resize(|size| size.lent += workers);
        Loan { pool: Arc::clone(self), workers }
    }

    /// There may be so many workers with an app from now on, and are to be so many spares.
    pub fn set_size(self: &Arc<Self>, pool_size: usize, spares: usize) {
        self.resize(|size| (size.own, size.spares) = (pool_size, spares));
    }

    fn resize(self: &Arc<Self>, change: impl FnOnce(&mut Size)) {
        let mut inner = self.lock();
        change(&mut inner.size);
        let Size { own, lent, spares } = inner.size;
        self.step(&mut inner, Event::Resize { pool_size: own + lent, spares }, None);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.resize(|size| size.lent -= self.workers);
    }
}
