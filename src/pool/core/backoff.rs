//! When something that keeps dying may be started again.

use super::types::{Now, Refusal};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// After a start for which the machine had nothing left. It says nothing of what was to be started, so it never grows.
pub(super) const STARVED: Duration = Duration::from_millis(500);
/// Crashes this far apart have nothing to do with each other.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Begins at the third crash within a minute, or at the second before any success; then each further crash doubles
/// the wait. A success ends it; the minute goes on counting, or a worker that answers one request between two
/// crashes would be started without end.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The last crash and the one before it.
    crashes: [Option<Now>; 2],
    succeeded: bool,
    /// Waits since the last success.
    waits: u32,
    until: Option<Now>,
    /// The end of the wait for what the machine lacked.
    starved: Option<Now>,
}

impl Backoff {
    pub fn crash(&mut self, now: Now) {
        let [last, before] = self.crashes;
        let third = before.is_some_and(|at| now.saturating_sub(at) <= WINDOW);
        let second = last.is_some() && !self.succeeded;
        if third || second || self.waits > 0 {
            let wait = FIRST.saturating_mul(1 << self.waits.min(16)).min(LONGEST);
            self.waits += 1;
            self.until = Some(now.saturating_add(wait));
        }
        self.crashes = [Some(now), last];
    }

    /// Returns whether that ends a wait.
    pub fn success(&mut self) -> bool {
        self.succeeded = true;
        self.waits = 0;
        self.until.take().is_some()
    }

    /// The machine had nothing left for it.
    pub fn starve(&mut self, now: Now) {
        self.starved = Some(now.saturating_add(STARVED));
    }

    /// The end of the time that the try after the last such wait has, if `now` lies before it.
    pub fn retried_until(&self, start_timeout: Duration, now: Now) -> Option<Now> {
        self.starved.map(|until| until.saturating_add(start_timeout)).filter(|until| *until > now)
    }

    /// The end of the wait, if `now` lies in one.
    pub fn until(&self, now: Now) -> Option<Now> {
        self.until.max(self.starved).filter(|until| *until > now)
    }

    /// What whoever wants it is told, if `now` lies in a wait. A wait for its own crashes is the longer one in general, and what
    /// its author can do something about.
    pub fn refusal(&self, now: Now) -> Option<Refusal> {
        let rest = |until: Option<Now>| until.filter(|until| *until > now).map(|until| until - now);
        rest(self.until).map(Refusal::BackOff).or_else(|| rest(self.starved).map(Refusal::Starved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Now {
        Duration::from_secs(n)
    }

    fn wait(backoff: &Backoff, now: Now) -> Option<u64> {
        backoff.until(now).map(|until| (until - now).as_millis() as u64)
    }

    #[test]
    fn begins_at_the_second_crash_before_any_success_and_doubles_to_thirty_seconds() {
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.crash(secs(1));
            waits.push(wait(&backoff, secs(1)));
        }
        let expected = [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000].map(Some);
        assert_eq!(waits[0], None);
        assert_eq!(waits[1..], expected[1..]);
    }

    #[test]
    fn begins_at_the_third_crash_within_a_minute_after_a_success() {
        // (times of the crashes in seconds, does the last one begin a wait)
        for (crashes, begins) in [
            (&[10][..], false),
            (&[10, 20], false),
            (&[10, 20, 70], true),
            (&[10, 20, 71], false),
            (&[10, 60, 110, 115], true),
        ] {
            let mut backoff = Backoff::default();
            backoff.success();
            for at in crashes {
                backoff.crash(secs(*at));
            }
            let last = secs(*crashes.last().unwrap());
            assert_eq!(wait(&backoff, last), begins.then_some(100), "{crashes:?}");
        }
    }

    #[test]
    fn a_success_ends_the_wait_and_starts_the_sequence_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.crash(secs(1));
        }
        backoff.success();
        assert_eq!(wait(&backoff, secs(1)), None);
        backoff.crash(secs(2));
        assert_eq!(wait(&backoff, secs(2)), Some(100));
    }

    #[test]
    fn a_wait_is_over_at_its_end() {
        let mut backoff = Backoff::default();
        backoff.crash(secs(1));
        backoff.crash(secs(1));
        assert_eq!(wait(&backoff, Duration::from_millis(1_099)), Some(1));
        assert_eq!(wait(&backoff, Duration::from_millis(1_100)), None);
    }
}
