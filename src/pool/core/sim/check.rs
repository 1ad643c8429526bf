//! What must hold: of each action when it is taken, and of the core's books after each step.

use super::world::{Process, Starting, Verdict, Waiting, World};
use crate::model::{VersionKey, WorkerId};
use crate::pool::core::{Action, Policy, Reason, Refusal, Snapshot, State, Ticket, WorkerView};
use std::time::Duration;

/// The longest `start_timeout` of `history::policy`: a request that a worker starts for waits for it.
const LONGEST_START: Duration = Duration::from_secs(5);

macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

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

    fn seen(&self, worker: WorkerId) -> Option<&WorkerView> {
        let at = self.before.workers.binary_search_by_key(&worker, |seen| seen.id).ok()?;
        Some(&self.before.workers[at])
    }

    fn policy(&self, version: VersionKey) -> Result<&Policy, String> {
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
            Refusal::BackOff(rest) => {
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
            Refusal::BackOff(_) | Refusal::StartFailed | Refusal::StartTimeout => {}
        }
        Ok(())
    }

    fn terminate(&mut self, worker: WorkerId, reason: Reason) -> Verdict {
        let drained = self.seen(worker).is_some_and(|seen| seen.draining);
        let overdue = self.shutdown.is_some_and(|at| at <= self.now);
        let now = self.now;
        let process = self.find(worker)?;
        ensure!(!process.terminated && !process.killed, "{worker} is ended twice");
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
            let unasked = matches!(reason, Reason::Crash | Reason::StartFailed);
            ensure!(told || unasked, "{worker} ended by itself and the reason is {reason:?}");
            self.processes.remove(&worker);
        }
        Ok(())
    }

    /// Holds the core's books against ours.
    pub fn check(&mut self, after: &Snapshot) -> Verdict {
        ensure!(
            after.workers.len() == self.processes.len(),
            "{} workers in the core, {} processes",
            after.workers.len(),
            self.processes.len()
        );
        for (seen, (id, process)) in after.workers.iter().zip(&mut self.processes) {
            if process.version.is_none() && seen.version.is_some() {
                // A spare that is still starting was promised to a version; nothing is to be done about it yet.
                let policy = seen.version.and_then(|key| self.versions.get(&key)).map(|known| &known.policy);
                ensure!(policy.is_some_and(|policy| !policy.fresh), "{id} may not be a spare");
                process.version = seen.version;
                process.start = self.now;
            }
            if seen.draining && process.draining.is_none() {
                process.draining = Some(self.now);
            }
            let awaiting = process.exchanges.iter().filter(|head| !**head).count();
            let same = seen.id == *id
                && seen.version == process.version
                && seen.state == process.state
                && seen.in_flight as usize == process.exchanges.len()
                && seen.awaiting as usize == awaiting
                && seen.served == process.served;
            ensure!(same, "the books differ: {seen:?} is {process:?}");
            let failed = matches!(
                self.core.reason_to_go(*id),
                Some(Reason::StartFailed | Reason::StartTimeout | Reason::Unresponsive | Reason::Protocol)
            );
            // Otherwise the request is made again.
            let only = self.before.workers.iter().any(|before| before.id == *id && !before.draining)
                && self.before.versions.iter().any(|version| {
                    Some(version.version) == seen.version && version.starting + version.serving == 1
                });
            let owed = failed && only && !process.stale && process.sent_ahead.is_some();
            ensure!(!owed, "what was sent ahead to {id} hears nothing");
        }
        ensure!(after.waiting == self.waiting.len(), "{} wait, not {}", self.waiting.len(), after.waiting);
        let queued: usize = after.versions.iter().map(|version| version.waiting).sum();
        ensure!(queued == after.waiting, "{queued} in queues, {} tickets", after.waiting);
        let starters: usize = after.versions.iter().map(|version| version.starters).sum();
        ensure!(starters == self.starting.len(), "{starters} starters, not {}", self.starting.len());
        ensure!(after.versions.len() == self.versions.len(), "a version was lost or is left over");
        self.check_sizes(after)?;
        self.check_versions(after)?;
        self.check_times(after)?;
        self.check_room(after)?;
        for (ticket, Waiting { since, .. }) in &self.waiting {
            let waited = self.now - *since;
            ensure!(waited <= self.patience + LONGEST_START, "{ticket:?} has waited for {waited:?}");
        }
        for (ticket, Starting { version, since }) in &self.starting {
            let policy = self.policy(*version)?;
            let waited = self.now - *since;
            let bound = policy.start_timeout + policy.queue_timeout;
            ensure!(waited <= bound, "{ticket:?} has waited for {waited:?} for a start");
        }
        Ok(())
    }

    fn check_sizes(&self, after: &Snapshot) -> Verdict {
        let pooled = self.processes.values().filter(|process| process.version.is_some()).count();
        ensure!(pooled == after.pooled, "{pooled} pooled, not {}", after.pooled);
        ensure!(pooled <= self.limits.pool_size, "{pooled} in a pool of {}", self.limits.pool_size);
        let spares = after.spares_ready + after.spares_starting;
        ensure!(spares <= self.limits.spares, "{spares} spares of {}", self.limits.spares);
        ensure!(after.spares_starting <= self.limits.spare_starts, "{spares} spares start at once");
        Ok(())
    }

    /// Nobody waits for room that is there, or that resting workers would have to make.
    fn check_room(&self, after: &Snapshot) -> Verdict {
        let leaving = self.processes.iter().any(|(id, process)| {
            let lost = self.core.reason_to_go(*id) == Some(Reason::Crash);
            process.version.is_some() && (process.terminated || process.killed || lost)
        });
        if leaving || self.shutdown.is_some() {
            return Ok(());
        }
        let resting = after.workers.iter().find(|worker| {
            worker.version.is_some()
                && worker.state != State::Creating
                && !worker.draining
                && worker.in_flight == 0
        });
        let room = after.pooled < self.limits.pool_size || resting.is_some();
        for version in &after.versions {
            let asked = version.waiting > 0 || version.starters > 0;
            let needs = asked && version.starting + version.serving == 0;
            let may = version.back_off.is_none() && !self.versions[&version.version].removed;
            ensure!(!room || !needs || !may, "{:?} waits beside {resting:?}", version.version);
        }
        Ok(())
    }

    /// Whatever has its time happens in time.
    fn check_times(&self, after: &Snapshot) -> Verdict {
        for (seen, (id, process)) in after.workers.iter().zip(&self.processes) {
            let Some(version) = seen.version else { continue };
            let policy = self.policy(version)?;
            let since = |at| self.now.saturating_sub(at);
            if process.killed {
            } else if process.terminated {
                ensure!(since(process.told) <= Duration::from_secs(7), "{id} does not end and is not killed");
            } else if let Some(draining) = process.draining {
                let by_shutdown = self.shutdown.is_some_and(|at| self.now <= at);
                let in_time = since(draining) <= policy.drain_timeout || by_shutdown;
                ensure!(in_time, "{id} drains for too long");
            } else if seen.state == State::Creating {
                ensure!(since(process.start) <= policy.start_timeout, "{id} starts for too long");
            } else if process.exchanges.is_empty() && !policy.ephemeral {
                let rested = since(seen.last_used);
                let idle = rested <= policy.idle_timeout || seen.state == State::Idle;
                ensure!(idle, "{id} rests for {rested:?} and is not idle");
            }
        }
        Ok(())
    }

    fn check_versions(&self, after: &Snapshot) -> Verdict {
        for version in &after.versions {
            let key = version.version;
            let policy = self.policy(key)?;
            let staying =
                || after.workers.iter().filter(move |worker| worker.version == Some(key) && !worker.draining);
            let starting = staying().filter(|worker| worker.state == State::Creating).count();
            let serving = staying().count() - starting;
            ensure!(
                (version.starting as usize, version.serving as usize) == (starting, serving),
                "{version:?} has {starting} starting and {serving} serving"
            );
            if policy.ephemeral {
                continue;
            }
            let room = staying()
                .any(|worker| worker.state != State::Creating && worker.awaiting < policy.concurrency.max(1));
            ensure!(!room || version.waiting == 0, "{key:?} has room and lets requests wait");
            let max = policy.max.max(1) as usize;
            ensure!(starting + serving <= 2 * max, "{key:?} has {} instances of {max}", starting + serving);
            let backed_off = |snapshot: &Snapshot| {
                let version = snapshot.versions.iter().find(|version| version.version == key);
                version.filter(|version| version.back_off.is_some()).map(|version| version.starting)
            };
            if let (Some(earlier), Some(later)) = (backed_off(&self.before), backed_off(after)) {
                ensure!(later <= earlier, "{key:?} starts a worker during its back-off");
            }
            self.check_one_start(key, starting, serving, policy)?;
            self.check_no_gap(after, key, starting + serving)?;
            self.check_restarts(after, key)?;
            self.check_minimum(after, key, starting + serving)?;
        }
        Ok(())
    }

    /// While nothing of a version serves, one start is enough for all who wait.
    fn check_one_start(&self, key: VersionKey, starting: usize, serving: usize, policy: &Policy) -> Verdict {
        let earlier = self.before.versions.iter().find(|version| version.version == key);
        let before = earlier.map_or(0, |version| version.starting as usize);
        let enough = policy.min.max(1) as usize;
        ensure!(
            serving > 0 || starting <= enough || starting <= before,
            "{key:?} starts {starting} workers where {enough} would do"
        );
        Ok(())
    }

    /// A version whose last worker is drained for another one's sake leaves a worker of that one behind.
    fn check_no_gap(&self, after: &Snapshot, key: VersionKey, staying: usize) -> Verdict {
        let known = self.versions.get(&key).ok_or("unknown")?;
        let served = self.before.versions.iter().any(|version| version.version == key && version.serving > 0);
        if !known.redirected || !served || staying > 0 {
            return Ok(());
        }
        let deployed = after.workers.iter().any(|worker| {
            let ended = self.seen(worker.id).is_some_and(|seen| !seen.draining) && worker.draining;
            worker.version == Some(key) && ended && self.core.reason_to_go(worker.id) == Some(Reason::Deploy)
        });
        // It may have got so much to do at once that it has to go already; but it was there.
        let heir = self.core.heir_of(key);
        let covered =
            after.workers.iter().any(|worker| worker.version == heir && worker.state != State::Creating);
        ensure!(
            !deployed || (heir.is_some() && covered),
            "{key:?} is replaced by a version without a worker"
        );
        Ok(())
    }

    /// Workers of the version that were to stay before the step and are not any more, for this reason.
    fn told_to_go<'a>(
        &'a self,
        after: &'a Snapshot,
        key: VersionKey,
        reason: Reason,
    ) -> impl Iterator<Item = WorkerId> + 'a {
        let went = move |worker: &&WorkerView| {
            let stayed = self.seen(worker.id).is_some_and(|seen| !seen.draining);
            worker.version == Some(key) && worker.draining && stayed
        };
        let ids = after.workers.iter().filter(went).map(|worker| worker.id);
        ids.filter(move |id| self.core.reason_to_go(*id) == Some(reason))
    }

    /// A worker that is restarted goes when another one has become Ready, unless there is no room for two.
    fn check_restarts(&self, after: &Snapshot, key: VersionKey) -> Verdict {
        let gone = self.told_to_go(after, key, Reason::Restart).count();
        let came = after.workers.iter().filter(|worker| {
            let was_starting = self.seen(worker.id).is_some_and(|seen| seen.state == State::Creating);
            worker.version == Some(key) && was_starting && worker.state != State::Creating
        });
        let full = self.before.pooled >= self.limits.pool_size;
        ensure!(full || gone <= came.count(), "{key:?} is restarted before another worker is Ready");
        Ok(())
    }

    /// Retiring leaves what `min` asks for.
    fn check_minimum(&self, after: &Snapshot, key: VersionKey, staying: usize) -> Verdict {
        let retired = self.told_to_go(after, key, Reason::Retired).count();
        let policy = self.policy(key)?;
        let min = policy.min.min(policy.max.max(1)) as usize;
        ensure!(retired == 0 || staying >= min, "{key:?} is retired below its minimum");
        Ok(())
    }
}
