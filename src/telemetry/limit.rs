//! A limit on the lines that one worker may log: a token bucket. The time is the caller's.

use buntime_plugin::limit::Bucket;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Admits `burst` lines at once and `rate` lines a second in the long run.
#[derive(Clone, Debug)]
pub struct LineLimit {
    bucket: Bucket,
    dropped: u64,
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Log it; `dropped` lines before it were not logged, which is to be said first if it is not 0.
    Log {
        dropped: u64,
    },
    Drop,
}

impl LineLimit {
    /// A full bucket. `rate` is in lines a second.
    pub fn new(rate: u32, burst: u32) -> LineLimit {
        LineLimit { bucket: Bucket::new(rate, burst, Duration::ZERO), dropped: 0 }
    }

    /// Judges one line at `now`, the time since any fixed point. A `now` before the last one counts as the last one.
    pub fn admit(&mut self, now: Duration) -> Verdict {
        if self.bucket.take(1, now).is_err() {
            self.dropped += 1;
            return Verdict::Drop;
        }
        Verdict::Log { dropped: std::mem::take(&mut self.dropped) }
    }

    /// How many lines were dropped and not yet reported: to be said when a worker's output ends.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// A line that comes once a second at most, however often there is reason for it: one a place in the source, as a `static`.
#[derive(Debug)]
pub struct Seldom(Mutex<Option<(Instant, LineLimit)>>);

impl Seldom {
    pub const fn quiet() -> Seldom {
        Seldom(Mutex::new(None))
    }

    /// Whether the line is to be logged now, and how many were not since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, limit) = limit.get_or_insert_with(|| (Instant::now(), LineLimit::new(1, 1)));
        match limit.admit(began.elapsed()) {
            Verdict::Log { dropped } => Some(dropped),
            Verdict::Drop => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Verdict = Verdict::Log { dropped: 0 };

    #[test]
    fn a_burst_passes_and_what_is_beyond_it_is_dropped_and_reported_once() {
        let mut limit = LineLimit::new(10, 3);
        let at = Duration::from_secs(5);
        assert_eq!([(); 5].map(|()| limit.admit(at)), [LOG, LOG, LOG, Verdict::Drop, Verdict::Drop]);
        let later = at + Duration::from_millis(200);
        assert_eq!(limit.admit(later), Verdict::Log { dropped: 2 });
        assert_eq!(limit.admit(later), LOG);
        assert_eq!(limit.admit(later), Verdict::Drop);
        assert_eq!((limit.take_dropped(), limit.take_dropped()), (1, 0));
    }

    #[test]
    fn in_the_long_run_exactly_the_rate_passes() {
        let mut limit = LineLimit::new(7, 1);
        let passed =
            (1..=10_000).filter(|ms| limit.admit(Duration::from_millis(*ms)) != Verdict::Drop).count();
        assert_eq!(passed, 70);
    }

    #[test]
    fn a_long_rest_earns_no_more_than_a_burst() {
        let mut limit = LineLimit::new(u32::MAX, 2);
        let at = Duration::from_secs(1 << 40);
        assert_eq!([(); 3].map(|()| limit.admit(at)), [LOG, LOG, Verdict::Drop]);
    }

    #[test]
    fn time_that_goes_backward_earns_nothing() {
        let mut limit = LineLimit::new(1, 1);
        assert_eq!(limit.admit(Duration::from_secs(10)), LOG);
        assert_eq!(limit.admit(Duration::from_secs(3)), Verdict::Drop);
        assert_eq!(limit.admit(Duration::from_millis(10_500)), Verdict::Drop);
    }
}
