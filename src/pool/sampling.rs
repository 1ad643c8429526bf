//! What workers use of memory and processors: read a little at a time, when somebody wants to know.

use super::{Pool, Version};
use crate::model::WorkerId;
use crate::telemetry::metrics::{Families, Metrics, Series, families};
use crate::worker::usage;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At least so long between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Most workers of a round, and most of those whose pages are walked through, which costs 0.4 ms each.
const CHEAP: usize = 100;
const DEAR: usize = 10;

pub(super) type Samples = Mutex<Taken>;

#[derive(Default)]
pub(super) struct Taken {
    of: HashMap<WorkerId, Sample>,
    /// The last round.
    at: Option<Instant>,
}

#[derive(Default)]
struct Sample {
    /// Resident memory.
    process: Option<Read<u64>>,
    /// Proportional, and its own.
    pages: Option<Read<(u64, u64)>>,
    /// So far.
    cpu: Duration,
}

struct Read<T> {
    at: Instant,
    /// Requests that the worker had been given then.
    served: u64,
    /// None: it is gone, or the kernel does not let us know.
    bytes: Option<T>,
}

/// A worker that runs.
pub(super) struct Running {
    pub id: WorkerId,
    pub pid: u32,
    pub served: u64,
    pub busy: bool,
    pub series: Arc<Series>,
}

impl Version {
    /// Where its workers are counted.
    pub(super) fn series(&mut self, metrics: &Metrics) -> &Arc<Series> {
        self.series.get_or_insert_with(|| metrics.series(&self.app.label(), &self.app.version))
    }
}

impl Pool {
    pub(super) fn collect_samples(&self, running: &[Running], into: &mut Families) {
        let mut taken = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        taken.sample(running);
        let mut sums: BTreeMap<([Arc<str>; 2], &'static str), u64> = BTreeMap::new();
        for worker in running {
            let Some(sample) = taken.of.get(&worker.id) else { continue };
            let resident = sample.process.as_ref().and_then(|read| read.bytes);
            let (pss, uss) = sample.pages.as_ref().and_then(|read| read.bytes).unzip();
            for (kind, bytes) in [("rss", resident), ("pss", pss), ("uss", uss)] {
                if let Some(bytes) = bytes {
                    let labels = worker.series.labels().map(|(_, text)| text);
                    *sums.entry((labels, kind)).or_default() += bytes;
                }
            }
        }
        for (([app, version], kind), bytes) in sums {
            let labels = [("app", app), ("version", version), ("kind", kind.into())];
            into.number(&families::WORKER_MEMORY, labels, bytes as f64);
        }
    }
}

impl Taken {
    /// One round, if the last one is over for long enough.
    fn sample(&mut self, running: &[Running]) {
        let now = Instant::now();
        if self.at.is_some_and(|at| now.duration_since(at) < ROUND) {
            return;
        }
        self.at = Some(now);
        let ids: HashSet<WorkerId> = running.iter().map(|worker| worker.id).collect();
        self.of.retain(|id, _| ids.contains(id));
        let Due { cheap, dear } = due(&self.of, running);
        for worker in cheap {
            let sample = self.of.entry(worker.id).or_default();
            let resident = usage::resident_memory(worker.pid);
            sample.process = Some(Read { at: now, served: worker.served, bytes: resident });
            if let Some(cpu) = usage::cpu(worker.pid) {
                worker.series.spent(cpu.saturating_sub(sample.cpu));
                sample.cpu = cpu.max(sample.cpu);
            }
        }
        for worker in dear {
            let pages = usage::proportional_and_own_memory(worker.pid);
            let read = Read { at: now, served: worker.served, bytes: pages };
            self.of.entry(worker.id).or_default().pages = Some(read);
        }
    }
}

/// Whom a round reads.
struct Due<'r> {
    /// A timer, a queue or a leak needs no request: of all workers.
    cheap: Vec<&'r Running>,
    /// Of those that have served since they were read.
    dear: Vec<&'r Running>,
}

/// Those that were read the longest time ago, or never.
fn due<'r>(known: &HashMap<WorkerId, Sample>, running: &'r [Running]) -> Due<'r> {
    let mut cheap: Vec<(Option<Instant>, &Running)> = Vec::new();
    let mut dear: Vec<(Option<Instant>, &Running)> = Vec::new();
    for worker in running {
        let known = known.get(&worker.id);
        cheap.push((known.and_then(|known| known.process.as_ref()).map(|read| read.at), worker));
        let pages = known.and_then(|known| known.pages.as_ref());
        if worker.busy || pages.is_none_or(|read| read.served != worker.served) {
            dear.push((pages.map(|read| read.at), worker));
        }
    }
    let first = |mut due: Vec<(Option<Instant>, &'r Running)>, most| {
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().take(most).map(|(_, worker)| worker).collect()
    };
    Due { cheap: first(cheap, CHEAP), dear: first(dear, DEAR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u64) -> Running {
        let series = Arc::clone(Metrics::new("1.4.5").none());
        Running { id: WorkerId(number), pid: 0, served: 0, busy: false, series }
    }

    fn numbers(due: &[&Running]) -> Vec<u64> {
        due.iter().map(|worker| worker.id.0).collect()
    }

    #[test]
    fn workers_that_serve_nothing_are_read_too_but_their_pages_are_not_walked() {
        let now = Instant::now();
        let running: Vec<Running> = (0..CHEAP as u64 + 2).map(worker).collect();
        let read = |worker: &Running| {
            let at = now + Duration::from_secs(worker.id.0);
            let process = Some(Read { at, served: 0, bytes: Some(1) });
            let pages = Some(Read { at, served: 0, bytes: None });
            (worker.id, Sample { process, pages, cpu: Duration::ZERO })
        };
        // The last one was never read.
        let known = running[..CHEAP + 1].iter().map(read).collect();
        let Due { cheap, dear } = due(&known, &running);
        let (last, others) = (CHEAP as u64 + 1, 0..CHEAP as u64 - 1);
        assert_eq!(numbers(&cheap), std::iter::once(last).chain(others).collect::<Vec<_>>());
        assert_eq!(numbers(&dear), [last]);
    }
}
