//! The right to run one exchange on one worker, and the log of workers' lives.

use super::core::types::{Event, Reason, Refusal, State};
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
    ahead: Option<oneshot::Receiver<Refusal>>,
    head: bool,
    ok: bool,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, dispatched: Dispatched) -> Lease {
        let Dispatched { worker, link, ahead } = dispatched;
        Lease { pool, worker, link, ahead, head: false, ok: false }
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
