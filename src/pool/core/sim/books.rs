//! What must hold of the core's books after each step.

use super::ensure;
use super::world::{Starting, Verdict, Waiting, World};
use crate::model::{VersionKey, WorkerId};
use crate::pool::core::{Policy, Reason, Snapshot, State, WorkerView};
use std::time::Duration;

/// The longest `start_timeout` of `history::policy`: a request that a worker starts for waits for it.
const LONGEST_START: Duration = Duration::from_secs(5);

impl World {
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
                && worker
                    .version
                    .and_then(|key| self.versions.get(&key))
                    .is_some_and(|known| !known.policy.pinned)
        });
        let room = after.pooled < self.limits.pool_size || resting.is_some();
        for version in &after.versions {
            let known = &self.versions[&version.version];
            let asked = version.waiting > 0 || version.starters > 0 || known.policy.pinned;
            let needs = asked && version.starting + version.serving == 0;
            let may = version.back_off.is_none() && !known.removed && !known.held;
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
                let grace = Duration::from_secs(if policy.pinned { 12 } else { 7 });
                ensure!(since(process.told) <= grace, "{id} does not end and is not killed");
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
            let earlier = self.before.versions.iter().find(|earlier| earlier.version == key);
            let more = earlier.is_some_and(|earlier| version.starting > earlier.starting);
            ensure!(!more || !self.versions[&key].held, "{key:?} starts a worker while it is held");
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
        let rested = [Reason::Ttl, Reason::ScaleDown].map(|why| self.told_to_go(after, key, why).count());
        ensure!(!policy.pinned || rested == [0, 0] || staying >= 1, "pinned {key:?} ends for rest");
        Ok(())
    }
}
