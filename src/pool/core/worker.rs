//! What the pool knows about one worker.

use super::types::{Now, Policy, Reason, State};
use crate::model::VersionKey;
use std::time::Duration;

/// From spawn to hello of a worker that has no version, and so no `start_timeout`.
const SPARE_START_TIMEOUT: Duration = Duration::from_secs(30);

/// How much longer a worker is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Takes requests as soon as it can.
    Serve,
    /// Takes requests until another worker of its version is Ready to, or until `by`.
    Replace { reason: Reason, by: Now },
    /// Takes none; ends what is in flight, at most until `by`.
    Drain { reason: Reason, by: Now },
    /// Was told to end; is killed if it has not by `by`.
    Terminate { reason: Reason, by: Now },
    /// Was killed. Only its exit is awaited.
    Kill { reason: Reason },
}

#[derive(Debug)]
pub(super) struct Worker {
    /// None = a spare.
    pub version: Option<VersionKey>,
    pub state: State,
    pub course: Course,
    /// The shim said hello.
    pub connected: bool,
    /// Was a spare before it got its version.
    pub from_spare: bool,
    /// Serves one request and ends.
    pub ephemeral: bool,
    /// Stands in its version's list of workers with room.
    pub open: bool,
    /// Its link has closed while it was starting.
    pub lost: bool,
    /// Has been sent a request before it was Ready, which it is not yet.
    pub sent_ahead: bool,
    /// Requests without a response head.
    pub awaiting: u32,
    pub concurrency: u32,
    /// Exchanges, from dispatch to the end of the body.
    pub in_flight: u32,
    /// Requests ever dispatched to it.
    pub served: u64,
    /// The number of requests at which it is to be replaced.
    pub limit: u64,
    pub spawned: Now,
    /// Spawn or assignment: from here `start_timeout` counts.
    pub start: Now,
    /// Last began or ended a request, or became Ready.
    pub last_used: Now,
    /// When it will be looked at.
    pub armed: Option<Now>,
}

impl Worker {
    pub fn new(now: Now) -> Worker {
        Worker {
            version: None,
            state: State::Creating,
            course: Course::Serve,
            connected: false,
            from_spare: false,
            ephemeral: false,
            open: false,
            lost: false,
            sent_ahead: false,
            awaiting: 0,
            concurrency: 0,
            in_flight: 0,
            served: 0,
            limit: u64::MAX,
            spawned: now,
            start: now,
            last_used: now,
            armed: None,
        }
    }

    /// Makes it a worker of `version`; `limit` is its own number of requests.
    pub fn join(&mut self, version: VersionKey, policy: &Policy, limit: u64, now: Now) {
        self.version = Some(version);
        self.ephemeral = policy.ephemeral;
        self.concurrency = policy.concurrency;
        self.limit = limit;
        self.start = now;
        self.last_used = now;
    }

    /// Counts for its version: starting or serving.
    pub fn stays(&self) -> bool {
        matches!(self.course, Course::Serve | Course::Replace { .. })
    }

    /// Was told to end or killed.
    pub fn is_ending(&self) -> bool {
        matches!(self.course, Course::Terminate { .. } | Course::Kill { .. })
    }

    pub fn is_creating(&self) -> bool {
        self.state == State::Creating
    }

    /// One more request.
    pub fn take(&mut self, now: Now) {
        self.in_flight += 1;
        self.awaiting += 1;
        self.served += 1;
        self.last_used = now;
    }

    /// May take one more request.
    pub fn has_room(&self) -> bool {
        if self.ephemeral { self.served == 0 } else { self.awaiting < self.concurrency }
    }

    /// Loaded, staying, and nothing in flight.
    pub fn is_at_rest(&self) -> bool {
        self.stays() && !self.is_creating() && self.in_flight == 0
    }

    /// When something will have to be done about it if nothing happens. `policy` is that of its version.
    pub fn deadline(&self, policy: Option<&Policy>, now: Now) -> Option<Now> {
        let own = match self.course {
            Course::Drain { by, .. } | Course::Terminate { by, .. } => return Some(by),
            Course::Kill { .. } => return None,
            Course::Replace { by, .. } => Some(by),
            Course::Serve => None,
        };
        let by_state = match policy {
            None if self.connected => None,
            None => Some(self.start.saturating_add(SPARE_START_TIMEOUT)),
            Some(policy) if self.is_creating() => Some(self.start.saturating_add(policy.start_timeout)),
            Some(policy) if self.in_flight == 0 => Some(self.rest_deadline(policy, now)),
            Some(_) => None,
        };
        match (own, by_state) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn rest_deadline(&self, policy: &Policy, now: Now) -> Now {
        let idle = self.last_used.saturating_add(policy.idle_timeout);
        if policy.ephemeral {
            return idle;
        }
        let mut ttl = self.last_used.saturating_add(policy.ttl);
        if ttl <= now {
            // Kept by `min` although its time is over; there may be more instances the next time.
            ttl = now.saturating_add(policy.ttl.max(Duration::from_secs(1)));
        }
        if self.state == State::Idle { ttl } else { idle.min(ttl) }
    }
}
