//! What the pool counts of its work, and what it tells of its state when somebody looks.

use super::core::types::{Reason, Refusal, State};
use super::sampling::Running;
use super::{Dispatched, Journey, Pool};
use crate::telemetry::metrics::{Collector, Counter, Families, Histogram, REQUESTS, families};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const STATES: usize = State::ALL.len();
const REASONS: usize = Reason::ALL.len();
/// Steps of a start that can be measured.
const PHASES: [&str; 4] = ["spawn", "connect", "import", "ready"];
const KINDS: [&str; 2] = ["fresh", "spare"];
const REFUSALS: [&str; 7] =
    ["queue-full", "queue-timeout", "back-off", "start-failed", "start-timeout", "shutting-down", "starved"];

pub(super) struct Meter {
    hits: Counter,
    misses: Counter,
    evictions: Counter,
    rejections: [Counter; REFUSALS.len()],
    wait: Histogram,
    starts: [[Histogram; PHASES.len()]; KINDS.len()],
    /// By the state before (none, then as they are declared), the state after, and the reason.
    changes: Box<[[[Counter; REASONS]; STATES]; STATES + 1]>,
}

/// A request waits for a worker. One whose client goes meanwhile has waited no time that counts.
pub(super) struct Waited<'a> {
    meter: &'a Meter,
    since: Instant,
}

impl Default for Meter {
    fn default() -> Meter {
        let histogram = || Histogram::new(&REQUESTS);
        Meter {
            hits: Counter::default(),
            misses: Counter::default(),
            evictions: Counter::default(),
            rejections: Default::default(),
            wait: histogram(),
            starts: std::array::from_fn(|_| std::array::from_fn(|_| histogram())),
            changes: Box::new(std::array::from_fn(|_| {
                std::array::from_fn(|_| std::array::from_fn(|_| Counter::default()))
            })),
        }
    }
}

impl Meter {
    pub fn answered_at_once(&self, answer: &Result<Dispatched, Refusal>) {
        match answer {
            Ok(Dispatched { ahead: None, .. }) => self.hits.add(1),
            // It goes to a worker that has yet to load the app, or to none.
            Ok(_) | Err(_) => self.misses.add(1),
        }
    }

    pub fn waits(&self) -> Waited<'_> {
        self.misses.add(1);
        Waited { meter: self, since: Instant::now() }
    }

    pub fn refused(&self, why: Refusal) {
        let index = match why {
            Refusal::QueueFull => 0,
            Refusal::QueueTimeout => 1,
            Refusal::BackOff(_) => 2,
            Refusal::StartFailed => 3,
            Refusal::StartTimeout => 4,
            Refusal::ShuttingDown => 5,
            Refusal::Starved(_) => 6,
            // It asks another version.
            Refusal::Gone => return,
        };
        self.rejections[index].add(1);
    }

    pub fn changed(&self, from: Option<State>, to: State, reason: Reason) {
        let from = from.map_or(0, |from| from as usize + 1);
        self.changes[from][to as usize][reason as usize].add(1);
    }

    pub fn terminates(&self, reason: Reason) {
        if reason == Reason::Evicted {
            self.evictions.add(1);
        }
    }

    /// Its shim is there.
    pub fn connected(&self, journey: &Journey, was_spare: bool) {
        let of_kind = &self.starts[usize::from(was_spare)];
        for (name, took) in journey.steps() {
            let phase = PHASES[..2].iter().position(|phase| *phase == name);
            phase.into_iter().for_each(|phase| of_kind[phase].observe(took));
        }
    }

    /// Its app is loaded. How long that took, counts from when it was wanted: a spare was there already.
    pub fn ready(&self, journey: &Journey, was_spare: bool) {
        let Some(load) = journey.load else { return };
        let before = if was_spare { Duration::ZERO } else { journey.connect.unwrap_or_default() };
        let of_kind = &self.starts[usize::from(was_spare)];
        of_kind[2].observe(load);
        of_kind[3].observe(before + load);
    }

    fn collect(&self, into: &mut Families) {
        into.number(&families::POOL_HITS, [], self.hits.get() as f64);
        into.number(&families::POOL_MISSES, [], self.misses.get() as f64);
        into.number(&families::POOL_EVICTIONS, [], self.evictions.get() as f64);
        into.histogram(&families::POOL_WAIT, [], self.wait.view());
        for (why, count) in REFUSALS.iter().zip(&self.rejections) {
            into.number(&families::POOL_REJECTIONS, [("reason", (*why).into())], count.get() as f64);
        }
        for (kind, phases) in KINDS.iter().zip(&self.starts) {
            for (phase, took) in PHASES.iter().zip(phases) {
                let took = took.view();
                if took.count() > 0 {
                    let labels = [("phase", (*phase).into()), ("kind", (*kind).into())];
                    into.histogram(&families::START_DURATION, labels, took);
                }
            }
        }
        let before = std::iter::once("none").chain(State::ALL.map(State::as_str));
        for (from, changes) in before.zip(&*self.changes) {
            for (to, reasons) in State::ALL.iter().zip(changes) {
                for (reason, count) in Reason::ALL.iter().zip(reasons).filter(|(_, count)| count.get() > 0) {
                    let labels = [("from", from), ("to", to.as_str()), ("reason", reason.as_str())];
                    let labels = labels.map(|(name, text)| (name, Arc::from(text)));
                    into.number(&families::TRANSITIONS, labels, count.get() as f64);
                }
            }
        }
    }
}

impl Waited<'_> {
    pub fn over(self) {
        self.meter.wait.observe(self.since.elapsed());
    }
}

impl Pool {
    /// From now on the registry asks it too.
    pub(super) fn be_measured(self: &Arc<Self>) {
        self.metrics.register(Arc::new(Arc::downgrade(self)));
    }

    /// What the books say now. Returns the workers that have a process.
    fn collect_state(&self, into: &mut Families) -> Vec<Running> {
        let none = self.metrics.none();
        let mut guard = self.lock();
        let inner = &mut *guard;
        let state = inner.core.snapshot(self.now());
        let mut workers: BTreeMap<[Arc<str>; 3], u32> = BTreeMap::new();
        let mut lags: BTreeMap<[Arc<str>; 2], Duration> = BTreeMap::new();
        let mut running = Vec::new();
        for worker in &state.workers {
            let version = worker.version.and_then(|key| inner.versions.get_mut(&key));
            let series = version.map_or(none, |version| version.series(&self.metrics));
            let [app, version] = series.labels().map(|(_, text)| text);
            let handle = inner.workers.get(&worker.id);
            if let Some(pid) = handle.and_then(|handle| handle.pid) {
                let (id, served, busy) = (worker.id, worker.served, worker.in_flight > 0);
                running.push(Running { id, pid, served, busy, series: Arc::clone(series) });
            }
            if let Some(lag) = handle.and_then(|handle| handle.link.as_ref()?.lag(Instant::now())) {
                let slowest = lags.entry([Arc::clone(&app), Arc::clone(&version)]).or_default();
                *slowest = lag.max(*slowest);
            }
            *workers.entry([app, version, worker.state.as_str().into()]).or_default() += 1;
        }
        drop(guard);
        for ([app, version, state], count) in workers {
            let labels = [("app", app), ("version", version), ("state", state)];
            into.number(&families::WORKER_STATE, labels, f64::from(count));
        }
        for ([app, version], lag) in lags {
            into.number(&families::WORKER_LAG, [("app", app), ("version", version)], lag.as_secs_f64());
        }
        into.number(&families::POOL_QUEUE, [], state.waiting as f64);
        into.number(&families::POOL_SIZE, [], state.pooled as f64);
        into.number(&families::POOL_LIMIT, [], state.pool_size as f64);
        for (name, count) in [("ready", state.spares_ready), ("starting", state.spares_starting)] {
            into.number(&families::POOL_SPARES, [("state", name.into())], count as f64);
        }
        running
    }
}

/// For as long as the pool is there.
impl Collector for Weak<Pool> {
    fn collect(&self, into: &mut Families) {
        let Some(pool) = self.upgrade() else { return };
        pool.meter.collect(into);
        let running = pool.collect_state(into);
        pool.collect_samples(&running, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_stand_where_their_numbers_are() {
        assert!(State::ALL.iter().enumerate().all(|(index, state)| *state as usize == index));
    }
}
