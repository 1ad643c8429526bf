//! The pool's surroundings, played: processes that connect, load, serve, crash and hang, clients that come and go,
//! and time. It keeps its own books from the actions alone, for `check.rs` to hold against the core's.

use super::history::{History, Op, policy};
use crate::model::{VersionKey, WorkerId};
use crate::pool::core::fault::Fault;
use crate::pool::core::{Action, Core, Event, Limits, Now, Policy, Refusal, Snapshot, State, Ticket};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong, in words.
pub type Verdict = Result<(), String>;

#[derive(Debug)]
pub struct Process {
    pub version: Option<VersionKey>,
    pub state: State,
    pub connected: bool,
    pub assigned: bool,
    pub was_spare: bool,
    /// Its failed start says nothing of its app.
    pub stale: bool,
    pub terminated: bool,
    pub killed: bool,
    /// Spawn, or when it got its version.
    pub start: Now,
    /// Since when the core gives it no more requests.
    pub draining: Option<Now>,
    /// When it was told to end.
    pub told: Now,
    /// What is in flight; true = the head was there.
    pub exchanges: Vec<bool>,
    /// What the request asked for that was sent to it before it was Ready, until that is over.
    pub sent_ahead: Option<VersionKey>,
    pub served: u64,
}

impl Process {
    /// Connected, and nobody's.
    pub fn is_spare(&self) -> bool {
        self.version.is_none() && self.connected && !self.terminated && !self.killed
    }
}

pub struct Known {
    /// A worker of it died while it was starting: the next may be a fresh one.
    pub lost_start: bool,
    pub policy: Policy,
    /// `RemoveVersion` named it.
    pub removed: bool,
    /// Its requests may be given to others.
    pub redirected: bool,
    pub proven: bool,
    pub held: bool,
}

/// A request that has no worker yet.
pub struct Waiting {
    pub version: VersionKey,
    pub since: Now,
    /// It may be sent to a worker that is not Ready.
    pub ahead: bool,
}

/// Somebody who wants a worker of this version to be Ready.
pub struct Starting {
    pub version: VersionKey,
    pub since: Now,
}

/// What happened at all: a history in which nothing does proves nothing.
pub type Tally = BTreeMap<String, u64>;

pub struct World {
    pub core: Core,
    pub limits: Limits,
    pub now: Now,
    pub processes: BTreeMap<WorkerId, Process>,
    pub versions: BTreeMap<VersionKey, Known>,
    pub waiting: BTreeMap<Ticket, Waiting>,
    pub starting: BTreeMap<Ticket, Starting>,
    /// The core's books as they were before the step.
    pub before: Snapshot,
    /// Until when an accepted request must have been answered, counted from its arrival.
    pub patience: Duration,
    pub shutdown: Option<Now>,
    pub drained: bool,
    /// The worker that has just ended before it was Ready, and what the request wanted that was sent ahead to it.
    pub unheard: Option<(WorkerId, VersionKey)>,
    pub tally: Tally,
    /// Everything said and answered, if somebody wants to read it.
    pub log: Option<Vec<String>>,
    actions: Vec<Action>,
    ids: u64,
}

impl World {
    pub fn new(history: &History, fault: Option<Fault>) -> World {
        let mut core = Core::new(history.limits);
        core.fault = fault;
        World {
            before: core.snapshot(Now::ZERO),
            core,
            limits: history.limits,
            now: Now::ZERO,
            processes: BTreeMap::new(),
            versions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            starting: BTreeMap::new(),
            patience: Duration::ZERO,
            shutdown: None,
            drained: false,
            unheard: None,
            tally: Tally::new(),
            log: None,
            actions: Vec::new(),
            ids: 0,
        }
    }

    pub fn apply(&mut self, op: Op) -> Verdict {
        match op {
            Op::Request { version, count } => {
                let Some(version) = self.version(version) else { return Ok(()) };
                for _ in 0..count {
                    self.request(version)?;
                }
                Ok(())
            }
            Op::Head { pick } => {
                let busy = |process: &Process| process.exchanges.contains(&false);
                let Some(worker) = self.process(pick, busy) else { return Ok(()) };
                let process = self.processes.get_mut(&worker).unwrap();
                *process.exchanges.iter_mut().find(|head| !**head).unwrap() = true;
                process.sent_ahead = None;
                self.tell(Event::Head { worker })
            }
            Op::Done { pick, ok } => {
                let Some(worker) = self.process(pick, |process| !process.exchanges.is_empty()) else {
                    return Ok(());
                };
                let process = self.processes.get_mut(&worker).unwrap();
                let at = pick as usize % process.exchanges.len();
                let head = process.exchanges.swap_remove(at);
                process.sent_ahead = None;
                self.tell(Event::Done { worker, head, ok })
            }
            Op::Abandon { pick } => {
                let Some(ticket) = nth(pick, self.waiting.keys()) else { return Ok(()) };
                self.waiting.remove(&ticket);
                self.tell(Event::Abandon { ticket })
            }
            Op::Connect { pick } => {
                let Some(worker) = self.process(pick, |process| !process.connected) else { return Ok(()) };
                self.processes.get_mut(&worker).unwrap().connected = true;
                self.tell(Event::Connected { worker })
            }
            Op::Load { pick } => match self.process(pick, loading) {
                Some(worker) => self.load(worker),
                None => Ok(()),
            },
            Op::FailToLoad { pick } => {
                let Some(worker) = self.process(pick, loading) else { return Ok(()) };
                let stale = pick.is_multiple_of(4);
                let process = self.processes.get_mut(&worker).unwrap();
                process.stale = stale && process.was_spare;
                if process.stale
                    && let Some(known) = process.version.and_then(|key| self.versions.get_mut(&key))
                {
                    known.lost_start = true;
                    *self.tally.entry("Stale".into()).or_default() += 1;
                }
                self.tell(Event::StartFailed { worker, stale })
            }
            Op::Exit { pick } => self.about(
                pick,
                |process| process.terminated || process.killed,
                |worker| Event::Exited { worker },
            ),
            Op::Crash { pick } => self.about(pick, |_| true, |worker| Event::Exited { worker }),
            // Before it connects, or as it is given the app.
            Op::Starve { pick } => self.about(
                pick,
                |process| process.state == State::Creating && (!process.connected || process.assigned),
                |worker| Event::Starved { worker },
            ),
            Op::Memory { pick, pss } => self.about(pick, |_| true, |worker| Event::Memory { worker, pss }),
            Op::Hang { pick } => self.about(
                pick,
                |process| !process.exchanges.is_empty(),
                |worker| Event::Unresponsive { worker },
            ),
            Op::Garbage { pick } => self.about(pick, |_| true, |worker| Event::Protocol { worker }),
            Op::Lose { pick } => {
                let Some(worker) = self.process(pick, |process| process.connected) else { return Ok(()) };
                self.tell(Event::Lost { worker })?;
                let late = self.processes.get(&worker).is_some_and(loading) && pick.is_multiple_of(2);
                if late {
                    *self.tally.entry("Ready and lost".into()).or_default() += 1;
                    self.load(worker)?;
                    let gone = self.core.reason_to_go(worker) == Some(crate::pool::core::Reason::Crash);
                    let drained =
                        self.processes.get(&worker).is_none_or(|process| process.draining.is_some());
                    if !gone && !drained {
                        return Err(format!("{worker} is lost and stays"));
                    }
                }
                self.tell(Event::Exited { worker })
            }
            Op::Stray { pick } => {
                let worker = WorkerId(1_000_000 + pick % 10);
                let version = VersionKey(1_000_000);
                self.tell(match pick % 14 {
                    0 => Event::Head { worker },
                    1 => Event::Done { worker, head: false, ok: true },
                    2 => Event::Exited { worker },
                    3 => Event::Ready { worker },
                    4 => Event::Abandon { ticket: Ticket(1_000_000) },
                    5 => Event::Prove { version },
                    6 => Event::RemoveVersion { version, to: None },
                    7 => Event::Restart { version },
                    8 => Event::RestartWorker { worker },
                    9 => Event::TerminateWorker { worker },
                    10 => Event::Retire { version },
                    11 => Event::AbandonStart { ticket: Ticket(1_000_000) },
                    12 => Event::Hold { version, held: pick.is_multiple_of(2) },
                    _ => Event::Tick,
                })
            }
            Op::Wait { millis } => self.wait_until(self.now + Duration::from_millis(millis)),
            Op::WaitForDeadline => {
                let Some(at) = self.core.next_deadline() else { return Ok(()) };
                self.wait_until(at.max(self.now))
            }
            Op::Add { seed } => self.add(seed).map(|_| ()),
            Op::Prove { pick } => {
                let Some(version) = self.version(pick) else { return Ok(()) };
                self.tell(Event::Prove { version })
            }
            Op::Remove { pick } => self.remove(pick, None),
            Op::Replace { pick, by_new, seed } => {
                let heir = if by_new { Some(self.add(seed)?) } else { self.version(seed) };
                self.remove(pick, heir)
            }
            Op::Start { pick } => {
                let Some(version) = self.version(pick) else { return Ok(()) };
                self.ids += 1;
                let ticket = Ticket(self.ids);
                self.starting.insert(ticket, Starting { version, since: self.now });
                self.tell(Event::Start { version, ticket })
            }
            Op::AbandonStart { pick } => {
                let Some(ticket) = nth(pick, self.starting.keys()) else { return Ok(()) };
                self.starting.remove(&ticket);
                self.tell(Event::AbandonStart { ticket })
            }
            Op::Restart { pick } => {
                let Some(version) = self.version(pick) else { return Ok(()) };
                self.tell(Event::Restart { version })
            }
            Op::RestartWorker { pick } => {
                self.about(pick, |_| true, |worker| Event::RestartWorker { worker })
            }
            Op::TerminateWorker { pick } => {
                self.about(pick, |_| true, |worker| Event::TerminateWorker { worker })
            }
            Op::Retire { pick } => {
                let Some(version) = self.version(pick) else { return Ok(()) };
                self.tell(Event::Retire { version })
            }
            Op::Hold { pick } => {
                let Some(version) = self.version(pick) else { return Ok(()) };
                let held = self.versions.get(&version).is_some_and(|known| !known.held);
                self.hold(version, held)
            }
            Op::Shutdown { secs } => {
                let within = Duration::from_secs(secs);
                let at = self.now + within;
                self.shutdown = Some(self.shutdown.map_or(at, |earlier| earlier.min(at)));
                self.tell(Event::Shutdown { within })
            }
        }
    }

    fn hold(&mut self, version: VersionKey, held: bool) -> Verdict {
        if let Some(known) = self.versions.get_mut(&version) {
            known.held = held;
        }
        self.tell(Event::Hold { version, held })
    }

    fn request(&mut self, version: VersionKey) -> Verdict {
        self.ids += 1;
        let (ticket, ahead) = (Ticket(self.ids), !self.ids.is_multiple_of(3));
        self.waiting.insert(ticket, Waiting { version, since: self.now, ahead });
        self.tell(Event::Request { version, ticket, ahead })
    }

    fn load(&mut self, worker: WorkerId) -> Verdict {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.sent_ahead = None;
        }
        self.tell(Event::Ready { worker })
    }

    fn add(&mut self, seed: u64) -> Result<VersionKey, String> {
        self.ids += 1;
        let version = VersionKey(self.ids);
        let policy = policy(seed);
        let known = Known {
            lost_start: false,
            policy: policy.clone(),
            removed: false,
            redirected: false,
            proven: false,
            held: false,
        };
        self.patience = self.patience.max(policy.queue_timeout);
        self.versions.insert(version, known);
        self.tell(Event::AddVersion { version, policy })?;
        Ok(version)
    }

    fn remove(&mut self, pick: u64, to: Option<VersionKey>) -> Verdict {
        let Some(version) = self.version(pick) else { return Ok(()) };
        let known = self.versions.get_mut(&version).unwrap();
        known.removed = true;
        known.redirected |= to.is_some();
        self.tell(Event::RemoveVersion { version, to })
    }

    fn about(
        &mut self,
        pick: u64,
        which: fn(&Process) -> bool,
        event: impl Fn(WorkerId) -> Event,
    ) -> Verdict {
        match self.process(pick, which) {
            Some(worker) => self.tell(event(worker)),
            None => Ok(()),
        }
    }

    fn version(&self, pick: u64) -> Option<VersionKey> {
        nth(pick, self.versions.keys())
    }

    fn process(&self, pick: u64, which: impl Fn(&Process) -> bool) -> Option<WorkerId> {
        let count = self.processes.values().filter(|process| which(process)).count();
        if count == 0 {
            return None;
        }
        let mut matching = self.processes.iter().filter(|(_, process)| which(process));
        matching.nth(pick as usize % count).map(|(id, _)| *id)
    }

    /// Lets time pass, with each tick at its time.
    pub fn wait_until(&mut self, until: Now) -> Verdict {
        while let Some(at) = self.core.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(Event::Tick)?;
            if self.core.next_deadline().is_some_and(|next| next <= self.now) {
                return Err("a tick leaves its own deadline in place".into());
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    pub fn tell(&mut self, event: Event) -> Verdict {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>9.3}s {event:?}", self.now.as_secs_f64()));
        }
        let requested = match &event {
            Event::Request { ticket, .. } => Some(*ticket),
            _ => None,
        };
        self.unheard = None;
        if let Event::Exited { worker } | Event::Starved { worker } = &event
            && let Some(process) = self.processes.get_mut(worker)
        {
            self.unheard = process.sent_ahead.map(|wanted| (*worker, wanted));
            process.exchanges.clear();
            if process.state == State::Creating
                && matches!(event, Event::Exited { .. })
                && let Some(known) = process.version.and_then(|version| self.versions.get_mut(&version))
            {
                known.lost_start = true;
            }
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.core.step(event, self.now, &mut actions);
        if let Some(log) = &mut self.log {
            log.extend(actions.iter().map(|action| format!("           → {action:?}")));
        }
        for action in actions.drain(..) {
            self.count(&action);
            self.carry_out(action, requested)?;
        }
        self.actions = actions;
        let after = self.core.snapshot(self.now);
        self.check(&after)?;
        self.before = after;
        let Some((_, wanted)) = self.unheard.take() else { return Ok(()) };
        if !self.versions.contains_key(&wanted) {
            return Ok(());
        }
        *self.tally.entry("Made again".into()).or_default() += 1;
        self.request(wanted)
    }

    fn count(&mut self, action: &Action) {
        let what = match action {
            Action::Refuse { why: Refusal::BackOff(_), .. } => "Refuse BackOff".into(),
            Action::Refuse { why: Refusal::Starved(_), .. } => "Refuse Starved".into(),
            Action::RefuseSent { why: Refusal::Starved(_), .. } => "RefuseSent Starved".into(),
            Action::NotStarted { why: Refusal::Starved(_), .. } => "NotStarted Starved".into(),
            Action::Refuse { why, .. } => format!("Refuse {why:?}"),
            Action::RefuseSent { why, .. } => format!("RefuseSent {why:?}"),
            Action::SendAhead { .. } => "SendAhead".into(),
            Action::Started { .. } => "Started".into(),
            Action::NotStarted { why: Refusal::BackOff(_), .. } => "NotStarted BackOff".into(),
            Action::NotStarted { why, .. } => format!("NotStarted {why:?}"),
            Action::Transition { to, reason, .. } => format!("{to:?} {reason:?}"),
            _ => return,
        };
        *self.tally.entry(what).or_default() += 1;
    }

    /// Finishes everything as well-behaved processes would, without waiting longer than there is reason to.
    pub fn calm_down(&mut self) -> Verdict {
        let held = |(key, known): (&VersionKey, &Known)| known.held.then_some(*key);
        for version in self.versions.iter().filter_map(held).collect::<Vec<_>>() {
            self.hold(version, false)?;
        }
        for _ in 0..400 {
            let mut quiet = true;
            for id in self.processes.keys().copied().collect::<Vec<_>>() {
                quiet &= !self.calm(id)?;
            }
            if quiet && self.waiting.is_empty() && self.starting.is_empty() && self.is_settled() {
                return Ok(());
            }
            if quiet {
                let Some(at) = self.core.next_deadline() else { break };
                self.wait_until(at.max(self.now))?;
            }
        }
        Err(format!("it does not come to rest: {:?}", self.before))
    }

    /// One step of a process towards rest, if there is one.
    fn calm(&mut self, worker: WorkerId) -> Result<bool, String> {
        let Some(process) = self.processes.get_mut(&worker) else { return Ok(false) };
        let served = process.state != State::Creating;
        let event = if let Some(head) = process.exchanges.pop_if(|_| served) {
            Event::Done { worker, head, ok: true }
        } else if process.terminated || process.killed {
            Event::Exited { worker }
        } else if !process.connected {
            process.connected = true;
            Event::Connected { worker }
        } else if loading(process) {
            self.load(worker)?;
            return Ok(true);
        } else {
            return Ok(false);
        };
        self.tell(event)?;
        Ok(true)
    }

    fn is_settled(&self) -> bool {
        if self.shutdown.is_some() {
            return self.drained;
        }
        let full = self.before.pooled == self.limits.pool_size;
        let minima = self.before.versions.iter().all(|version| {
            self.versions.get(&version.version).is_none_or(|known| {
                known.removed || known.policy.ephemeral || {
                    version.serving >= known.policy.min.min(known.policy.max)
                }
            })
        });
        self.before.spares_ready == self.limits.spares && (minima || full)
    }
}

/// Whether the app is being loaded into it.
fn loading(process: &Process) -> bool {
    process.assigned && process.state == State::Creating && !process.terminated && !process.killed
}

fn nth<'a, T: Copy + 'a>(pick: u64, all: impl ExactSizeIterator<Item = &'a T>) -> Option<T> {
    let count = all.len().max(1);
    let mut all = all;
    all.nth(pick as usize % count).copied()
}
