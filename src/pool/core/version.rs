//! What the pool knows about one version.

use super::backoff::Backoff;
use super::room::Class;
use super::starter::Starter;
use super::types::{Now, Policy, Reason, Ticket};
use crate::model::{VersionKey, WorkerId};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Current,
    /// That version will take over as soon as a worker of it is Ready.
    Pending(VersionKey),
    /// That version has taken over.
    Replaced(VersionKey),
    Removed,
}

/// A request that waits, and for how long it does while no starting worker is meant for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub ticket: Ticket,
    pub deadline: Now,
    /// It may be sent to a worker that is not Ready.
    pub ahead: bool,
}

#[derive(Debug)]
pub(super) struct Version {
    pub policy: Policy,
    pub fate: Fate,
    /// The versions whose fate is `Pending` on this one.
    pub predecessors: Vec<VersionKey>,
    /// Workers with room, most recently used last. The last one takes the next request and leaves the list when it
    /// is full; it comes back, again as the last, when a slot is free: so nothing is ever searched or moved.
    pub open: Vec<WorkerId>,
    /// In order of their deadlines. Empty while a worker has room.
    pub waiting: VecDeque<Waiter>,
    /// Those who wait for a worker to be Ready.
    pub starters: Vec<Starter>,
    /// Workers that are starting.
    pub coming: u32,
    /// Those of `coming` that have been sent their first request.
    pub sent_ahead: u32,
    /// Workers that are loaded and take requests, full ones and `outgoing` ones included.
    pub serving: u32,
    /// Those of `serving` that are to be replaced.
    pub outgoing: u32,
    /// All workers that have not exited.
    pub workers: u32,
    /// Asked to prove itself, not yet Ready or failed.
    pub proving: bool,
    /// A worker of it was Ready once.
    pub proven: bool,
    /// The last start was lost with a spare: the next one takes none.
    pub distrusts_spares: bool,
    /// None of its workers is to be started.
    pub held: bool,
    /// Waits for room in the pool.
    pub queued: Option<Class>,
    /// Will be looked at before the step ends.
    pub unsettled: bool,
    pub backoff: Backoff,
    pub armed: Option<Now>,
}

impl Version {
    pub fn new(mut policy: Policy) -> Version {
        if policy.pinned {
            policy.ephemeral = false;
            (policy.min, policy.max) = (1, 1);
        }
        policy.concurrency = if policy.ephemeral { 1 } else { policy.concurrency.max(1) };
        policy.max = policy.max.max(1);
        policy.min = if policy.ephemeral { 0 } else { policy.min.min(policy.max) };
        Version {
            policy,
            fate: Fate::Current,
            predecessors: Vec::new(),
            open: Vec::new(),
            waiting: VecDeque::new(),
            starters: Vec::new(),
            coming: 0,
            sent_ahead: 0,
            serving: 0,
            outgoing: 0,
            workers: 0,
            proving: false,
            proven: false,
            distrusts_spares: false,
            held: false,
            queued: None,
            unsettled: false,
            backoff: Backoff::default(),
            armed: None,
        }
    }

    /// Whether a worker of it serves or will.
    pub fn is_live(&self) -> bool {
        self.serving + self.coming > 0
    }

    /// Workers that will still be there when the outgoing ones have gone.
    pub fn steady(&self) -> u32 {
        self.serving + self.coming - self.outgoing
    }

    /// So many of the first waiting requests are meant for workers that are starting.
    pub fn covered(&self) -> usize {
        (self.coming as usize).saturating_mul(self.policy.concurrency as usize) - self.sent_ahead as usize
    }

    /// Whether the request that a worker is given the app for may go with it: no other worker could have it sooner.
    pub fn may_send_ahead(&self) -> bool {
        self.policy.ephemeral || (self.serving == 0 && self.coming == 1)
    }

    /// No worker serves or starts that could take the last of those who wait.
    pub fn is_hopeless(&self) -> bool {
        if self.policy.ephemeral { self.waiting.len() > self.covered() } else { !self.is_live() }
    }

    /// Why one more worker should be started now, if it should.
    pub fn wants(&self, now: Now) -> Option<Reason> {
        if self.fate != Fate::Current || self.held || self.backoff.until(now).is_some() {
            return None;
        }
        if self.waiting.len() > self.covered() && self.may_scale() {
            Some(Reason::Request)
        } else if (self.proving || !self.starters.is_empty()) && !self.is_live() {
            Some(Reason::Prove)
        } else if self.steady() < self.policy.min {
            Some(Reason::Minimum)
        } else if self.coming < self.outgoing {
            Some(Reason::Replacement)
        } else {
            None
        }
    }

    /// Simultaneous first requests start one worker, however many of them there are: more are started when that
    /// one has shown that it can serve and is full.
    fn may_scale(&self) -> bool {
        self.policy.ephemeral || (self.steady() < self.policy.max && (self.coming == 0 || self.serving > 0))
    }

    /// When something will have to be done about it if nothing happens.
    pub fn deadline(&self, now: Now) -> Option<Now> {
        let queue = self.waiting.get(self.covered()).map(|waiter| waiter.deadline);
        let backoff = self.backoff.until(now).filter(|_| self.fate == Fate::Current);
        let starter = self.starters.first().map(|starter| starter.deadline);
        [queue, backoff, starter].into_iter().flatten().min()
    }
}
