//! How the pool reaches one worker, and what became of it so far.

use super::core::types::{Reason, Refusal};
use super::{Dispatched, Journey, operate};
use crate::model::{VersionKey, WorkerId};
use crate::worker::link::Link;
use crate::worker::orders::Order;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What is known of a worker beside the core's books: how to reach it.
pub(super) struct Handle {
    pub orders: mpsc::UnboundedSender<Order>,
    pub link: Option<Arc<Link>>,
    pub pid: Option<u32>,
    pub journey: Journey,
    pub version: Option<VersionKey>,
    /// It had no version when it was started.
    pub was_spare: bool,
    pub ready: bool,
    /// It said why it cannot serve.
    pub failed: bool,
    /// Requests ever given to it.
    pub given: u64,
    /// It was told to end, and why.
    pub told: Option<Reason>,
    /// Whom to tell why it will not be Ready: the request that was sent ahead to it.
    pub sent_ahead: Option<oneshot::Sender<Refusal>>,
    /// Whom to tell at its end why it was not Ready.
    pub mourners: Vec<operate::Answer>,
}

impl Handle {
    /// One more request for it; None = it is not connected.
    pub fn give(&mut self, worker: WorkerId) -> Option<Dispatched> {
        let link = self.link.clone()?;
        self.given += 1;
        Some(Dispatched { worker, link, number: self.given, ahead: None })
    }

    /// Why it was not Ready is told when it has ended: we ended it for a fault of its own, and it has said nothing.
    pub fn owes_failure(&self) -> bool {
        !self.failed && !self.ready && self.told.is_some_and(Reason::is_fault)
    }
}
