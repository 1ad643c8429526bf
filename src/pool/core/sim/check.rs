//! What must hold of each action when it is taken.

use super::ensure;
use super::world::{Process, Starting, Verdict, Waiting, World};
use crate::model::{VersionKey, WorkerId};
use crate::pool::core::{Action, Policy, Reason, Refusal, State, Ticket, WorkerView};
use std::time::Duration;

impl World {
    /// Does what the action says and checks that it may be done. `requested`: the request that the step is about.
    pub fn carry_out(&mut self, action: Action, requested: Option<Ticket>) -> Verdict {
        match action {
            Action::Spawn { worker, version } => {
                let process = self.find(worker)?;
                ensure!(!process.connected && process.version == version, "{worker} is spawned twice");
                ensure!(self.shutdown.is_none(), "{worker} is spawned during shutdown");
                if let Some(version) = version
                    && !self.policy(version)?.fresh
                {
                    let spare = self.processes.values().any(Process::is_spare);
                    let distrusts = self
                        .versions
                        .get_mut(&version)
                        .is_some_and(|known| std::mem::take(&mut known.lost_start));
                    ensure!(!spare || distrusts, "{worker} is spawned while there is a spare");
                }
            }
            Action::Assign { worker, version } => self.assign(worker, version)?,
            Action::Dispatch { ticket, worker } => self.dispatch(ticket, worker)?,
            Action::SendAhead { ticket, worker } => self.send_ahead(ticket, worker)?,
            Action::RefuseSent { worker, .. } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    ensure!(process.state == State::Creating, "{worker} is Ready");
                    ensure!(process.served == 1, "nothing was sent ahead to {worker}");
                    process.sent_ahead = None;
                }
                self.unheard = None;
            }
            Action::Refuse { ticket, why } => self.refuse(ticket, why, requested)?,
            Action::Started { ticket, worker } => self.started(ticket, worker)?,
            Action::NotStarted { ticket, why } => self.not_started(ticket, why)?,
            Action::IdleHook { worker } => {
                let process = self.find(worker)?;
                ensure!(process.state == State::Idle && process.exchanges.is_empty(), "{worker} is not idle");
            }
            Action::Terminate { worker, reason } => self.terminate(worker, reason)?,
            Action::Kill { worker, .. } => {
                let process = self.find(worker)?;
                ensure!(!process.killed, "{worker} is killed twice");
                process.killed = true;
            }
            Action::Transition { worker, version, from, to, reason } => {
                self.transition(worker, version, from, to, reason)?;
            }
            Action::Proven { version } => {
                let known = self.versions.get_mut(&version).ok_or("an unknown version is proven")?;
                ensure!(!known.proven, "{version:?} is proven twice");
                known.proven = true;
            }
            Action::Unproven { version } => {
                let known = self.versions.get(&version).ok_or("an unknown version is unproven")?;
                ensure!(!known.proven, "{version:?} was proven");
            }
            Action::Forgotten { version } => {
                let known = self.versions.remove(&version).ok_or("an unknown version is forgotten")?;
                ensure!(known.removed, "{version:?} is forgotten and was never removed");
                let left = self.processes.values().any(|process| process.version == Some(version));
                ensure!(!left, "{version:?} is forgotten and has processes");
            }
            Action::Drained => {
                ensure!(self.shutdown.is_some() && !self.drained, "drained without shutdown or twice");
                ensure!(self.processes.is_empty() && self.waiting.is_empty(), "drained with something left");
                self.drained = true;
            }
        }
        Ok(())
    }

    fn find(&mut self, worker: WorkerId) -> Result<&mut Process, String> {
        self.processes.get_mut(&worker).ok_or_else(|| format!("{worker} does not exist"))
    }

    pub(super) fn seen(&self, worker: WorkerId) -> Option<&WorkerView> {
        let at = self.before.workers.binary_search_by_key(&worker, |seen| seen.id).ok()?;
        Some(&self.before.workers[at])
    }

    pub(super) fn policy(&self, version: VersionKey) -> Result<&Policy, String> {
        Ok(&self.versions.get(&version).ok_or_else(|| format!("{version:?} is unknown"))?.policy)
    }

    fn assign(&mut self, worker: WorkerId, version: VersionKey) -> Verdict {
        let fresh = self.policy(version)?.fresh;
        let now = self.now;
        let process = self.find(worker)?;
        ensure!(process.connected && !process.assigned, "{worker} cannot be given an app");
        ensure!(!process.terminated && !process.killed, "{worker} is ending and is given an app");
        match process.version {
            None => ensure!(!fresh, "{version:?} needs a fresh worker and gets spare {worker}"),
            Some(own) => ensure!(own == version, "{worker} was spawned for {own:?}"),
        }
        process.assigned = true;
        if process.version.is_none() {
            process.version = Some(version);
            process.start = now;
        }
        Ok(())
    }

    /// Takes the request from those that wait: what it wanted, and whether it may be sent ahead.
    fn chosen(&mut self, ticket: Ticket, worker: WorkerId) -> Result<Waiting, String> {
        let waiting = self.waiting.remove(&ticket).ok_or_else(|| format!("{ticket:?} is answered twice"))?;
        let wanted = waiting.version;
        let version = self.find(worker)?.version.ok_or("a spare is chosen")?;
        let redirected = self.versions.get(&wanted).is_none_or(|known| known.redirected);
        ensure!(version == wanted || redirected, "{ticket:?} asked for {wanted:?} and gets {version:?}");
        Ok(waiting)
    }

    fn send_ahead(&mut self, ticket: Ticket, worker: WorkerId) -> Verdict {
        let waiting = self.chosen(ticket, worker)?;
        ensure!(waiting.ahead, "{ticket:?} may not be sent ahead");
        let process = self.find(worker)?;
        let loads = process.assigned && process.state == State::Creating;
        ensure!(loads && !process.terminated && !process.killed, "{worker} does not load its app");
        ensure!(process.served == 0, "{worker} gets a second request before it is Ready");
        process.served = 1;
        process.exchanges.push(false);
        process.sent_ahead = Some(waiting.version);
        let version = process.version.ok_or("a spare is chosen")?;
        let others = self.processes.iter().any(|(id, other)| {
            let ending = other.terminated || other.killed || self.core.reason_to_go(*id).is_some();
            *id != worker && other.version == Some(version) && !ending
        });
        ensure!(!others || self.policy(version)?.ephemeral, "{ticket:?} could go to another worker");
        Ok(())
    }

    fn dispatch(&mut self, ticket: Ticket, worker: WorkerId) -> Verdict {
        self.chosen(ticket, worker)?;
        let draining = self.seen(worker).is_some_and(|seen| seen.draining);
        let version = self.find(worker)?.version.ok_or("a spare is chosen")?;
        let policy = self.policy(version)?;
        let (ephemeral, concurrency) = (policy.ephemeral, policy.concurrency as usize);
        let process = self.find(worker)?;
        ensure!(!draining && !process.terminated && !process.killed, "retiring {worker} is chosen");
        ensure!(process.state == State::Active, "{worker} is chosen and not active");
        ensure!(!ephemeral || process.served == 0, "ephemeral {worker} gets a second request");
        let awaiting = process.exchanges.iter().filter(|head| !**head).count();
        ensure!(ephemeral || awaiting < concurrency, "{worker} is chosen and full");
        process.exchanges.push(false);
        process.served += 1;
        Ok(())
    }

    fn refuse(&mut self, ticket: Ticket, why: Refusal, requested: Option<Ticket>) -> Verdict {
        let Waiting { version, since, .. } =
            self.waiting.remove(&ticket).ok_or_else(|| format!("{ticket:?} is answered twice"))?;
        let known = self.versions.get(&version);
        match why {
            Refusal::QueueFull => {
                ensure!(requested == Some(ticket), "{ticket:?} was in the queue and finds it full");
            }
            Refusal::QueueTimeout => {
                if let Some(known) = known.filter(|known| !known.redirected) {
                    let waited = self.now - since;
                    ensure!(waited >= known.policy.queue_timeout, "{ticket:?} is refused after {waited:?}");
                }
            }
            Refusal::BackOff(rest) | Refusal::Starved(rest) => {
                let legal = rest > Duration::ZERO && rest <= Duration::from_secs(30);
                ensure!(legal, "{ticket:?} is told to come back in {rest:?}");
            }
            Refusal::Gone => {
                ensure!(known.is_none_or(|known| known.removed), "{version:?} is not gone");
            }
            Refusal::ShuttingDown => ensure!(self.shutdown.is_some(), "nobody shuts down"),
            Refusal::StartFailed | Refusal::StartTimeout => {}
        }
        Ok(())
    }

    fn started(&mut self, ticket: Ticket, worker: WorkerId) -> Verdict {
        let asked =
            self.starting.remove(&ticket).ok_or_else(|| format!("{ticket:?} is told twice of a start"))?;
        let process = self.find(worker)?;
        ensure!(process.version == Some(asked.version), "{worker} is of another version than was asked for");
        ensure!(process.state != State::Creating, "{worker} is not Ready");
        ensure!(!process.terminated && !process.killed, "{worker} is ending");
        Ok(())
    }

    fn not_started(&mut self, ticket: Ticket, why: Refusal) -> Verdict {
        let Starting { version, since } =
            self.starting.remove(&ticket).ok_or_else(|| format!("{ticket:?} is told twice of a start"))?;
        let known = self.versions.get(&version);
        match why {
            Refusal::Gone => ensure!(known.is_none_or(|known| known.removed), "{version:?} is not gone"),
            Refusal::ShuttingDown => ensure!(self.shutdown.is_some(), "nobody shuts down"),
            Refusal::QueueTimeout => {
                let policy = self.policy(version)?;
                let bound = policy.start_timeout + policy.queue_timeout;
                ensure!(self.now - since >= bound, "{ticket:?} is given up early");
            }
            Refusal::QueueFull => return Err(format!("{ticket:?} stands in no queue")),
            Refusal::BackOff(_) | Refusal::Starved(_) | Refusal::StartFailed | Refusal::StartTimeout => {}
        }
        Ok(())
    }

    fn terminate(&mut self, worker: WorkerId, reason: Reason) -> Verdict {
        let drained = self.seen(worker).is_some_and(|seen| seen.draining);
        let overdue = self.shutdown.is_some_and(|at| at <= self.now);
        let now = self.now;
        let process = self.find(worker)?;
        ensure!(!process.terminated && !process.killed, "{worker} is ended twice");
        let version = process.version;
        let pinned = version.and_then(|key| self.versions.get(&key)).is_some_and(|known| known.policy.pinned);
        ensure!(!pinned || reason != Reason::Evicted, "pinned {worker} is evicted");
        let process = self.find(worker)?;
        // What is sent ahead to a worker does not keep it when its start fails.
        let failed = reason == Reason::StartFailed && process.state == State::Creating;
        let busy = !process.exchanges.is_empty() && !failed;
        ensure!(!busy || reason != Reason::Evicted, "busy {worker} is evicted");
        ensure!(!busy || drained || overdue, "busy {worker} is ended for {reason:?}");
        process.terminated = true;
        process.told = now;
        Ok(())
    }

    fn transition(
        &mut self,
        worker: WorkerId,
        version: Option<VersionKey>,
        from: Option<State>,
        to: State,
        reason: Reason,
    ) -> Verdict {
        use State::{Active, Creating, Idle, Ready, Terminated};
        let Some(from) = from else {
            ensure!(to == Creating && !self.processes.contains_key(&worker), "{worker} begins as {to:?}");
            let process = Process {
                version,
                state: to,
                connected: false,
                assigned: false,
                was_spare: version.is_none(),
                stale: false,
                terminated: false,
                killed: false,
                start: self.now,
                draining: None,
                told: self.now,
                exchanges: Vec::new(),
                sent_ahead: None,
                served: 0,
            };
            self.processes.insert(worker, process);
            return Ok(());
        };
        let now = self.now;
        let process = self.find(worker)?;
        ensure!(process.state == from, "{worker} is {:?}, not {from:?}", process.state);
        let legal = matches!(
            (from, to),
            (Creating, Ready) | (Ready, Active | Idle) | (Active, Idle) | (Idle, Active) | (_, Terminated)
        ) && from != Terminated;
        ensure!(legal, "{worker} goes from {from:?} to {to:?}");
        process.state = to;
        if to == Ready && process.draining.is_some() {
            // Only now its app has what was sent ahead.
            process.draining = Some(now);
        }
        if to == Terminated {
            let told = process.terminated || process.killed;
            let unasked = matches!(reason, Reason::Crash | Reason::StartFailed | Reason::Starved);
            ensure!(told || unasked, "{worker} ended by itself and the reason is {reason:?}");
            self.processes.remove(&worker);
        }
        Ok(())
    }
}
