//! The right to run one exchange on one worker, and the log of workers' lives.

use super::Pool;
use super::core::types::{Event, Reason, State};
use crate::model::{App, WorkerId};
use crate::worker::link::Link;
use std::sync::Arc;

/// One request's place on a worker. Dropping it ends the exchange in the pool's books.
pub struct Lease {
    pool: Arc<Pool>,
    worker: WorkerId,
    link: Arc<Link>,
    head: bool,
    ok: bool,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, worker: WorkerId, link: Arc<Link>) -> Lease {
        Lease { pool, worker, link, head: false, ok: false }
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

    /// The app answered.
    pub fn answered(&mut self) {
        self.ok = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.tell(Event::Done { worker: self.worker, head: self.head, ok: self.ok });
    }
}

pub(super) fn log_transition(
    worker: WorkerId,
    app: Option<&Arc<App>>,
    from: Option<State>,
    to: State,
    reason: Reason,
) {
    let version = app.map(|app| app.version.to_string());
    let app = app.map(|app| app.name.as_str());
    let (from, to) = (from.map(State::as_str), to.as_str());
    if reason.is_fault() {
        tracing::warn!(app, version, %worker, from, to, reason = reason.as_str(), "worker");
    } else {
        tracing::info!(app, version, %worker, from, to, reason = reason.as_str(), "worker");
    }
}
