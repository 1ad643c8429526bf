//! Counting how long things took: an atomic a bucket, no lock, no allocation but the first time that a trace is noted.

use buntime_plugin::metrics::{Bucket, Exemplar, Histogram as View};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which trace a request belongs to (<https://www.w3.org/TR/trace-context/>). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// The upper bounds of a histogram's buckets, in nanoseconds, ascending. What is above the last one has a bucket of its own.
pub type Bounds = [u64; BOUNDS];

const BOUNDS: usize = 14;
const BUCKETS: usize = BOUNDS + 1;
const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// 1 ms … 30 s: what requests and starts take.
pub static REQUESTS: Bounds = [
    MILLI,
    2_500 * MICRO,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
];

/// 1 µs … 10 s: what hooks of plugins take.
pub static HOOKS: Bounds = [
    MICRO,
    2_500,
    5 * MICRO,
    10 * MICRO,
    25 * MICRO,
    50 * MICRO,
    100 * MICRO,
    500 * MICRO,
    MILLI,
    5 * MILLI,
    25 * MILLI,
    100 * MILLI,
    SECOND,
    10 * SECOND,
];

#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    counts: [AtomicU64; BUCKETS],
    /// In nanoseconds.
    sum: AtomicU64,
    traces: OnceLock<Box<[Noted; BUCKETS]>>,
}

/// The last trace of a bucket. Written under a sequence number, which is odd meanwhile: who finds it so, or changed, knows
/// nothing. All of it is atomic, so a reader that comes between sees old numbers at worst, and notices.
#[derive(Debug, Default)]
struct Noted {
    sequence: AtomicU64,
    trace: [AtomicU64; 2],
    nanos: AtomicU64,
    /// Milliseconds since 1970.
    at: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: &'static Bounds) -> Histogram {
        Histogram { bounds, counts: Default::default(), sum: AtomicU64::new(0), traces: OnceLock::new() }
    }

    /// Two relaxed additions.
    pub fn observe(&self, took: Duration) {
        self.note(took, None);
    }

    /// The same of a request that may belong to a trace.
    pub fn note(&self, took: Duration, trace: Option<TraceId>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        if let Some(trace) = trace {
            self.traces.get_or_init(Box::default)[bucket].put(trace, nanos);
        }
    }

    /// Adds what another one has, which has the same bounds. Its traces stay where they are.
    pub(super) fn add(&self, other: &Histogram) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.sum.fetch_add(other.sum.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn view(&self) -> View {
        let seconds = |nanos: u64| nanos as f64 / SECOND as f64;
        let bounds = self.bounds.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let traces = self.traces.get();
        let buckets = bounds.zip(&self.counts).enumerate().map(|(index, (le, count))| Bucket {
            le,
            count: count.load(Ordering::Relaxed),
            exemplar: traces.and_then(|traces| traces[index].get()),
        });
        View { buckets: buckets.collect(), sum: seconds(self.sum.load(Ordering::Relaxed)) }
    }
}

impl Noted {
    fn put(&self, TraceId(trace): TraceId, nanos: u64) {
        let before = self.sequence.load(Ordering::Relaxed);
        // Somebody else is at it: theirs will do.
        if before % 2 == 1
            || self
                .sequence
                .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        // Whoever reads one of what follows sees the odd number too.
        fence(Ordering::Release);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.trace[0].store((trace >> 64) as u64, Ordering::Relaxed);
        self.trace[1].store(trace as u64, Ordering::Relaxed);
        self.nanos.store(nanos, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
        self.sequence.store(before + 2, Ordering::Release);
    }

    fn get(&self) -> Option<Exemplar> {
        let before = self.sequence.load(Ordering::Acquire);
        if before == 0 || before % 2 == 1 {
            return None;
        }
        let [high, low] = [0, 1].map(|half| u128::from(self.trace[half].load(Ordering::Relaxed)));
        let nanos = self.nanos.load(Ordering::Relaxed);
        let at = self.at.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == before).then(|| Exemplar {
            trace_id: TraceId(high << 64 | low).to_string(),
            value: nanos as f64 / SECOND as f64,
            at: UNIX_EPOCH + Duration::from_millis(at),
        })
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        assert!(REQUESTS.is_sorted() && HOOKS.is_sorted());
        assert_eq!((REQUESTS[0], REQUESTS[BOUNDS - 1]), (MILLI, 30 * SECOND));
    }

    #[test]
    fn a_value_on_a_bound_belongs_below_it_and_what_is_beyond_all_is_counted() {
        let histogram = Histogram::new(&REQUESTS);
        for took in [0, MILLI, MILLI + 1, 30 * SECOND, 31 * SECOND] {
            histogram.observe(Duration::from_nanos(took));
        }
        histogram.observe(Duration::MAX);
        let view = histogram.view();
        let counts: Vec<_> = view.buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (2, 1, 1, 2));
        assert_eq!((view.count(), view.buckets[14].le), (6, f64::INFINITY));
    }

    #[test]
    fn each_bucket_remembers_its_last_trace() {
        let histogram = Histogram::new(&REQUESTS);
        histogram.observe(Duration::from_millis(7));
        assert!(histogram.view().buckets.iter().all(|bucket| bucket.exemplar.is_none()));
        for trace in [0xab, 0xcd] {
            histogram.note(Duration::from_millis(7), Some(TraceId(trace)));
        }
        let view = histogram.view();
        let exemplar = view.buckets[3].exemplar.as_ref().unwrap();
        assert_eq!(exemplar.trace_id, format!("{:032x}", 0xcd));
        assert!((exemplar.value - 0.007).abs() < 1e-9);
        assert_eq!(view.buckets.iter().filter(|bucket| bucket.exemplar.is_some()).count(), 1);
    }

    /// What is read is something that was written, whole.
    #[test]
    fn traces_that_are_noted_at_the_same_time_are_not_mixed() {
        let noted = Noted::default();
        std::thread::scope(|scope| {
            for writer in 1..=2_u64 {
                let noted = &noted;
                let trace = u128::from(writer) << 64 | u128::from(writer);
                scope.spawn(move || (0..20_000).for_each(|_| noted.put(TraceId(trace), writer * SECOND)));
            }
            for _ in 0..20_000 {
                let Some(exemplar) = noted.get() else { continue };
                let writer = exemplar.value as u128;
                assert_eq!(exemplar.trace_id, TraceId(writer << 64 | writer).to_string());
            }
        });
        assert!(noted.get().is_some());
    }
}
