//! The right to run one exchange on one worker.

use super::core::types::{Event, Refusal};
use super::{Dispatched, Pool, Refused};
use crate::model::{App, WorkerId};
use crate::worker::link::Link;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One request's place on a worker. Dropping it ends the exchange in the pool's books.
pub struct Lease {
    pool: Arc<Pool>,
    worker: WorkerId,
    link: Arc<Link>,
    number: u64,
    ahead: Option<oneshot::Receiver<Refusal>>,
    head: bool,
    ok: bool,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, dispatched: Dispatched) -> Lease {
        let Dispatched { worker, link, number, ahead } = dispatched;
        Lease { pool, worker, link, number, ahead, head: false, ok: false }
    }

    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The response head is there and its body is still to come: the next request may have this one's place.
    pub fn head_came(&mut self) {
        if !std::mem::replace(&mut self.head, true) {
            self.pool.tell(Event::Head { worker: self.worker });
        }
        self.ok = true;
    }

    /// The worker's link has closed. Said by whoever notices first, so that nobody is sent there again.
    pub fn lost(&self) {
        self.pool.tell(Event::Lost { worker: self.worker });
    }

    /// Why the worker could not load the app, where that is the answer to the request. To be asked when the link has closed;
    /// comes at the latest when the process has ended. `None` = it was loaded, or the request is to be made again.
    pub async fn not_loaded(&mut self, app: &App) -> Option<Refused> {
        let why = self.ahead.take()?.await.ok()?;
        Some(self.pool.refused(app.key, why))
    }

    /// The app answered.
    pub fn answered(&mut self) {
        self.ok = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        self.pool.step(&mut inner, Event::Done { worker: self.worker, head: self.head, ok: self.ok }, None);
        inner.request_is_over(self.worker, self.number);
    }
}
