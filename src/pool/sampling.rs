//! What workers use of memory and processors: read a little at a time, while somebody wants to know.

use super::{Pool, Version};
use crate::model::WorkerId;
use crate::telemetry::metrics::{Families, Metrics, Series, families};
use crate::worker::usage;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long after a look at the samples new ones are taken.
const WANTED: Duration = Duration::from_secs(60);
/// Most workers of a round, and most of those whose pages are walked through, which costs 0.4 ms each.
const CHEAP: usize = 100;
const DEAR: usize = 10;

#[derive(Default)]
pub(super) struct Samples {
    taken: Mutex<Taken>,
    wanted: Notify,
}

#[derive(Default)]
struct Taken {
    of: HashMap<WorkerId, Sample>,
    /// The last round.
    at: Option<Instant>,
    /// Somebody has looked.
    looked: Option<Instant>,
}

#[derive(Default)]
struct Sample {
    /// Resident memory.
    process: Option<Read<u64>>,
    /// Proportional, and its own.
    pages: Option<Read<(u64, u64)>>,
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
struct Running {
    id: WorkerId,
    pid: u32,
    served: u64,
    busy: bool,
    series: Arc<Series>,
}

impl Version {
    /// Where its workers are counted.
    pub(super) fn series(&mut self, metrics: &Metrics) -> &Arc<Series> {
        self.series.get_or_insert_with(|| metrics.series(&self.app.label(), &self.app.version))
    }
}

impl Pool {
    pub(super) fn collect_samples(&self, into: &mut Families) {
        let running = self.running();
        self.sample(&running);
        let mut taken = self.samples.lock();
        taken.looked = Some(Instant::now());
        self.samples.wanted.notify_one();
        let mut sums: BTreeMap<([Arc<str>; 2], &'static str), u64> = BTreeMap::new();
        for worker in &running {
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

    fn running(&self) -> Vec<Running> {
        let none = self.metrics.none();
        let mut inner = self.lock();
        let inner = &mut *inner;
        let workers = inner.core.snapshot(self.now()).workers.into_iter().filter_map(|worker| {
            let pid = inner.workers.get(&worker.id)?.pid?;
            let version = worker.version.and_then(|key| inner.versions.get_mut(&key));
            let series = version.map_or(none, |version| version.series(&self.metrics));
            let (served, busy) = (worker.served, worker.in_flight > 0);
            Some(Running { id: worker.id, pid, served, busy, series: Arc::clone(series) })
        });
        workers.collect()
    }

    /// One round, if the last one is over for long enough: of the workers that have served since they were read, those that were
    /// read the longest time ago.
    fn sample(&self, running: &[Running]) {
        let now = Instant::now();
        let mut taken = self.samples.lock();
        if taken.at.is_some_and(|at| now.duration_since(at) < ROUND) {
            return;
        }
        taken.at = Some(now);
        taken.of.retain(|id, _| running.iter().any(|worker| worker.id == *id));
        let is_due = |worker: &Running, served: Option<u64>| worker.busy || served != Some(worker.served);
        let mut cheap: Vec<(Option<Instant>, &Running)> = Vec::new();
        let mut dear: Vec<(Option<Instant>, &Running)> = Vec::new();
        for worker in running {
            let known = taken.of.get(&worker.id);
            let (process, pages) = (
                known.and_then(|known| known.process.as_ref()),
                known.and_then(|known| known.pages.as_ref()),
            );
            if is_due(worker, process.map(|read| read.served)) {
                cheap.push((process.map(|read| read.at), worker));
            }
            if is_due(worker, pages.map(|read| read.served)) {
                dear.push((pages.map(|read| read.at), worker));
            }
        }
        for (most, due) in [(CHEAP, &mut cheap), (DEAR, &mut dear)] {
            due.sort_by_key(|(at, _)| *at);
            due.truncate(most);
        }
        for (_, worker) in cheap {
            let sample = taken.of.entry(worker.id).or_default();
            let resident = usage::resident_memory(worker.pid);
            sample.process = Some(Read { at: now, served: worker.served, bytes: resident });
            if let Some(cpu) = usage::cpu(worker.pid) {
                worker.series.spent(cpu.saturating_sub(sample.cpu));
                sample.cpu = cpu.max(sample.cpu);
            }
        }
        for (_, worker) in dear {
            let pages = usage::proportional_and_own_memory(worker.pid);
            let read = Read { at: now, served: worker.served, bytes: pages };
            taken.of.entry(worker.id).or_default().pages = Some(read);
        }
    }
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_wanted(&self) -> bool {
        self.lock().looked.is_some_and(|at| at.elapsed() < WANTED)
    }
}

/// Takes samples for as long as somebody looks at them and the pool is there.
pub(super) async fn keep_sampling(pool: Weak<Pool>) {
    loop {
        let Some(of_now) = pool.upgrade() else { return };
        if of_now.samples.are_wanted() {
            // The kernel walks all pages of a process.
            let round = tokio::task::spawn_blocking(move || of_now.sample(&of_now.running()));
            if round.await.is_err() {
                return; // the runtime is ending
            }
            tokio::time::sleep(ROUND).await;
        } else {
            of_now.samples.wanted.notified().await;
        }
    }
}
