//! More room for a while: where a set of plugins is started beside the one that serves, apps must not lose theirs.

use super::Pool;
use super::core::types::Event;
use std::sync::Arc;

/// So many workers may be there beside those that the pool's size allows. Given back when it is dropped.
pub struct Loan {
    pool: Arc<Pool>,
    workers: usize,
}

impl Pool {
    pub fn lend(self: &Arc<Self>, workers: usize) -> Loan {
        self.resize(|lent| lent + workers);
        Loan { pool: Arc::clone(self), workers }
    }

    fn resize(self: &Arc<Self>, change: impl FnOnce(usize) -> usize) {
        let mut inner = self.lock();
        inner.lent = change(inner.lent);
        let pool_size = self.settings.limits.pool_size + inner.lent;
        self.step(&mut inner, Event::Resize { pool_size }, None);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.resize(|lent| lent - self.workers);
    }
}
